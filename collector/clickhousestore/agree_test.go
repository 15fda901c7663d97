package clickhousestore

import (
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
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// both are a store in ClickHouse and one in memory with the same spans.
type both struct {
	memory *memory.Store
	store  *Store
}

func openBoth(t *testing.T, batches ...*dendro.Batch) both {
	t.Helper()
	b := both{memory.New(memory.Options{}), open(t, testkit.ClickHouseDatabase(t), Options{})}
	testkit.NoError(t, b.store.Write(t.Context(), batches))
	for _, batch := range batches {
		testkit.NoError(t, b.memory.Collect(batch))
	}
	return b
}

// agree compares what ask returns about the two.
func (b both) agree(t *testing.T, what string, ask func(collector.Reader) (any, traceql.Stats, error)) {
	t.Helper()
	answer := func(r collector.Reader) string {
		got, _, err := ask(r)
		return fmt.Sprintf("%v, error %v", got, err)
	}
	if want, got := answer(b.memory), answer(b.store); got != want {
		const most = 2000
		t.Errorf("%s\n got %.*s\nwant %.*s", what, most, got, most, want)
	}
}

// found compares the numbers of traces that a query finds.
func (b both) found(t *testing.T, query string, o traceql.SearchOptions) {
	t.Helper()
	q, err := traceql.Parse(query)
	testkit.NoError(t, err)
	b.agree(t, query, func(r collector.Reader) (any, traceql.Stats, error) {
		results, stats, err := q.Search(t.Context(), r, o)
		var ids []string
		for _, r := range results {
			ids = append(ids, r.TraceID.String())
		}
		return ids, stats, err
	})
}

func (b both) metrics(t *testing.T, query string, o traceql.Range) {
	t.Helper()
	q, err := traceql.Parse(query)
	testkit.NoError(t, err)
	b.agree(t, query, func(r collector.Reader) (any, traceql.Stats, error) {
		samples, stats, err := q.Metrics(t.Context(), r, o)
		var series []string
		for _, s := range samples.Series {
			text := ""
			for _, l := range s.Labels {
				text += l.Name + "=" + l.Value.String() + " "
			}
			for _, v := range s.Values {
				text += fmt.Sprintf(" %.6g", v+0) // sums, and which zero is the least, depend on the order
			}
			series = append(series, text)
		}
		slices.Sort(series)
		return strings.Join(series, "\n"), stats, err
	})
}

func (b both) values(t *testing.T, query, field string) {
	t.Helper()
	q, err := traceql.Parse(query)
	testkit.NoError(t, err)
	f, err := traceql.ParseField(field)
	testkit.NoError(t, err)
	b.agree(t, field+" of "+query, func(r collector.Reader) (any, traceql.Stats, error) {
		values, stats, err := q.Values(t.Context(), r, f, traceql.TagOptions{})
		var texts []string
		for _, v := range values {
			texts = append(texts, v.String())
		}
		slices.Sort(texts) // those that have no order
		return texts, stats, err
	})
}

func (b both) keys(t *testing.T, scope string) {
	t.Helper()
	b.agree(t, "keys of "+scope, func(r collector.Reader) (any, traceql.Stats, error) {
		keys, stats, err := traceql.All().Keys(t.Context(), r, traceql.TagOptions{Scope: scope})
		return keys, stats, err
	})
}

// lasting returns a span that takes some time.
func lasting(trace, id int, start time.Time, d time.Duration, attrs ...slog.Attr) *dendro.SpanData {
	s := spanAt(trace, id, "x", start)
	s.End, s.Attributes = s.Start+int64(d), attrs
	return s
}

// Elements of arrays in arrays are elements, and only arrays that have members have numbered ones.
func TestNested(t *testing.T) {
	list := func(of ...any) slog.Value {
		out := make([]slog.Value, len(of))
		for i := range of {
			out[i] = slog.AnyValue(of[i])
		}
		return slog.AnyValue(out)
	}
	object := dendro.KeyValues{slog.String("b", "a")}
	now := time.Now()
	var spans []*dendro.SpanData
	for i, v := range []slog.Value{
		list([]string{"a"}), list(list("a")), list(list(list("a", 5), "b")), list(object), list(object, "a"), list(list(object)), list("a", "b"), list(math.NaN(), nil, []byte("a")),
		slog.AnyValue(dendro.KeyValues{slog.Attr{Key: "b", Value: list(list("a"))}}),
	} {
		spans = append(spans, lasting(i+1, 1, now, time.Second, slog.Attr{Key: "a", Value: v}))
	}
	b := openBoth(t, ofService("shop", spans...))
	for _, field := range []string{"span.a", ".a", "span.a.b", "span.a.0", "span.a.0.b", "span.a.0.0.b", "span.a.1"} {
		for _, comparison := range []string{` = "a"`, ` =~ "a"`, ` = 5`, ` != "a"`, ` != nil`} {
			b.found(t, "{ "+field+comparison+" }", traceql.SearchOptions{})
		}
		b.values(t, "{}", field)
	}
	keys, _, err := traceql.All().Keys(t.Context(), b.store, traceql.TagOptions{Scope: "span"})
	testkit.NoError(t, err)
	testkit.Equal(t, "keys", keys["span"], []string{"a", "a.0", "a.0.0", "a.0.0.b", "a.0.b", "a.1", "a.b"})
}

func TestKeys(t *testing.T) {
	now := time.Now()
	ahead := lasting(2, 1, now.Add(72*time.Hour), time.Second, slog.Int("ahead", 1))
	of := lasting(1, 1, now, time.Second, slog.Any("list", []slog.Value{slog.StringValue("a"), slog.IntValue(1)}))
	of.Scope = &dendro.Scope{Name: "lib", Attributes: []slog.Attr{slog.String("language", "go")}}
	of.Events = []dendro.Event{{Name: "retry", Time: of.Start, Duration: time.Second, Attributes: []slog.Attr{slog.Int("attempt", 1)}}}
	of.Links = []dendro.Link{{Attributes: []slog.Attr{slog.String("why", "batch")}}}
	b := openBoth(t, ofService("shop", of, ahead))
	for _, scope := range []string{"", "span", "resource", "event", "link", "instrumentation", "absent"} {
		b.keys(t, scope)
	}
	b.values(t, "{}", "span.list")
}

// A service may have a name that is not a text.
func TestOddService(t *testing.T) {
	now := time.Now()
	var batches []*dendro.Batch
	for i, v := range []any{"shop", "5", 5, 5.5, 1e6, math.NaN(), true, "true", "", nil, []string{"a"}, []string{}, []int64{5}, []byte("a"), dendro.KeyValues{slog.Int("x", 1)}} {
		batches = append(batches, &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.Any("service.name", v)}}, Spans: []*dendro.SpanData{lasting(i+1, 1, now, time.Second)}})
	}
	batches = append(batches, &dendro.Batch{Spans: []*dendro.SpanData{lasting(99, 1, now, time.Second)}})
	b := openBoth(t, batches...)
	b.values(t, "{}", "resource.service.name")
	o := traceql.Range{Start: now.Add(-time.Hour), End: now.Add(time.Hour), Step: 2 * time.Hour}
	for _, condition := range []string{"{}", `{ resource.service.name = 5 }`, `{ resource.service.name = "5" }`, `{ resource.service.name = nil }`, `{ resource.service.name != "shop" }`} {
		b.metrics(t, condition+" | count_over_time() by(resource.service.name)", o)
	}
}

