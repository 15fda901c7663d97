package pebblestore

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// keepStore is a store whose traces expire after an hour, and errors after a day.
type keepStore struct {
	*Store
	t     *testing.T
	o     Options
	clock *clock
	spans byte // written
}

func newKeepStore(t *testing.T) *keepStore {
	k := &keepStore{t: t, clock: newClock()}
	k.o = Options{fs: vfs.NewMem(), now: k.clock.now, retainInterval: time.Millisecond, MaxAge: time.Hour, KeepErrors: 24 * time.Hour}
	k.Store = openMem(t, k.o)
	return k
}

// write writes a span of trace id, a root span if root is set, that ends now.
func (k *keepStore) write(id byte, name string, took time.Duration, code dendro.StatusCode, root bool) {
	k.t.Helper()
	k.spans++
	end := k.clock.now().UnixNano()
	span := &dendro.SpanData{Name: name, Start: end - int64(took), End: end, Attributes: []slog.Attr{slog.String("text", fmt.Sprint("of ", id))}}
	span.TraceID, span.SpanID, span.Status.Code = dendro.TraceID{15: id}, dendro.SpanID{7: k.spans}, code
	if !root {
		span.ParentID = dendro.SpanID{7: 1}
	}
	r := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
	testkit.NoError(k.t, k.Write(k.t.Context(), []*dendro.Batch{{Resource: r, Spans: []*dendro.SpanData{span}}}))
}

// retained waits until a store is within its bounds.
func retained(t *testing.T, s *Store) {
	for r, _ := s.tooMuch(); r != nil; r, _ = s.tooMuch() {
		time.Sleep(time.Millisecond)
		if t.Context().Err() != nil {
			return
		}
	}
}

// expire makes runs of all spans, and drops those of more than an hour ago.
func (k *keepStore) expire() {
	k.t.Helper()
	sealAll(k.Store)
	k.growHead()
	k.clock.add(2 * time.Hour)
	retained(k.t, k.Store)
}

// growHead undoes that sealAll has made small heads runs.
func (k *keepStore) growHead() {
	k.Store.mu.Lock()
	defer k.Store.mu.Unlock()
	k.Store.o.headBytes = 1 << 20
}

// counted returns the number of spans in the counts of operations.
func (k *keepStore) counted() (n int) {
	day := collector.OperationScan{Start: k.clock.now().Add(-24 * time.Hour), End: k.clock.now().Add(time.Hour)}
	testkit.NoError(k.t, k.Operations(k.t.Context(), day, func(o *collector.Operation) bool {
		n += int(o.Total.Spans)
		return true
	}))
	return n
}

// has fails the test unless the store has these traces, each whole with a number of spans, before and
// after they are in a run, and after restarts.
func (k *keepStore) has(want map[byte]int) {
	k.t.Helper()
	for range 3 {
		got := map[byte]int{}
		testkit.NoError(k.t, k.Scan(k.t.Context(), collector.Scan{AllAttributes: true}, func(trace *collector.Trace) bool {
			id := trace.ID[15]
			got[id] = len(trace.Spans)
			for i := range trace.Spans {
				s := &trace.Spans[i]
				testkit.Equal(k.t, "attributes", fmt.Sprint(s.Attributes), fmt.Sprintf("[text=of %d]", id))
				testkit.Equal(k.t, "service", s.Resource.Service(), "shop")
			}
			whole, err := k.Trace(k.t.Context(), trace.ID, collector.TimeRange{})
			testkit.NoError(k.t, err)
			if whole == nil || len(whole.Spans) != len(trace.Spans) {
				k.t.Errorf("trace %d is another one by its id", id)
			}
			return true
		}))
		testkit.Equal(k.t, "traces", fmt.Sprint(got), fmt.Sprint(want))
		spans := 0
		for _, n := range want {
			spans += n
		}
		st, err := k.Stats(k.t.Context())
		testkit.NoError(k.t, err)
		if st.Spans != spans || st.Traces != len(want) {
			k.t.Errorf("%+v, want %d traces of %d spans", st, len(want), spans)
		}
		counted := k.counted()
		k.Store = reopen(k.t, k.Store, k.o)
		testkit.Equal(k.t, "counts of operations", k.counted(), counted)
		sealAll(k.Store)
	}
}

