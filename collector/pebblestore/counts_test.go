package pebblestore

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/operations"
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

// A received chunk that is still there after the run with its spans is gone does not bring them back.
func TestChunkOfGoneRun(t *testing.T) {
	clock := newClock()
	o := Options{fs: vfs.NewMem(), MaxAge: time.Hour, now: clock.now}
	s := openMem(t, o)
	writeNow(t, s, 1)
	value, closer, err := s.db.Get(receivedKey(1))
	testkit.NoError(t, err)
	chunk := bytes.Clone(value)
	testkit.NoError(t, closer.Close())
	sealAll(s)
	testkit.NoError(t, s.Close())

	clock.add(2 * time.Hour)
	s = openMem(t, o)
	retained(t, s)
	s = reopen(t, s, o)
	testkit.NoError(t, s.db.Set(receivedKey(1), chunk, pebble.Sync))
	s = reopen(t, s, o)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", st.Spans, 0)
	testkit.Equal(t, "the chunk is there", has(t, s, receivedKey(1)), false)
}

// snapshotOf returns the counts of a process that has handled some requests now.
func snapshotOf(requests int) []byte {
	table := operations.New(operations.Options{})
	for range requests {
		now := time.Now().UnixNano()
		table.Shard(0).Count(&dendro.Resource{}, []*dendro.SpanData{{Name: "POST /", Start: now - 1000, End: now}})
	}
	return table.TakeSnapshot(nil)
}

// has reports whether the database has a key.
func has(t *testing.T, s *Store, key []byte) bool {
	t.Helper()
	_, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false
	}
	testkit.NoError(t, err)
	testkit.NoError(t, closer.Close())
	return true
}

// Counts that were received are there after a restart, once: before and after the counts of all are saved, with
// and without spans.
func TestReceivedCounts(t *testing.T) {
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	want := 0
	for n := 1; n < 5; n++ {
		if n%2 == 0 {
			writeNow(t, s, byte(n))
			want++
		}
		testkit.NoError(t, s.WriteOperations(t.Context(), snapshotOf(n)))
		want += n
		for range 2 {
			testkit.Equal(t, "counted", counted(t, s), want)
			s = reopen(t, s, o)
		}
		testkit.Equal(t, "counted after a restart", counted(t, s), want)
		if n < 3 {
			number := s.next - 1
			key := append(receivedKey(number), ofOperations)
			testkit.Equal(t, "the record is there", has(t, s, key), true)
			sealAll(s)
			s = reopen(t, s, o)
			testkit.Equal(t, "the record is there when it is in the counts", has(t, s, key), false)
			testkit.Equal(t, "counted after the counts were saved", counted(t, s), want)
		}
	}
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", st.Spans, 2)
	testkit.Equal(t, "damaged", s.Metrics().Damaged, uint64(0))
}

// Counts with which a full head is sealed count once.
func TestReceivedCountsOfAFullHead(t *testing.T) {
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	for range 2 {
		testkit.NoError(t, s.WriteOperations(t.Context(), snapshotOf(1)))
	}
	s.mu.Lock()
	s.o.headBytes = s.head.bytes
	s.mu.Unlock()
	testkit.NoError(t, s.WriteOperations(t.Context(), snapshotOf(1)))
	s.mu.Lock()
	room := s.room
	s.mu.Unlock()
	<-room
	s = reopen(t, s, o)
	testkit.Equal(t, "counted", counted(t, s), 3)
}

// A crash after the counts were saved may leave counts that are in them.
func TestReceivedCountsWithoutRuns(t *testing.T) {
	now := time.Now()
	o := Options{fs: vfs.NewMem(), MaxAge: time.Hour, now: func() time.Time { return now }}
	s := openMem(t, o)
	snapshot := snapshotOf(3)
	testkit.NoError(t, s.WriteOperations(t.Context(), snapshot))
	key := append(receivedKey(s.next-1), ofOperations)
	sealAll(s)
	testkit.NoError(t, s.Close())
	s = openMem(t, o)
	testkit.NoError(t, s.db.Set(key, snapshot, pebble.Sync))
	s = reopen(t, s, o)
	testkit.Equal(t, "counted", counted(t, s), 3)
}

// A crash between a run and its counts leaves counts that were received before the run.
func TestReceivedCountsAfterCrash(t *testing.T) {
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	snapshot := snapshotOf(3)
	testkit.NoError(t, s.WriteOperations(t.Context(), snapshot))
	key := append(receivedKey(s.next-1), ofOperations)
	writeNow(t, s, 1)
	sealAll(s)
	testkit.NoError(t, s.Close()) // all goroutines have ended
	s = openMem(t, o)
	testkit.NoError(t, s.db.Set(key, snapshot, pebble.Sync))
	s = reopen(t, s, o)
	testkit.Equal(t, "counted, if the counts have them", counted(t, s), 4)
	testkit.NoError(t, s.db.Set(key, snapshot, pebble.Sync))
	testkit.NoError(t, s.db.Delete(operationsKey, pebble.Sync))
	for range 2 { // the second time, they are saved
		s = reopen(t, s, o)
		testkit.Equal(t, "counted, if they have not", counted(t, s), 3) // the chunk is gone
	}
}

// Damaged counts are reported, and what was received after them is read.
func TestReceivedCountsDamaged(t *testing.T) {
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	testkit.NoError(t, s.WriteOperations(t.Context(), snapshotOf(3)))
	testkit.NoError(t, s.db.Set(append(receivedKey(s.next-1), ofOperations), []byte("?"), pebble.Sync))
	writeNow(t, s, 1)
	s = reopen(t, s, o)
	testkit.Equal(t, "counted", counted(t, s), 1)
	testkit.Equal(t, "damaged", s.Metrics().Damaged, uint64(1))
}
