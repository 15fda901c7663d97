package web

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// groupsPage compares two groups of spans: which values of which fields does one have more often.
type groupsPage struct {
	frame
	Windows  []choice
	Form     url.Values
	Problems []groupProblem
	A, B     spanGroup
	Split    time.Time // traces that began before are of B, and the others of A
	Unsplit  string    // link to the page without Split
	Fields   []differentField
	More     int // fields that are not shown
	Traces   int // that were read
	Cut      bool
	CutTally bool
}

// groupProblem says why a query cannot be used.
type groupProblem struct {
	Text  string
	Wrong *wrong
}

// spanGroup is a group of spans.
type spanGroup struct {
	Spans int
	Query string // of the list with its traces

	durations collector.Histogram
}

// P50 and P90 return quantiles of the durations.
func (g spanGroup) P50() time.Duration { return g.durations.Quantile(.5) }
func (g spanGroup) P90() time.Duration { return g.durations.Quantile(.9) }

// differentField has the values of a field that differ most.
type differentField struct {
	Name   string
	Also   []string // fields whose values differ in the same way: they are on the same spans
	Values []differentValue
}

type differentValue struct {
	Text       string
	Query      string  // of the list with the spans that have it, of the group that has more
	A, B       float64 // share of the spans of each group
	difference float64
	set        uint64 // hash of the spans
}

// Of returns a share as a length in SVG.
func (differentValue) Of(share float64) string { return formatPercent(share, 1) }

// Points returns the difference in percentage points.
func (v differentValue) Points() string {
	return strings.Replace(strconv.FormatFloat(100*v.difference, 'f', 1, 64), "-", "−", 1)
}

const (
	maxGroupValues      = 1000 // of a field
	shownDifferent      = 30   // fields
	shownDifferentOf    = 4    // values of a field
	leastDifferentSpans = 5    // with a value, in both groups
)

// groups serves the page that compares the spans that q selects with those that against selects and q
// does not, or else with all other spans.
func (h *handler) groups(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	p := groupsPage{frame: h.frame(r.Context(), "./", "Compare"), Form: form}
	since := h.since
	if form.Get("start") != "" || form.Get("end") != "" {
		since = ""
	}
	chosen := chosenOf(form, map[string]string{"view": "compare", "since": since, "q": "", "against": "", "split": ""})
	windows, window := chosen.windows()
	p.Windows = windows
	c := groupCounter{page: &p, tally: newTally(maxGroupValues)}
	var err error
	if c.a, err = parseSearch(url.Values{"q": form["q"], "start": form["start"], "end": form["end"]}); err != nil {
		p.Problems = append(p.Problems, groupProblem{err.Error(), wrongAt(strings.TrimSpace(form.Get("q")))})
	}
	if c.b, err = parseSearch(url.Values{"q": form["against"]}); err != nil {
		p.Problems = append(p.Problems, groupProblem{"against" + strings.TrimPrefix(err.Error(), "q"), wrongAt(strings.TrimSpace(form.Get("against")))})
	}
	if split := strings.TrimSpace(form.Get("split")); split != "" {
		if p.Split, err = parseUnix(split); err != nil {
			p.Problems = append(p.Problems, groupProblem{"split: " + err.Error(), nil})
		}
		p.Unsplit = changed(form, "split", "")
	}
	if since != "" {
		c.a.Start = h.now().Add(-window)
	}
	status := http.StatusOK
	switch {
	case len(p.Problems) > 0:
		status = http.StatusBadRequest
	case strings.TrimSpace(form.Get("q")) != "":
		if err := c.scan(r.Context(), h.store); err != nil {
			status, p.StoreProblem = http.StatusInternalServerError, err.Error()
			break
		}
		c.compare()
	}
	render(w, status, "groups.html", p)
}

// Kept returns the query parameters that have no field in the form.
func (p groupsPage) Kept() []string {
	return slices.DeleteFunc([]string{"since", "start", "end", "split"}, func(key string) bool { return p.Form.Get(key) == "" })
}

// groupCounter fills in a page.
type groupCounter struct {
	page  *groupsPage
	a, b  search
	tally *tally
	side  []byte // of each span of a trace: 0, 'a' or 'b'
	spans int    // of both groups
}

// scan counts the newest traces.
func (c *groupCounter) scan(ctx context.Context, store collector.Reader) error {
	a, b := c.a.Scan(), c.b.Scan()
	scan := collector.Scan{
		TimeRange: collector.TimeRange{Start: c.a.Start, End: c.a.End}, Hints: common(a.Hints, b.Hints),
		AllAttributes: true, Details: a.Details || b.Details,
	}
	cut, err := newest(ctx, store, scan, traceql.MaxInspected, inspectedSpans, c.add)
	c.page.Cut = cut
	return err
}

