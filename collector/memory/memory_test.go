package memory_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) collector.Store {
		return memory.New(memory.Options{MaxBytes: 16 << 20})
	})
}

func TestMaxBytes(t *testing.T) {
	for given, want := range map[int64]int64{0: 256 << 20, 1: 1 << 20, -1: 1 << 20, 2 << 20: 2 << 20} {
		m := memory.New(memory.Options{MaxBytes: given})
		testkit.Equal(t, fmt.Sprint(given), statsOf(t, m).MaxBytes, want)
	}
}

// collect stores a batch in m and checks invariants of m.
func collect(t *testing.T, m *memory.Store, b *dendro.Batch) {
	t.Helper()
	testkit.NoError(t, m.Collect(b))
	s := statsOf(t, m)
	if s.Bytes > s.MaxBytes {
		t.Fatalf("%d bytes held of %d", s.Bytes, s.MaxBytes)
	}
	if s.Accepted != uint64(s.Spans)+s.Dropped["evicted"]+s.Dropped["trace_too_large"] {
		t.Fatalf("counts do not add up: %+v", s)
	}
}

func TestOldestTracesAreEvicted(t *testing.T) {
	m := memory.New(memory.Options{MaxBytes: 1 << 20})
	has := func(b *dendro.Batch) int {
		trace, err := m.Trace(t.Context(), b.Spans[0].TraceID, collector.TimeRange{})
		testkit.NoError(t, err)
		if trace == nil {
			return 0
		}
		return len(trace.Spans)
	}
	first, second := request(0), request(1)
	late := request(0)
	late.Spans = late.Spans[:1]
	late.Spans[0].SpanID[0]++ // arrives long after the others

	collect(t, m, first)
	collect(t, m, second)
	n := 2
	for ; statsOf(t, m).Dropped["evicted"] == 0; n++ {
		if n == 1000 {
			collect(t, m, late)
			testkit.Equal(t, "the first, with what was added", has(first), 6)
		}
		collect(t, m, request(n))
	}
	testkit.Equal(t, "the first, with what was added", has(first), 0)
	collect(t, m, late) // begins the trace again
	testkit.Equal(t, "what came after that", has(first), 1)

	// Far beyond the bound, the traces that are left are whole and are the latest.
	for end := n + 50_000; n < end; n++ {
		collect(t, m, request(n))
	}
	s := statsOf(t, m)
	testkit.Equal(t, "spans", s.Spans, 5*s.Traces)
	for i := range s.Traces {
		testkit.Equal(t, "spans of a held trace", has(request(n-1-i)), 5)
	}
	testkit.Equal(t, "the newest that is not held", has(request(n-1-s.Traces)), 0)
	if t.Failed() {
		return
	}
	var found []dendro.TraceID
	testkit.NoError(t, m.Scan(t.Context(), collector.Scan{}, func(got *collector.Trace) bool {
		found = append(found, got.ID)
		return true
	}))
	testkit.Equal(t, "found", len(found), s.Traces)
	testkit.Equal(t, "newest found", found[0], request(n - 1).Spans[0].TraceID)
}

// sized returns a batch of spans with n bytes of text in each.
func sized(trace dendro.TraceID, spans, n int) *dendro.Batch {
	b := &dendro.Batch{Resource: shop}
	for i := range spans {
		s := &dendro.SpanData{Name: "large", Scope: scope, Attributes: []slog.Attr{slog.String("text", fmt.Sprint(i)+strings.Repeat("x", n))}}
		s.TraceID, s.SpanID = trace, dendro.SpanID{byte(i + 1)}
		b.Spans = append(b.Spans, s)
	}
	return b
}

