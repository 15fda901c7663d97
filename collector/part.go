package collector

import (
	"slices"

	"github.com/dendrotrace/dendro"
)

// part is the share of a batch that belongs to one trace, with what the trace
// needs to know of it.
type part struct {
	received   int                // spans, with those that came twice
	spans      []*dendro.SpanData // without them
	block      *block
	bytes      int64 // that the block takes
	first, end int64 // the earliest start and the latest end
	rootKey    rootKey
	rootAt     int
}

// rootKey orders spans by how well they stand for their trace: one without a
// parent comes first, then the earlier one.
type rootKey struct {
	child bool
	start int64
}

func rootKeyOf(s *dendro.SpanData) rootKey { return rootKey{s.ParentID.IsValid(), s.Start} }

func (k rootKey) before(other rootKey) bool {
	if k.child != other.child {
		return other.child
	}
	return k.start < other.start
}

// newPart encodes spans of one trace. It changes the slice.
func newPart(e *encoder, spans []*dendro.SpanData) part {
	received := len(spans)
	e.number(spans)
	if len(e.ids.items) < len(spans) {
		seen := spanSet{}
		spans = slices.DeleteFunc(spans, func(s *dendro.SpanData) bool { return !seen.add(s.SpanID, s.Start) })
	}
	data, size := sealed(e.encodeSpans(spans))
	p := part{
		received: received, spans: spans, block: &block{data: data, spans: uint32(len(spans))}, bytes: size + blockBytes,
		first: spans[0].Start, end: spans[0].End, rootKey: rootKeyOf(spans[0]),
	}
	for i, s := range spans {
		p.first, p.end = min(p.first, s.Start), max(p.end, s.End)
		if s.Status.Code == dendro.StatusError {
			p.block.errors++
		}
		if key := rootKeyOf(s); key.before(p.rootKey) {
			p.rootKey, p.rootAt = key, i
		}
	}
	return p
}