// A span that ends before it starts takes no time.
func TestShortestDurations(t *testing.T) {
	now := time.Now()
	var spans []*dendro.SpanData
	for i, d := range []time.Duration{-time.Second, 0, 1, time.Millisecond - 1, time.Millisecond, time.Millisecond + 1, time.Second} {
		spans = append(spans, lasting(i+1, 1, now, d))
	}
	b := openBoth(t, ofService("shop", spans...))
	o := traceql.Range{Start: now.Add(-time.Hour), End: now.Add(time.Hour), Step: 2 * time.Hour}
	for _, condition := range []string{"duration > 1ms", "duration >= 1ms", "1ms < duration", "1ms >= duration", "duration > 1000000.5", "duration > 0", "duration >= 0", "duration < 0s", "duration = 0s",
		"duration > 1ms && duration >= 1ms && name = `x`", "duration > 1ms && duration < 2ms", "duration > 1ms || duration = 0s", "!(duration > 1ms)"} {
		for _, function := range []string{"count_over_time()", "count_over_time() by(duration)", "min_over_time(duration)", "sum_over_time(duration)", "quantile_over_time(duration, .5)", "histogram_over_time(duration)"} {
			b.metrics(t, "{ "+condition+" } | "+function, o)
		}
		b.found(t, "{ "+condition+" }", traceql.SearchOptions{})
		b.values(t, "{ "+condition+" }", "duration")
	}
	b.values(t, "{}", "duration")
}

// random makes spans and queries of few keys and values, so that many agree.
type random struct{ *rand.Rand }

var randomKeys = []string{"a", "b", "a.b", "a.0", "http.status"}

