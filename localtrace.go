package dendro

import (
	"sync"
	"time"
)

const (
	// partSpans and partAge bound what a local trace holds back: it hands
	// over what has ended when that many spans wait, or when a span ends
	// that long after the last handing over.
	partSpans = 512
	partAge   = 2 * time.Second
)

const (
	// firstSlots is how many spans of a local trace need no memory but its
	// own, moreSlots how many slots come at a time after that.
	firstSlots = 4
	moreSlots  = 16
	// maxSlots is how many slots an open local trace keeps for spans to come: a
	// long one needs those of a part again and again, a burst is forgotten.
	maxSlots = 2 * partSpans
	// maxIdleSlots is the largest local trace that is used again.
	maxIdleSlots = 64
)

// localTrace gathers the spans that one request makes in one process. They are
// handed over together when its root has ended, or in parts if that takes long;
// what ends after the root follows as it ends.
//
// When all has been handed over it is used again, for another request. Handles of
// the spans before, which the program may keep, then name an earlier use.
type localTrace struct {
	tracer *Tracer // never changes
	shard  *shard  // never changes

	// Guarded by shard.mu.
	newer, older *localTrace
	listed       bool

	mu          sync.Mutex // guards what follows, and the slots
	use         uint64     // counts the requests before
	clock       clock
	root        *slot // until it has ended
	open        int   // spans that have not ended
	leaving     int   // parts that the collector has not returned from
	first, last *slot // of those that have ended and are not handed over
	waiting     int   // their number
	handedOver  int64 // when that was last done
	inSight     bool  // was brought into sight of Tracer.Flush: something waited
	discarded   bool

	free  *slot  // list
	slots int    // in use, waiting or free
	large bool   // there were more than maxIdleSlots
	batch *Batch // for the next part, unless one is leaving
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

// begin makes t, which is not in use, that of a root which begins now. It needs no
// lock: all that stale handles look at are the uses.
func (t *localTrace) begin(c clock, now int64) (root *slot, use uint64) {
	t.clock, t.handedOver = c, now
	t.root = t.slot()
	return t.root, t.use
}

// child returns a slot for a span that begins below one of that use of t, nil if
// that is over.
func (t *localTrace) child(use uint64) (s *slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.use == use {
		s = t.slot()
	}
	return s
}

// slot returns a free one, for a span that begins. t.mu is held, or t not in use.
func (t *localTrace) slot() *slot {
	if t.free == nil {
		t.addSlots(make([]slot, moreSlots))
	}
	s := t.free
	t.free, s.next = s.next, nil
	t.open++
	return s
}

// end ends the span in s, unless it has ended. now is the time, whatever the
// end of the span is.
func (t *localTrace) end(s *slot, use uint64, at, now int64) {
	t.mu.Lock()
	if s.use.Load() != use {
		t.mu.Unlock()
		t.counters().endedTwice.Add(1)
		return
	}
	s.use.Store(use + 1)
	s.data.End = max(at, s.data.Start)
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
	t.counters().ended.Add(1) // with the lock: before anybody hands the span over
	t.mu.Unlock()
	if out != nil {
		out.flush()
	}
	t.handOver(&p)
}

// part is spans that have ended, on their way to the collector.
type part struct {
	first     *slot
	spans     int
	batch     *Batch
	discarded bool
	last      bool // nobody uses the local trace any more but for this part
}

// take makes p what has ended, which is something, for handOver. t.mu is held.
func (t *localTrace) take(p *part, now int64) {
	p.first, p.spans, p.batch, p.discarded = t.first, t.waiting, t.batch, t.discarded
	t.first, t.last, t.waiting, t.handedOver, t.batch = nil, nil, 0, now, nil
	t.leaving++
	if t.leaving == 1 {
		p.last = t.close()
	}
}

// close ends the use of t if there is nothing left to wait for but parts that are
// leaving. t.mu is held.
func (t *localTrace) close() bool {
	if t.root != nil || t.open+t.waiting > 0 {
		return false
	}
	t.use++
	t.inSight, t.discarded = false, false
	return true
}

// handOver gives p to the collector and its slots back. It is called by whoever
// took p.
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
	if !p.last {
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
	switch p.last = p.last || t.leaving == 0 && t.close(); {
	case !p.last:
	case t.large:
		t.free, t.batch = nil, nil // handles may hold on to t for long
	default:
		t.tracer.traces.Put(t)
	}
}

// flush hands over what has ended so far.
func (t *localTrace) flush() {
	t.mu.Lock()
	var p part
	if t.waiting > 0 {
		t.take(&p, t.clock.now())
	}
	t.mu.Unlock()
	t.handOver(&p)
}
