package pebblestore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// isClosed reports whether err says that the store is closed.
func isClosed(err error) bool {
	var drop *dendro.DropError
	return errors.Is(err, errClosed) || errors.As(err, &drop) && drop.Reason == dropClosed
}

// calls returns a call of each method of a store, with batch n of a seed.
func callsOf(s *Store, seed uint64) map[string]func(n int) error {
	ctx := context.Background()
	return map[string]func(n int) error{
		"Collect": func(n int) error { return s.Collect(batchOf(seed, n)) },
		"Write":   func(n int) error { return s.Write(ctx, []*dendro.Batch{batchOf(seed, n)}) },
		"Trace": func(n int) error {
			_, err := s.Trace(ctx, batchOf(seed, n).Spans[0].TraceID, collector.TimeRange{})
			return err
		},
		"Scan":  func(int) error { return s.Scan(ctx, collector.Scan{}, func(*collector.Trace) bool { return true }) },
		"Stats": func(int) error { _, err := s.Stats(ctx); return err },
	}
}

// While the store is closed, calls succeed or say that it is closed. What was acknowledged is there.
func TestCloseWhileUsed(t *testing.T) {
	testkit.NoLeaks(t)
	seed := seedOf(t)
	for round := range 8 {
		fs, l := vfs.NewMem(), newLedger(seed+uint64(round))
		s, err := Open("traces", Options{fs: fs, headBytes: 8 << 10})
		testkit.NoError(t, err)
		var calling sync.WaitGroup
		var number atomic.Int64
		enough := make(chan struct{})
		for name, call := range callsOf(s, l.seed) {
			for range 2 {
				calling.Go(func() {
					for {
						n := int(number.Add(1))
						if n == 200*(1+round%5) {
							close(enough)
						}
						err := call(n)
						if isClosed(err) {
							return
						}
						var drop *dendro.DropError
						if errors.As(err, &drop) && drop.Reason == dropBusy {
							continue
						}
						if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
						if name == "Write" {
							l.add(n, s.o.now())
						}
					}
				})
			}
		}
		<-enough
		for range 2 { // Close may be called by several
			calling.Go(func() { testkit.Equal(t, "error of Close", s.Close(), nil) })
		}
		calling.Wait()
		for name, call := range callsOf(s, l.seed) {
			if err := call(1); !isClosed(err) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		l.check(t, openMem(t, Options{fs: fs}), s.o.now().Add(-1<<40))
	}
}

// Close waits for a search, which may look for traces by their ids.
func TestCloseWaitsForReads(t *testing.T) {
	testkit.NoLeaks(t)
	s := openMem(t, Options{headBytes: 1})
	for n := range 50 {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(1, n)}))
	}
	settle(s)
	closed := make(chan error, 1)
	visited := 0
	err := s.Scan(t.Context(), collector.Scan{}, func(trace *collector.Trace) bool {
		if visited++; visited == 1 {
			go func() { closed <- s.Close() }()
			<-s.stop
		}
		select {
		case <-closed:
			t.Error("Close did not wait")
			return false
		default:
		}
		if _, err := s.Trace(t.Context(), trace.ID, collector.TimeRange{}); err != nil && !isClosed(err) {
			t.Error(err)
		}
		return true
	})
	testkit.NoError(t, err)
	if visited < 10 {
		t.Errorf("%d traces", visited)
	}
	testkit.NoError(t, <-closed)
}
