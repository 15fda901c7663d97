package block

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Trace is a snapshot of one trace. It can be read without a lock, because nothing in
// a block changes except its mark.
type Trace struct {
	ID     dendro.TraceID
	Blocks []Block // newest first

	// The sums of the footers of all blocks.
	First, End    int64 // earliest start and latest end
	Spans, Errors int
}

// Add adds b, which is older than the blocks that t has, and its footer f.
func (t *Trace) Add(b Block, f *Footer) {
	if len(t.Blocks) == 0 {
		t.First, t.End, t.Spans, t.Errors = f.First, f.End, 0, 0
	}
	t.Blocks = append(t.Blocks, b)
	t.First, t.End = min(t.First, f.First), max(t.End, f.End)
	t.Spans += f.Spans
	t.Errors += f.Errors
}

// NewestFirst orders traces by start, and by id if they start at the same time.
func (t *Trace) NewestFirst(other *Trace) int {
	if t.First != other.First {
		return cmp.Compare(other.First, t.First)
	}
	return bytes.Compare(t.ID[:], other.ID[:])
}

// Decode returns the spans of t. They share no memory with the blocks.
func (t *Trace) Decode(ctx context.Context) (*collector.Trace, error) {
	var d Decoder
	out := &collector.Trace{ID: t.ID, Spans: make([]collector.Span, 0, t.Spans)}
	for n, b := range slices.Backward(t.Blocks) {
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
			s.TraceID = t.ID
			d.Span(i, &h, &s.SpanData)
			d.Rest(&h, &s.SpanData)
			if d.Failed {
				break
			}
			out.Spans = append(out.Spans, s)
		}
		if d.Failed {
			return nil, ErrBroken
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
