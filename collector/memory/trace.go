package memory

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
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
	root       int // index of the block with the root span, or else the earliest span
	rootKey    block.RootKey
	rootAt     int // its offset in that block
}

// add adds b, which is older than the blocks that t has, and its footer f.
func (t *trace) add(b block.Block, f *block.Footer) {
	if n := len(t.blocks); n == 0 {
		t.totals = totals{first: f.First, end: f.End, rootKey: f.RootKey, rootAt: f.RootAt}
	} else if !t.rootKey.Before(f.RootKey) { // of two roots, the one that arrived first
		t.root, t.rootKey, t.rootAt = n, f.RootKey, f.RootAt
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

// summary returns the [collector.Summary] of t.
func (t *trace) summary(d *block.Decoder, o *block.Origins) collector.Summary {
	s := collector.Summary{TraceID: t.id, Start: t.first, Duration: t.duration(), Spans: t.spans, Errors: t.errors, RootMissing: t.rootKey.Child}
	for i, b := range t.blocks {
		f := d.Open(b)
		service := o.Resource(d.Raw()).Service()
		if i == t.root {
			s.RootService = service
			h := d.Root(b, t.rootAt)
			s.RootName = d.Name(&h)
		}
		at, found := slices.BinarySearchFunc(s.Services, service, func(a collector.ServiceSummary, name string) int {
			return strings.Compare(a.Service, name)
		})
		if !found {
			s.Services = slices.Insert(s.Services, at, collector.ServiceSummary{Service: service})
		}
		s.Services[at].Spans += f.Spans
		s.Services[at].Errors += f.Errors
	}
	return s
}

// decode returns the spans of t. They share no memory with the store.
func (t *trace) decode() (*collector.Trace, error) {
	var d block.Decoder
	var o block.Origins
	out := &collector.Trace{ID: t.id, Spans: make([]collector.Span, 0, t.spans)}
	for _, b := range slices.Backward(t.blocks) {
		d.Open(b)
		d.CopyAll()
		resource, scope := o.Resource(d.Raw()), o.Scope(d.Raw())
		h := d.First()
		for i := range d.Spans {
			d.Next(&h)
			s := collector.Span{Resource: resource, Scope: scope}
			s.TraceID = t.id
			d.Span(i, &h, &s.SpanData)
			if d.Failed {
				break
			}
			out.Spans = append(out.Spans, s)
		}
		if d.Failed || o.Broken {
			return nil, block.ErrBroken
		}
	}
	out.Spans = sorted(out.Spans)
	return out, nil
}

// sorted returns spans ordered by start. Spans with the same start keep their order. A
// span is large, so each is moved once.
func sorted(spans []collector.Span) []collector.Span {
	order := make([]int32, len(spans))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(spans[a].Start, spans[b].Start), cmp.Compare(a, b))
	})
	out := make([]collector.Span, len(spans))
	for i, n := range order {
		out[i] = spans[n]
	}
	return out
}
