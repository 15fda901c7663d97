package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// encode returns a block of spans in a segment of its own.
func encode(spans ...*dendro.SpanData) block.Block {
	e := block.NewEncoder()
	e.Limit = 1 << 30
	e.Begin(nil, 1, make(block.Filter, 64))
	e.Append(&block.Footer{}, &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}, spans)
	return block.Block{Segment: e.Data, Wanted: math.MaxUint64}
}

func decode(b block.Block) ([]collector.Span, error) {
	t := block.Trace{Blocks: []block.Block{b}}
	got, err := t.Decode(context.Background())
	if err != nil {
		return nil, err
	}
	return got.Spans, nil
}

// FuzzBlock feeds the decoder with bytes that no encoder wrote.
func FuzzBlock(f *testing.F) {
	full := &dendro.SpanData{
		SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{1}, Flags: 1},
		ParentID:    dendro.SpanID{2},
		Name:        "name", Start: 1_700_000_000_000_000_000, End: 1_700_000_000_000_000_001,
		Attributes: []slog.Attr{
			slog.String("text", "value"), slog.Int("int", -1), slog.Float64("float", 1.5), slog.Bool("bool", true), slog.Any("nil", nil),
			slog.Any("texts", []string{"a"}), slog.Any("ints", []int64{1}), slog.Any("floats", []float64{1}), slog.Any("bools", []bool{true}),
			slog.Any("bytes", []byte("a")), slog.Any("list", []slog.Value{slog.IntValue(1)}), slog.String("text again", "value"),
		},
		Status: dendro.Status{Code: dendro.StatusError, Message: "message"},
		Events: []dendro.Event{{Name: "event", Time: 1_700_000_000_000_000_000, Attributes: []slog.Attr{slog.Int("n", 1)}}},
		Links:  []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}}}},
	}
	child := &dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{2}}, ParentID: dendro.SpanID{1}, Name: "child", Scope: &dendro.Scope{Name: "library"}}
	f.Add(encode(full).Segment)
	f.Add(encode(child, full).Segment)
	f.Add(encode(full, child, child).Segment)

	f.Fuzz(func(t *testing.T, data []byte) {
		b := block.Block{Segment: data, Wanted: math.MaxUint64}
		s := collector.Scan{Attributes: []string{"text", "int"}, Hints: collector.Hints{Spans: []collector.SpanHints{{Names: []string{"name"}, Keys: []string{"text"}}}}}
		v := &block.View{Scan: s, Want: block.WantedOf(&s.Hints), Ctx: context.Background()}
		_ = v.Agrees(&block.Trace{Blocks: []block.Block{b}})
		_, _ = v.Decode(&block.Trace{Blocks: []block.Block{b}})
		var d block.Decoder
		d.EachSpan(b, func(block.SpanKey) {})
		var tr block.Trace
		f := d.Open(b)
		tr.Add(b, &f)

		spans, err := decode(b)
		if err != nil || len(spans) == 0 || len(spans) > block.MaxSpans {
			return
		}
		// What can be read can be written and read again.
		once := encode(pointers(spans)...)
		spans, err = decode(once)
		testkit.NoError(t, err)
		if twice := encode(pointers(spans)...); string(twice.Segment) != string(once.Segment) {
			t.Errorf("not the same again:\n%q\n%q", once.Segment, twice.Segment)
		}
	})
}

func pointers(spans []collector.Span) (out []*dendro.SpanData) {
	for i := range spans {
		out = append(out, &spans[i].SpanData)
	}
	return out
}

func TestBrokenBlock(t *testing.T) {
	data := encode(
		&dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{1}}, Name: "name", Attributes: []slog.Attr{slog.String("key", "name")}},
		&dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{2}}, ParentID: dendro.SpanID{1}, Name: "other"}).Segment
	for n := range data {
		if _, err := decode(block.Block{Segment: data[:n]}); err == nil {
			t.Errorf("%d of %d bytes make a block", n, len(data))
		}
	}
}

// A store that cannot read a block returns an error and not zeros.
func TestBrokenStore(t *testing.T) {
	const footer, resource = 6, 34                       // offsets in a block, see package block
	for _, broken := range []int{footer, resource + 2} { // a position, and a size in the resource
		m := New(Options{})
		s := &dendro.SpanData{Name: "span", Attributes: []slog.Attr{slog.String("key", "value")}}
		s.TraceID = dendro.TraceID{1}
		testkit.NoError(t, m.Collect(&dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.Int("n", 1)}}, Spans: []*dendro.SpanData{s}}))
		m.partition(hashOf(s.TraceID)).segments[0].data[broken] = 0xff
		_, traceErr := m.Trace(t.Context(), s.TraceID, collector.TimeRange{})
		scanErr := m.Scan(t.Context(), collector.Scan{}, func(*collector.Trace) bool { return true })
		testkit.Equal(t, "errors", []error{traceErr, scanErr}, []error{block.ErrBroken, block.ErrBroken})
	}
}

