package block

// Ref is the position of a block: the number of its segment, counted from 1, and the
// offset in it. The zero value is no block.
type Ref struct{ Segment, Offset uint32 }

// Footer describes the spans of a block as a whole.
type Footer struct {
	Spans, Errors int
	First, End    int64 // earliest start and latest end

	Previous Ref // the block before this one, if the trace has one
	// Totals of the trace up to and including this block.
	Blocks, Bytes, TraceSpans int

	base int64
}
