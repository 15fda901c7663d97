package pebblestore

import (
	"iter"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// head holds the spans that are in no run yet: in segments, each of which is a chunk of the
// database, with an index of traces. Elements of segments and blocks never change, except for the
// last segment, which grows, so that a copy of the slices can be read without a lock.
type head struct {
	since    time.Time
	first    uint64 // number of the chunk of the first segment
	segments []segment
	blocks   []position
	traces   []trace
	index    map[dendro.TraceID]int32 // indexes of traces
	spans    int
	bytes    int
}

// segment is the content of a chunk. It gets its filter when it is complete.
type segment struct {
	data   []byte
	filter block.Filter
}

// position is where a block is.
type position struct {
	segment, at uint32
	previous    int32 // the block before it of the same trace, or -1
}

// trace is what a head has of a trace.
type trace struct {
	id            dendro.TraceID
	newest        int32 // index in blocks
	blocks        int32 // number of blocks
	spans, errors int32
	first, end    int64
	earlier       bool // the store has spans of it that are not in this head
	// held has the spans that are not in this head, and those of traces of many blocks. It is
	// nil if there are none.
	held block.SpanSet
}

// blockOverhead is about what a block takes besides its bytes, with its share of a trace.
const blockOverhead = 100

func newHead(first uint64, now time.Time) *head {
	return &head{since: now, first: first, index: map[dendro.TraceID]int32{}}
}

// find returns the trace with an id, or nil. It is valid until the next trace is added. h may be nil.
func (h *head) find(id dendro.TraceID) *trace {
	if h == nil {
		return nil
	}
	at, found := h.index[id]
	if !found {
		return nil
	}
	return &h.traces[at]
}

// begin adds a trace.
func (h *head) begin(id dendro.TraceID, f *block.Footer) *trace {
	h.index[id] = int32(len(h.traces))
	h.traces = append(h.traces, trace{id: id, newest: -1, first: f.First, end: f.End})
	return &h.traces[len(h.traces)-1]
}

// add adds a block of the last segment to a trace.
func (h *head) add(t *trace, at int, f *block.Footer) {
	h.blocks = append(h.blocks, position{uint32(len(h.segments) - 1), uint32(at), t.newest})
	t.newest = int32(len(h.blocks) - 1)
	t.blocks++
	t.first, t.end = min(t.first, f.First), max(t.end, f.End)
	t.spans += int32(f.Spans)
	t.errors += int32(f.Errors)
	h.spans += f.Spans
	h.bytes += blockOverhead
}

// each returns the blocks of a trace, newest first.
func (h *head) each(t *trace) iter.Seq[block.Block] {
	return func(yield func(block.Block) bool) {
		for n := t.newest; n >= 0; n = h.blocks[n].previous {
			p := h.blocks[n]
			if !yield(block.Block{Segment: h.segments[p.segment].data, At: int(p.at)}) {
				return
			}
		}
	}
}

// set returns the spans of a trace, and those that are not in this head.
func (h *head) set(t *trace, d *block.Decoder) block.SpanSet {
	set := make(block.SpanSet, len(t.held)+int(t.spans))
	for k := range t.held {
		set.Add(k)
	}
	for b := range h.each(t) {
		d.EachSpan(b, func(k block.SpanKey) { set.Add(k) })
	}
	return set
}

// snapshot returns a head that does not change any more.
func (h *head) snapshot() *head {
	if h == nil {
		return nil
	}
	copied := *h
	copied.segments = append([]segment(nil), h.segments...)
	copied.traces = append([]trace(nil), h.traces...)
	copied.index = nil
	return &copied
}
