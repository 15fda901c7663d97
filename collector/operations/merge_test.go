package operations

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// countedBy returns the resource of a service that counts its spans itself.
func countedBy(service string) *dendro.Resource {
	r := resource(service)
	r.Attributes = append(r.Attributes, slog.Bool(semconv.Counted, true))
	return r
}

// merge fails the test if a snapshot cannot be merged.
func (t *clocked) merge(tb testing.TB, snapshot []byte) {
	tb.Helper()
	if err := t.Merge(snapshot); err != nil {
		tb.Fatal(err)
	}
}

// What processes count, and what a collector counts of spans from others, adds up to what one table
// counts that has seen all spans.
func TestMergeAddsUp(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		want, got := newClocked(Options{}), newClocked(Options{Shards: 2})
		processes := []*clocked{newClocked(Options{}), newClocked(Options{})}
		collected := 0
		for range 300 {
			who := rng.IntN(3) // the last one counts nothing itself
			s := want.span(fmt.Sprint("name ", rng.IntN(5)), dendro.Kind(rng.IntN(6)), time.Duration(rng.Uint64()>>(1+rng.IntN(63))))
			switch rng.IntN(6) {
			case 0:
				s.Attributes = []slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop")}
			case 1:
				s.Attributes = []slog.Attr{slog.String("server.address", "bank"), slog.Int("server.port", 80)}
			case 2:
				s.Attributes = []slog.Attr{slog.String("messaging.system", "kafka"), slog.String("messaging.destination.name", "orders")}
			case 3:
				s.State, _ = s.State.Set("ot", "th:"+[]string{"8", "c"}[rng.IntN(2)])
			case 4:
				failed(s)
			case 5: // it comes late, or its clock is ahead
				s.End += rng.Int64N(int64(2*time.Hour)) - int64(time.Hour)
				s.Start = s.End - int64(time.Millisecond)
			}
			service := fmt.Sprint("service ", who)
			want.Shard(0).Count(resource(service), []*dendro.SpanData{s})
			if who < len(processes) {
				processes[who].Shard(0).Count(resource(service), []*dendro.SpanData{s})
				if rng.IntN(10) == 0 { // it keeps the span
					got.Shard(collected%2).Count(countedBy(service), []*dendro.SpanData{s})
					collected++
				}
			} else {
				got.Shard(rng.IntN(2)).Count(resource(service), []*dendro.SpanData{s})
			}
			if rng.IntN(20) == 0 {
				now := want.Add(time.Duration(rng.Int64N(int64(time.Minute))))
				for _, c := range append(processes, want, got) {
					c.Time = now
				}
				for _, p := range processes {
					got.merge(t, p.TakeSnapshot(nil))
				}
			}
		}
		now := want.Add(maxWait + 1) // no call waits any more
		for _, c := range append(processes, want, got) {
			c.Time = now
		}
		for _, p := range processes {
			got.merge(t, p.TakeSnapshot(nil))
			got.merge(t, p.TakeSnapshot(nil)) // which has nothing
		}
		start := noon.Add(-2 * time.Hour)
		same(t, fmt.Sprintf("seed %d", seed), got.answers(t, start), want.answers(t, start))
		same(t, fmt.Sprintf("seed %d: restored", seed), got.restored(t, Options{}).answers(t, start), want.answers(t, start))
		a, b := got.Stats(), want.Stats()
		equal(t, fmt.Sprintf("seed %d: operations and edges", seed), [2]int{a.Operations, a.Edges}, [2]int{b.Operations, b.Edges})
	}
}

