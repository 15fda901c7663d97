package storetest

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro/collector"
)

// sum fails the test unless the counts of s add up.
func sum(t testing.TB, s collector.Stats) {
	t.Helper()
	dropped := uint64(0)
	for _, n := range s.Dropped {
		dropped += n
	}
	if s.Accepted != uint64(s.Spans)+dropped {
		t.Errorf("%d spans accepted, but %d held and %v dropped", s.Accepted, s.Spans, s.Dropped)
	}
	if s.MaxBytes > 0 && s.Bytes > s.MaxBytes {
		t.Errorf("%d bytes of %d", s.Bytes, s.MaxBytes)
	}
}

func stats(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", span(1, 1, 0, "root", 0), span(1, 2, 1, "child", 0)),
		batch("b", span(1, 3, 1, "child", 0), span(2, 4, 0, "root", 0)))
	got := statsOf(t, s)
	sum(t, got)
	if got.Traces != 2 || got.Spans != 4 || got.Accepted != 4 || got.Bytes <= 0 || got.Duplicates != 0 {
		t.Errorf("got %+v, want 2 traces of 4 spans", got)
	}
	if got.Dropped != nil {
		got.Dropped["spoiled"] = 1
	}
	sum(t, statsOf(t, s))
}

func concurrency(t *testing.T, s collector.Store) {
	const writers, traces = 4, 50
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for n := range traces {
				// All goroutines write to all traces, each a span of its own.
				b := batch(fmt.Sprint("service ", w), span(1+n, 1+w, w, "span", int64(n), slog.Int("n", n)))
				if err := s.Collect(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				ctx := t.Context()
				got, err := s.Trace(ctx, traceID(1+n%traces), collector.TimeRange{})
				if err != nil {
					t.Error(err)
				} else if got != nil && (len(got.Spans) == 0 || len(got.Spans) > writers) {
					t.Errorf("a trace of %d spans", len(got.Spans))
				}
				q := collector.Scan{Hints: collector.Hints{Spans: []collector.SpanHints{{Services: []string{"service 1"}, Keys: []string{"n"}}}}, Attributes: []string{"n"}}
				err = s.Scan(ctx, q, func(t *collector.Trace) bool { return len(t.Spans) > 0 })
				if err != nil {
					t.Error(err)
				}
				sum(t, statsOf(t, s))
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for n := range traces {
		if got := trace(t, s, 1+n); len(got.Spans) != writers {
			t.Errorf("trace %d has %d spans", 1+n, len(got.Spans))
		}
	}
	if got := statsOf(t, s); got.Traces != traces || got.Spans != writers*traces {
		t.Errorf("got %+v", got)
	}
}
