package operations

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// restored returns a table with the counts of c and its time.
func (t *clocked) restored(tb testing.TB, o Options) *clocked {
	tb.Helper()
	c := &clocked{Time: t.Time, made: t.made}
	o.Now = func() time.Time { return c.Time }
	var err error
	if c.Table, err = Restore(o, t.AppendSnapshot(nil)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// answers returns all that t says about spans from start on: in total, by minutes and by hours.
func (t *clocked) answers(tb testing.TB, start time.Time) (out []string) {
	tb.Helper()
	for _, step := range []time.Duration{0, time.Minute, time.Hour} {
		w := collector.OperationScan{Start: start, End: t.Add(time.Minute), Step: step}
		text := func(total *collector.Counts, points []collector.Counts) string {
			s := dump(0, total)
			for i := range points {
				if points[i].Spans > 0 {
					s += fmt.Sprint(", ", dump(i, &points[i]))
				}
			}
			return s
		}
		err := t.Operations(tb.Context(), w, func(o *collector.Operation) bool {
			out = append(out, fmt.Sprintf("%q %q %v %v: %s", o.Service, o.Name, o.Kind, o.Other, text(&o.Total, o.Points)))
			return true
		})
		if err != nil {
			tb.Fatal(err)
		}
		err = t.Edges(tb.Context(), w, func(e *collector.Edge) bool {
			out = append(out, fmt.Sprintf("%q -> %q %v: %s", e.Client, e.Server, e.Other, text(&e.Total, e.Points)))
			return true
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

// same fails unless both tables answer the same.
func same(tb testing.TB, what string, got, want []string) {
	tb.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			tb.Fatalf("%s: %d lines, want %d; from line %d:\n got %.2000s\nwant %.2000s", what, len(got), len(want), i, got[min(i, len(got)):], want[min(i, len(want)):])
		}
	}
}

// random counts spans of all kinds in t, in some minutes. Those that were sampled count as many of
// the thresholds.
func (t *clocked) random(rng *rand.Rand, names int, thresholds ...string) {
	for range 1 + rng.IntN(90) {
		for range rng.IntN(40) {
			name := fmt.Sprint("name ", rng.IntN(names))
			s := t.span(name, dendro.Kind(rng.IntN(6)), time.Duration(rng.Uint64()>>(1+rng.IntN(63))))
			if rng.IntN(4) == 0 { // it comes late
				s.End -= rng.Int64N(int64(90 * time.Minute))
				s.Start = s.End - int64(time.Millisecond)
			}
			switch rng.IntN(6) {
			case 0:
				s.Attributes = []slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", name)}
			case 1:
				s.Attributes = []slog.Attr{slog.String("server.address", name), slog.Int("server.port", 80)}
			case 2:
				s.Attributes = []slog.Attr{slog.String("messaging.system", "kafka"), slog.String("messaging.destination.name", name)}
			case 3:
				s.State, _ = s.State.Set("ot", "th:"+thresholds[rng.IntN(len(thresholds))])
			case 4:
				failed(s)
			}
			if rng.IntN(3) == 0 && t.made > 10 { // of a call that has been counted, perhaps
				binary.BigEndian.PutUint64(s.ParentID[:], uint64(t.made-rng.IntN(10)))
			}
			t.Shard(rng.IntN(len(t.shards))).Count(resource(fmt.Sprint("service ", rng.IntN(4))), []*dendro.SpanData{s})
		}
		t.Time = t.Add(time.Duration(rng.Int64N(int64(2 * time.Minute))))
	}
}

// A restored table answers as the one that was saved: with minutes that are not over, and with more
// operations than there is room for. Counting goes on in the same minute, and in both alike.
func TestSnapshot(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		o := Options{MaxBytes: 1 << 20, Shards: 1 + rng.IntN(3)}
		c := newClocked(o)
		names := 1 + rng.IntN(100)
		for range 1 + rng.IntN(3) {
			c.random(rng, names, "8", "c") // two spans, and four
			start := c.Add(-6 * time.Hour)
			want := c.answers(t, start)
			again := c.restored(t, o)
			same(t, fmt.Sprintf("seed %d: saved", seed), c.answers(t, start), want)
			same(t, fmt.Sprintf("seed %d: restored", seed), again.answers(t, start), want)
			got, stats := again.Stats(), c.Stats()
			got.Bytes, stats.Bytes = 0, 0
			equal(t, fmt.Sprintf("seed %d: stats", seed), got, stats)
			if rng.IntN(2) == 0 {
				c = again
				continue
			}
			// The same spans, of which no call waits in only one of the tables.
			for _, in := range []*clocked{c, again} {
				s := in.span("name 0", dendro.KindInternal, time.Second)
				for i := range in.shards {
					in.Shard(i).Count(resource("service 0"), []*dendro.SpanData{s, failed(s)})
				}
			}
			w := collector.OperationScan{Start: c.Time, End: c.Add(1), Service: "service 0", Name: "name 0"}
			equal(t, fmt.Sprintf("seed %d: counted in the same minute", seed), again.operationsIn(t, w), c.operationsIn(t, w))
		}
	}
}

// busySpans is how many spans of each operation busy counts in a minute.
const busySpans = 60

// busy counts spans of operations in each minute of some hours. It seals cells that it made before,
// because spans would take long.
func (t *clocked) busy(hours, operations int) {
	for op := range operations {
		t.count("shop", t.span(fmt.Sprint("GET /", op), dendro.KindServer, time.Millisecond))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	minutes := make([]collector.Counts, 500)
	for i := range minutes {
		minutes[i].Spans = busySpans
		for range busySpans {
			minutes[i].Durations.Add(time.Duration(5e6*math.Exp(.6*rng.NormFloat64())), 1)
		}
	}
	t.sealed.Lock()
	defer t.sealed.Unlock()
	for range hours * 60 {
		for _, h := range t.histories() {
			h.cells.Add(1)
			t.seal(sealing{h, t.Unix() / 60, &minutes[rng.IntN(len(minutes))]})
		}
		t.shrink()
		t.Time = t.Add(time.Minute)
	}
}

// What was merged, dropped and left out to make room is known after a restart.
func TestSnapshotOverBounds(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	c.busy(26, 30)
	c.count("shop", c.span("late", 0, 1), func() *dendro.SpanData { s := c.span("late", 0, 1); s.Start, s.End = 0, 1; return s }())
	before := c.Stats()
	if before.Complete.IsZero() || !before.ByMinute.After(before.Complete) || before.OtherSpans == 0 || before.Late != 1 {
		t.Fatalf("the test has no bounds: %+v", before)
	}
	again := c.restored(t, Options{MaxBytes: 1 << 20})
	same(t, "with more room", again.answers(t, before.Complete), c.answers(t, before.Complete))
	got, want := again.Stats(), c.Stats()
	got.Bytes, got.MaxBytes, want.Bytes, want.MaxBytes = 0, 0, 0, 0
	equal(t, "stats", got, want)
}

// A table with less room than it had keeps what it can: the newest hours.
func TestSnapshotWithLessRoom(t *testing.T) {
	c := newClocked(Options{})
	c.busy(20, 60)
	if st := c.Stats(); !st.Complete.IsZero() || !st.ByMinute.IsZero() {
		t.Fatalf("there is not enough room: %+v", st)
	}
	again := c.restored(t, Options{MaxBytes: 1})
	st := again.Stats()
	if st.Bytes > st.MaxBytes || st.Operations != again.maxSeries || st.Complete.IsZero() || st.OtherSpans == 0 {
		t.Errorf("%+v", st)
	}
	sum := 0.0
	last := collector.OperationScan{Start: c.Add(-10 * time.Minute), End: c.Time}
	if err := again.Operations(t.Context(), last, func(o *collector.Operation) bool { sum += o.Total.Spans; return true }); err != nil {
		t.Fatal(err)
	}
	equal(t, "spans of the last ten minutes", sum, 10.0*61*busySpans) // with the other one)
}

// A program may start much later, or find that its clock was ahead.
func TestSnapshotAtAnotherTime(t *testing.T) {
	c := newClocked(Options{})
	for range 3 * 60 { // until three
		c.count("shop", c.span("GET", dendro.KindServer, 1), c.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "mysql")))
		c.Time = c.Add(time.Minute)
	}
	everything := collector.OperationScan{Start: noon, End: noon.Add(100 * time.Hour)}
	for _, test := range []struct {
		now  time.Time
		want float64 // spans of each operation
	}{
		{noon.Add(3 * time.Hour), 180},
		{noon.Add(26 * time.Hour), 60}, // of the hour from two on
		{noon.Add(90 * time.Hour), 0},
		{noon.Add(-time.Hour), 0},
	} {
		again, err := Restore(Options{Now: func() time.Time { return test.now }}, c.AppendSnapshot(nil))
		if err != nil {
			t.Fatal(err)
		}
		in := &clocked{Table: again, Time: test.now}
		want := []string{fmt.Sprintf("shop GET server: %v spans, 0 errors", test.want), fmt.Sprintf("shop SELECT client: %v spans, 0 errors", test.want)}
		if test.want == 0 {
			want = nil
		}
		equal(t, test.now.String(), in.operationsIn(t, everything), want)
		equal(t, test.now.String()+": series", again.Stats().Operations, len(want))
		in.count("shop", in.span("GET", dendro.KindServer, 1))
		equal(t, test.now.String()+": spans in the same minute", in.operationsIn(t, collector.OperationScan{Start: in.Time, End: in.Add(1)}), []string{"shop GET server: 1 spans, 0 errors"})
	}
}

// A call whose sides arrive before and after a restart is not counted. One that has waited is.
func TestSnapshotOfCalls(t *testing.T) {
	c := newClocked(Options{})
	c.count("shop", c.span("GET", dendro.KindClient, 1, slog.String("server.address", "bank")))
	c.Time = c.Add(maxWait)
	call := c.span("GET", dendro.KindClient, 1, slog.String("server.address", "mail"))
	c.count("shop", call)
	c.Time = c.Add(1)
	again := c.restored(t, Options{})
	again.count("mail", below(call, again.span("GET /", dendro.KindServer, 1)))
	equal(t, "edges", again.edgesIn(t, c.all()), []string{"{service shop } -> {peer bank }: 1 spans, 0 errors"})
}

func TestSnapshotLongNames(t *testing.T) {
	c := newClocked(Options{})
	name := strings.Repeat("ä", 1000)
	c.count(name, c.span(name, dendro.KindClient, 1, slog.String("server.address", name), slog.Int64("server.port", math.MaxInt64)))
	c.Time = c.Add(maxWait + 1)
	want := c.answers(t, noon)
	same(t, "restored", c.restored(t, Options{}).answers(t, noon), want)
}

// A snapshot of any part is damaged, and so is one of a later version, which the error names.
func TestRestoreDamaged(t *testing.T) {
	c := newClocked(Options{})
	c.count("shop", c.span("GET", dendro.KindServer, time.Second), c.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "mysql")))
	c.Time = c.Add(time.Hour)
	c.count("shop", c.span("GET", dendro.KindServer, time.Second))
	o := Options{Now: c.now}
	b := c.AppendSnapshot(nil)
	for n := range b {
		if _, err := Restore(o, b[:n:n]); err == nil {
			t.Fatalf("no error for the first %d bytes of %d", n, len(b))
		}
	}
	if _, err := Restore(o, append(slices.Clone(b), 0)); err == nil {
		t.Error("no error for bytes after the end")
	}
	b[0]++
	if _, err := Restore(o, b); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a later version: %v", err)
	}
}

