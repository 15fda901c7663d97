package pebblestore

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// counted returns the number of spans in the counts of operations.
func counted(t *testing.T, s *Store) (n int) {
	t.Helper()
	day := collector.OperationScan{Start: time.Now().Add(-time.Hour), End: time.Now().Add(time.Hour)}
	testkit.NoError(t, s.Operations(t.Context(), day, func(o *collector.Operation) bool {
		n += int(o.Total.Spans)
		return true
	}))
	return n
}

// writeNow writes a span that ends now.
func writeNow(t *testing.T, s *Store, id byte) {
	t.Helper()
	span := &dendro.SpanData{Name: "GET /", Start: time.Now().UnixNano() - 1000, End: time.Now().UnixNano()}
	span.TraceID, span.SpanID = dendro.TraceID{15: id}, dendro.SpanID{7: 1}
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{{Spans: []*dendro.SpanData{span}}}))
}

// sealAll makes runs of all spans.
func sealAll(s *Store) {
	s.mu.Lock()
	s.o.headBytes = 1
	s.mu.Unlock()
	settle(s)
}

func reopen(t *testing.T, s *Store, o Options) *Store {
	t.Helper()
	testkit.NoError(t, s.Close())
	return openMem(t, o)
}

// A crash after a run has become part of the database, and before the counts are saved, leaves
// received chunks that are in the run, and not in the counts.
func TestCountsAfterCrash(t *testing.T) {
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	writeNow(t, s, 1)
	value, closer, err := s.db.Get(receivedKey(1))
	testkit.NoError(t, err)
	chunk := bytes.Clone(value)
	testkit.NoError(t, closer.Close())
	sealAll(s)
	testkit.NoError(t, s.Close()) // all goroutines have ended
	s = openMem(t, o)
	testkit.NoError(t, s.db.Set(receivedKey(1), chunk, pebble.Sync))
	testkit.NoError(t, s.db.Delete(operationsKey, pebble.Sync))
	for range 2 { // the second time, they are saved
		s = reopen(t, s, o)
		testkit.Equal(t, "counted", counted(t, s), 1)
		st, err := s.Stats(t.Context())
		testkit.NoError(t, err)
		testkit.Equal(t, "spans", st.Spans, 1)
	}
}

// What is received after all runs are gone is counted again after a restart.
func TestCountsWithoutRuns(t *testing.T) {
	now := time.Now()
	o := Options{fs: vfs.NewMem(), MaxAge: time.Hour, now: func() time.Time { return now }}
	s := openMem(t, o)
	writeNow(t, s, 1)
	sealAll(s)
	s = reopen(t, s, o)
	testkit.Equal(t, "counted", counted(t, s), 1)
	testkit.NoError(t, s.Close())

	now = now.Add(2 * time.Hour)
	s = openMem(t, o)
	retained(t, s)
	s = reopen(t, s, o)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", st.Spans, 0)
	writeNow(t, s, 2)
	for range 2 {
		s = reopen(t, s, o)
		testkit.Equal(t, "counted", counted(t, s), 2)
	}
}
