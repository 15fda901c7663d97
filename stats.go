package dendro

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats counts what a [Tracer] has done since it was made. A recorded span is
// unfinished until it ends. It then waits for the root of its local trace to end, and
// is delivered, dropped or discarded.
type Stats struct {
	// Started and Ended count recorded spans.
	Started, Ended uint64
	// Unfinished is Started - Ended: spans whose work goes on, and spans that are
	// never ended.
	Unfinished uint64
	// Waiting counts ended spans that wait for the root of their local trace, or are
	// being delivered to the collector.
	Waiting uint64
	// Delivered counts spans that the collector accepted.
	Delivered uint64
	// Dropped counts ended spans that were not delivered, by reason. It does not
	// include what the collector loses later, because several tracers may share a
	// collector.
	Dropped map[string]uint64
	// Discarded counts spans that were discarded by [Span.Discard].
	Discarded uint64
	// NotSampled counts local traces that the sampler decided not to record.
	NotSampled uint64
	// EndedTwice counts calls of End on spans that had ended.
	EndedTwice uint64
	// WrittenAfterEnd counts other calls after End.
	WrittenAfterEnd uint64
	// Truncated counts attribute values that were cut.
	Truncated uint64
}

// The reasons of this package for dropping spans. Collectors have their own.
const (
	dropNoCollector    = "no_collector"    // Options.Collector is nil
	dropCollectorPanic = "collector_panic" // Collect panicked
	dropShutdown       = "shutdown"        // ended after Tracer.Shutdown
)

// counters are the counters of one shard.
type counters struct {
	started, ended, delivered, discarded, unsampled, endedTwice, afterEnd, truncated atomic.Uint64
}

// drops counts lost spans by reason.
type drops struct {
	mu       sync.Mutex
	byReason map[string]uint64 // guarded by mu
}

func (d *drops) add(reason string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byReason == nil {
		d.byReason = map[string]uint64{}
	}
	d.byReason[reason] += uint64(n)
}

// Stats returns the current counts. The caller owns the map.
func (t *Tracer) Stats() Stats {
	if t == nil {
		return Stats{}
	}
	var s Stats
	// The counters are read in reverse of the order in which a span passes them, so
	// that no difference is negative.
	t.drops.mu.Lock()
	s.Dropped = maps.Clone(t.drops.byReason)
	t.drops.mu.Unlock()
	for i := range t.shards {
		c := &t.shards[i].counters
		s.Delivered += c.delivered.Load()
		s.Discarded += c.discarded.Load()
		s.Ended += c.ended.Load()
		s.Started += c.started.Load()
		s.NotSampled += c.unsampled.Load()
		s.EndedTwice += c.endedTwice.Load()
		s.WrittenAfterEnd += c.afterEnd.Load()
		s.Truncated += c.truncated.Load()
	}
	s.Unfinished = s.Started - s.Ended
	s.Waiting = s.Ended - s.Delivered - s.Discarded - s.DroppedSpans()
	return s
}

// Add returns the sum of s and o. It is for the tracers of one process.
func (s Stats) Add(o Stats) Stats {
	s.Started += o.Started
	s.Ended += o.Ended
	s.Unfinished += o.Unfinished
	s.Waiting += o.Waiting
	s.Delivered += o.Delivered
	s.Discarded += o.Discarded
	s.NotSampled += o.NotSampled
	s.EndedTwice += o.EndedTwice
	s.WrittenAfterEnd += o.WrittenAfterEnd
	s.Truncated += o.Truncated
	dropped := maps.Clone(s.Dropped)
	for reason, n := range o.Dropped {
		if dropped == nil {
			dropped = map[string]uint64{}
		}
		dropped[reason] += n
	}
	s.Dropped = dropped
	return s
}

// DroppedSpans returns the sum of s.Dropped.
func (s Stats) DroppedSpans() (n uint64) {
	for _, count := range s.Dropped {
		n += count
	}
	return n
}