// A snapshot that was taken is gone from the table, but not the calls that wait.
func TestTakeSnapshot(t *testing.T) {
	process, c := newClocked(Options{}), newClocked(Options{})
	call := process.span("GET", dendro.KindClient, 1, slog.String("server.address", "bank"))
	process.count("shop", call, process.span("late", 0, 1), func() *dendro.SpanData { s := process.span("late", 0, 1); s.Start, s.End = 0, 1; return s }())
	c.merge(t, process.TakeSnapshot(nil))
	equal(t, "operations that are left", process.operationsIn(t, process.all()), []string(nil))
	equal(t, "late", [2]uint64{process.Stats().Late, c.Stats().Late}, [2]uint64{0, 1})
	equal(t, "edges before the call has waited", c.edgesIn(t, c.all()), []string(nil))
	process.Time = process.Add(maxWait + 1)
	c.Time = process.Time
	again := process.TakeSnapshot(nil)
	c.merge(t, again)
	equal(t, "edges", c.edgesIn(t, c.all()), []string{"{service shop } -> {peer bank }: 1 spans, 0 errors"})
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop GET client: 1 spans, 0 errors", "shop late internal: 1 spans, 0 errors"})
	before := process.Stats().Bytes
	process.merge(t, again) // because it could not be sent
	equal(t, "edges that are back", process.edgesIn(t, process.all()), []string{"{service shop } -> {peer bank }: 1 spans, 0 errors"})
	process.TakeSnapshot(nil)
	process.TakeSnapshot(nil)
	st := process.Stats()
	if st.Operations != 0 || st.Edges != 0 || st.Bytes > before {
		t.Errorf("names that are not used are still there: %+v", st)
	}
}

// A process cannot know that another one is behind an address. A collector learns it from spans that both have kept.
func TestMergeFindsServices(t *testing.T) {
	process := newClocked(Options{})
	calls := func(n int) []byte {
		for range n {
			process.count("shop", process.span("GET", dendro.KindClient, 1, slog.String("server.address", "bank"), slog.Int("server.port", 80)))
		}
		process.Time = process.Add(maxWait + 1)
		return process.TakeSnapshot(nil)
	}
	c := newClocked(Options{Shards: 3})
	c.Time = c.Add(maxWait + 1)
	c.merge(t, calls(2))
	peer, bank := "{service shop } -> {peer bank:80 }: %d spans, 0 errors", "{service shop } -> {service bank }: %d spans, 0 errors"
	equal(t, "before anything is known", c.edgesIn(t, c.all()), []string{fmt.Sprintf(peer, 2)})
	answered := func(shard int, by string) {
		client := c.span("GET", dendro.KindClient, 1, slog.String("server.address", "bank"), slog.Int("server.port", 80))
		c.Shard(shard).Count(countedBy(by), []*dendro.SpanData{below(client, failed(c.span("GET /", dendro.KindServer, 1)))})
		c.Shard(shard).Count(countedBy("shop"), []*dendro.SpanData{client})
	}
	answered(2, "bank")
	equal(t, "spans that are kept count nothing", c.edgesIn(t, c.all()), []string{fmt.Sprintf(peer, 2)})
	c.Time = process.Add(maxWait + 1)
	c.merge(t, calls(3))
	equal(t, "when it is known who answers", c.edgesIn(t, c.all()), []string{fmt.Sprintf(peer, 2), fmt.Sprintf(bank, 3)})
	answered(1, "stock")
	c.Time = process.Add(maxWait + 1)
	c.merge(t, calls(4))
	equal(t, "a gateway", c.edgesIn(t, c.all()), []string{fmt.Sprintf(peer, 6), fmt.Sprintf(bank, 3)})
	answered(1, "bank")
	answered(2, "bank")
	c.Time = process.Add(maxWait + 1)
	c.merge(t, calls(5))
	equal(t, "a gateway of some traces", c.edgesIn(t, c.all()), []string{fmt.Sprintf(peer, 11), fmt.Sprintf(bank, 3)})
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop GET client: 14 spans, 0 errors"})
}

// A client whose spans are all here counts here, also if the process of the server counts its own.
func TestCallOfCountedServer(t *testing.T) {
	c := newClocked(Options{})
	client := c.span("GET", dendro.KindClient, 1)
	c.Shard(0).Count(countedBy("bank"), []*dendro.SpanData{below(client, failed(c.span("GET /", dendro.KindServer, 1)))})
	c.count("shop", client)
	equal(t, "edges", c.edgesIn(t, c.all()), []string{"{service shop } -> {service bank }: 1 spans, 1 errors"})
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop GET client: 1 spans, 0 errors"})
}

