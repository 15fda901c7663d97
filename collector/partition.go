package collector

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
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
	readers                               *atomic.Int64 // Memory.readers

	mu       sync.Mutex // guards the fields below
	index    index
	segments []segment // oldest first
	first    uint32    // number of the oldest segment
	drained  uint32    // offset up to which the oldest segment is drained
	encoder  encoder   // appends to the newest segment
	decoder  decoder
	origins  [recentOrigins]origin     // encoded resources and scopes of recent batches
	turn     int                       // the next of origins to replace
	sets     map[dendro.TraceID]*table // positions of the spans of traces with many blocks
	pending  []pending
	touched  uint32
	partial  int64 // see begins
	bytes    int
	stats    Stats // except Bytes, MaxBytes and Dropped
	evicted  uint64
	overlong uint64 // spans dropped as trace_too_large
	_        [64]byte
}

func (p *partition) init(maxBytes, maxTraceBytes, segmentBytes int, readers *atomic.Int64) {
	p.maxBytes, p.maxTraceBytes, p.segmentBytes, p.readers = maxBytes, maxTraceBytes, segmentBytes, readers
	p.encoder.recent = new(recent)
	p.first = 1
	p.pending = make([]pending, 0, maxPending)
	p.partial = math.MinInt64
	p.bytes = partitionBytes
}

// segment is a piece of memory for blocks.
type segment struct {
	data   []byte  // never changes up to its length
	latest int64   // latest start of the first block of a trace
	keys   *filter // attribute keys of the spans
}

const (
	// partitionBytes is the size of an empty partition with its origins.
	partitionBytes = 64<<10 + recentOrigins*2*maxOriginBytes
	// minSegmentRoom is the free space that a segment must have to get another block.
	minSegmentRoom = 1 << 10
	// recentOrigins is the number of resources and scopes whose encoding is kept for
	// the next batch.
	recentOrigins = 8
	// maxOriginBytes bounds the size of a kept encoding. The resource and scope that
	// it was made from are kept as well.
	maxOriginBytes = 2 << 10
)

var idSeed = maphash.MakeSeed()

func hashOf(id dendro.TraceID) uint64 { return maphash.Comparable(idSeed, id) }