// When runs are dropped, traces with an error and the slowest of each operation stay, until they are too old.
func TestKeepErrors(t *testing.T) {
	testkit.NoLeaks(t)
	k := newKeepStore(t)
	want := map[byte]int{}
	for id := byte(1); id <= 40; id++ {
		name, code := fmt.Sprint("GET /", id%2), dendro.StatusUnset
		if id == 7 || id == 8 {
			code = dendro.StatusError
		}
		k.write(id, name, time.Duration(id)*time.Millisecond, code, true)
		k.write(id, "SELECT", time.Microsecond, dendro.StatusUnset, false)
		if id == 7 || id == 8 || id > 30 {
			want[id] = 2
		}
	}
	k.expire()
	st, err := k.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "dropped", fmt.Sprint(st.Dropped), fmt.Sprint(map[string]uint64{dropExpired: 2 * 28}))
	k.has(want)
	for range 2 {
		k.expire()
		k.has(want)
	}

	// They compete with those that are new.
	k.write(50, "GET /0", time.Second, dendro.StatusUnset, true)
	k.expire()
	k.expire()
	want[50] = 1
	delete(want, 32)
	k.has(want)

	for range 9 {
		k.expire()
	}
	k.has(map[byte]int{50: 1})
	for range 4 {
		k.expire()
	}
	k.has(map[byte]int{})
}

// A trace whose error, or whose other spans, are in later runs or have just arrived is kept whole.
func TestKeepSplitTraces(t *testing.T) {
	testkit.NoLeaks(t)
	k := newKeepStore(t)
	slow := []byte{100, 101, 102, 103, 104}
	for _, id := range slow {
		k.write(id, "GET /", time.Minute, dendro.StatusUnset, true)
	}
	for _, id := range []byte{1, 2, 3, 4} {
		k.write(id, "GET /", time.Millisecond, dendro.StatusUnset, true)
	}
	sealAll(k.Store)
	k.write(1, "SELECT", time.Millisecond, dendro.StatusError, false) // in a run
	k.write(4, "SELECT", time.Millisecond, dendro.StatusUnset, false)
	sealAll(k.Store)
	k.write(1, "SELECT", time.Millisecond, dendro.StatusUnset, false)
	k.write(2, "SELECT", time.Millisecond, dendro.StatusUnset, false)
	sealAll(k.Store)
	k.growHead()
	k.write(2, "SELECT", time.Millisecond, dendro.StatusError, false) // in the head
	k.clock.add(2 * time.Hour)
	retained(t, k.Store)
	want := map[byte]int{1: 3, 2: 3}
	for _, id := range slow {
		want[id] = 1
	}
	k.has(want)
	k.expire()
	k.has(want)
}

// Of a run in which all traces have errors, a part is kept, and the store stays within its bound.
// Spans that are kept and sent again are known.
func TestKeepBound(t *testing.T) {
	testkit.NoLeaks(t)
	clock := newClock()
	o := Options{fs: vfs.NewMem(), now: clock.now, headBytes: 8 << 10, retainInterval: time.Millisecond, KeepErrors: time.Hour}
	s := openMem(t, o)
	var batches []*dendro.Batch
	now := clock.now().UnixNano()
	number := 2000
	if testkit.Race {
		number = 200
	}
	for n := range number {
		b := batchOf(3, n)
		for _, d := range b.Spans {
			d.Start, d.End, d.Status.Code = now-1000, now, dendro.StatusError
		}
		batches = append(batches, b)
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{b}))
	}
	settle(s)
	was, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	s.mu.Lock()
	s.o.MaxBytes = was.Bytes/2 + 2*int64(o.headBytes)
	s.mu.Unlock()
	for r, _ := s.tooMuch(); r != nil; r, _ = s.tooMuch() {
		retained(t, s)
		settle(s) // makes a run of what was kept
	}
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	if st.Spans == 0 || st.Bytes > s.o.MaxBytes || st.Accepted != was.Accepted || st.Spans+int(st.Dropped[dropEvicted]) != was.Spans {
		t.Errorf("%+v of %+v", st, was)
	}
	known := 0
	testkit.NoError(t, s.Scan(t.Context(), collector.Scan{}, func(trace *collector.Trace) bool {
		known += len(trace.Spans)
		return true
	}))
	testkit.Equal(t, "spans of a scan", known, st.Spans)
	s.mu.Lock()
	s.o.MaxBytes = 1 << 30
	s.mu.Unlock()
	testkit.NoError(t, s.Write(t.Context(), batches))
	after, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "duplicates", int(after.Duplicates-was.Duplicates), known)
	testkit.Equal(t, "spans", after.Spans, was.Spans)
}

