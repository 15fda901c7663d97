package collector

import "github.com/dendrotrace/dendro"

// ref is where a block is: the number of its segment, from 1 on, and the offset
// in it. The zero value is nowhere.
type ref struct{ segment, offset uint32 }

// footer is what a block says of its spans as a whole.
type footer struct {
	base          int64
	spans, errors int
	first, end    int64 // the earliest start and the latest end
	rootKey       rootKey
	rootAt        int // where in the block the root is, or what comes nearest

	previous ref // the block of the trace before this one, if there is one
	// Of the trace, up to and with this block.
	blocks, bytes, traceSpans int
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