// Spans of a process that counts them count nothing, whatever they are. Only true says so.
func TestCounted(t *testing.T) {
	c := newClocked(Options{})
	for kind := range dendro.KindUnspecified + 1 {
		c.Shard(0).Count(countedBy("shop"), []*dendro.SpanData{
			c.span("one", kind, 1, slog.String("db.system.name", "mysql")),
			c.span("one", kind, 1, slog.String("messaging.destination.name", "orders")),
			c.span("one", kind, 1, slog.String("server.address", "bank")),
		})
	}
	c.Time = c.Add(2 * maxWait)
	equal(t, "operations", c.operationsIn(t, c.all()), []string(nil))
	equal(t, "edges", c.edgesIn(t, c.all()), []string(nil))
	equal(t, "names of edges", c.Stats().Edges, 0)
	for _, v := range []slog.Value{slog.BoolValue(false), slog.StringValue("true"), slog.IntValue(1)} {
		r := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop"), {Key: semconv.Counted, Value: v}}}
		c.Shard(0).Count(r, []*dendro.SpanData{c.span("one", 0, 1)})
	}
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop one internal: 3 spans, 0 errors"})
}

// What is too late and what is ahead is treated as spans are.
func TestMergeAtAnotherTime(t *testing.T) {
	process := newClocked(Options{})
	process.count("shop", process.span("GET", 0, 1))
	snapshot := process.TakeSnapshot(nil)
	for _, test := range []struct {
		now     time.Time
		counted time.Time
	}{
		{noon, noon},
		{noon.Add(10 * time.Minute), noon},
		{noon.Add(-5 * time.Second), noon.Add(-time.Minute)}, // and in the hour before
		{noon.Add(24 * time.Hour), noon},
		{noon.Add(24*time.Hour + time.Minute), time.Time{}},
	} {
		c := newClocked(Options{})
		c.Time = test.now
		c.merge(t, snapshot)
		want, late := []string{"shop GET internal: 1 spans, 0 errors"}, uint64(0)
		if test.counted.IsZero() {
			want, late = nil, 1
		}
		equal(t, test.now.String(), c.operationsIn(t, collector.OperationScan{Start: test.counted, End: test.counted.Add(time.Minute)}), want)
		equal(t, test.now.String()+": late", c.Stats().Late, late)
	}
}

// Operations for which there is no room are counted as the other one, and so is the other one of the process.
func TestMergeOverBounds(t *testing.T) {
	process, c := newClocked(Options{MaxBytes: 1 << 20}), newClocked(Options{MaxBytes: 1})
	for i := range process.maxSeries + 10 {
		process.count("shop", process.span(fmt.Sprint("name ", i), dendro.KindInternal, 1))
	}
	c.merge(t, process.TakeSnapshot(nil))
	spans := 0.0
	for _, text := range c.operationsIn(t, c.all()) {
		var n float64
		if _, err := fmt.Sscanf(text, "other: %v spans", &n); err == nil {
			spans = n
		}
	}
	st := c.Stats()
	equal(t, "operations", st.Operations, c.maxSeries)
	equal(t, "spans of the other one", spans, float64(process.maxSeries+10-c.maxSeries))
	equal(t, "other spans", float64(st.OtherSpans), spans)
	if st.Bytes > st.MaxBytes {
		t.Errorf("%d bytes, and %d at most", st.Bytes, st.MaxBytes)
	}
}

// However many minutes a snapshot has of durations of all lengths, they take no more room than there is.
func TestMergeManyMinutes(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	var hours []byte
	for ago := range int64(23) {
		var points []byte
		for m := range byte(60) { // a span in the first bucket, and one in the last
			points = append(points, m, 4, 0, 0)
			points = append(binary.AppendUvarint(points, collector.MaxBucket+1), 1, 0)
			points = append(binary.AppendUvarint(points, collector.MaxBucket-2), 1)
		}
		hours = appendText(binary.AppendUvarint(hours, uint64(noon.Unix()/3600-1-ago)), points)
	}
	b := append([]byte{snapshotVersion, 0, 0, 0, 0, 23}, hours...) // of the other operation
	c.merge(t, append(b, 0, 0, 0))
	if st := c.Stats(); st.Bytes > st.MaxBytes {
		t.Errorf("%d bytes, and %d at most", st.Bytes, st.MaxBytes)
	}
	if sh := c.Shard(0); sh.bytes > sh.maxBytes {
		t.Errorf("cells take %d bytes, and %d at most", sh.bytes, sh.maxBytes)
	}
	total := 23.0 * 60 * 2
	equal(t, "operations", c.operationsIn(t, c.all()), []string{fmt.Sprintf("other: %v spans", total)})
	equal(t, "other spans", c.Stats().OtherSpans, uint64(total))
}

