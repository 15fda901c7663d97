package memory

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Scan implements [collector.Reader]. It visits traces by descending start and then by ascending
// id, and none that begin outside of the range. It reads a snapshot of each trace and blocks nobody.
// Besides the trace that is visited it holds the position of the traces that it has found
// but not visited yet: about those of a segment, more if the clocks of senders disagree.
func (m *Store) Scan(ctx context.Context, s collector.Scan, visit func(*collector.Trace) bool) error {
	m.readers.Add(1)
	defer m.readers.Add(-1)
	want := wantedOf(&s.Hints)
	sc := m.newScanner(s, want)
	v := &view{Scan: s, want: want, ctx: ctx}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, more := sc.next()
		switch {
		case t != nil:
			if v.agrees(t) {
				if got := v.decode(t); v.decoder.Broken {
					return block.ErrBroken
				} else if got == nil {
					return ctx.Err()
				} else if !visit(got) {
					return nil
				}
			}
			sc.release(t)
		case !more:
			return nil
		}
	}
}

// scanner returns the traces of a store by descending start. It merges the walks of the
// partitions.
type scanner struct {
	walks      []*walk
	current    trace     // the one that next returned
	traces     []trace   // of a step of a walk
	found      traceHeap // not returned yet
	free       [][]block.Block
	start, end int64 // bounds of the start of a trace
}

func (m *Store) newScanner(s collector.Scan, want *wanted) *scanner {
	sc := &scanner{traces: make([]trace, tracesPerLock), start: math.MinInt64, end: math.MaxInt64}
	if !s.Start.IsZero() {
		sc.start = unixNano(s.Start)
	}
	if !s.End.IsZero() {
		sc.end = unixNano(s.End)
	}
	for i := range m.partitions {
		sc.walks = append(sc.walks, m.partitions[i].walk(want))
	}
	return sc
}

// maxWanted bounds how many hints are looked up in the filters of segments: Block.Wanted has a
// bit for each.
const maxWanted = 64

func wantedOf(h *collector.Hints) *wanted {
	var hashes []want
	for _, a := range h.Values {
		if len(a.Key) <= block.MaxKey {
			hashes = append(hashes, block.HashAttr(a))
		}
	}
	for _, a := range h.Texts {
		if len(a.Key) <= block.MaxKey {
			hashes = append(hashes, block.HashAttrText(a.Key, a.Value.String()))
		}
	}
	for _, service := range h.Services {
		hashes = append(hashes, block.HashAttr(slog.String("service.name", service)))
	}
	for _, name := range h.Names {
		hashes = append(hashes, want{block.HashName(name)})
	}
	for _, key := range h.Keys {
		if len(key) <= block.MaxKey {
			hashes = append(hashes, want{block.HashText(key)})
		}
	}
	return &wanted{h, hashes[:min(len(hashes), maxWanted)]}
}

// unixNano is [time.Time.UnixNano], saturated.
func unixNano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s > math.MaxInt64/int64(time.Second)-1:
		return math.MaxInt64
	case s < math.MinInt64/int64(time.Second)+1:
		return math.MinInt64
	}
	return t.UnixNano()
}

// next returns the next trace, or nil after a step that found none. more reports whether
// there may be others. The trace must be released.
func (sc *scanner) next() (t *trace, more bool) {
	var w *walk // the one with the latest traces
	var latest int64
	for _, other := range sc.walks {
		if bound, ok := other.bound(); ok && bound >= sc.start && (w == nil || bound > latest) {
			w, latest = other, bound
		}
	}
	if len(sc.found) > 0 && (w == nil || sc.found[0].first > latest) {
		sc.current = sc.found.pop()
		return &sc.current, true
	}
	if w == nil {
		return nil, false
	}
	w.next(sc.traces, sc.start)
	for i := range w.found {
		t := &sc.traces[i]
		if t.first < sc.start || t.first >= sc.end {
			continue
		}
		sc.found.push(*t)
		t.blocks = nil // now of the heap
		if n := len(sc.free); n > 0 {
			t.blocks, sc.free = sc.free[n-1], sc.free[:n-1]
		}
	}
	return nil, true
}

