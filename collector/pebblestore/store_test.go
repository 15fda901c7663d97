package pebblestore

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelError)
	if args := os.Getenv(asVictim); args != "" {
		victim(args)
	}
	m.Run()
}

// openMem opens a store on a file system in memory.
func openMem(t testing.TB, o Options) *Store {
	t.Helper()
	if o.fs == nil {
		o.fs = vfs.NewMem()
	}
	s, err := Open("traces", o)
	testkit.NoError(t, err)
	t.Cleanup(func() { testkit.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) collector.Store { return openMem(t, Options{}) })
}

// A store that writes a run as often as it can answers alike.
func TestStoreOfRuns(t *testing.T) {
	if testkit.Race {
		t.Skip("takes minutes with the race detector; TestKeepModel has the same goroutines")
	}
	storetest.Run(t, func(t *testing.T) collector.Store { return openMem(t, Options{headBytes: 1}) })
}

// A store whose spans are all in runs before they are read answers alike.
func TestStoreOfCompleteRuns(t *testing.T) {
	if testkit.Race {
		t.Skip("takes minutes with the race detector; TestKeepModel has the same goroutines")
	}
	storetest.Run(t, func(t *testing.T) collector.Store {
		return &beforeReads{Store: openMem(t, Options{headBytes: 1}), before: settle}
	})
}

// settle waits until all spans are in runs.
func settle(s *Store) *Store {
	s.mu.Lock()
	headBytes := s.o.headBytes
	s.o.headBytes = 1
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.o.headBytes = headBytes
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		room, done := s.room, s.sealed == nil && s.head.bytes == 0
		s.complete()
		s.mu.Unlock()
		if done {
			return s
		}
		s.commit()
		if room != nil {
			<-room
		}
	}
}

// A store that was closed and opened before it is read answers alike.
// Edges are read without a restart: a call of which only one side is in a snapshot is not counted.
func TestStoreAfterRestart(t *testing.T) {
	if testkit.Race {
		t.Skip("takes minutes with the race detector; TestKeepModel has the same goroutines")
	}
	for name, headBytes := range map[string]int{"received": 0, "runs": 1} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) collector.Store {
				o := Options{fs: vfs.NewMem(), headBytes: headBytes}
				return &beforeReads{Store: openMem(t, o), before: func(s *Store) *Store {
					testkit.NoError(t, s.Close())
					return openMem(t, o)
				}}
			})
		})
	}
}

// beforeReads does something before the first read after a write.
type beforeReads struct {
	*Store
	before func(*Store) *Store
	mu     sync.RWMutex
	wrote  bool
	// duplicates is the number of those that stores before this one have counted.
	duplicates uint64
}

func (b *beforeReads) Collect(batch *dendro.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote = true
	return b.Store.Collect(batch)
}

func (b *beforeReads) Write(ctx context.Context, batches []*dendro.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote = true
	return b.Store.Write(ctx, batches)
}

func (b *beforeReads) WriteOperations(ctx context.Context, snapshot []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote = true
	return b.Store.WriteOperations(ctx, snapshot)
}

func (b *beforeReads) read() (*Store, func()) {
	b.mu.Lock()
	if b.wrote {
		st, _ := b.Store.Stats(context.Background())
		was := b.Store
		if b.Store, b.wrote = b.before(was), false; b.Store != was {
			b.duplicates += st.Duplicates
		}
	}
	b.mu.Unlock()
	b.mu.RLock()
	return b.Store, b.mu.RUnlock
}

func (b *beforeReads) Trace(ctx context.Context, id dendro.TraceID, when collector.TimeRange) (*collector.Trace, error) {
	s, done := b.read()
	defer done()
	return s.Trace(ctx, id, when)
}

func (b *beforeReads) Scan(ctx context.Context, q collector.Scan, visit func(*collector.Trace) bool) error {
	s, done := b.read()
	defer done()
	return s.Scan(ctx, q, visit)
}

func (b *beforeReads) Operations(ctx context.Context, q collector.OperationScan, visit func(*collector.Operation) bool) error {
	s, done := b.read()
	defer done()
	return s.Operations(ctx, q, visit)
}

func (b *beforeReads) Stats(ctx context.Context) (collector.Stats, error) {
	s, done := b.read()
	defer done()
	st, err := s.Stats(ctx)
	st.Duplicates += b.duplicates
	return st, err
}
