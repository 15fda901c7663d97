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

// compared compares two groups of the spans of traces.
func compared(t *testing.T, traces []*collector.Trace, a, b string, split time.Time) groupsPage {
	t.Helper()
	p := groupsPage{Split: split}
	c := groupCounter{page: &p, tally: newTally(maxGroupValues)}
	var err error
	c.a, err = parseSearch(url.Values{"q": {a}})
	testkit.NoError(t, err)
	c.b, err = parseSearch(url.Values{"q": {b}})
	testkit.NoError(t, err)
	for _, of := range traces {
		c.add(of)
	}
	c.compare()
	return p
}

// text returns fields with their values, in the order of the page.
func (p groupsPage) text() string {
	var out []string
	for _, f := range p.Fields {
		out = append(out, strings.Join(append([]string{f.Name}, f.Also...), "+"))
		for _, v := range f.Values {
			out = append(out, fmt.Sprintf(" %s %.0f/%.0f %s", v.Text, 100*v.A, 100*v.B, v.Points()))
		}
	}
	return strings.Join(out, "\n")
}

// Requests are slow if they are of version 2, most of all in region eu.
func slowRequests() (out []*collector.Trace) {
	for n := range 400 {
		version, region := 1+n%2, []string{"eu", "us", "us"}[n%3]
		s := tested(1, 0, "GET /", int64(1000*n), int64(1000*n+10))
		if version == 2 && (region == "eu" || n%10 == 1) {
			s.End += 1e9
		}
		s.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop"), slog.Int("service.version", version)}}
		s.Attributes = []slog.Attr{slog.String("region", region), slog.String("id", fmt.Sprint("id", n)), slog.Bool("coin", n/4%2 == 0), slog.String("same", "x"), slog.Int("thread.id", 10-version)}
		child := tested(2, 1, "render", int64(1000*n+1), int64(1000*n+2))
		out = append(out, &collector.Trace{ID: dendro.TraceID{byte(n >> 8), byte(n), 1}, Spans: []collector.Span{s, child}})
	}
	return out
}

func TestCompareGroups(t *testing.T) {
	const requests = `{ name = "GET /" }`
	p := compared(t, slowRequests(), requests+" | { duration > 1s }", requests, time.Time{})
	testkit.Equal(t, "spans", fmt.Sprint(p.A.Spans, p.B.Spans, p.A.P50() > time.Second, p.B.P90() < time.Second), "94 306 true true")
	// Neither the id, of which each is different, nor what is the same, nor chance is shown.
	testkit.Equal(t, "fields", p.text(), "resource.service.version\n 2 100/35 65.4\n 1 0/65 −65.4\nspan.region\n eu 71/22 49.4\n us 29/78 −49.4")
	link, err := url.ParseQuery(p.Fields[1].Values[0].Query[1:])
	testkit.NoError(t, err)
	testkit.Equal(t, "link to the group with more", link.Get("q"), requests+` | { duration > 1s } | { span.region = "eu" }`)
	link, err = url.ParseQuery(p.Fields[1].Values[1].Query[1:])
	testkit.NoError(t, err)
	testkit.Equal(t, "link to the other", link.Get("q"), requests+` | { span.region = "us" }`)

	// Without a second query, all other spans.
	p = compared(t, slowRequests(), `{ name = "render" }`, "", time.Time{})
	testkit.Equal(t, "all others", fmt.Sprint(p.A.Spans, p.B.Spans), "400 400")
	testkit.Equal(t, "a field that the query names is left out", strings.Contains(p.text(), "name\n"), false)

	// The newer half against the older one.
	all := slowRequests()
	p = compared(t, all, requests, requests, time.Unix(0, all[300].Start()))
	testkit.Equal(t, "newer and older", strings.TrimSpace(fmt.Sprint(p.A.Spans, " ", p.B.Spans, " ", p.text())), "100 300")

	testkit.Equal(t, "links", p.A.Query+" "+p.B.Query, fmt.Sprintf("?q=%s&start=%[2]d ?end=%[3]d&q=%[1]s", url.QueryEscape(requests), all[300].Start()/1e9, all[300].Start()/1e9-1))

	// Chance.
	rare := slowRequests()
	for _, of := range rare[:2] {
		of.Spans[0].Attributes = append(of.Spans[0].Attributes, slog.String("rare", "x"))
	}
	p = compared(t, rare, `{ span.id =~ "id[01]" }`, requests, time.Time{})
	testkit.Equal(t, "a value of few spans", strings.TrimSpace(fmt.Sprint(p.A.Spans, " ", p.B.Spans, " ", p.text())), "2 398")
	p = compared(t, all[:6], requests+" | { duration > 1s }", requests, time.Time{})
	testkit.Equal(t, "too few to tell", strings.TrimSpace(fmt.Sprint(p.A.Spans, " ", p.B.Spans, " ", p.text())), "2 4")
	p = compared(t, all, "{ name = `none` }", requests, time.Time{})
	testkit.Equal(t, "nothing in a group", strings.TrimSpace(fmt.Sprint(p.A.Spans, " ", p.B.Spans, " ", p.text())), "0 400")
}

