package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// trace is a snapshot of one trace. It can be read without a lock, because nothing in
// a block changes except its mark.
type trace struct {
	id     dendro.TraceID
	blocks []block.Block // newest first
	totals
}

// totals sums up the footers of all blocks of a trace.
type totals struct {
	first, end int64 // earliest start and latest end
	spans      int
	errors     int
}

// add adds b, which is older than the blocks that t has, and its footer f.
func (t *trace) add(b block.Block, f *block.Footer) {
	if len(t.blocks) == 0 {
		t.totals = totals{first: f.First, end: f.End}
	}
	t.blocks = append(t.blocks, b)
	t.first, t.end = min(t.first, f.First), max(t.end, f.End)
	t.spans += f.Spans
	t.errors += f.Errors
}

func (t *trace) duration() time.Duration { return time.Duration(max(0, t.end-t.first)) }

// newestFirst orders traces by start, and by id if they start at the same time.
func (t *trace) newestFirst(other *trace) int {
	if t.first != other.first {
		return cmp.Compare(other.first, t.first)
	}
	return bytes.Compare(t.id[:], other.id[:])
}

// decode returns the spans of t. They share no memory with the store.
func (t *trace) decode(ctx context.Context) (*collector.Trace, error) {
	var d block.Decoder
	out := &collector.Trace{ID: t.id, Spans: make([]collector.Span, 0, t.spans)}
	for n, b := range slices.Backward(t.blocks) {
		if n%blocksPerCheck == blocksPerCheck-1 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		d.Open(b)
		d.CopyAll()
		resource := d.Origin()
		h := d.First()
		for i := range d.Spans {
			d.Next(&h)
			s := collector.Span{Resource: resource}
			s.TraceID = t.id
			d.Span(i, &h, &s.SpanData)
			d.Rest(&h, &s.SpanData)
			if d.Failed {
				break
			}
			out.Spans = append(out.Spans, s)
		}
		if d.Failed {
			return nil, block.ErrBroken
		}
	}
	var order sorter
	out.Spans = order.sort(out.Spans)
	return out, nil
}

// sorter orders spans by start. Spans with the same start keep their order. A span is large,
// so each is moved once. The result is valid until the next call.
type sorter struct {
	order []int32
	spans []collector.Span
}

func (o *sorter) sort(spans []collector.Span) []collector.Span {
	if slices.IsSortedFunc(spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) }) {
		return spans
	}
	o.order, o.spans = o.order[:0], o.spans[:0]
	for i := range spans {
		o.order = append(o.order, int32(i))
	}
	slices.SortFunc(o.order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(spans[a].Start, spans[b].Start), cmp.Compare(a, b))
	})
	for _, n := range o.order {
		o.spans = append(o.spans, spans[n])
	}
	return o.spans
}
