package simulation

import (
	"context"
	"math/bits"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// store is that of the collector. It remembers which spans have arrived.
type store struct {
	began  time.Time
	judged func(number int) bool // whether the request arrived after the warmup

	mu              sync.Mutex
	traces          map[int]*arrived // by the number of the request; guarded by mu, like the fields below
	duplicates      int              // spans
	bytes, allBytes int64            // in OTLP, without compression: of requests that are judged, and of all
	scratch         []byte
}

// arrived is what has arrived of a trace.
type arrived struct {
	locals map[int]arrivedLocal
	reason string // why it is kept; "" if it is only sampled
	weight float64
	by     int // the local trace that was the reason
}

// arrivedLocal is what has arrived of a local trace.
type arrivedLocal struct {
	spans uint64        // a bit for each
	at    time.Duration // when the last of them arrived for the first time
}

var _ collector.Writer = (*store)(nil)

func newStore(began time.Time, judged func(int) bool) *store {
	return &store{began: began, judged: judged, traces: map[int]*arrived{}}
}

// Write implements [collector.Writer].
func (s *store) Write(_ context.Context, batches []*dendro.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(s.began)
	for _, b := range batches {
		for _, span := range b.Spans {
			s.add(span, now)
		}
	}
	return nil
}

// add notes a span. s.mu is held.
func (s *store) add(span *dendro.SpanData, now time.Duration) {
	s.scratch = otlp.AppendSpan(s.scratch[:0], span)
	number, local, i := spanOf(span.SpanID)
	s.allBytes += int64(len(s.scratch))
	if s.judged(number) {
		s.bytes += int64(len(s.scratch))
	}
	t := s.traces[number]
	if t == nil {
		t = &arrived{locals: map[int]arrivedLocal{}}
		s.traces[number] = t
	}
	for _, a := range span.Attributes {
		switch {
		case a.Key == dendro.KeepReason && t.reason == "":
			t.reason, t.by = a.Value.String(), local
		case a.Key == keep.WeightKey && t.weight == 0:
			t.weight = a.Value.Float64()
		}
	}
	l, bit := t.locals[local], uint64(1)<<i
	if l.spans&bit != 0 {
		s.duplicates++
		return
	}
	t.locals[local] = arrivedLocal{l.spans | bit, now}
}

// has reports whether all spans of local trace number i of r have arrived.
func (t *arrived) has(r *request, i int) bool {
	return bits.OnesCount64(t.locals[i].spans) == r.locals[i].spans()
}