// A batch of which no span can ever be held is refused and leaves nothing behind.
func TestTooLarge(t *testing.T) {
	m := memory.New(memory.Options{MaxBytes: 1 << 20})
	collect(t, m, request(1))
	held := func() collector.Stats {
		s := statsOf(t, m)
		s.Operations = collector.OperationStats{} // counted before anything is refused
		return s
	}
	before := held()

	ids := byte(0)
	huge := func(trace byte) *dendro.SpanData {
		s := sized(dendro.TraceID{trace}, 1, 1<<17).Spans[0]
		ids++
		s.SpanID = dendro.SpanID{1, ids}
		s.Attributes = append(s.Attributes, slog.Any("many", make([]int64, 1<<10)))
		return s
	}
	many := &dendro.SpanData{Name: "many", Attributes: []slog.Attr{slog.Any("floats", make([]float64, 1<<15))}}
	many.TraceID = dendro.TraceID{9}
	numbered := &dendro.SpanData{Name: "numbered"}
	numbered.TraceID = dendro.TraceID{8}
	for n := range 1 << 16 {
		numbered.Attributes = append(numbered.Attributes, slog.Int("a", n))
	}
	ofResource := sized(dendro.TraceID{1}, 1, 1)
	ofResource.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("text", strings.Repeat("x", 1<<20))}}
	for name, b := range map[string]*dendro.Batch{
		"many attributes": {Spans: []*dendro.SpanData{numbered}},
		"a text":          {Spans: []*dendro.SpanData{huge(1)}},
		"a list":          {Spans: []*dendro.SpanData{many}},
		"several spans":   {Spans: []*dendro.SpanData{huge(1), huge(1)}},
		"several traces":  {Spans: []*dendro.SpanData{huge(1), huge(2)}},
		"a resource":      ofResource,
	} {
		err := m.Collect(b)
		var drop *dendro.DropError
		if !errors.As(err, &drop) || drop.Reason != collector.DropTooLarge {
			t.Errorf("%s: got %v, want a DropError too_large", name, err)
		}
		testkit.Equal(t, name, held(), before)
	}

	// The spans that can be held are held. The others are counted.
	small := request(2)
	small.Spans = append(small.Spans, huge(1))
	collect(t, m, small)
	same := request(3)
	same.Spans = append(same.Spans[:2:2], huge(1), same.Spans[2], huge(1), same.Spans[3], same.Spans[4])
	for _, s := range same.Spans {
		s.TraceID = dendro.TraceID{3}
	}
	collect(t, m, same)
	testkit.Equal(t, "dropped", statsOf(t, m).Dropped, map[string]uint64{"trace_too_large": 3})
	trace, err := m.Trace(t.Context(), dendro.TraceID{3}, collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "spans around those that are too large", len(trace.Spans), 5)
	for i, want := range request(3).Spans {
		for _, got := range trace.Spans {
			if got.SpanID == want.SpanID {
				testkit.Equal(t, fmt.Sprint("attributes of span ", i), fmt.Sprint(got.Attributes), fmt.Sprint(want.Attributes))
			}
		}
	}
}

// An endless trace keeps its beginning and does not evict other traces.
func TestTraceLargerThanItsShare(t *testing.T) {
	m := memory.New(memory.Options{MaxBytes: 1 << 20})
	other := request(1)
	collect(t, m, other)
	id := dendro.TraceID{1}
	for i := range 40 {
		part := sized(id, 10, 16<<10)
		for _, s := range part.Spans {
			s.SpanID[1] = byte(i)
		}
		collect(t, m, part)
	}
	trace, err := m.Trace(t.Context(), id, collector.TimeRange{})
	testkit.NoError(t, err)
	s := statsOf(t, m)
	held := len(trace.Spans)
	if bytes := held * (16 << 10); bytes < 1<<16 || bytes > 1<<17 {
		t.Errorf("%d bytes of attributes are held, want up to an eighth of the store", bytes)
	}
	testkit.Equal(t, "traces", s.Traces, 2)
	testkit.Equal(t, "spans", s.Spans, held+len(other.Spans))
	testkit.Equal(t, "dropped", s.Dropped, map[string]uint64{"trace_too_large": uint64(400 - held)})
	testkit.Equal(t, "accepted", s.Accepted, uint64(400+len(other.Spans)))
}

// Pending traces that turn out to be held leave no empty segment behind.
func TestKnownTracesTakeNoMoreRoom(t *testing.T) {
	held := func(known bool) int {
		m := memory.New(memory.Options{MaxBytes: 1 << 20})
		for n := 0; ; n++ {
			b := request(n)
			b.Spans = b.Spans[4:] // the root
			b.Spans[0].ParentID = dendro.SpanID{}
			if known && n%20 == 0 {
				b.Spans[0].TraceID = dendro.TraceID{1, byte(n / 400)}
			}
			testkit.NoError(t, m.Collect(b))
			if n%500 == 0 {
				if s := statsOf(t, m); s.Dropped["evicted"] > 0 {
					return s.Spans
				}
			}
		}
	}
	if with, without := held(true), held(false); with < without*8/10 {
		t.Errorf("%d spans are held, %d without traces that are known", with, without)
	}
}

