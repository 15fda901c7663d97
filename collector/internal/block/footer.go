package block

import "github.com/dendrotrace/dendro"

// Ref is the position of a block: the number of its segment, counted from 1, and the
// offset in it. The zero value is no block.
type Ref struct{ Segment, Offset uint32 }

// Footer describes the spans of a block as a whole.
type Footer struct {
	Spans, Errors int
	First, End    int64 // earliest start and latest end
	RootKey       RootKey
	RootAt        int // offset of the root span, or of the earliest, in the block

	Previous Ref // the block before this one, if the trace has one
	// Totals of the trace up to and including this block.
	Blocks, Bytes, TraceSpans int

	base int64
}

// RootKey orders the spans of a trace by how well they represent it: spans without a
// parent come first, and earlier spans come before later ones.
type RootKey struct {
	Child bool
	Start int64
}

func rootKeyOf(s *dendro.SpanData) RootKey { return RootKey{s.ParentID.IsValid(), s.Start} }

// Before reports whether k represents the trace better than other.
func (k RootKey) Before(other RootKey) bool {
	if k.Child != other.Child {
		return other.Child
	}
	return k.Start < other.Start
}
