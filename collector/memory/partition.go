package memory

import (
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/collector/operations"
)

// partition holds a share of the traces under a lock of its own, so that requests
// rarely wait for each other.
//
// Blocks are appended to the newest segment. When all memory is in use, the oldest
// segment is drained at the pace at which the newest one fills, so that no single
// request pays for a whole segment. Then it is dropped. A trace is evicted with its
// first block.
type partition struct {
	maxBytes, maxTraceBytes, segmentBytes int
	readers                               *atomic.Int64     // Store.readers
	operations                            *operations.Shard // nil if the store does not count

	mu       sync.Mutex // guards the fields below
	index    index
	segments []segment     // oldest first
	first    uint32        // number of the oldest segment
	drained  uint32        // offset up to which the oldest segment is drained
	encoder  block.Encoder // appends to the newest segment
	decoder  block.Decoder
	sets     map[dendro.TraceID]*table // positions of the spans of traces with many blocks
	pending  []pending
	touched  uint32
	partial  int64 // see begins
	bytes    int
	stats    collector.Stats // except Bytes, MaxBytes and Dropped
	evicted  uint64
	overlong uint64 // spans dropped as trace_too_large
	_        [64]byte
}

func (p *partition) init(maxBytes, maxTraceBytes, segmentBytes int, readers *atomic.Int64) {
	p.maxBytes, p.maxTraceBytes, p.segmentBytes, p.readers = maxBytes, maxTraceBytes, segmentBytes, readers
	p.encoder = block.NewEncoder()
	p.first = 1
	p.pending = make([]pending, 0, maxPending)
	p.partial = math.MinInt64
	p.bytes = partitionBytes
}

// segment is a piece of memory for blocks.
type segment struct {
	data   []byte       // never changes up to its length
	latest int64        // latest start of the first block of a trace
	filter block.Filter // names and attributes of the spans
	// longest is the largest duration of a block, errors the number of spans with an error.
	longest   time.Duration
	errors    int
	continued bool // there is a block that another block continues
}

// agrees reports whether a trace that is wholly in s may be wanted.
func (s *segment) agrees(w *block.Wanted) bool {
	return w.In(s.filter) == w.All() && s.longest >= w.MinDuration && (!w.Errors || s.errors > 0)
}

const (
	// partitionBytes is the size of an empty partition.
	partitionBytes = 64<<10 + block.OriginsBytes
	// filterShare determines the size of the filter of a segment: the size of the segment
	// divided by filterShare.
	filterShare = 64
	// minSegmentRoom is the free space that a segment must have to get another block.
	minSegmentRoom = 1 << 10
)

var idSeed = maphash.MakeSeed()

func hashOf(id dendro.TraceID) uint64 { return maphash.Comparable(idSeed, id) }

// add stores spans of one trace and evicts what exceeds the bounds. If none of the
// spans can ever be held, it returns false, and they are only part of the counts of operations.
func (p *partition) add(b *dendro.Batch, hash uint64, spans []*dendro.SpanData) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	tooLarge, held := 0, false
	isNew := p.begins(spans) && b.Fresh
	for len(spans) > 0 {
		n := min(len(spans), block.MaxSpans)
		large, found := p.addBlock(b, hash, spans[:n:n], isNew, true)
		tooLarge += large
		held = held || found
		spans = spans[n:]
	}
	if held || tooLarge == 0 {
		p.refuse(tooLarge)
		return true
	}
	return false
}

// refuse counts n spans that exceed the share of their trace.
func (p *partition) refuse(n int) {
	p.stats.Accepted += uint64(n)
	p.overlong += uint64(n)
}