// A single span that ends in the far future does not slow Collect down for good: new
// traces are still put into the index many at a time.
func TestSpanOfTheFuture(t *testing.T) {
	m := New(Options{MaxBytes: 1 << 20})
	give := func(trace byte, s dendro.SpanData) {
		s.TraceID, s.SpanID = dendro.TraceID{trace}, dendro.SpanID{1}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: []*dendro.SpanData{&s}, Fresh: true}))
	}
	give(1, dendro.SpanData{ParentID: dendro.SpanID{9}, End: math.MaxInt64})
	give(2, dendro.SpanData{Start: time.Now().Add(time.Second).UnixNano()})
	testkit.Equal(t, "traces that wait for others", len(m.partitions[0].pending), 1)
}

// Pending traces that turn out to be held may be evicted to make room for each other.
func TestKnownTracesAreDropped(t *testing.T) {
	var p partition
	const segmentBytes = 32 << 10
	p.operations = operations.New(operations.Options{}).Shard(0)
	p.init(partitionBytes+2*segmentBytes, 1<<20, segmentBytes, new(atomic.Int64)) // room for one segment and the index
	given := 0
	for n := range 5000 {
		s := &dendro.SpanData{Name: "span", Attributes: []slog.Attr{slog.Int("n", n), slog.Any("bytes", make([]byte, 5000))}}
		s.TraceID, s.SpanID = dendro.TraceID{1, byte(n / 2), byte(n / 512)}, dendro.SpanID{byte(n), byte(n >> 8)}
		if !p.add(&dendro.Batch{}, hashOf(s.TraceID), []*dendro.SpanData{s}) {
			t.Fatalf("span %d is refused", n)
		}
		given++
	}
	p.settle()
	testkit.Equal(t, "spans held and evicted", p.stats.Spans+int(p.evicted), given)
	testkit.Equal(t, "spans accepted", int(p.stats.Accepted), given)
}

// Spans that are sent again are recognized, even in memory that held something else
// before.
func TestDuplicatesInMemoryThatIsUsedAgain(t *testing.T) {
	// With some sizes the first segment is dropped because the index grows, and its memory is
	// not used again.
	for size := int64(1 << 20); size < 1<<20+64<<10; size += 4 << 10 {
		if duplicatesInMemoryThatIsUsedAgain(t, size) {
			return
		}
	}
	t.Error("the memory was not used again")
}

func duplicatesInMemoryThatIsUsedAgain(t *testing.T, size int64) (usedAgain bool) {
	m := New(Options{MaxBytes: size})
	p := &m.partitions[0]
	give := func(n int, s dendro.SpanData) {
		s.TraceID, s.SpanID, s.ParentID = dendro.TraceID{1, byte(n), byte(n >> 8)}, dendro.SpanID{1}, dendro.SpanID{9}
		later := &dendro.SpanData{SpanContext: s.SpanContext, ParentID: s.ParentID, Start: s.Start + 5}
		later.SpanID = dendro.SpanID{2}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: []*dendro.SpanData{&s, later}}))
	}
	first := dendro.SpanData{Name: "span", Status: dendro.Status{Message: "no state"}}
	give(0, first)
	give(0, first)
	testkit.Equal(t, "duplicates", statsOf(t, m).Duplicates, uint64(2))
	memory := &p.segments[0].data[0]
	for n := 1; n < 1<<16; n++ {
		state, err := dendro.ParseTraceState(fmt.Sprintf("k=%06d", n)) // takes the place of the message
		testkit.NoError(t, err)
		s := dendro.SpanData{Name: "span ", SpanContext: dendro.SpanContext{State: state}}
		give(n, s)
		if last := p.segments[len(p.segments)-1].data; len(p.segments) > 1 && &last[0] == memory {
			give(n, s)
			testkit.Equal(t, "duplicates", statsOf(t, m).Duplicates, uint64(4))
			return true
		}
	}
	return false
}