// A search by start finds a trace even if it is the last in its segment and a new
// segment begins while it is put into the index.
func TestSearchByStart(t *testing.T) {
	const traces = 70
	began := time.Unix(1_700_000_000, 0)
	for size := 400; size < 500; size += 2 { // some of these sizes just fill a segment
		m := memory.New(memory.Options{MaxBytes: 1 << 20})
		give := func(trace, n int) { // adds span n
			b := sized(dendro.TraceID{1, byte(trace)}, 1, size)
			s := b.Spans[0]
			s.SpanID, s.Start = dendro.SpanID{1, byte(n)}, began.UnixNano()+int64(trace)
			s.Attributes[0].Value = slog.StringValue(strings.Repeat(fmt.Sprint(n, " "), size)[:size])
			testkit.NoError(t, m.Collect(b))
		}
		for n := range traces {
			give(n, n)
			if n == 10 {
				give(0, traces) // of a trace that is held, as settle finds out
			}
		}
		for n := range traces {
			start := began.Add(time.Duration(n))
			found := 0
			testkit.NoError(t, m.Scan(t.Context(), collector.Scan{TimeRange: collector.TimeRange{Start: start, End: start.Add(1)}}, func(*collector.Trace) bool {
				found++
				return true
			}))
			if found != 1 {
				t.Errorf("trace %d of %d with %d bytes each is not found by its start", n, traces, size)
			}
		}
	}
}

// A scan is in the exact order of starts and ids, however spans come.
func TestScanOrder(t *testing.T) {
	m := memory.New(memory.Options{})
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 20_000 {
		s := &dendro.SpanData{Name: "span", Start: 1_700_000_000_000_000_000 + r.Int64N(5000)}
		s.TraceID, s.SpanID = dendro.TraceID{1, byte(r.IntN(1 << 6)), byte(r.IntN(1 << 8))}, dendro.SpanID{1, byte(n >> 8), byte(n)}
		collect(t, m, &dendro.Batch{Resource: shop, Spans: []*dendro.SpanData{s}})
	}
	var starts []int64
	var ids []dendro.TraceID
	testkit.NoError(t, m.Scan(t.Context(), collector.Scan{}, func(tr *collector.Trace) bool {
		starts, ids = append(starts, tr.Start()), append(ids, tr.ID)
		return true
	}))
	testkit.Equal(t, "traces", len(ids), statsOf(t, m).Traces)
	for i := 1; i < len(ids); i++ {
		if starts[i] > starts[i-1] || starts[i] == starts[i-1] && bytes.Compare(ids[i][:], ids[i-1][:]) <= 0 {
			t.Fatalf("trace %s of %d comes after %s of %d", ids[i], starts[i], ids[i-1], starts[i-1])
		}
	}
}

