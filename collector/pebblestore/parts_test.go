package pebblestore

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// spansFrom returns n spans of one trace, with ids and starts from a number on.
func spansFrom(from, n int) []*dendro.SpanData {
	out := make([]*dendro.SpanData, n)
	for i := range out {
		s := &dendro.SpanData{Name: "part", Start: 1_760_000_000_000_000_000 + int64(from+i)}
		s.End = s.Start + 1000
		s.TraceID[0] = 1
		binary.BigEndian.PutUint64(s.SpanID[:], uint64(from+i+1))
		out[i] = s
	}
	return out
}

// write writes spans of the trace of spansFrom.
func writePart(t *testing.T, s *Store, spans []*dendro.SpanData) {
	t.Helper()
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{{Spans: spans}}))
}

// one fails the test unless a store has the trace of spansFrom, with a number of spans, and nothing else.
func one(t *testing.T, s *Store, spans int) {
	t.Helper()
	trace, err := s.Trace(t.Context(), spansFrom(0, 1)[0].TraceID, collector.TimeRange{})
	testkit.NoError(t, err)
	if trace == nil || len(trace.Spans) != spans {
		t.Errorf("the trace has not %d spans: %v", spans, trace != nil)
	}
	visits := 0
	testkit.NoError(t, s.Scan(t.Context(), collector.Scan{}, func(trace *collector.Trace) bool {
		visits++
		testkit.Equal(t, "spans of a scan", len(trace.Spans), spans)
		return true
	}))
	testkit.Equal(t, "visits", visits, 1)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	if st.Traces != 1 || st.Spans != spans {
		t.Errorf("%+v, want a trace of %d spans", st, spans)
	}
}

// The spans of a trace arrive over many runs. Sent again after a restart, none is new.
func TestTraceOfManyRuns(t *testing.T) {
	testkit.NoLeaks(t)
	const runs, each = 50, 7
	o := Options{fs: vfs.NewMem(), headBytes: 1}
	s := openMem(t, o)
	for n := range runs {
		writePart(t, s, spansFrom(n*each, each))
		settle(s)
	}
	if m := s.Metrics(); m.Runs.Count() < runs {
		t.Errorf("%v runs", m.Runs.Count())
	}
	one(t, s, runs*each)
	testkit.NoError(t, s.Close())
	s = openMem(t, o)
	one(t, s, runs*each)
	for n := range runs {
		writePart(t, s, spansFrom(n*each, each))
	}
	settle(s)
	one(t, s, runs*each)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "duplicates", st.Duplicates, uint64(runs*each))
}

// A trace of many chunks is whole after a restart, and its spans are known.
func TestLargeTrace(t *testing.T) {
	testkit.NoLeaks(t)
	spans := 200_000
	if testkit.Race {
		spans = 20_000
	}
	o := Options{fs: vfs.NewMem()}
	s := openMem(t, o)
	for n := 0; n < spans; n += 1000 {
		writePart(t, s, spansFrom(n, 1000))
	}
	one(t, s, spans)
	testkit.NoError(t, s.Close())
	s = openMem(t, o)
	one(t, s, spans)
	writePart(t, s, spansFrom(spans-500, 500))
	one(t, s, spans)
}

// Two spans of one id with different starts are two spans, before and after they are in runs.
func TestSharedIDAfterRestart(t *testing.T) {
	testkit.NoLeaks(t)
	o := Options{fs: vfs.NewMem(), headBytes: 1}
	s := openMem(t, o)
	client, server := spansFrom(0, 1), spansFrom(0, 1)
	server[0].Start += 10
	for range 3 {
		writePart(t, s, client)
		writePart(t, settle(s), server)
		one(t, settle(s), 2)
		testkit.NoError(t, s.Close())
		s = openMem(t, o)
	}
}

// sizeOf returns the size of the tables in a directory.
func sizeOf(t *testing.T, dir string) (size int64) {
	testkit.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".sst" {
			if info, err := d.Info(); err == nil { // otherwise, it was deleted meanwhile
				size += info.Size()
			}
		}
		return nil
	}))
	return size
}

// What is dropped is counted, and the disk gets its space back, while others read and write.
func TestRetention(t *testing.T) {
	testkit.NoLeaks(t)
	dir, clock, l := t.TempDir(), newClock(), newLedger(1)
	o := Options{headBytes: 32 << 10, now: clock.now, retainInterval: time.Millisecond, MaxAge: time.Hour, Sync: SyncNone}
	s, err := Open(dir, o)
	testkit.NoError(t, err)
	number := 0
	write := func(n int) {
		var both sync.WaitGroup
		both.Go(func() {
			for range n {
				number++
				now := clock.now()
				testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, number)}))
				l.add(number, now)
			}
		})
		both.Go(func() {
			for range 5 {
				err := s.Scan(t.Context(), collector.Scan{}, func(trace *collector.Trace) bool {
					_, err := s.Trace(t.Context(), trace.ID, collector.TimeRange{})
					return err == nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
		both.Wait()
	}
	write(500)
	settle(s)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	before := uint64(st.Spans)
	if before == 0 || st.Dropped != nil {
		t.Fatalf("%+v", st)
	}
	large := sizeOf(t, dir)
	clock.add(2 * time.Hour)
	write(50)
	settle(s)
	retained(t, s)
	st, err = s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "dropped", fmt.Sprint(st.Dropped), fmt.Sprint(map[string]uint64{dropExpired: before}))
	l.check(t, s, clock.now().Add(-time.Hour))
	testkit.NoError(t, s.Close())
	o.MaxAge = 0
	s, err = Open(dir, o)
	testkit.NoError(t, err)
	l.check(t, s, clock.now().Add(-time.Hour))
	if small := sizeOf(t, dir); small > large/2 {
		t.Errorf("the tables have %d bytes after most was dropped, and %d before", small, large)
	}
	testkit.NoError(t, s.Close())
}

// A store that is opened with a smaller bound shrinks, at once.
func TestSmallerBound(t *testing.T) {
	testkit.NoLeaks(t)
	dir, l := t.TempDir(), newLedger(1)
	o := Options{headBytes: 32 << 10, Sync: SyncNone}
	s, err := Open(dir, o)
	testkit.NoError(t, err)
	for n := range 500 {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}))
		if n%50 == 49 {
			settle(s)
		}
	}
	was, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.NoError(t, s.Close())
	s = newStore(dir, o)
	s.o.MaxBytes = was.Bytes/3 + 2*int64(o.headBytes) // less than a caller may choose
	testkit.NoError(t, s.open())
	for st := was; st.Bytes > was.Bytes/3; time.Sleep(time.Millisecond) {
		st, err = s.Stats(t.Context())
		testkit.NoError(t, err)
		if t.Context().Err() != nil {
			return
		}
	}
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	if st.Spans == 0 || int(st.Dropped[dropEvicted]) != was.Spans-st.Spans {
		t.Errorf("%+v of %+v", st, was)
	}
	l.check(t, s, time.Time{})
	testkit.NoError(t, s.Close())
}