// Fresh spans are not checked for duplicates. Spans that come again are recognized
// nevertheless, before and after the trace has a set of its spans.
func TestDuplicatesAmongFreshSpans(t *testing.T) {
	m := New(Options{})
	n := 0
	batch := func(fresh bool) *dendro.Batch {
		n++
		s := &dendro.SpanData{Name: "span", Start: int64(n), ParentID: dendro.SpanID{9}}
		s.TraceID = dendro.TraceID{1}
		binary.BigEndian.PutUint64(s.SpanID[:], uint64(n))
		return &dendro.Batch{Spans: []*dendro.SpanData{s}, Fresh: fresh}
	}
	var sent []*dendro.Batch
	again := uint64(0)
	for range 5 {
		for range block.MaxScanned - 1 {
			testkit.NoError(t, m.Collect(batch(true)))
		}
		b := batch(false)
		testkit.NoError(t, m.Collect(b))
		for _, b := range append(sent, b) {
			testkit.NoError(t, m.Collect(b))
			again++
		}
		sent = append(sent, b)
		testkit.Equal(t, "duplicates", statsOf(t, m).Duplicates, again)
		testkit.Equal(t, "spans", statsOf(t, m).Spans, n)
	}
	p := m.partition(hashOf(dendro.TraceID{1}))
	noted := 0
	for _, e := range p.sets[dendro.TraceID{1}].entries {
		if !e.free() {
			noted++
		}
	}
	if most := block.MaxScanned + 1 + len(sent); noted == 0 || noted > most {
		t.Errorf("%d spans in the set, want those of the first blocks and those that may come again, %d", noted, most)
	}
}

// A trace that is evicted during a scan may begin again in another segment.
func TestScanVisitsATraceOnce(t *testing.T) {
	m := New(Options{MaxBytes: 1 << 20})
	give := func(n int) {
		s := &dendro.SpanData{Name: "span", Start: int64(n)}
		s.TraceID, s.SpanID = dendro.TraceID{byte(n), byte(n >> 8), 1}, dendro.SpanID{byte(statsOf(t, m).Accepted), byte(statsOf(t, m).Accepted >> 8)}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: []*dendro.SpanData{s}}))
	}
	const traces = 500
	for n := range traces {
		give(n)
	}
	p := &m.partitions[0]
	calls := 0
	ctx := &hook{Context: t.Context(), call: func() {
		switch calls++; calls {
		case 100: // some traces grow, and are still found once
			for n := range traces {
				give(n)
			}
		case 200: // the first traces are evicted, and one of them begins again
			p.mu.Lock()
			for range 10 {
				p.dropBlock()
			}
			p.mu.Unlock()
			give(0)
		}
	}}
	ids := map[dendro.TraceID]int{}
	testkit.NoError(t, m.Scan(ctx, collector.Scan{}, func(got *collector.Trace) bool {
		if ids[got.ID]++; ids[got.ID] > 1 {
			t.Errorf("trace %s is visited twice", got.ID)
		}
		return true
	}))
	for n := 10; n < traces; n++ {
		if ids[dendro.TraceID{byte(n), byte(n >> 8), 1}] == 0 {
			t.Errorf("trace %d is not visited", n)
		}
	}
}

// A scan ends when what it has not visited yet is evicted.
func TestScanOfAnEvictedStore(t *testing.T) {
	m := New(Options{MaxBytes: 1 << 20})
	p := &m.partitions[0]
	for n := range 5000 {
		s := &dendro.SpanData{Name: "span", Start: int64(n)}
		s.TraceID, s.SpanID = dendro.TraceID{byte(n), byte(n >> 8), 1}, dendro.SpanID{1}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: []*dendro.SpanData{s}}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	visited := 0
	testkit.NoError(t, m.Scan(ctx, collector.Scan{}, func(*collector.Trace) bool {
		if visited++; visited == 1 {
			p.mu.Lock()
			for len(p.segments) > 1 {
				p.dropOldest()
			}
			p.mu.Unlock()
		}
		return true
	}))
	if visited == 0 || visited == 5000 {
		t.Errorf("visited %d traces", visited)
	}
}

// hook is a context that calls a function when it is asked for its error.
type hook struct {
	context.Context
	call func()
}

func (h *hook) Err() error {
	h.call()
	return h.Context.Err()
}

// The index agrees with a map after any sequence of insertions, removals and drops.
func TestIndex(t *testing.T) {
	const traces, blocks = 5000, 100_000
	type ids struct {
		trace int
		block block.Ref
	}
	var p partition
	p.operations = operations.New(operations.Options{}).Shard(0)
	p.init(1<<30, 1<<30, 1<<20, new(atomic.Int64))
	e := block.NewEncoder()
	e.Limit = math.MaxInt
	e.Begin(make([]byte, 0, blocks*64), 1, make(block.Filter, 64))
	r := rand.New(rand.NewPCG(1, 2))
	held := map[int]block.Ref{}
	var order []ids // of the blocks
	dropped := 0
	for n := range blocks {
		id := r.IntN(traces)
		at := block.Ref{Segment: 1, Offset: uint32(len(e.Data))}
		order = append(order, ids{id, at})
		trace := dendro.TraceID{byte(id), byte(id >> 8), 1}
		e.Append(&block.Footer{}, nil, []*dendro.SpanData{{SpanContext: dendro.SpanContext{TraceID: trace}}})
		p.segments = []segment{{data: e.Data}}

		hash := uint64(id % 997) // few values, so that entries collide
		tab := p.index.table(hash)
		i, found := p.find(tab, hash, &trace)
		if _, want := held[id]; found != want || found && tab.entries[i].block != held[id] {
			t.Fatalf("trace %d: found %t, want %t", id, found, want)
		}
		if found && r.IntN(4) == 0 {
			tab.remove(i)
			delete(held, id)
			continue
		}
		if !found && tab.full() {
			p.enlarge(tab)
			i, _ = p.find(tab, hash, &trace)
		}
		tab.put(i, entry{uint32(hash), at})
		held[id] = at
		for r.IntN(30) == 0 && dropped < n { // drop some of the oldest
			for range min(1500, n-dropped) {
				if old := order[dropped]; held[old.trace] == old.block {
					delete(held, old.trace)
				}
				dropped++
				p.drained = order[dropped].block.Offset
			}
		}
	}
	if n := len(p.index[0].entries); n > 1<<13 {
		t.Errorf("%d entries for at most %d traces", n, traces)
	}
}