// Fields whose values are on the same spans are shown once.
func TestCompareGroupsMerged(t *testing.T) {
	all := slowRequests()
	for _, of := range all {
		s := &of.Spans[0]
		s.Attributes = append(s.Attributes, slog.String("zone", "in "+s.Attributes[0].Value.String()))
	}
	p := compared(t, all, `{ duration > 1s }`, `{ name = "GET /" }`, time.Time{})
	testkit.Equal(t, "fields", strings.Contains(p.text(), "span.region+span.zone\n eu 71/22 49.4"), true)
}

func TestCommonHints(t *testing.T) {
	hints := func(query string) collector.Hints {
		q, err := traceql.Parse(query)
		testkit.NoError(t, err)
		return q.Scan().Hints
	}
	for _, c := range []struct{ a, b, want string }{
		{`{ resource.service.name = "shop" && .x = 1 } | { duration > 1s }`, `{ resource.service.name = "shop" }`, `{ resource.service.name = "shop" }`},
		{`{ .x = 1 && .y != 2 && name = "a" }`, `{ .x = 1 && .y != 3 && name = "b" }`, `{ .x = 1 && .y != 2 }`},
		{`{ status = error && duration > 2s }`, `{ status = error && duration > 1s }`, `{ status = error && duration > 1s }`},
		{`{ traceDuration < 2s }`, `{ traceDuration < 1s }`, `{ traceDuration < 2s }`},
		{`{ traceDuration < 2s && status = error }`, `{ }`, `{ }`},
	} {
		testkit.Equal(t, c.a+" or "+c.b, fmt.Sprintf("%+v", common(hints(c.a), hints(c.b))), fmt.Sprintf("%+v", hints(c.want)))
	}
}

func TestPresets(t *testing.T) {
	var traces []traceql.Result
	for n := range 20 {
		traces = append(traces, traceql.Result{Summary: collector.Summary{Start: int64(1000+20-n) * 1e9, Duration: time.Duration(n+1) * 10 * time.Millisecond, Errors: n % 2}})
	}
	text := func(query string, traces []traceql.Result) string {
		s, err := parseSearch(url.Values{"q": {query}, "end": {"2000"}})
		testkit.NoError(t, err)
		var out []string
		for _, c := range presets(traces, s, time.Unix(1100, 0)) {
			q, err := url.ParseQuery(c.Query[1:])
			testkit.NoError(t, err)
			out = append(out, fmt.Sprint(c.Text, ": ", q.Get("q"), " against ", q.Get("against"), " ", q.Get("start"), " ", q.Get("end"), " ", q.Get("split")))
		}
		return strings.Join(out, "\n")
	}
	testkit.Equal(t, "no query", text("", traces),
		"slow against fast: { span:parentID = nil } | { traceDuration >= 190ms } against { span:parentID = nil } 200 2000 \n"+
			"errors against none: { status = error } && { span:parentID = nil } | { span:parentID = nil } against { span:parentID = nil } 200 2000 \n"+
			"newer against older half: { span:parentID = nil } against { span:parentID = nil } 1001 2000 1011")
	testkit.Equal(t, "conditions about traces", strings.HasPrefix(text(`{ name = "a" } && { rootName = "b" } && { kind = server }`, traces),
		`slow against fast: { name = "a" } && { kind = server } | { rootName = "b" } | { traceDuration >= 190ms } against { name = "a" } && { kind = server } | { rootName = "b" } `), true)
	testkit.Equal(t, "a pipeline", strings.HasPrefix(text(`{ } | count() > 1`, traces), "slow against fast: { } | count() > 1 | { traceDuration >= 190ms }"), true)
	testkit.Equal(t, "too few", text("", traces[:9]), "")
	for i := range traces {
		traces[i].Duration, traces[i].Errors, traces[i].Start = 0, 0, 0
	}
	testkit.Equal(t, "all the same", text("", traces), "")
}
