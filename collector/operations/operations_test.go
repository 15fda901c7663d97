package operations

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// noon is the time at which tests begin.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// clocked is a table with a clock of its own.
type clocked struct {
	*Table
	time.Time
	made int // spans
}

func newClocked(o Options) *clocked {
	t := &clocked{Table: New(o), Time: noon}
	t.now = func() time.Time { return t.Time }
	return t
}

func resource(service string) *dendro.Resource {
	return &dendro.Resource{Attributes: []slog.Attr{slog.String("host.name", "h"), slog.String("service.name", service)}}
}

// span returns a span that has just ended.
func (t *clocked) span(name string, kind dendro.Kind, d time.Duration, attrs ...slog.Attr) *dendro.SpanData {
	t.made++
	s := &dendro.SpanData{Name: name, Kind: kind, Start: t.Add(-d).UnixNano(), End: t.UnixNano(), Attributes: attrs}
	s.TraceID[0] = 1
	binary.BigEndian.PutUint64(s.SpanID[:], uint64(t.made))
	return s
}

func failed(s *dendro.SpanData) *dendro.SpanData {
	s.Status.Code = dendro.StatusError
	return s
}

// below makes s a remote child of parent.
func below(parent, s *dendro.SpanData) *dendro.SpanData {
	s.ParentID, s.Remote = parent.SpanID, true
	return s
}

func (t *clocked) count(service string, spans ...*dendro.SpanData) {
	t.Shard(0).Count(resource(service), spans)
}

// all returns what t has of the last day.
func (t *clocked) all() collector.OperationScan {
	return collector.OperationScan{Start: t.Add(-24 * time.Hour), End: t.Add(time.Minute)}
}