// The garbage collector does not scan the spans that are held.
func TestSpansHaveNoPointers(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	scannable := func() uint64 {
		runtime.GC()
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before := scannable()
	m := memory.New(memory.Options{MaxBytes: 64 << 20})
	for n := 0; statsOf(t, m).Bytes < 56<<20; n++ {
		testkit.NoError(t, m.Collect(request(n)))
	}
	grown := int64(scannable()) - int64(before)
	t.Logf("%d spans, %d bytes to scan", statsOf(t, m).Spans, grown)
	if grown > 1<<20 {
		t.Errorf("%d bytes to scan for %d spans", grown, statsOf(t, m).Spans)
	}
	runtime.KeepAlive(m)
}

// Stats.Bytes counts everything that is held, and all of it can be evicted.
func TestBytesAreThoseOfTheHeap(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const maxBytes = 16 << 20
	for name, workload := range map[string]func(n int) *dendro.Batch{
		"requests": request,
		"one small span a trace": func(n int) *dendro.Batch {
			b := request(n)
			b.Spans = b.Spans[:1]
			b.Spans[0].Attributes = nil
			return b
		},
		"a resource for every batch": func(n int) *dendro.Batch {
			b := request(n)
			b.Spans = b.Spans[:1]
			b.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", fmt.Sprint("service ", n))}}
			return b
		},
		"parts of traces": func(n int) *dendro.Batch {
			b := request(n)
			for _, s := range b.Spans {
				s.TraceID = request(n / 50).Spans[0].TraceID
			}
			return b
		},
		"traces of very many parts": func(n int) *dendro.Batch {
			b := request(n)
			b.Spans = b.Spans[:1]
			b.Spans[0].TraceID = request(n / 500).Spans[0].TraceID
			b.Spans[0].Attributes = nil
			return b
		},
		"batches of many traces": func(n int) *dendro.Batch {
			b := request(n * 20)
			for i := range 20 {
				b.Spans = append(b.Spans, request(n*20+i).Spans...)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			m := memory.New(memory.Options{MaxBytes: maxBytes})
			for n := 0; ; n++ {
				collect(t, m, workload(n))
				if s := statsOf(t, m); s.Dropped["evicted"] > uint64(s.Spans) {
					break
				}
			}
			grown, s := heap()-before, statsOf(t, m)
			t.Logf("heap %.2f of the bound, %d traces, %d spans, %d B/span", float64(grown)/maxBytes, s.Traces, s.Spans, s.Bytes/int64(s.Spans))
			if grown > maxBytes*13/10 || grown < maxBytes*7/10 {
				t.Errorf("the heap grew by %d bytes, %d are accounted for", grown, s.Bytes)
			}
			if free := s.Operations.MaxBytes - s.Operations.Bytes; s.Bytes+free < maxBytes*95/100 {
				t.Errorf("%d bytes are held of %d", s.Bytes, s.MaxBytes)
			}
		})
	}
}

// A large resource is kept only by the spans that came with it.
func TestBytesAreThoseOfTheHeapWithLargeResources(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const maxBytes = 16 << 20
	for name, size := range map[string]int{"held": 1 << 20, "refused": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			m := memory.New(memory.Options{MaxBytes: maxBytes})
			for n := range 30 {
				b := request(n)
				b.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("large", strings.Repeat(fmt.Sprint(n%10), size))}}
				if err := m.Collect(b); (err != nil) != (name == "refused") {
					t.Fatal(err)
				}
			}
			grown, s := heap()-before, statsOf(t, m)
			t.Logf("heap %.2f of the bound", float64(grown)/maxBytes)
			if grown > max(s.Bytes*13/10, 1<<20) {
				t.Errorf("the heap grew by %d bytes, %d are accounted for", grown, s.Bytes)
			}
			runtime.KeepAlive(m)
		})
	}
}

// What many small traces leave behind after their eviction counts as well.
func TestBytesAreThoseOfTheHeapAfterAnotherWorkload(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	const maxBytes = 16 << 20
	before := heap()
	m := memory.New(memory.Options{MaxBytes: maxBytes})
	n := 0
	for ; statsOf(t, m).Dropped["evicted"] == 0; n++ {
		b := request(n)
		b.Spans = b.Spans[:1]
		b.Spans[0].Attributes = nil
		b.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.Int("n", n)}}
		collect(t, m, b)
	}
	for small := statsOf(t, m).Traces; statsOf(t, m).Dropped["evicted"] < uint64(2*small); n++ {
		b := sized(request(n).Spans[0].TraceID, 1, 4<<10)
		collect(t, m, b)
	}
	grown := heap() - before
	t.Logf("heap %.2f of the bound", float64(grown)/maxBytes)
	if grown > maxBytes*12/10 {
		t.Errorf("the heap grew by %d bytes, %d are accounted for", grown, statsOf(t, m).Bytes)
	}
}

// Adding a span to an ever growing trace costs no more than adding it to one of many
// traces, whatever the span ids are.
func TestCollectDoesNotSearchTheWholeTrace(t *testing.T) {
	spend := func(change func(s *dendro.SpanData, n int)) time.Duration {
		m := memory.New(memory.Options{})
		var batches []*dendro.Batch
		for n := range 20_000 {
			b := request(n)
			b.Spans = b.Spans[:1]
			change(b.Spans[0], n)
			batches = append(batches, b)
		}
		began := time.Now()
		for _, b := range batches {
			testkit.NoError(t, m.Collect(b))
		}
		spent := time.Since(began)
		testkit.Equal(t, "spans", statsOf(t, m).Spans, len(batches))
		return spent
	}
	many := spend(func(*dendro.SpanData, int) {})
	for name, id := range map[string]func(n int) dendro.SpanID{
		"random": func(n int) dendro.SpanID { return request(n).Spans[0].SpanID },
		"counted in the first bytes": func(n int) (id dendro.SpanID) {
			binary.LittleEndian.PutUint64(id[:], uint64(n+1))
			return id
		},
		"counted in the last bytes": func(n int) (id dendro.SpanID) {
			binary.BigEndian.PutUint64(id[:], uint64(n+1))
			return id
		},
		"the same, with other starts": func(int) dendro.SpanID { return dendro.SpanID{1} },
	} {
		one := spend(func(s *dendro.SpanData, n int) { s.TraceID, s.SpanID = dendro.TraceID{1}, id(n) })
		t.Logf("ids %s: %v for one trace, %v for many", name, one, many)
		if one > 10*many {
			t.Errorf("ids %s: %v for one trace, %v for many", name, one, many)
		}
	}
}