// release takes the memory of t back.
func (sc *scanner) release(t *trace) { sc.free = append(sc.free, t.blocks[:0]) }

// traceHeap is a heap of traces, the newest at its top.
type traceHeap []trace

func (h *traceHeap) push(t trace) {
	*h = append(*h, t)
	a := *h
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if a[up].newestFirst(&a[i]) < 0 {
			return
		}
		a[up], a[i] = a[i], a[up]
		i = up
	}
}

func (h *traceHeap) pop() trace {
	a := *h
	top, last := a[0], len(a)-1
	a[0] = a[last]
	a[last] = trace{}
	a = a[:last]
	*h = a
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(a) {
			return top
		}
		if down+1 < len(a) && a[down+1].newestFirst(&a[down]) < 0 {
			down++
		}
		if a[i].newestFirst(&a[down]) < 0 {
			return top
		}
		a[i], a[down] = a[down], a[i]
		i = down
	}
}

// view decodes what a scan wants of a trace. What it returns is valid until the next call.
type view struct {
	collector.Scan
	ctx     context.Context
	want    *wanted
	decoder block.Decoder
	trace   collector.Trace
	spans   []collector.Span
	order   sorter
}

// agrees reports whether t may be wanted, as far as the hints say and it is fast to find out.
func (v *view) agrees(t *trace) bool {
	h := &v.Hints
	if h.Errors && t.errors == 0 || !h.EndsAfter.IsZero() && t.end < unixNano(h.EndsAfter) || t.duration() < h.MinDuration || h.MaxDuration > 0 && t.duration() > h.MaxDuration {
		return false
	}
	var has uint64
	for _, b := range t.blocks {
		has |= b.Wanted
	}
	return has == v.want.all()
}

// blocksPerCheck is the number of blocks after which the context is looked at.
const blocksPerCheck = 64

// decode returns the spans of t with what is wanted of them, or nil if the context is done.
func (v *view) decode(t *trace) *collector.Trace {
	d := &v.decoder
	spans := v.spans[:0]
	for n, b := range slices.Backward(t.blocks) {
		if n%blocksPerCheck == blocksPerCheck-1 && v.ctx.Err() != nil {
			return nil
		}
		d.Open(b)
		resource := d.Origin()
		head := d.First()
		for i := range d.Spans {
			d.Next(&head)
			var attrs []slog.Attr
			if n := len(spans); n < cap(spans) {
				attrs = spans[:n+1][n].Attributes[:0]
			}
			spans = append(spans, collector.Span{Resource: resource})
			s := &spans[len(spans)-1].SpanData
			s.TraceID = t.id
			d.Span(i, &head, s)
			s.Attributes = v.attributes(attrs)
			if v.Details {
				d.Details(&head, s)
			} else {
				d.SkipDetails(&head, s)
			}
		}
	}
	v.spans = spans
	v.trace = collector.Trace{ID: t.id, Spans: v.order.sort(spans)}
	return &v.trace
}

// attributes appends the wanted attributes of a span to attrs.
func (v *view) attributes(attrs []slog.Attr) []slog.Attr {
	if !v.AllAttributes && len(v.Scan.Attributes) == 0 {
		v.decoder.SkipAttrs()
		return attrs
	}
	for r := v.decoder.List(); r.Next(); {
		if v.AllAttributes {
			attrs = append(attrs, slog.Attr{Key: r.KeyText(), Value: r.Value()})
			continue
		}
		wanted := false
		for _, key := range v.Scan.Attributes {
			if string(r.Key()) == key {
				attrs = append(attrs, slog.Attr{Key: key, Value: r.Value()})
				wanted = true
				break
			}
			if isPart(r.Key(), key) { // key may be a member of the value
				attrs = append(attrs, slog.Attr{Key: r.KeyText(), Value: r.Value()})
				wanted = true
				break
			}
		}
		if !wanted {
			r.Skip()
		}
	}
	return attrs
}

// isPart reports whether key is the dotted key of something inside an attribute of.
func isPart(of []byte, key string) bool {
	return len(key) > len(of) && key[len(of)] == '.' && key[:len(of)] == string(of)
}