// A damaged snapshot changes nothing.
func TestMergeDamaged(t *testing.T) {
	process, c := newClocked(Options{}), newClocked(Options{})
	process.count("shop", process.span("GET", dendro.KindServer, time.Second), process.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "mysql")))
	process.count("shop", func() *dendro.SpanData { s := process.span("late", 0, 1); s.Start, s.End = 0, 1; return s }())
	c.count("shop", c.span("GET", dendro.KindServer, time.Second))
	want, stats := c.answers(t, noon), c.Stats()
	b := process.TakeSnapshot(nil)
	damaged := [][]byte{append(slices.Clone(b), 0), append([]byte{snapshotVersion + 1}, b[1:]...)}
	for n := range b {
		damaged = append(damaged, b[:n:n])
	}
	for _, b := range damaged {
		if err := c.Merge(b); !errors.Is(err, collector.ErrSnapshot) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
	}
	same(t, "after damaged snapshots", c.answers(t, noon), want)
	equal(t, "stats", c.Stats(), stats)
}

// Whatever a snapshot says, what is merged stays within bounds and can be read, counted on, merged again and saved.
func FuzzMerge(f *testing.F) {
	process := newClocked(Options{})
	for range 3 {
		process.count("shop", failed(process.span("GET", dendro.KindServer, time.Second)), process.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "mysql")),
			process.span("GET", dendro.KindClient, 1, slog.String("server.address", "bank")))
		process.Time = process.Add(time.Hour)
		f.Add(process.TakeSnapshot(nil), process.Unix())
	}
	f.Add(snapshotOf([]byte{1, 4, 0, 8, 3, 1, 0, 0, 1}), noon.Unix())
	f.Add(snapshotOf(binary.AppendUvarint([]byte{1}, math.MaxUint64)), noon.Unix())
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		c := newClocked(Options{MaxBytes: 1})
		c.Time = time.Unix(now%(1<<33), 0) // until the year 2242
		before := bytes.Clone(b)
		for range 2 {
			if err := c.Merge(b); err != nil {
				equal(t, "operations after an error", c.Stats(), collector.OperationStats{MaxBytes: minMaxBytes})
				return
			}
		}
		equal(t, "the snapshot", b, before)
		for _, in := range []*clocked{c, c.restored(t, Options{MaxBytes: 1})} {
			for range 2 {
				w := in.all()
				w.Step = time.Hour
				if err := in.Operations(t.Context(), w, func(*collector.Operation) bool { return true }); err != nil {
					t.Fatal(err)
				}
				if err := in.Edges(t.Context(), w, func(*collector.Edge) bool { return true }); err != nil {
					t.Fatal(err)
				}
				if st := in.Stats(); st.Bytes > st.MaxBytes {
					t.Fatalf("%+v", st)
				}
				in.count("shop", in.span("GET", dendro.KindServer, 1))
				if _, err := Restore(Options{Now: in.now}, in.TakeSnapshot(nil)); err != nil {
					t.Fatal(err)
				}
				in.Time = in.Add(time.Hour)
			}
		}
	})
}

// A snapshot of half a minute, with 200 operations.
func BenchmarkMerge(b *testing.B) {
	process, c := newClocked(Options{}), newClocked(Options{})
	for op := range 200 {
		for range 30 {
			process.count("shop", process.span(fmt.Sprint("GET /", op), dendro.KindServer, time.Duration(5e6*math.Exp(.6*rand.NormFloat64()))))
		}
	}
	snapshot := process.TakeSnapshot(nil)
	b.SetBytes(int64(len(snapshot)))
	for b.Loop() {
		c.merge(b, snapshot)
	}
}