// common returns the hints that a and b agree on, which are about the traces that either wants.
func common(a, b collector.Hints) (h collector.Hints) {
	for i := range a.Spans {
		for j := range b.Spans {
			if both := commonSpan(&a.Spans[i], &b.Spans[j]); !both.IsZero() {
				h.Spans = append(h.Spans, both)
			}
		}
	}
	h.MinDuration = min(a.MinDuration, b.MinDuration)
	if a.MaxDuration > 0 && b.MaxDuration > 0 {
		h.MaxDuration = max(a.MaxDuration, b.MaxDuration)
	}
	return h
}

// commonSpan returns the hints that a and b agree on.
func commonSpan(a, b *collector.SpanHints) collector.SpanHints {
	texts := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(text string) bool { return !slices.Contains(b, text) })
	}
	attrs := func(a, b []slog.Attr) []slog.Attr {
		return slices.DeleteFunc(slices.Clone(a), func(x slog.Attr) bool { return !slices.ContainsFunc(b, x.Equal) })
	}
	after := a.StartsAfter
	if b.StartsAfter.Before(after) {
		after = b.StartsAfter
	}
	return collector.SpanHints{
		Services: texts(a.Services, b.Services), Names: texts(a.Names, b.Names), Keys: texts(a.Keys, b.Keys),
		Values: attrs(a.Values, b.Values), Texts: attrs(a.Texts, b.Texts),
		Errors: a.Errors && b.Errors, MinDuration: min(a.MinDuration, b.MinDuration), StartsAfter: after,
	}
}

// add counts the spans of t. It keeps nothing of t.
func (c *groupCounter) add(t *collector.Trace) {
	c.page.Traces++
	c.side = slices.Grow(c.side[:0], len(t.Spans))[:len(t.Spans)]
	clear(c.side)
	of := traceql.Trace{Trace: t}
	mark := func(q *traceql.Query, side byte) {
		for _, set := range q.Evaluate(&of) {
			for _, i := range set.Spans {
				c.side[i] = side
			}
		}
	}
	older := t.Start() < c.page.Split.UnixNano()
	if c.page.Split.IsZero() || older {
		mark(c.b.Query, 'b')
	}
	if c.page.Split.IsZero() || !older {
		mark(c.a.Query, 'a')
	}
	root := slices.IndexFunc(t.Spans, func(s collector.Span) bool { return !s.ParentID.IsValid() })
	for i := range t.Spans {
		s := &t.Spans[i]
		group, of := 0, &c.page.A
		switch c.side[i] {
		case 0:
			continue
		case 'b':
			group, of = 1, &c.page.B
		}
		c.spans++
		of.Spans++
		of.durations.Add(s.Duration(), 1)
		c.tally.attributes(s, group, c.spans)
		intrinsic := func(i traceql.Intrinsic, v traceql.Value) {
			c.tally.add(traceql.Field{Intrinsic: i}, v, group, c.spans)
		}
		intrinsic(traceql.SpanName, traceql.String(s.Name))
		intrinsic(traceql.SpanStatus, traceql.Status(s.Status.Code))
		intrinsic(traceql.SpanKind, traceql.Kind(s.Kind))
		if root >= 0 {
			intrinsic(traceql.TraceRootName, traceql.String(t.Spans[root].Name))
		}
	}
}

// compare ranks the fields by the value that differs most, and their values, by
//
//	|a/A - b/B|
//
// where a of the A spans of one group have the value, and b of the B spans of the other. So that chance
// does not win, at least leastDifferentSpans have the value, and the difference is more than twice its
// standard error,
//
//	sqrt(p (1-p) (1/A + 1/B)) with p = (a+b) / (A+B)
//
// which is the test of two proportions. Fields that the queries name are left out: they differ anyway.
func (c *groupCounter) compare() {
	p := c.page
	p.A.Query, p.B.Query = c.list('a', ""), c.list('b', "")
	p.CutTally = c.tally.cut
	if p.A.Spans == 0 || p.B.Spans == 0 {
		return
	}
	named := append(c.a.Fields(), c.b.Fields()...)
	inA, inB := float64(p.A.Spans), float64(p.B.Spans)
	for f, of := range c.tally.fields {
		p.CutTally = p.CutTally || of.cut
		if slices.ContainsFunc(named, func(n traceql.Field) bool { return n.Intrinsic == f.Intrinsic && n.Key == f.Key }) || meaningless[f.Key] {
			continue
		}
		out := differentField{Name: f.String()}
		for _, v := range of.values {
			a, b := float64(v.count[0]), float64(v.count[1])
			share := (a + b) / (inA + inB)
			chance := 2 * math.Sqrt(share*(1-share)*(1/inA+1/inB))
			d := differentValue{Text: v.Text(), A: a / inA, B: b / inB, difference: a/inA - b/inB, set: v.set}
			if a+b < leastDifferentSpans || math.Abs(d.difference) <= chance {
				continue
			}
			if condition := condition(f, v.Value); condition != "" {
				d.Query = c.list(map[bool]byte{true: 'a', false: 'b'}[d.difference > 0], condition)
			}
			out.Values = append(out.Values, d)
		}
		slices.SortFunc(out.Values, func(x, y differentValue) int {
			return cmp.Or(cmp.Compare(math.Abs(y.difference), math.Abs(x.difference)), cmp.Compare(y.difference, x.difference), cmp.Compare(x.Text, y.Text))
		})
		if out.Values = out.Values[:min(len(out.Values), shownDifferentOf)]; len(out.Values) > 0 {
			p.Fields = append(p.Fields, out)
		}
	}
	slices.SortFunc(p.Fields, func(x, y differentField) int {
		return cmp.Or(cmp.Compare(math.Abs(y.Values[0].difference), math.Abs(x.Values[0].difference)), cmp.Compare(x.Name, y.Name))
	})
	p.Fields = merged(p.Fields)
	if n := len(p.Fields); n > shownDifferent {
		p.Fields, p.More = p.Fields[:shownDifferent], n-shownDifferent
	}
}

