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

// localTrace gathers the spans that one request makes in one process. They are
// handed over together when its root has ended, or in parts if that takes long;
// what ends after the root follows as it ends.
type localTrace struct {
	tracer *Tracer
	// begin has the wall clock, read once, and the monotonic clock, from
	// which every later time of this local trace is counted.
	begin time.Time
	root  *recording
	shard *shard

	// Guarded by shard.mu.
	newer, older *localTrace
	listed       bool

	mu          sync.Mutex
	first, last *recording // ended and not handed over; guarded by mu
	waiting     int        // their number; guarded by mu
	handedOver  int64      // when that was last done; guarded by mu
	rootEnded   bool       // guarded by mu
	discarded   bool       // guarded by mu
}

func (t *localTrace) counters() *counters { return &t.shard.counters }

// now is the current time in nanoseconds since the Unix epoch.
func (t *localTrace) now() int64 { return t.begin.UnixNano() + int64(time.Since(t.begin)) }

// nanos brings a time of the user to the clock of this local trace. The zero
// time is now; a time that does not fit becomes the epoch.
func (t *localTrace) nanos(at time.Time) int64 {
	if at.IsZero() {
		return t.now()
	}
	return max(0, t.begin.UnixNano()+int64(at.Sub(t.begin)))
}

// ended takes over a span that has ended now, whatever its end says.
func (t *localTrace) ended(r *recording, now int64) {
	t.counters().ended.Add(1)
	t.mu.Lock()
	if t.first == nil {
		t.first = r
	} else {
		t.last.next = r
	}
	t.last = r
	t.waiting++
	if r == t.root {
		t.rootEnded = true
	}
	var part *recording
	n := t.waiting
	if t.rootEnded || n >= partSpans || now-t.handedOver >= int64(partAge) {
		part = t.take(now)
	}
	t.mu.Unlock()
	if r == t.root {
		t.shard.remove(t)
	}
	if part != nil {
		t.tracer.handOver(part, n)
	}
}

// take empties the list of ended spans and returns what is to be handed over.
// t.mu is held.
func (t *localTrace) take(now int64) *recording {
	part, n := t.first, t.waiting
	t.first, t.last, t.waiting, t.handedOver = nil, nil, 0, now
	if t.discarded {
		t.counters().discarded.Add(uint64(n))
		return nil
	}
	return part
}

// flush hands over what has ended so far.
func (t *localTrace) flush() {
	t.mu.Lock()
	n := t.waiting
	part := t.take(t.now())
	t.mu.Unlock()
	if part != nil {
		t.tracer.handOver(part, n)
	}
}