func one[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

// value returns a value, with lists and members down to a depth.
func (r random) value(depth int) slog.Value {
	simple := func() any {
		return one[any](r, "", "a", "5", "true", "1.5", "200", 0, 1, 5, -3, 200, 1<<60, 0.0, 1.5, 5.0, math.Copysign(0, -1), 1e300, math.Inf(1), 1e-7, true, false, nil)
	}
	if depth == 0 {
		return slog.AnyValue(simple())
	}
	return slog.AnyValue(one[any](r, simple(), simple(), simple(),
		[]string{"a", "5"}[:r.IntN(3)], []int64{5, 1}[:r.IntN(3)], []float64{.5}, []bool{true},
		[]slog.Value{r.value(depth - 1), slog.StringValue("a")},
		dendro.KeyValues{{Key: "b", Value: r.value(depth - 1)}, {Key: "0", Value: r.value(depth - 1)}}))
}

func (r random) attrs() (out []slog.Attr) {
	for _, i := range r.Perm(len(randomKeys))[:r.IntN(4)] {
		out = append(out, slog.Attr{Key: randomKeys[i], Value: r.value(2)})
	}
	return out
}

func (r random) batches(start time.Time) (out []*dendro.Batch) {
	scopes := []*dendro.Scope{nil, {Name: "lib"}, {Name: "lib", Version: "1", Attributes: []slog.Attr{slog.Int("scoped", 1)}}}
	for n := range 12 {
		b := &dendro.Batch{Resource: &dendro.Resource{Attributes: r.attrs()}}
		if r.IntN(6) > 0 {
			b.Resource.Attributes = append(b.Resource.Attributes, slog.Any("service.name", one[any](r, "shop", "shop", "mail", "5", "", 5, true)))
		}
		for i := range 6 {
			d := one(r, -5, 0, 1, 1000, time.Second, time.Second+1, 500*time.Millisecond, time.Duration(r.Int64N(1e10)))
			s := lasting(1+r.IntN(15), n*6+i+1, start.Add(time.Duration(r.Int64N(int64(time.Hour)))), d, r.attrs()...)
			s.Name, s.Kind, s.Status.Code, s.Scope = one(r, "x", "y", ""), dendro.Kind(r.IntN(6)), dendro.StatusCode(r.IntN(3)), one(r, scopes...)
			if r.IntN(4) == 0 {
				s.Events = []dendro.Event{{Name: "event", Time: s.Start, Attributes: r.attrs()}}
				s.Links = []dendro.Link{{Attributes: r.attrs()}}
			}
			b.Spans = append(b.Spans, s)
		}
		out = append(out, b)
	}
	return out
}

func (r random) field() string {
	key := one(r, randomKeys...)
	return one(r, "span."+key, "span."+key, "."+key, "resource."+key, "resource.service.name", "name", "kind", "status", "duration", "instrumentation:name", "instrumentation:version",
		"parent.a", "instrumentation.scoped", "event.a", "link.a")
}

func (r random) condition(depth int) string {
	switch n := r.IntN(6); {
	case depth > 0 && n < 2:
		return "(" + r.condition(depth-1) + one(r, " && ", " || ") + r.condition(depth-1) + ")"
	case n == 2:
		return r.field() + one(r, " =~ ", " !~ ") + one(r, `"a"`, `"5"`, `"200"`, `"true"`, `"1.5"`, `".*"`, `"a|5"`, `"s.*"`, `"0"`, `"-0"`)
	case n == 3:
		return "duration" + one(r, " > ", " >= ", " < ") + one(r, "0", "1s", "500ms", "1us")
	}
	return r.field() + one(r, " = ", " != ", " > ", " <= ") + one(r, `"a"`, `"5"`, "5", "1.5", "true", "nil", "1s", "error", "server", `""`, "0", "200", `"true"`, `"x"`, `"shop"`)
}

// valid returns a query that can be parsed: kinds are not compared with numbers, for example.
func (r random) valid(query func() string) string {
	for {
		text := query()
		if _, err := traceql.Parse(text); err == nil {
			return text
		}
	}
}

// What ClickHouse answers to random queries is what the store in memory does.
func TestAgree(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of ClickHouse, which is another process")
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	for range 2 {
		start := time.Now().Truncate(time.Hour).Add(-3 * time.Hour)
		b := openBoth(t, r.batches(start)...)
		for range 30 {
			query := r.valid(func() string { return one(r, "{}", "{ "+r.condition(1)+" }", "{ "+r.condition(2)+" }") })
			b.values(t, query, r.field())
			b.found(t, r.valid(func() string { return query + one(r, "", " && {"+r.condition(1)+"}", " >> {}") }), traceql.SearchOptions{Limit: 100})
			b.metrics(t, r.valid(func() string {
				of := "(" + r.field() + one(r, ")", ")", ", .5, .9)")
				return query + " | " + one(r, "rate()", one(r, "min", "max", "sum", "avg", "quantile")+"_over_time"+of, "histogram_over_time"+of) +
					one(r, "", " by("+r.field()+")", " by("+r.field()+", "+r.field()+")")
			}), traceql.Range{
				Start: start.Add(-time.Duration(r.IntN(100)) * time.Second), End: start.Add(time.Duration(1+r.IntN(4000)) * time.Second),
				Step: one(r, time.Minute, 7*time.Minute, time.Hour, 3*time.Hour),
			})
		}
	}
}