// addBlock stores at most block.MaxSpans spans. It returns how many of them are too
// large and whether the trace is held. isNew means that the trace is not held yet, as
// far as begins can tell. count says whether the spans were not counted before.
func (p *partition) addBlock(batch *dendro.Batch, hash uint64, spans []*dendro.SpanData, isNew, count bool) (tooLarge int, held bool) {
	id := spans[0].TraceID
	p.makeRoom()
	var t *table // where the trace is, or where it can be inserted
	var at int
	var f block.Footer
	if !isNew {
		p.settle()
		t = p.index.table(hash)
		at, held = p.find(t, hash, &id)
	}
	if held {
		f.Previous = t.entries[at].block
		before := p.decoder.Open(p.block(f.Previous))
		f.Blocks, f.Bytes, f.TraceSpans = before.Blocks, before.Bytes, before.TraceSpans
	}
	given := spans
	if !batch.Fresh {
		spans = p.decoder.Fresh(given, p.suspects(f.Previous, given))
	}
	arrived := spans

	start := len(p.encoder.Data)
	p.encoder.Limit = start + p.maxTraceBytes - f.Bytes
	if isNew {
		p.encoder.Limit = start + p.segmentBytes/pendingShare
	}
	for len(spans) > 0 {
		i := p.encoder.Append(&f, batch.Resource, spans)
		if i < 0 {
			break
		}
		if isNew {
			return p.addBlock(batch, hash, given, false, count)
		}
		spans = slices.Delete(slices.Clone(spans), i, i+1)
		tooLarge++
	}
	if count && p.operations != nil {
		p.operations.Count(batch.Resource, arrived)
	}
	p.stats.Duplicates += uint64(len(given) - len(arrived))
	if len(spans) == 0 {
		return tooLarge, held
	}
	newest := block.Ref{Segment: p.encoder.Number, Offset: uint32(start)}
	last := &p.segments[len(p.segments)-1]
	p.bytes += cap(p.encoder.Data) - cap(last.data)
	last.data = p.encoder.Data
	last.longest = max(last.longest, time.Duration(f.End-f.First))
	last.errors += f.Errors
	if !held {
		p.stats.Traces++
		last.latest = max(last.latest, f.First)
	}
	p.stats.Accepted += uint64(len(spans))
	p.stats.Spans += len(spans)
	switch { // from here on the segment may move, because postpone can begin another
	case held:
		p.block(f.Previous).SetMark(block.MarkContinued)
		p.segments[f.Previous.Segment-p.first].continued = true
		t.entries[at].block = newest
		p.note(batch, newest, &f, spans)
	case isNew:
		p.postpone(hash, newest)
	default:
		p.insert(t, at, hash, &id, newest)
	}
	p.drain()
	return tooLarge, true
}

// find returns the position of a trace in t, or else the position where it can be
// inserted.
func (p *partition) find(t *table, hash uint64, id *dendro.TraceID) (at int, found bool) {
	if len(t.entries) == 0 {
		return 0, false
	}
	gone := -1
	for at = t.start(uint32(hash)); ; at = t.after(at) {
		switch e := &t.entries[at]; {
		case e.free():
			if gone >= 0 {
				at = gone
			}
			return at, false
		case p.gone(e.block):
			gone = at
		case e.hash == uint32(hash) && p.block(e.block).TraceID() == *id:
			return at, true
		}
	}
}

// insert stores a trace in t. at is the position that find returned.
func (p *partition) insert(t *table, at int, hash uint64, id *dendro.TraceID, newest block.Ref) {
	if t.full() {
		p.enlarge(t)
		at, _ = p.find(t, hash, id)
	}
	t.put(at, entry{uint32(hash), newest})
}

// gone reports whether the block at r was dropped. When the only block of a trace is
// dropped, its entry stays in the index until it is reused, because looking it up
// would cost more than everything else.
func (p *partition) gone(r block.Ref) bool {
	return r.Segment < p.first || r.Segment == p.first && r.Offset < p.drained
}

// enlarge makes room in a table of the index.
func (p *partition) enlarge(t *table) {
	for at := range t.entries {
		for e := &t.entries[at]; !e.free() && p.gone(e.block); {
			t.remove(at)
		}
	}
	if t.crowded() {
		p.bytes -= t.bytes()
		t.grow()
		p.bytes += t.bytes()
	}
}

func (p *partition) block(r block.Ref) block.Block {
	return block.Block{Segment: p.segments[r.Segment-p.first].data, At: int(r.Offset)}
}

// hasRoom reports whether the newest segment has room for another block.
func (p *partition) hasRoom() bool {
	if len(p.segments) == 0 {
		return false
	}
	data := p.segments[len(p.segments)-1].data
	return cap(data)-len(data) >= minSegmentRoom && len(data) < p.segmentBytes
}

