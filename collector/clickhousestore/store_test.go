package clickhousestore

import (
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func open(t *testing.T, dsn string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, o)
	testkit.NoError(t, err)
	t.Cleanup(func() { testkit.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	if testkit.Race {
		t.Skip("ClickHouse is another process, and takes minutes; TestWritersAndReaders has the goroutines")
	}
	storetest.Run(t, func(t *testing.T) collector.Store {
		return open(t, testkit.ClickHouseDatabase(t), Options{})
	})
}

// Spans are written and read at the same time.
func TestWritersAndReaders(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{BatchSpans: 50})
	const writers, requests = 4, 8
	now := time.Now()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range requests {
				b := request(w*requests+n, now)
				if w == 0 {
					testkit.NoError(t, s.Collect(b))
				} else {
					testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{b, b}))
				}
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for range 4 {
				testkit.NoError(t, s.Scan(t.Context(), collector.Scan{AllAttributes: true}, func(t *collector.Trace) bool { return len(t.Spans) > 0 }))
				_, err := s.Stats(t.Context())
				testkit.NoError(t, err)
				_ = s.Metrics()
			}
		})
	}
	all.Wait()
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", st.Spans, writers*requests*requestSpans)
	testkit.Equal(t, "duplicates", st.Duplicates, uint64((writers-1)*requests*requestSpans))
}
