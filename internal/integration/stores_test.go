package integration

import (
	"context"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/pebblestore"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// eachStore runs a test with a store in memory, and with one on disk that is closed and opened
// between writing and reading.
func eachStore(t *testing.T, test func(t *testing.T, s collector.Store)) {
	t.Run("memory", func(t *testing.T) {
		testkit.NoLeaks(t)
		test(t, memory.New(memory.Options{}))
	})
	t.Run("disk", func(t *testing.T) {
		testkit.NoLeaks(t)
		test(t, openRestarted(t))
	})
}

// restarted is a store on disk that is closed and opened before it is read.
type restarted struct {
	*pebblestore.Store
	t       *testing.T
	dir     string
	mu      sync.Mutex
	written bool
}

func openRestarted(t *testing.T) *restarted {
	t.Helper()
	s := &restarted{t: t, dir: t.TempDir()}
	s.open()
	t.Cleanup(func() { testkit.NoError(t, s.Close()) })
	return s
}

func (s *restarted) open() {
	var err error
	s.Store, err = pebblestore.Open(s.dir, pebblestore.Options{})
	testkit.NoError(s.t, err)
}

func (s *restarted) Write(ctx context.Context, batches []*dendro.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = true
	return s.Store.Write(ctx, batches)
}

func (s *restarted) Trace(ctx context.Context, id dendro.TraceID, when collector.TimeRange) (*collector.Trace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written {
		s.written = false
		testkit.NoError(s.t, s.Close())
		s.open()
	}
	return s.Store.Trace(ctx, id, when)
}