// heap returns the bytes in use.
func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // empties sync.Pools
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func TestCollectAllocatesLittle(t *testing.T) {
	if testkit.Race {
		t.Skip("with the race detector sync.Pool forgets what it was given")
	}
	m := memory.New(memory.Options{})
	var batches []*dendro.Batch
	for n := range 2000 {
		batches = append(batches, request(n))
	}
	n := 0
	collect := func() {
		testkit.NoError(t, m.Collect(batches[n]))
		n++
	}
	for range 500 {
		collect()
	}
	if got := testing.AllocsPerRun(1000, collect); got > 0 {
		t.Errorf("%v allocations for a trace of 5 spans, want none but that of a segment now and then", got)
	}
}

// A reader sees whole and correct traces even while a full store reuses the memory of
// dropped segments.
func TestReadersOfAFullStore(t *testing.T) {
	m := memory.New(memory.Options{MaxBytes: 1 << 20})
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range 2 {
		writing.Go(func() {
			for n := range 3000 {
				n = 2*n + w
				b := request(n)
				for _, s := range b.Spans {
					s.Attributes = append(s.Attributes, slog.String("trace", s.TraceID.String()), slog.Int("n", n))
				}
				if err := m.Collect(b); err != nil {
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
				var found []collector.Summary
				q := collector.Scan{Hints: collector.Hints{Spans: []collector.SpanHints{{Keys: []string{"db.operation.name"}}}}, AllAttributes: true}
				err := m.Scan(t.Context(), q, func(got *collector.Trace) bool {
					for _, s := range got.Spans {
						if slices.ContainsFunc(s.Attributes, func(a slog.Attr) bool { return strings.ToLower(a.Key) != a.Key }) {
							t.Error(s.Attributes)
						}
					}
					found = append(found, got.Summary())
					return len(found) < 50
				})
				if err != nil {
					t.Error(err)
				}
				for _, s := range found {
					if s.RootService != "shop" || s.RootName != "GET /orders/{id}" || s.Spans != 5 {
						t.Errorf("found %+v", s)
					}
					trace, err := m.Trace(t.Context(), s.TraceID, collector.TimeRange{})
					if err != nil {
						t.Error(err)
					}
					if trace == nil {
						continue
					}
					for _, span := range trace.Spans {
						a := span.Attributes[len(span.Attributes)-2:]
						if !a[0].Equal(slog.String("trace", s.TraceID.String())) || request(int(a[1].Value.Int64())).Spans[0].TraceID != s.TraceID {
							t.Errorf("trace %s has %v", s.TraceID, span)
						}
					}
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if statsOf(t, m).Dropped["evicted"] == 0 {
		t.Error("the store was not full")
	}
}

func statsOf(t testing.TB, m *memory.Store) collector.Stats {
	t.Helper()
	s, err := m.Stats(t.Context())
	testkit.NoError(t, err)
	return s
}

// A store that does not count finds spans all the same.
func TestUncounted(t *testing.T) {
	for _, uncounted := range []bool{false, true} {
		m := memory.New(memory.Options{MaxBytes: 1 << 20, Uncounted: uncounted})
		now := time.Now()
		span := &dendro.SpanData{
			SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}}, Name: "GET /", Kind: dendro.KindServer,
			Start: now.UnixNano(), End: now.Add(time.Millisecond).UnixNano(),
		}
		testkit.NoError(t, m.Collect(&dendro.Batch{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{span}}))
		found, err := m.Trace(t.Context(), span.TraceID, collector.TimeRange{})
		testkit.NoError(t, err)
		testkit.Equal(t, "spans", len(found.Spans), 1)
		testkit.Equal(t, "operations", statsOf(t, m).Operations.Operations > 0, !uncounted)
	}
}