// merged returns one of all fields whose values are on the same spans.
func merged(fields []differentField) (out []differentField) {
	for _, f := range fields {
		same := slices.IndexFunc(out, func(o differentField) bool {
			return slices.EqualFunc(o.Values, f.Values, func(x, y differentValue) bool { return x.set == y.set })
		})
		if same >= 0 {
			out[same].Also = append(out[same].Also, f.Name)
		} else {
			out = append(out, f)
		}
	}
	return out
}

// list returns the query part of the address of the list with the spans of a group that satisfy
// condition, or "" if TraceQL cannot say that.
func (c *groupCounter) list(side byte, condition string) string {
	q, start, end := c.a.Query, c.a.Start, c.a.End
	if side == 'b' {
		q = c.b.Query
	}
	if split := c.page.Split; !split.IsZero() && side == 'a' {
		start = split
	} else if !split.IsZero() {
		end = split
	}
	text := q.String()
	if condition != "" {
		text += " | " + condition
	}
	if _, err := traceql.Parse(text); err != nil || len(text) > 2*maxShown {
		return ""
	}
	form := url.Values{"q": {text}}
	if !start.IsZero() {
		form.Set("start", strconv.FormatInt(start.Unix(), 10))
	}
	if !end.IsZero() { // the list includes the second of its end
		form.Set("end", strconv.FormatInt(end.Unix()-1, 10))
	}
	return "?" + form.Encode()
}

const rootSpans = "{ span:parentID = nil }"

// comparableSpans returns the query for the spans that the list with q is about: those that the conditions
// about spans select, of traces that satisfy the others; or else the root spans.
func comparableSpans(q *traceql.Query) (query string, roots bool) {
	var spans *traceql.Query
	traces := ""
	for _, c := range q.Conjuncts() {
		text := c.String()
		aboutSpan := func(f traceql.Field) bool {
			return f.Intrinsic != traceql.TraceDuration && f.Intrinsic != traceql.TraceRootName && f.Intrinsic != traceql.TraceRootService
		}
		switch {
		case text == "{ }":
		case !slices.ContainsFunc(c.Fields(), aboutSpan) && !strings.Contains(text, "|"):
			traces += " | " + text
		case spans == nil:
			spans = c
		default:
			spans = spans.And(c)
		}
	}
	if spans == nil {
		return rootSpans + traces, true
	}
	return spans.String() + traces, false
}

// presets returns comparisons of the traces of a list with each other.
func presets(traces []traceql.Result, s search, now time.Time) (out []choice) {
	if len(traces) < leastTenth {
		return nil
	}
	spans, roots := comparableSpans(s.Query)
	failed, slow, d := 0, 0, slowest(traces)
	starts := make([]int64, len(traces))
	for i := range traces {
		t := &traces[i]
		failed += min(t.Errors, 1)
		if t.Duration >= d {
			slow++
		}
		starts[i] = time.Unix(0, t.Start).Unix()
	}
	slices.Sort(starts)
	// The list may have only the newest traces of many.
	start := min(starts[0], now.Add(-15*time.Minute).Unix())
	if !s.Start.IsZero() {
		start = s.Start.Unix()
	}
	add := func(text, q string, start, split int64) {
		form := url.Values{"view": {"compare"}, "q": {q}, "against": {spans}, "start": {strconv.FormatInt(start, 10)}}
		if !s.End.IsZero() {
			form.Set("end", strconv.FormatInt(s.End.Unix()-1, 10))
		}
		if split > 0 {
			form.Set("split", strconv.FormatInt(split, 10))
		}
		if _, err := traceql.Parse(q); err == nil {
			out = append(out, choice{Text: text, Query: "?" + form.Encode()})
		}
	}
	if slow < len(traces) {
		add("slow against fast", spans+" | { traceDuration >= "+d.String()+" }", start, 0)
	}
	if failed > 0 && failed < len(traces) {
		q := spans + " | { status = error }"
		if roots { // also of traces with an error elsewhere
			q = "{ status = error } && " + spans + " | " + rootSpans
		}
		add("errors against none", q, start, 0)
	}
	if middle := starts[len(starts)/2]; middle > starts[0] {
		add("newer against older half", spans, starts[0], middle)
	}
	return out
}