// Spans of a large trace that is kept, and is sent again, are known.
func TestKeepLargeTrace(t *testing.T) {
	testkit.NoLeaks(t)
	k := newKeepStore(t)
	now := k.clock.now().UnixNano()
	var b dendro.Batch
	for n := range 40 * block.MaxSpans {
		span := &dendro.SpanData{Name: "SELECT", Start: now, End: now}
		span.TraceID, span.SpanID, span.Status.Code = dendro.TraceID{1}, dendro.SpanID{byte(n >> 8), byte(n), 1}, dendro.StatusError
		b.Spans = append(b.Spans, span)
	}
	testkit.NoError(t, k.Write(t.Context(), []*dendro.Batch{&b}))
	k.expire()
	testkit.NoError(t, k.Write(t.Context(), []*dendro.Batch{&b}))
	st, err := k.Stats(t.Context())
	testkit.NoError(t, err)
	if st.Spans != len(b.Spans) || st.Duplicates != uint64(len(b.Spans)) {
		t.Errorf("%+v, want %d spans and as many duplicates", st, len(b.Spans))
	}
}

// Runs of traces that are kept do not grow by what has arrived whenever they are dropped.
func TestKeepHeadBound(t *testing.T) {
	if testkit.Race {
		t.Skip("takes a minute with the race detector; TestKeepModel has the same goroutines")
	}
	testkit.NoLeaks(t)
	clock := newClock()
	o := Options{fs: vfs.NewMem(), now: clock.now, headBytes: 32 << 10, retainInterval: time.Millisecond, MaxAge: time.Hour, KeepErrors: 1000 * time.Hour}
	s := openMem(t, o)
	for n := range 800 {
		b := batchOf(3, n)
		for _, d := range b.Spans {
			d.Start, d.End, d.Status.Code = clock.now().UnixNano()-1000, clock.now().UnixNano(), dendro.StatusError
		}
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{b}))
		clock.add(time.Hour / 30)
		retained(t, s)
		s.mu.Lock()
		size := s.head.bytes
		for s.sealed != nil { // what arrives meanwhile has no bound
			size = max(size, s.sealed.bytes)
			room := s.room
			s.mu.Unlock()
			<-room
			s.mu.Lock()
		}
		s.mu.Unlock()
		if size > 4*o.headBytes {
			t.Fatalf("a head has %d bytes", size)
		}
	}
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	if st.Dropped[dropExpired] > 0 {
		t.Errorf("%+v: errors are dropped", st)
	}
}

// Traces with errors are all there, each span once, while runs are written and dropped, the clock jumps, and the
// store is closed and opened.
func TestKeepModel(t *testing.T) {
	testkit.NoLeaks(t)
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 2))
	for round := range uint64(2) {
		clock, l := newClock(), newLedger(seed+round)
		o := Options{fs: vfs.NewMem(), now: clock.now, MaxAge: time.Hour, KeepErrors: 100 * 365 * 24 * time.Hour, Logger: quiet, retainInterval: time.Millisecond}
		number := new(atomic.Int64)
		for range 5 {
			o.headBytes = []int{1, 4 << 10, 64 << 10}[r.IntN(3)]
			s, err := Open("traces", o)
			testkit.NoError(t, err)
			if s.Metrics().Damaged > 0 {
				t.Error("damaged")
			}
			var writers sync.WaitGroup
			for range 3 {
				writers.Go(func() {
					for range 60 {
						n := int(number.Add(1))
						if n%5 == 0 {
							n -= n % 17
						}
						b := batchOf(l.seed, n)
						for _, d := range b.Spans {
							d.Status.Code = dendro.StatusError
						}
						testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{b}))
						l.add(n, clock.now())
						clock.add(time.Hour / 20)
					}
				})
			}
			writers.Wait()
			clock.add([]time.Duration{0, 2 * time.Hour, -time.Hour, 100 * time.Hour}[r.IntN(4)])
			if r.IntN(2) == 0 {
				retained(t, s)
				l.check(t, s, time.Time{})
				l.resend(t, s)
			}
			testkit.NoError(t, s.Close())
			o2 := o
			o2.MaxAge = 0
			s, err = Open("traces", o2)
			testkit.NoError(t, err)
			l.check(t, s, time.Time{})
			l.resend(t, s)
			if t.Failed() {
				t.FailNow()
			}
			testkit.NoError(t, s.Close())
		}
	}
}