func (t *clocked) operationsIn(tb testing.TB, w collector.OperationScan) (out []string) {
	tb.Helper()
	err := t.Operations(tb.Context(), w, func(o *collector.Operation) bool {
		text := fmt.Sprintf("%s %s %v: %v spans, %v errors", o.Service, o.Name, o.Kind, o.Total.Spans, o.Total.Errors)
		if o.Other {
			text = fmt.Sprintf("other: %v spans", o.Total.Spans)
		}
		for _, p := range o.Points {
			text += fmt.Sprint(" ", p.Spans)
		}
		if n := o.Total.Durations.Count(); n != o.Total.Spans {
			tb.Errorf("%s: %v durations", text, n)
		}
		out = append(out, text)
		return true
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func (t *clocked) edgesIn(tb testing.TB, w collector.OperationScan) (out []string) {
	tb.Helper()
	err := t.Edges(tb.Context(), w, func(e *collector.Edge) bool {
		out = append(out, fmt.Sprintf("%v -> %v: %v spans, %v errors", e.Client, e.Server, e.Total.Spans, e.Total.Errors))
		return true
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func equal(tb testing.TB, what string, got, want any) {
	tb.Helper()
	if !reflect.DeepEqual(got, want) {
		tb.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func TestOperations(t *testing.T) {
	c := newClocked(Options{})
	for range 3 {
		c.count("shop", c.span("GET /", dendro.KindServer, time.Millisecond), c.span("query", dendro.KindInternal, time.Microsecond))
		c.count("shop", failed(c.span("GET /", dendro.KindServer, time.Second)), c.span("GET /", dendro.KindInternal, time.Second))
		c.count("mail", c.span("GET /", dendro.KindServer, time.Millisecond))
		c.Time = c.Add(time.Minute)
	}
	equal(t, "operations", c.operationsIn(t, c.all()), []string{
		"mail GET / server: 3 spans, 0 errors",
		"shop GET / internal: 3 spans, 0 errors",
		"shop GET / server: 6 spans, 3 errors",
		"shop query internal: 3 spans, 0 errors",
	})
	w := collector.OperationScan{Start: noon.Add(30 * time.Second), End: noon.Add(2 * time.Minute), Step: time.Second}
	equal(t, "the first two minutes", c.operationsIn(t, w), []string{
		"mail GET / server: 2 spans, 0 errors 1 1",
		"shop GET / internal: 2 spans, 0 errors 1 1",
		"shop GET / server: 4 spans, 2 errors 2 2",
		"shop query internal: 2 spans, 0 errors 1 1",
	})
	equal(t, "a minute without spans", c.operationsIn(t, collector.OperationScan{Start: noon.Add(3 * time.Minute), End: noon.Add(4 * time.Minute)}), []string(nil))
	_ = c.Operations(t.Context(), c.all(), func(o *collector.Operation) bool {
		if o.Name == "GET /" && o.Kind == dendro.KindServer && o.Service == "shop" {
			for q, want := range map[float64]time.Duration{.4: time.Millisecond, .9: time.Second} {
				if got := o.Total.Durations.Quantile(q); math.Abs(float64(got-want)) > .05*float64(want) {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
		}
		return true
	})
	w = c.all()
	w.Service, w.Name = "shop", "query"
	equal(t, "one operation", c.operationsIn(t, w), []string{"shop query internal: 3 spans, 0 errors"})
	equal(t, "size", [2]int{c.Stats().Operations, c.Stats().Edges}, [2]int{4, 0})
}

func TestStops(t *testing.T) {
	c := newClocked(Options{})
	c.count("shop", c.span("a", 0, 1), c.span("b", 0, 1))
	n := 0
	if err := c.Operations(t.Context(), c.all(), func(*collector.Operation) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("visited %d operations: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Operations(ctx, c.all(), func(*collector.Operation) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context: %v", err)
	}
}

// Spans may come late and from clocks that are ahead.
func TestClocks(t *testing.T) {
	c := newClocked(Options{})
	at := func(end time.Time) *dendro.SpanData {
		s := c.span("work", 0, 0)
		s.Start, s.End = end.UnixNano()-1, end.UnixNano()
		return s
	}
	c.count("shop", at(noon), at(noon.Add(time.Hour)), at(noon.Add(-time.Minute)), at(noon.Add(-23*time.Hour)), at(noon.Add(-25*time.Hour)), at(time.Unix(0, math.MinInt64)), at(time.Unix(0, math.MaxInt64)))
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop work internal: 5 spans, 0 errors"})
	equal(t, "now", c.operationsIn(t, collector.OperationScan{Start: noon, End: noon.Add(time.Nanosecond)}), []string{"shop work internal: 3 spans, 0 errors"})
	equal(t, "late", c.Stats().Late, uint64(2))
	c.Time = c.Add(23 * time.Hour)
	c.count("shop", at(noon.Add(10*time.Minute)), at(noon.Add(22*time.Hour)), at(c.Time))
	equal(t, "the next day", c.operationsIn(t, c.all()), []string{"shop work internal: 7 spans, 0 errors"})
	c.Time = c.Add(26 * time.Hour)
	c.count("shop", at(c.Time))
	c.Time = c.Add(time.Hour)
	for range 10 {
		c.count("shop", at(c.Time))
	}
	equal(t, "what is older than a day is gone", c.operationsIn(t, collector.OperationScan{Start: noon, End: c.Time.Add(1)}), []string{"shop work internal: 11 spans, 0 errors"})
}

// A day of 200 operations fits into 16 MiB. Each takes as much as the others.
func TestDay(t *testing.T) {
	const operations, perMinute = 20, 60 // a tenth, which has the same size for each
	c := newClocked(Options{Shards: 4})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 25 * 60 {
		for op := range operations {
			for range perMinute {
				// Durations are log-normal about 5 ms, as those of servers often are.
				s := c.span(fmt.Sprint("GET /", op), dendro.KindServer, time.Duration(5e6*math.Exp(.6*rng.NormFloat64())))
				c.Shard(rng.IntN(4)).Count(shop, []*dendro.SpanData{s})
			}
		}
		c.Time = c.Add(time.Minute)
	}
	st := c.Stats()
	t.Logf("%d operations, %.1f MiB", st.Operations, float64(st.Bytes)/(1<<20))
	if st.Bytes > 16<<20/10 || !st.Complete.IsZero() || !st.ByMinute.IsZero() || st.Operations != operations {
		t.Errorf("%+v", st)
	}
	got := c.operationsIn(t, collector.OperationScan{Start: c.Time.Add(-24 * time.Hour), End: c.Time})
	want := fmt.Sprintf("shop GET /0 server: %d spans, 0 errors", 24*60*perMinute)
	if len(got) != operations || got[0] != want {
		t.Errorf("%d operations, the first is %s, want %s", len(got), got[0], want)
	}
}

var shop = resource("shop")

// More operations, more traffic or less memory take resolution, and then the oldest hours.
func TestBound(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	rng := rand.New(rand.NewPCG(1, 2))
	for minutes := range 30 * 60 {
		for op := range 100 {
			for range 5 {
				s := c.span(fmt.Sprint("GET /", op), dendro.Kind(rng.IntN(6)), time.Duration(rng.Uint64()>>(1+rng.IntN(63))), slog.String("server.address", fmt.Sprint("host ", op)))
				c.Shard(0).Count(shop, []*dendro.SpanData{s})
			}
		}
		c.Time = c.Add(time.Minute)
		if st := c.Stats(); st.Bytes > st.MaxBytes {
			t.Fatalf("minute %d: %d bytes of %d", minutes, st.Bytes, st.MaxBytes)
		}
	}
	st := c.Stats()
	if st.Complete.IsZero() || st.ByMinute.Before(st.Complete) || st.OtherSpans == 0 {
		t.Errorf("%+v", st)
	}
	last := collector.OperationScan{Start: c.Time.Add(-10 * time.Minute), End: c.Time}
	sum := 0.0
	if err := c.Operations(t.Context(), last, func(o *collector.Operation) bool { sum += o.Total.Spans; return true }); err != nil {
		t.Fatal(err)
	}
	equal(t, "spans of the last ten minutes", sum, 10*500.0)
}

func TestOther(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	most := c.maxSeries
	for n := range most + 3 {
		c.count("shop", c.span(fmt.Sprint("GET /", n), dendro.KindServer, 1), c.span(fmt.Sprint("GET /", n), dendro.KindClient, 1, slog.String("db.system.name", fmt.Sprint("db", n))))
	}
	got := c.operationsIn(t, c.all())
	equal(t, "number", len(got), most+1)
	equal(t, "other", got[0], fmt.Sprintf("other: %d spans", most+6))
	c.Time = c.Add(26 * time.Hour)
	c.count("shop", c.span("a new day", 0, 1))
	for range 100 {
		c.Time = c.Add(time.Minute)
		c.count("shop", c.span("a new day", 0, 1))
	}
	equal(t, "the next day", c.operationsIn(t, collector.OperationScan{Start: c.Time.Add(-10 * time.Minute), End: c.Time}), []string{"shop a new day internal: 10 spans, 0 errors"})
}

func TestEdges(t *testing.T) {
	address := []slog.Attr{slog.String("server.address", "mail.local"), slog.Int("server.port", 80)}
	for _, test := range []struct {
		name  string
		spans func(c *clocked)
		want  []string
	}{
		{"client first", func(c *clocked) {
			call := c.span("GET", dendro.KindClient, time.Second, address...)
			c.count("shop", call)
			c.count("mail", below(call, c.span("GET /", dendro.KindServer, time.Millisecond)))
		}, []string{"{service shop } -> {service mail }: 1 spans, 0 errors"}},
		{"server first and failed", func(c *clocked) {
			call := c.span("GET", dendro.KindClient, time.Second, address...)
			c.count("mail", failed(below(call, c.span("GET /", dendro.KindServer, time.Millisecond))))
			c.count("shop", call)
		}, []string{"{service shop } -> {service mail }: 1 spans, 1 errors"}},
		{"each side comes twice", func(c *clocked) {
			call := c.span("GET", dendro.KindClient, time.Second)
			for range 2 {
				c.count("shop", call)
				c.count("mail", below(call, c.span("GET /", dendro.KindServer, time.Millisecond)))
			}
		}, []string{"{service shop } -> {service mail }: 1 spans, 0 errors"}},
		{"a server without spans", func(c *clocked) {
			c.count("shop", c.span("GET", dendro.KindClient, time.Second, address...))
			c.count("shop", c.span("GET", dendro.KindClient, time.Second, slog.String("peer.service", "bank"), slog.String("server.address", "x")))
		}, []string{"{service shop } -> {peer bank }: 1 spans, 0 errors", "{service shop } -> {peer mail.local:80 }: 1 spans, 0 errors"}},
		{"a server that has answered before", func(c *clocked) {
			call := c.span("GET", dendro.KindClient, time.Second, address...)
			c.count("shop", call, c.span("GET", dendro.KindClient, time.Second, address...))
			c.count("mail", below(call, c.span("GET /", dendro.KindServer, time.Millisecond)))
		}, []string{"{service shop } -> {service mail }: 2 spans, 0 errors"}},
		{"a server without a client", func(c *clocked) {
			c.count("mail", below(c.span("", 0, 0), c.span("GET /", dendro.KindServer, 1)), c.span("GET /", dendro.KindServer, 1))
		}, nil},
		{"databases", func(c *clocked) {
			c.count("shop", c.span("SELECT", dendro.KindClient, 1, slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("server.address", "db")),
				failed(c.span("GET", dendro.KindClient, 1, slog.String("db.system", "redis"), slog.String("net.peer.name", "cache"))))
		}, []string{"{service shop } -> {database cache redis}: 1 spans, 1 errors", "{service shop } -> {database shop postgresql}: 1 spans, 0 errors"}},
		{"messages", func(c *clocked) {
			topic := []slog.Attr{slog.String("messaging.system", "kafka"), slog.String("messaging.destination.name", "orders")}
			c.count("shop", c.span("send", dendro.KindProducer, 1, topic...), c.span("send", dendro.KindProducer, 1))
			c.count("mail", c.span("process", dendro.KindConsumer, 1, topic...))
		}, []string{"{messaging orders kafka} -> {service mail }: 1 spans, 0 errors", "{service shop } -> {messaging orders kafka}: 1 spans, 0 errors"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClocked(Options{})
			test.spans(c)
			c.Time = c.Add(maxWait + time.Second)
			for range 5 { // calls of which nothing more is known make those before leave
				c.count("later", c.span("GET", dendro.KindClient, 1))
			}
			equal(t, "edges", c.edgesIn(t, c.all()), test.want)
		})
	}
}

// Calls that wait for too long, or for which there is no room, do not wait for ever.
func TestManyCalls(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	n := 3 * c.Shard(0).calls.max
	for range n {
		c.count("shop", c.span("GET", dendro.KindClient, time.Second, slog.String("server.address", "elsewhere")))
	}
	equal(t, "before", c.edgesIn(t, c.all()), []string{fmt.Sprintf("{service shop } -> {peer elsewhere }: %d spans, 0 errors", n-c.Shard(0).calls.max)})
	c.Time = c.Add(time.Minute)
	for range n {
		c.count("shop", c.span("GET", dendro.KindClient, time.Second))
	}
	equal(t, "after", c.edgesIn(t, c.all()), []string{fmt.Sprintf("{service shop } -> {peer elsewhere }: %d spans, 0 errors", n)})
}

// A sender cannot make a span count for as many as it likes.
func TestWeightIsBounded(t *testing.T) {
	c := newClocked(Options{})
	for range 200 {
		s := c.span("GET", dendro.KindServer, time.Second)
		s.State, _ = s.State.Set("ot", "th:ffffffffffffff")
		c.count("shop", s)
	}
	w := c.all()
	w.Service = "shop"
	for range 2 { // not sealed, and sealed
		equal(t, "operations", c.operationsIn(t, w), []string{fmt.Sprintf("shop GET server: %v spans, 0 errors", float64(200*maxWeight))})
		c.Time = c.Add(time.Minute)
		for range 3 {
			c.count("other", c.span("GET", 0, 1))
		}
	}
}

// Cells that take much memory do not drop what is sealed.
func TestLargeCells(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	for range 120 {
		c.count("shop", c.span("GET", dendro.KindServer, time.Second))
		c.Time = c.Add(time.Minute)
	}
	for n := range 5000 {
		var spans []*dendro.SpanData
		for i := range 64 { // late ones, each in a minute of its own
			s := c.span(fmt.Sprint("op ", n%10), dendro.KindInternal, 1<<62)
			s.End -= int64(time.Minute) * int64(n*64+i) % int64(20*time.Hour)
			s.Start = s.End - 1<<(i%62)
			spans = append(spans, s)
		}
		c.count("large", spans...)
		if st := c.Stats(); st.Bytes > st.MaxBytes {
			t.Fatalf("%d bytes of %d", st.Bytes, st.MaxBytes)
		}
	}
	if st := c.Stats(); st.Complete.After(c.Time) {
		t.Errorf("complete from %v, now is %v", st.Complete, c.Time)
	}
	w := collector.OperationScan{Start: c.Add(-time.Hour), End: c.Time, Service: "shop"}
	equal(t, "the last hour", c.operationsIn(t, w), []string{"shop GET server: 60 spans, 0 errors"})
}

// The clock of this machine may have been ahead.
func TestClockGoesBack(t *testing.T) {
	c := newClocked(Options{})
	c.Time = noon.Add(72 * time.Hour)
	c.count("shop", c.span("GET", dendro.KindServer, 1))
	c.Time = noon
	for range 5 {
		c.count("shop", c.span("GET", dendro.KindServer, 1))
	}
	equal(t, "operations", c.operationsIn(t, c.all()), []string{"shop GET server: 5 spans, 0 errors"})
}

func TestOddScans(t *testing.T) {
	c := newClocked(Options{})
	for range 300 {
		c.count("shop", c.span("GET", dendro.KindServer, 1))
		c.Time = c.Add(time.Minute)
	}
	for _, w := range []collector.OperationScan{
		{}, {Start: c.Time}, {Start: c.Time, End: noon}, {End: time.Unix(1<<40, 0)}, {Start: noon, End: c.Time, Step: math.MaxInt64}, {Start: noon, End: c.Time, Step: -1},
		{Start: time.Unix(-1<<40, 0), End: time.Unix(1<<40, 0), Step: time.Hour * 24 * 365 * 100},
	} {
		_ = c.operationsIn(t, w)
	}
	w := collector.OperationScan{Start: noon.Add(-50 * 365 * 24 * time.Hour), End: noon, Step: time.Minute}
	if err := c.Operations(t.Context(), w, func(*collector.Operation) bool { return true }); !errors.Is(err, collector.ErrTooManyPoints) {
		t.Errorf("fifty years by the minute: %v", err)
	}
}

// A call to a server that sends no spans is counted when it has waited, whatever comes next.
func TestQuietPeer(t *testing.T) {
	c := newClocked(Options{})
	c.count("shop", c.span("GET", dendro.KindClient, 1, slog.String("server.address", "elsewhere")))
	equal(t, "before", c.edgesIn(t, c.all()), []string(nil))
	c.Time = c.Add(maxWait + 1)
	equal(t, "after", c.edgesIn(t, c.all()), []string{"{service shop } -> {peer elsewhere }: 1 spans, 0 errors"})
}

// Behind one address there may be several services.
func TestGateway(t *testing.T) {
	c := newClocked(Options{})
	address := slog.String("server.address", "gateway")
	for _, callee := range []string{"mail", "bank"} {
		call := c.span("GET", dendro.KindClient, 1, address)
		c.count("shop", call)
		c.count(callee, below(call, c.span("GET /", dendro.KindServer, 1)))
	}
	c.count("shop", c.span("GET", dendro.KindClient, 1, address))
	c.Time = c.Add(maxWait + 1)
	equal(t, "edges", c.edgesIn(t, c.all()), []string{"{service shop } -> {peer gateway }: 1 spans, 0 errors", "{service shop } -> {service bank }: 1 spans, 0 errors", "{service shop } -> {service mail }: 1 spans, 0 errors"})
}

// Names that are too long are cut, and found.
func TestLongNames(t *testing.T) {
	c := newClocked(Options{})
	name := strings.Repeat("ä", 1000)
	c.count(name, c.span(name, dendro.KindServer, 1), c.span("", 0, 1))
	w := c.all()
	w.Service, w.Name = name, name
	equal(t, "operations", c.operationsIn(t, w), []string{fmt.Sprintf("%[1]s %[1]s server: 1 spans, 0 errors", strings.Repeat("ä", maxText/2))})
}

func TestSampled(t *testing.T) {
	c := newClocked(Options{})
	for range 10 {
		s := c.span("GET", dendro.KindClient, time.Second, slog.String("db.system.name", "mysql"))
		s.State, _ = s.State.Set("ot", "th:c") // one of four
		c.count("shop", s)
	}
	s := failed(c.span("GET", dendro.KindClient, time.Second, slog.String("db.system.name", "mysql")))
	s.State, _ = s.State.Set("ot", "th:28") // 2^8 of 2^8 - 0x28
	c.count("shop", s)
	for range 2 { // not sealed, and sealed
		got := [4]float64{}
		_ = c.Operations(t.Context(), c.all(), func(o *collector.Operation) bool {
			got[0], got[1] = o.Total.Spans, o.Total.Errors
			return true
		})
		_ = c.Edges(t.Context(), c.all(), func(e *collector.Edge) bool {
			got[2], got[3] = e.Total.Spans, e.Total.Errors
			return true
		})
		for i, want := range []float64{41.185, 1.185, 41.185, 1.185} {
			if math.Abs(got[i]-want) > .01 {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		c.Time = c.Add(time.Minute)
		c.count("other", c.span("GET", dendro.KindInternal, time.Second))
	}
}

func TestPoints(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var data []byte
		var want, got []string
		for m := range rng.IntN(5) {
			var c collector.Counts
			unit := 1.0
			if rng.IntN(2) == 0 {
				unit = 1.0 / fraction
			}
			for range rng.IntN(100) {
				n := float64(rng.IntN(1<<rng.IntN(20))) * unit
				c.Durations.AddBucket(rng.IntN(collector.MaxBucket+1)>>rng.IntN(4), n)
				c.Spans += n
			}
			c.Errors = math.Trunc(c.Spans / 3)
			data = appendPoint(data, int64(m), &c)
			want = append(want, dump(m, &c))
		}
		points(data, func(m int, c *collector.Counts) { got = append(got, dump(m, c)) })
		if !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}

func dump(minute int, c *collector.Counts) string {
	text := fmt.Sprint(minute, c.Spans, c.Errors)
	for i, n := range c.Durations.Buckets() {
		text += fmt.Sprint(" ", i, ":", n)
	}
	return text
}

// Nothing is lost or counted twice while the table is read and saved, and minutes end.
func TestConcurrent(t *testing.T) {
	const shards, batches = 4, 2000
	c := New(Options{Shards: shards})
	var clock sync.Mutex
	now := noon
	c.now = func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		now = now.Add(time.Second)
		return now
	}
	total := func() (n float64) {
		w := collector.OperationScan{Start: noon.Add(-time.Hour), End: noon.Add(23 * time.Hour)}
		if err := c.Operations(context.Background(), w, func(o *collector.Operation) bool { n += o.Total.Spans; return true }); err != nil {
			t.Error(err)
		}
		return n
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for i := range shards {
		writing.Go(func() {
			for n := range batches {
				end := c.now().UnixNano()
				s := &dendro.SpanData{Name: fmt.Sprint("op ", n%50), Start: end - 1000, End: end}
				c.Shard(i).Count(shop, []*dendro.SpanData{s})
			}
		})
	}
	reading.Go(func() {
		for last := 0.0; ; {
			n := total()
			if n < last {
				t.Errorf("%v spans after %v", n, last)
			}
			last = n
			c.Stats()
			c.AppendSnapshot(nil)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writing.Wait()
	close(done)
	reading.Wait()
	if n := total(); n != shards*batches {
		t.Errorf("%v spans, want %d", n, shards*batches)
	}
}

// In a minute, spans of known operations and edges need no memory.
func TestAllocations(t *testing.T) {
	c := newClocked(Options{})
	call := c.span("GET", dendro.KindClient, time.Second, slog.String("server.address", "mail"), slog.Int("server.port", 80))
	server := below(call, c.span("GET /", dendro.KindServer, time.Millisecond))
	query := c.span("SELECT", dendro.KindClient, time.Millisecond, slog.String("db.system.name", "mysql"), slog.String("db.namespace", "shop"))
	spans := []*dendro.SpanData{call, server, query}
	n := 0
	got := testing.AllocsPerRun(1000, func() {
		n++
		binary.BigEndian.PutUint64(call.SpanID[:], uint64(n))
		server.ParentID = call.SpanID
		c.Shard(0).Count(shop, spans)
	})
	if got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkCount(b *testing.B) {
	c := New(Options{})
	end := time.Now().UnixNano()
	root := &dendro.SpanData{Name: "GET /orders", Kind: dendro.KindServer, Start: end - 5e6, End: end}
	var spans []*dendro.SpanData
	for i := range 10 {
		spans = append(spans, &dendro.SpanData{Name: "child", Start: end - int64(i)*1e5, End: end})
	}
	spans = append(spans, root)
	for b.Loop() {
		c.Shard(0).Count(shop, spans)
	}
}

// A request of a program: a server span, a call and three queries.
func BenchmarkCountRequest(b *testing.B) {
	c := New(Options{})
	end := time.Now().UnixNano()
	var spans []*dendro.SpanData
	add := func(name string, kind dendro.Kind, attrs ...slog.Attr) {
		s := &dendro.SpanData{Name: name, Kind: kind, Start: end - 1e6, End: end, Attributes: attrs}
		s.SpanID = dendro.SpanID{1, byte(len(spans))}
		spans = append(spans, s)
	}
	add("GET", dendro.KindClient, slog.String("http.request.method", "GET"), slog.String("server.address", "stock.internal"), slog.Int("server.port", 8080), slog.String("url.full", "http://stock.internal:8080/items/7"), slog.Int("http.response.status_code", 200))
	for _, table := range []string{"orders", "items", "users"} {
		add("SELECT "+table, dendro.KindClient, slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.query.text", "SELECT * FROM "+table), slog.String("server.address", "db.internal"), slog.Int("server.port", 5432))
	}
	add("GET /orders/{id}", dendro.KindServer)
	for n := uint64(0); b.Loop(); n++ {
		for _, s := range spans {
			binary.LittleEndian.PutUint64(s.TraceID[:], n)
		}
		c.Shard(0).Count(shop, spans)
	}
}

// Cells are sealed while spans are being counted, and none is lost.
func TestSealedMeanwhile(t *testing.T) {
	c := newClocked(Options{MaxBytes: 1})
	const minutes, calls = 20, 400
	for m := range minutes {
		var spans []*dendro.SpanData
		for n := range calls {
			spans = append(spans, c.span("GET", dendro.KindClient, time.Duration(1)<<(n%60), slog.String("db.system.name", fmt.Sprint("db ", m, " ", n%40))))
		}
		c.count("shop", spans...)
		c.Time = c.Add(time.Minute)
	}
	w := c.all()
	w.Name = "GET"
	equal(t, "operations", c.operationsIn(t, w), []string{fmt.Sprintf("shop GET client: %d spans, 0 errors", minutes*calls)})
	for range 200 {
		c.Time = c.Add(time.Minute)
		c.count("shop", c.span("GET", dendro.KindInternal, 1))
	}
	sh := c.Shard(0)
	cells := 0
	for _, cell := range sh.operations {
		cells += cellBytes + cell.Durations.Bytes()
	}
	for _, cell := range sh.edges {
		cells += cellBytes + cell.Durations.Bytes()
	}
	for _, cell := range sh.sealing {
		cells += cellBytes + cell.Durations.Bytes()
	}
	equal(t, "bytes of cells", sh.bytes, cells)
}

// Durations of all lengths do not make cells larger than they may be.
func TestCellsThatGrow(t *testing.T) {
	c := newClocked(Options{})
	for _, length := range []int{10, 61} {
		for m := range 20 * 60 {
			var spans []*dendro.SpanData
			for n := range 20 {
				s := c.span(fmt.Sprint("op ", n), 0, time.Duration(1)<<length)
				s.Start, s.End = s.Start-int64(m)*int64(time.Minute), s.End-int64(m)*int64(time.Minute)
				spans = append(spans, s)
			}
			c.count("shop", spans...)
			if st := c.Stats(); st.Bytes > st.MaxBytes || c.Shard(0).bytes > 2*c.Shard(0).maxBytes {
				t.Fatalf("%d bytes of cells, %d of %d", c.Shard(0).bytes, st.Bytes, st.MaxBytes)
			}
		}
	}
}

// A span that comes late waits for the other side of its call as long as others.
func TestLateCall(t *testing.T) {
	c := newClocked(Options{})
	call := c.span("GET", dendro.KindClient, time.Second, slog.String("server.address", "bank"))
	c.Time = c.Add(maxWait + 5*time.Second)
	c.count("shop", call)
	equal(t, "before", c.edgesIn(t, c.all()), []string(nil))
	c.count("bank", below(call, c.span("GET /", dendro.KindServer, 1)))
	equal(t, "after", c.edgesIn(t, c.all()), []string{"{service shop } -> {service bank }: 1 spans, 0 errors"})
}

// What was sealed while the clock of this machine was ahead does not hide what comes later.
func TestClockGoesBackAfterSealing(t *testing.T) {
	c := newClocked(Options{})
	c.Time = noon.Add(49 * time.Hour)
	for range 3 {
		c.count("shop", c.span("GET", dendro.KindServer, 1))
		c.Time = c.Add(time.Minute)
	}
	c.Time = noon
	for range 30 {
		c.count("shop", c.span("GET", dendro.KindServer, 1))
		c.Time = c.Add(time.Minute)
	}
	w := collector.OperationScan{Start: noon, End: c.Time}
	equal(t, "operations", c.operationsIn(t, w), []string{"shop GET server: 30 spans, 0 errors"})
}