// add stores spans of one trace and evicts what exceeds the bounds. If none of the
// spans can ever be held, it returns false and does not count them.
func (p *partition) add(b *dendro.Batch, hash uint64, spans []*dendro.SpanData) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	tooLarge, held := 0, false
	isNew := p.begins(spans)
	for len(spans) > 0 {
		n := min(len(spans), maxBlockSpans)
		large, found := p.addBlock(b, hash, spans[:n:n], isNew)
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

// addBlock stores at most maxBlockSpans spans. It returns how many of them are too
// large and whether the trace is held. isNew means that the trace is not held yet, as
// far as begins can tell.
func (p *partition) addBlock(batch *dendro.Batch, hash uint64, spans []*dendro.SpanData, isNew bool) (tooLarge int, held bool) {
	id := spans[0].TraceID
	p.makeRoom()
	var t *table // where the trace is, or where it can be inserted
	var at int
	var f footer
	if !isNew {
		p.settle()
		t = p.index.table(hash)
		at, held = p.find(t, hash, &id)
	}
	if held {
		f.previous = t.entries[at].block
		before := p.decoder.open(p.block(f.previous))
		f.blocks, f.bytes, f.traceSpans = before.blocks, before.bytes, before.traceSpans
	}
	given := spans
	if !batch.Fresh {
		spans = p.fresh(f.previous, given)
	}
	duplicates := len(given) - len(spans)

	start := len(p.encoder.data)
	p.encoder.limit = start + p.maxTraceBytes - f.bytes
	if isNew {
		p.encoder.limit = start + p.segmentBytes/pendingShare
	}
	origin := p.originOf(batch)
	for len(spans) > 0 {
		i := p.encoder.block(&f, origin, spans)
		if i < 0 {
			break
		}
		if isNew {
			return p.addBlock(batch, hash, given, false)
		}
		spans = slices.Delete(slices.Clone(spans), i, i+1)
		tooLarge++
	}
	p.stats.Duplicates += uint64(duplicates)
	if len(spans) == 0 {
		return tooLarge, held
	}
	newest := ref{p.encoder.number, uint32(start)}
	last := &p.segments[len(p.segments)-1]
	p.bytes += cap(p.encoder.data) - cap(last.data)
	last.data = p.encoder.data
	if !held {
		p.stats.Traces++
		last.latest = max(last.latest, f.first)
	}
	p.stats.Accepted += uint64(len(spans))
	p.stats.Spans += len(spans)
	switch { // from here on the segment may move, because postpone can begin another
	case held:
		p.bytesAt(f.previous)[atMark] = markContinued
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

// originOf returns the encoded resource and scope of b.
func (p *partition) originOf(b *dendro.Batch) *origin {
	for i := range p.origins {
		if o := &p.origins[i]; o.resourceOf == b.Resource && o.scopeOf == b.Scope && o.resource != "" {
			return o
		}
	}
	o := newOrigin(b.Resource, b.Scope)
	if len(o.resource)+len(o.scope) > maxOriginBytes {
		return &o
	}
	kept := &p.origins[p.turn]
	p.turn = (p.turn + 1) % recentOrigins
	*kept = o
	return kept
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
		case e.hash == uint32(hash) && idOf(p.bytesAt(e.block)) == *id:
			return at, true
		}
	}
}

// insert stores a trace in t. at is the position that find returned.
func (p *partition) insert(t *table, at int, hash uint64, id *dendro.TraceID, newest ref) {
	if t.full() {
		p.enlarge(t)
		at, _ = p.find(t, hash, id)
	}
	t.put(at, entry{uint32(hash), newest})
}

// gone reports whether the block at r was dropped. When the only block of a trace is
// dropped, its entry stays in the index until it is reused, because looking it up
// would cost more than everything else.
func (p *partition) gone(r ref) bool {
	return r.segment < p.first || r.segment == p.first && r.offset < p.drained
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

func (p *partition) block(r ref) block {
	return block{segment: p.segments[r.segment-p.first].data, at: int(r.offset)}
}

// bytesAt returns the segment from r on.
func (p *partition) bytesAt(r ref) []byte { return p.segments[r.segment-p.first].data[r.offset:] }

func idOf(block []byte) dendro.TraceID { return dendro.TraceID(block[atTraceID:]) }

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
	for p.bytes+p.segmentBytes > p.maxBytes && len(p.segments) > 0 {
		data = p.segments[0].data
		p.dropOldest()
	}
	if cap(data) != p.segmentBytes || p.readers.Load() > 0 {
		data = make([]byte, 0, p.segmentBytes)
	}
	p.decoder.copied = nil // the copies may be from the previous contents
	p.bytes += p.segmentBytes
	s := segment{data[:0], math.MinInt64, new(filter)}
	p.segments = append(p.segments, s)
	p.encoder.begin(s.data, p.first+uint32(len(p.segments))-1, s.keys)
}

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
	if p.bytes+p.segmentBytes <= p.maxBytes || len(p.segments) < 2 {
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
	p.bytes -= cap(p.segments[0].data)
	p.segments = slices.Delete(p.segments, 0, 1)
	p.first++
	p.drained = 0
}

// dropBlock drops the oldest block, and its trace if that is still held.
func (p *partition) dropBlock() {
	b := p.bytesAt(ref{p.first, p.drained})
	var spans int
	switch {
	case b[atContinues] != 0: // the first block was dropped before
	case b[atMark] == markVoid:
	case b[atMark] == 0:
		n, _ := binary.Uvarint(b[binary.LittleEndian.Uint32(b[atFooter:]):])
		spans = int(n)
		p.stats.Traces--
	default:
		id := idOf(b)
		t, at := p.held(id)
		spans = p.decoder.open(p.block(t.entries[at].block)).traceSpans
		t.remove(at)
		p.forget(id)
		p.stats.Traces--
	}
	p.drained += binary.LittleEndian.Uint32(b[atSize:])
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
// bring memory to reuse. For keys, see [Memory.each].
func (p *partition) snapshot(t *trace, newest ref, keys []uint64) {
	t.id = idOf(p.bytesAt(newest))
	for at := newest; at != (ref{}); {
		b := p.block(at)
		for i, key := range keys {
			if p.segments[at.segment-p.first].keys.has(key) {
				b.keys |= 1 << i
			}
		}
		f := p.decoder.open(b)
		t.add(b, &f)
		at = f.previous
	}
}