// The counts agree with what is held after any sequence of small and large spans,
// traces of many blocks, and traces that grow while they are evicted.
func TestPartitionAddsUp(t *testing.T) {
	m := New(Options{MaxBytes: 1 << 20})
	p := &m.partitions[0]
	r := rand.New(rand.NewPCG(3, 4))
	sets, given := 0, uint64(0)
	check := func() {
		t.Helper()
		stats := statsOf(t, m)
		bytes := partitionBytes + int(stats.Operations.Bytes)
		for _, s := range p.segments {
			bytes += cap(s.data) + 8*len(s.filter)
		}
		for i := range p.index {
			bytes += p.index[i].bytes()
		}
		sets = max(sets, len(p.sets))
		for id, set := range p.sets {
			bytes += set.bytes()
			if p.stats.Traces == 0 {
				t.Errorf("a set of trace %s is left", id)
			}
		}
		testkit.Equal(t, "bytes", stats.Bytes, int64(bytes))
		testkit.Equal(t, "accepted and duplicates", stats.Accepted+stats.Duplicates, given)
		testkit.Equal(t, "accepted", stats.Accepted, uint64(stats.Spans)+stats.Dropped["evicted"]+stats.Dropped["trace_too_large"])
		if stats.Bytes > stats.MaxBytes || len(p.sets) > stats.Traces {
			t.Errorf("%d sets: %+v", len(p.sets), stats)
		}
		traces, spans := 0, 0
		testkit.NoError(t, m.Scan(t.Context(), collector.Scan{}, func(tr *collector.Trace) bool {
			traces++
			spans += len(tr.Spans)
			got, err := m.Trace(t.Context(), tr.ID, collector.TimeRange{})
			testkit.NoError(t, err)
			if got == nil || len(got.Spans) != len(tr.Spans) {
				t.Errorf("trace %s cannot be read", tr.ID)
			}
			return true
		}))
		testkit.Equal(t, "traces and spans", []int{traces, spans}, []int{stats.Traces, stats.Spans})
		if t.Failed() {
			t.FailNow()
		}
	}
	for n := range 20_000 {
		var spans []*dendro.SpanData
		trace := dendro.TraceID{1, byte(n >> 8), byte(n), byte(n >> 16)}
		switch r.IntN(10) {
		case 0, 1, 2: // traces that grow
			trace = dendro.TraceID{2, byte(n / 3000), byte(r.IntN(2))}
		case 3:
			trace = dendro.TraceID{3}
		}
		for i := range 1 + r.IntN(12) {
			s := &dendro.SpanData{Name: "span", Attributes: []slog.Attr{slog.Int("n", n), slog.Int("i", i)}}
			if r.IntN(300) == 0 || trace[0] == 3 && r.IntN(4) == 0 {
				s.Attributes = append(s.Attributes, slog.Any("bytes", make([]byte, 1<<r.IntN(16))))
			}
			s.TraceID = trace
			binary.LittleEndian.PutUint64(s.SpanID[:], r.Uint64N(1<<20)) // some come again
			spans = append(spans, s)
		}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: spans}))
		given += uint64(len(spans))
		if n%500 == 0 {
			check()
		}
	}
	if s := statsOf(t, m); s.Duplicates == 0 || s.Dropped["evicted"] == 0 || s.Dropped["trace_too_large"] == 0 || sets == 0 {
		t.Errorf("%d sets, %+v: something was not tried", sets, s)
	}
	for len(p.segments) > 0 {
		p.dropOldest()
	}
	check()
	testkit.Equal(t, "sets of an empty store", len(p.sets), 0)
}

func statsOf(t testing.TB, m *Store) collector.Stats {
	t.Helper()
	s, err := m.Stats(t.Context())
	testkit.NoError(t, err)
	return s
}