// snapshotOf returns a snapshot of one operation, with points of the hour of noon.
func snapshotOf(points []byte) []byte {
	b := []byte{snapshotVersion, 0, 0, 0, 0, 0, 1, 1, 's', 1, 'n', 0, 1}
	b = appendText(binary.AppendUvarint(b, uint64(noon.Unix()/3600)), points)
	return append(b, 0, 0)
}

// Points that the reader could not read are refused.
func TestRestoreChecksPoints(t *testing.T) {
	for _, test := range []struct {
		name   string
		points []byte
		ok     bool
	}{
		{"a point", []byte{59, 2, 0, 8, 1, 1}, true},
		{"without durations", []byte{0, 2, 0, 0, 0}, true},
		{"the largest bucket", []byte{0, 2, 0, 0xf8, 3, 1, 1}, true},
		{"a gap", []byte{0, 4, 0, 8, 3, 1, 0, 0, 1}, true},
		{"more errors than spans", []byte{0, 2, 2, 8, 1, 1}, false},
		{"minute 60", []byte{60, 2, 0, 8, 1, 1}, false},
		{"a bucket that is too large", []byte{0, 2, 0, 0xf9, 3, 1, 1}, false},
		{"too many buckets", []byte{0, 2, 0, 0xf8, 3, 2, 1, 1}, false},
		{"a number of buckets that overflows", []byte{0, 2, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1}, false},
		{"a gap beyond the end", []byte{0, 4, 0, 8, 3, 1, 0, 2}, false},
		{"a gap that overflows", []byte{0, 4, 0, 8, 3, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1}, false},
		{"a part of a point", []byte{0, 2, 0, 8, 1}, false},
		{"a number that is too long", []byte{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0, 8, 1, 1}, false},
	} {
		got, err := Restore(Options{Now: func() time.Time { return noon.Add(time.Hour) }}, snapshotOf(test.points))
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil {
			in := &clocked{Table: got, Time: noon.Add(time.Hour)}
			equal(t, test.name, len(in.answers(t, noon)), 3) // of each step
		}
	}
}

