package collector

import "github.com/dendrotrace/dendro"

// ref is the position of a block: the number of its segment, counted from 1, and the
// offset in it. The zero value is no block.
type ref struct{ segment, offset uint32 }

// footer describes the spans of a block as a whole.
type footer struct {
	base          int64
	spans, errors int
	first, end    int64 // earliest start and latest end
	rootKey       rootKey
	rootAt        int // offset of the root span, or of the earliest, in the block

	previous ref // the block before this one, if the trace has one
	// Totals of the trace up to and including this block.
	blocks, bytes, traceSpans int
}

// rootKey orders the spans of a trace by how well they represent it: spans without a
// parent come first, and earlier spans come before later ones.
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
