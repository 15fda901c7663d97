package dendro

import (
	"sync"
	"time"
)

const (
	// partSpans and partAge bound what a local trace holds back. It delivers the spans
	// that have ended when there are partSpans of them, or when a span ends partAge
	// after the last delivery.
	partSpans = 512
	partAge   = 2 * time.Second
)

const (
	// firstSlots is the number of slots that are part of a local trace. More of them
	// are allocated moreSlots at a time.
	firstSlots = 4
	moreSlots  = 16
	// maxSlots is the number of slots that an open local trace keeps for more spans. A
	// long trace needs those of one part again and again; those of a burst are
	// released.
	maxSlots = 2 * partSpans
	// maxIdleSlots is the size of the largest local trace that is reused.
	maxIdleSlots = 64
)

// localTrace gathers the spans that one request makes in one process. They are
// delivered together when the root ends, or in parts if that takes long. Spans that
// end after the root are delivered as they end.
//
// When all spans have been handed over, the use of the localTrace ends. When they have
// been delivered, it is reused for another request. Handles of earlier spans, which the
// program may still have, refer to an earlier use.
type localTrace struct {
	tracer *Tracer // immutable
	shard  *shard  // immutable

	// Guarded by shard.mu.
	newer, older *localTrace
	listed       bool

	mu          sync.Mutex // guards the fields below and the slots
	use         uint64     // counts the earlier uses of this memory
	clock       clock
	root        *slot // nil once the root has ended
	open        int   // spans that have not ended
	leaving     int   // parts for which Collect has not returned
	first, last *slot // ended spans that are not handed over yet
	waiting     int   // number of these spans
	handedOver  int64 // time of the last handover
	inSight     bool  // Tracer.Flush knows this local trace, because spans were waiting
	discarded   bool

	free  *slot  // free list
	slots int    // in use, waiting or free
	large bool   // there were ever more than maxIdleSlots
	batch *Batch // for the next part, or nil while a part uses it
	own   [firstSlots]slot
}

func newLocalTrace(t *Tracer, s *shard) *localTrace {
	lt := &localTrace{tracer: t, shard: s, batch: new(Batch)}
	lt.addSlots(lt.own[:])
	return lt
}

func (t *localTrace) addSlots(slots []slot) {
	for i := range slots {
		slots[i].trace = t
		slots[i].next, t.free = t.free, &slots[i]
	}
	t.slots += len(slots)
	t.large = t.large || t.slots > maxIdleSlots
}

func (t *localTrace) counters() *counters { return &t.shard.counters }

// begin starts a use of t, which must not be in use, with a root that begins now. It
// needs no lock, because stale handles look only at the numbers of uses.
func (t *localTrace) begin(c clock, now int64) (root *slot, use uint64) {
	t.clock, t.handedOver = c, now
	t.root = t.slot()
	return t.root, t.use
}

// child returns a slot for a span below one of the given use of t, or nil if that use
// is over.
func (t *localTrace) child(use uint64) (s *slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.use == use {
		s = t.slot()
	}
	return s
}

// slot returns a free slot for a new span. t.mu must be held, unless t is not in use.
func (t *localTrace) slot() *slot {
	if t.free == nil {
		t.addSlots(make([]slot, moreSlots))
	}
	s := t.free
	t.free, s.next = s.next, nil
	t.open++
	return s
}

// end ends a span of t unless it has ended. at is the end of the span, now the current
// time.
func (t *localTrace) end(span *Span, at, now int64) {
	s := span.slot
	t.mu.Lock()
	if s.use.Load() != span.use {
		t.mu.Unlock()
		t.counters().endedTwice.Add(1)
		return
	}
	s.use.Store(span.use + 1)
	s.data.End = max(at, s.data.Start)
	if s.observed {
		t.tracer.observer.SpanEnded(span, &s.data, s == t.root)
	}
	t.open--
	if t.first == nil {
		t.first = s
	} else {
		t.last.next = s
	}
	t.last = s
	t.waiting++
	var p part
	var out *localTrace
	switch {
	case s == t.root:
		t.root = nil
		if t.inSight {
			t.shard.remove(t)
		}
		t.take(&p, now)
	case t.root == nil, t.waiting >= partSpans, now-t.handedOver >= int64(partAge):
		t.take(&p, now)
	case !t.inSight:
		t.inSight = true
		out = t.shard.add(t)
	}
	t.counters().ended.Add(1) // under the lock, before anyone can hand the span over
	t.mu.Unlock()
	if out != nil {
		out.flush()
	}
	t.handOver(&p)
}

// part is spans that have ended and are being delivered.
type part struct {
	first     *slot
	spans     int
	batch     *Batch
	discarded bool
	last      bool // no span is left or can be started
	alone     bool // only this part still uses the local trace
}

// take moves the spans that have ended to p, for handOver. There must be one. If no span
// is left, take ends the use of t, so that no span can be started below those of p. t.mu
// is held.
func (t *localTrace) take(p *part, now int64) {
	p.first, p.spans, p.batch, p.discarded = t.first, t.waiting, t.batch, t.discarded
	t.first, t.last, t.waiting, t.handedOver, t.batch = nil, nil, 0, now, nil
	t.leaving++
	if t.over() {
		p.last, p.alone = true, t.leaving == 1
		t.use++
		t.inSight, t.discarded = false, false
	}
}

// over reports whether all spans of t have ended and were taken. t.mu is held, unless
// only one part uses t.
func (t *localTrace) over() bool { return t.root == nil && t.open+t.waiting == 0 }

// handOver delivers p to the collector and frees its slots. It is called by the
// goroutine that called take.
func (t *localTrace) handOver(p *part) {
	switch {
	case p.spans == 0:
		return
	case p.discarded:
		t.counters().discarded.Add(uint64(p.spans))
	default:
		if reason := p.deliver(t.tracer); reason != "" {
			t.tracer.drops.add(reason, p.spans)
		} else {
			t.counters().delivered.Add(uint64(p.spans))
		}
	}
	if !p.alone {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	for s := p.first; s != nil; {
		next := s.next
		s.release()
		if t.slots > maxSlots {
			t.slots--
			s.next = nil
		} else {
			s.next, t.free = t.free, s
		}
		s = next
	}
	if p.batch != nil {
		t.batch = p.batch
	}
	t.leaving--
	switch {
	case t.leaving > 0 || !t.over():
	case t.large:
		t.free, t.batch = nil, nil // handles may keep t alive for long
	default:
		t.tracer.traces.Put(t)
	}
}

// flush delivers the spans that have ended so far.
func (t *localTrace) flush() {
	t.mu.Lock()
	var p part
	if t.waiting > 0 {
		t.take(&p, t.clock.now())
	}
	t.mu.Unlock()
	t.handOver(&p)
}