// Whatever a snapshot says, what is restored of it can be read, counted on and saved again.
func FuzzRestore(f *testing.F) {
	c := newClocked(Options{})
	for range 3 {
		c.count("shop", failed(c.span("GET", dendro.KindServer, time.Second)), c.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "mysql")))
		f.Add(c.AppendSnapshot(nil), c.Unix())
		c.Time = c.Add(time.Hour)
	}
	f.Add(snapshotOf([]byte{1, 4, 0, 8, 3, 1, 0, 0, 1}), noon.Unix())
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		c := &clocked{Time: time.Unix(now%(1<<33), 0)} // until the year 2242
		o := Options{MaxBytes: 1, Now: func() time.Time { return c.Time }}
		var err error
		if c.Table, err = Restore(o, b); err != nil {
			return
		}
		for _, in := range []*clocked{c, c.restored(t, o)} {
			for range 2 {
				w := in.all()
				w.Step = time.Hour
				if err := in.Operations(t.Context(), w, func(*collector.Operation) bool { return true }); err != nil {
					t.Fatal(err)
				}
				in.edgesIn(t, w)
				in.Stats()
				in.count("shop", in.span("GET", dendro.KindServer, 1))
				in.Time = in.Add(time.Hour)
			}
		}
	})
}

func BenchmarkAppendSnapshot(b *testing.B) {
	c := newClocked(Options{})
	c.busy(24, 200)
	b.Logf("%.1f MiB", float64(c.hours)/(1<<20))
	var buffer []byte
	spans := make([]*dendro.SpanData, 200)
	for op := range spans {
		spans[op] = c.span(fmt.Sprint("GET /", op), dendro.KindServer, time.Millisecond)
	}
	for b.Loop() {
		b.StopTimer()
		c.count("shop", spans...) // a cell of each
		b.StartTimer()
		buffer = c.AppendSnapshot(buffer[:0])
	}
	b.SetBytes(int64(len(buffer)))
}

func BenchmarkRestore(b *testing.B) {
	c := newClocked(Options{})
	c.busy(24, 200)
	b.Logf("%.1f MiB", float64(c.hours)/(1<<20))
	snapshot := c.AppendSnapshot(nil)
	b.SetBytes(int64(len(snapshot)))
	for b.Loop() {
		if _, err := Restore(Options{Now: c.now}, snapshot); err != nil {
			b.Fatal(err)
		}
	}
}