// makeRoom begins a new segment if the newest one is full.
func (p *partition) makeRoom() {
	if p.hasRoom() {
		return
	}
	p.settle() // pending traces are in the newest segment, and joining them may begin another
	if p.hasRoom() {
		return
	}
	if n := len(p.segments); n > 0 {
		last := &p.segments[n-1]
		if room := cap(last.data) - len(last.data); room > p.segmentBytes/16 { // after a large block
			last.data = append(make([]byte, 0, len(last.data)), last.data...)
			p.bytes -= room
		}
	}
	var data []byte
	var filter block.Filter
	for p.bytes+p.segmentSize() > p.maxBytes && len(p.segments) > 0 {
		data, filter = p.segments[0].data, p.segments[0].filter
		p.dropOldest()
	}
	if filter == nil {
		filter = make(block.Filter, p.filterBytes()/8)
	}
	clear(filter) // read with the lock alone
	if cap(data) != p.segmentBytes || p.readers.Load() > 0 {
		data = make([]byte, 0, p.segmentBytes)
	}
	p.bytes += p.segmentSize()
	s := segment{data: data[:0], latest: math.MinInt64, filter: filter}
	p.segments = append(p.segments, s)
	p.encoder.Begin(s.data, p.first+uint32(len(p.segments))-1, s.filter)
}

// filterBytes returns the size of the filter of a segment, a power of two.
func (p *partition) filterBytes() int { return 1 << (bits.Len(uint(p.segmentBytes)) - 1) / filterShare }

// segmentSize returns what a segment takes.
func (p *partition) segmentSize() int { return p.segmentBytes + p.filterBytes() }

// shrink drops segments until p is within its bounds.
func (p *partition) shrink() {
	for p.bytes > p.maxBytes && len(p.segments) > 1 {
		p.dropOldest()
	}
}

// drain brings p within its bounds. If p will soon need the memory of the oldest
// segment, drain empties it to the extent that the newest one is filled.
func (p *partition) drain() {
	p.shrink()
	if p.bytes+p.segmentSize() <= p.maxBytes || len(p.segments) < 2 {
		return
	}
	oldest, newest := len(p.segments[0].data), len(p.segments[len(p.segments)-1].data)
	for until := min(oldest, oldest*newest/p.segmentBytes); int(p.drained) < until; {
		p.dropBlock()
	}
}

// dropOldest drains the oldest segment and drops it.
func (p *partition) dropOldest() {
	for int(p.drained) < len(p.segments[0].data) {
		p.dropBlock()
	}
	p.bytes -= cap(p.segments[0].data) + p.filterBytes()
	p.segments = slices.Delete(p.segments, 0, 1)
	p.first++
	p.drained = 0
}

// dropBlock drops the oldest block, and its trace if that is still held.
func (p *partition) dropBlock() {
	b := p.block(block.Ref{Segment: p.first, Offset: p.drained})
	var spans int
	switch {
	case b.Continues(): // the first block was dropped before
	case b.Mark() == block.MarkVoid:
	case b.Mark() == 0:
		spans = b.Spans()
		p.stats.Traces--
	default:
		id := b.TraceID()
		t, at := p.held(id)
		spans = p.decoder.Open(p.block(t.entries[at].block)).TraceSpans
		t.remove(at)
		p.forget(id)
		p.stats.Traces--
	}
	p.drained += b.Size()
	p.stats.Spans -= spans
	p.evicted += uint64(spans)
}

// held returns the position of a trace that is held.
func (p *partition) held(id dendro.TraceID) (t *table, at int) {
	hash := hashOf(id)
	t = p.index.table(hash)
	at, _ = p.find(t, hash, &id)
	return t, at
}

// snapshot adds the trace whose newest block is given to t. t must be empty, but may
// bring memory to reuse. If want is not nil, it sets a bit of Block.Wanted for each of
// its hashes that the segment of the block may have.
func (p *partition) snapshot(t *block.Trace, newest block.Ref, want *block.Wanted) {
	t.ID = p.block(newest).TraceID()
	for at := newest; at != (block.Ref{}); {
		b := p.block(at)
		if want != nil {
			b.Wanted = want.In(p.segments[at.Segment-p.first].filter)
		}
		f := p.decoder.Open(b)
		t.Add(b, &f)
		at = f.Previous
	}
}
