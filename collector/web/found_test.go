package web

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func foundTraces() (out []traceql.Result) {
	for i := range 5 {
		var r traceql.Result
		r.TraceID, r.Start, r.Duration = dendro.TraceID{byte(i + 1)}, int64(i)*1e9, time.Duration(1)<<(10*i)
		r.RootService, r.RootName = "shop", fmt.Sprint("GET /", i%2)
		r.Services = []collector.ServiceSummary{{Service: "shop"}}
		if i == 3 {
			r.Errors = 1
			r.Services = append(r.Services, collector.ServiceSummary{Service: "bank"})
		}
		out = append(out, r)
	}
	return out
}

func TestScatter(t *testing.T) {
	s := newScatter(foundTraces())
	testkit.Equal(t, "first", fmt.Sprint(s.Points[0].X, s.Points[0].Y, s.Points[0].Failed), "0.00%99.18%false")
	testkit.Equal(t, "failed", fmt.Sprint(s.Points[3].X, s.Points[3].Failed, s.Points[3].Title), "75.00%trueshop GET /1, 1.07 s")
	testkit.Equal(t, "last", fmt.Sprint(s.Points[4].X, s.Points[4].Y), "100.00%0.82%")
	testkit.Equal(t, "two traces", newScatter(foundTraces()[:2]) == nil, true)
	same := foundTraces()
	for i := range same {
		same[i].Start, same[i].Duration = 7, 0
	}
	testkit.Equal(t, "all the same", fmt.Sprint(newScatter(same).Points[2].X, newScatter(same).Points[2].Y), "50%50.00%")
}

// facetText returns facets as text, with what their links change.
func facetText(t *testing.T, facets []facet) string {
	t.Helper()
	var out strings.Builder
	for _, f := range facets {
		out.WriteString(f.Title + ":")
		for _, v := range f.Values {
			q, err := url.ParseQuery(v.Query[1:])
			testkit.NoError(t, err)
			changed := q.Get("q")
			if f.Title == "Duration" {
				changed = q.Get("minDuration")
			}
			fmt.Fprintf(&out, " %s %d %s", v.Text, v.Count, changed)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func TestFacets(t *testing.T) {
	text := func(form url.Values) string { return facetText(t, facetsOf(foundTraces(), newTally(1), form)) }
	const durations = "Duration: ≥ 1ms 3 1ms ≥ 1s 2 1s ≥ 10s 1 10s\n"
	testkit.Equal(t, "all", text(url.Values{"limit": {"50"}}), "Services: bank 1 { resource.service.name = \"bank\" }\n"+
		"Operations: GET /0 3 { rootName = \"GET /0\" } GET /1 2 { rootName = \"GET /1\" }\n"+
		"Status: with errors 1 { status = error }\n"+durations)
	// The conditions of the query, however they are written, are left out.
	const query = `{ resource.service.name = "bank" } && { status = error } && `
	testkit.Equal(t, "added to a query", text(url.Values{"q": {`({resource.service.name="bank"}) && { status = error }`}}),
		"Operations: GET /0 3 "+query+"{ rootName = \"GET /0\" } GET /1 2 "+query+"{ rootName = \"GET /1\" }\n"+durations)
	testkit.Equal(t, "with a pipeline", strings.Contains(text(url.Values{"q": {"{ } | count() > 1"}}), "({ } | count() > 1) && { status = error }"), true)
	testkit.Equal(t, "none", len(facetsOf(nil, newTally(1), nil)), 0)
}

func TestSlowest(t *testing.T) {
	var traces []traceql.Result
	for i := range 25 {
		traces = append(traces, traceql.Result{Summary: collector.Summary{Duration: time.Duration(i) * 123_456_789}})
	}
	testkit.Equal(t, "of 25", slowest(traces), 2830*time.Millisecond) // 23 × 123.456789 ms
	testkit.Equal(t, "of one", slowest(traces[1:2]), 123*time.Millisecond)
	testkit.Equal(t, "of nothing", slowest(traces[:1]), time.Duration(0))
}

// Of the attributes, those that tell traces apart become facets.
func TestFacetsOfAttributes(t *testing.T) {
	const traces = 12
	var found []traceql.Result
	counts := newTally(maxFacetSplit)
	for n := range traces {
		found = append(found, traceql.Result{})
		s := &collector.Span{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", fmt.Sprint("service", n%2)), slog.String("region", []string{"eu", "us"}[n/6])}}}
		s.Attributes = []slog.Attr{
			slog.String("same", "everywhere"), slog.Int("id", n), slog.Int("tenth", n/10), slog.Bool("uneven", n%2 > 0), slog.Bool("odd", n%2 > 0),
			slog.String("long", fmt.Sprint(n%3, strings.Repeat("x", maxTallyText))), slog.Any("list", []string{"a"}), slog.String("partly long", fmt.Sprint(n%2, strings.Repeat("x", n/6*maxTallyText))), slog.String("odd key", `a"b`),
		}
		if n > 8 {
			s.Attributes = s.Attributes[:8]
		}
		for range 3 { // a trace counts once
			counts.attributes(s, 0, n)
		}
	}
	testkit.Equal(t, "facets", facetText(t, facetsOf(found, counts, nil)),
		"odd: false 6 { span.odd = false } true 6 { span.odd = true }\n"+
			"region: eu 6 { resource.region = \"eu\" } us 6 { resource.region = \"us\" }\n"+
			"tenth: 0 10 { span.tenth = 0 } 1 2 { span.tenth = 1 }\n")
}

// However many keys and values there are, little is kept.
func TestTallyBounds(t *testing.T) {
	counts := newTally(1000)
	for n := range 200_000 {
		s := &collector.Span{Resource: &dendro.Resource{}}
		s.Attributes = []slog.Attr{slog.Int(fmt.Sprint("key ", n%1000), n), slog.String(strings.Repeat("k", n%500), "v")}
		counts.attributes(s, 0, n)
	}
	kept := 0
	for _, f := range counts.fields {
		kept += len(f.values)
	}
	testkit.Equal(t, "fields", len(counts.fields), maxTallyFields)
	testkit.Equal(t, "counted", kept, counts.values)
	if kept > maxTallyValues || !counts.cut {
		t.Errorf("%d values are kept", kept)
	}
}

func TestConditions(t *testing.T) {
	form := url.Values{"q": {`{ .a = 1 } && { .b = 2 } && { .c = 3 }`}, "end": {"1700000000"}, "maxDuration": {"5ms"}}
	s, err := parseSearch(form)
	testkit.NoError(t, err)
	var got []string
	for _, c := range conditionsOf(form, s) {
		q, err := url.ParseQuery(c.Without[1:])
		testkit.NoError(t, err)
		got = append(got, c.Text+" | "+q.Get("q")+" "+q.Get("end")+" "+q.Get("maxDuration"))
	}
	const all = "{ .a = 1 } && { .b = 2 } && { .c = 3 }"
	testkit.Equal(t, "conditions", strings.Join(got, "\n"), "{ .a = 1 } | { .b = 2 } && { .c = 3 } 1700000000 5ms\n"+
		"{ .b = 2 } | { .a = 1 } && { .c = 3 } 1700000000 5ms\n"+
		"{ .c = 3 } | { .a = 1 } && { .b = 2 } 1700000000 5ms\n"+
		"to | "+all+"  5ms\n≤ 5ms | "+all+" 1700000000 ")
	one := url.Values{"q": {"{ .a = 1 }"}}
	s, err = parseSearch(one)
	testkit.NoError(t, err)
	testkit.Equal(t, "without the last one it is still the list", conditionsOf(one, s)[0].Without, "?limit=50")
}
