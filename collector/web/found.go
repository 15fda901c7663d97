package web

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// scatter shows when the traces of a list began and how long they took, on a logarithmic scale.
type scatter struct {
	Points   []dot
	Ticks    []tick
	From, To time.Time
	// For the script, to turn places into conditions.
	Start, End  int64   // Unix nanoseconds
	Least, Most float64 // logarithms to base 10 of nanoseconds
}

// dot is a trace. X and Y are percent of the size.
type dot struct {
	X, Y    string
	TraceID dendro.TraceID
	Colour  int
	Failed  bool
	Title   string
}

// leastDots is the number of traces below which a scatter shows nothing that the list does not.
const leastDots = 3

// newScatter returns nil if there are too few traces.
func newScatter(traces []traceql.Result) *scatter {
	if len(traces) < leastDots {
		return nil
	}
	s := &scatter{Start: math.MaxInt64, End: math.MinInt64, Least: math.MaxFloat64}
	took := func(t *traceql.Result) float64 { return math.Log10(float64(max(t.Duration, 1))) }
	for i := range traces {
		t := &traces[i]
		s.Start, s.End = min(s.Start, t.Start), max(s.End, t.Start)
		s.Least, s.Most = min(s.Least, took(t)), max(s.Most, took(t))
	}
	s.Least, s.Most = s.Least-.1, s.Most+.1
	place := func(part, whole float64) string {
		if whole <= 0 {
			return "50%"
		}
		return formatPercent(part, whole)
	}
	s.From, s.To = time.Unix(0, s.Start), time.Unix(0, s.End)
	for i := range traces {
		t := &traces[i]
		s.Points = append(s.Points, dot{
			X: place(float64(t.Start-s.Start), float64(s.End-s.Start)), Y: place(s.Most-took(t), s.Most-s.Least),
			TraceID: t.TraceID, Colour: colourOf(t.RootService), Failed: t.Errors > 0,
			Title: fmt.Sprintf("%s %s, %s", short(t.RootService), cmp.Or(short(t.RootName), "unnamed span"), formatDuration(t.Duration)),
		})
	}
	s.Ticks = ticksOf(func(d time.Duration) float64 { return (s.Most - math.Log10(float64(d))) / (s.Most - s.Least) })
	return s
}

// facet is a property of the traces of a list, with links that add it to the conditions.
type facet struct {
	Title, About string
	Values       []facetValue
}

type facetValue struct {
	Text   string
	Query  string
	Count  int
	Colour int // of a service, or -1
}

const (
	maxFacetValues = 8
	// Attributes are shown if they have no more than maxFacetSplit values.
	maxFacetSplit      = 20
	maxFacetAttributes = 5
	shownFacetSplit    = 5
)

// facets makes the facets of a list.
type facets struct {
	traces []traceql.Result
	form   url.Values
	query  *traceql.Query // in form, or nil
	asked  []string       // its conditions
	out    []facet
}

// facetsOf returns what tells traces apart. counts has the attributes of those that were read. What the
// query in form asks for already is left out.
func facetsOf(traces []traceql.Result, counts *tally, form url.Values) []facet {
	f := facets{traces: traces, form: form}
	if q, err := traceql.Parse(form.Get("q")); err == nil {
		f.query = q
		for _, c := range q.Conjuncts() {
			f.asked = append(f.asked, c.String())
		}
	}
	services, names, errors := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range traces {
		for _, s := range traces[i].Services {
			services[s.Service]++
		}
		if !traces[i].RootMissing {
			names[traces[i].RootName]++
		}
		if traces[i].Errors > 0 {
			errors["with errors"]++
		}
	}
	// Each condition is about any span, as the counts are.
	add := func(title string, counts map[string]int, condition func(value string) string) {
		var values []facetValue
		for value, n := range counts {
			if value != "" && len(value) <= maxShown {
				values = append(values, f.value(value, condition(value), n))
			}
		}
		f.add(facet{title, "", values}, maxFacetValues)
	}
	add("Services", services, func(value string) string { return "{ resource.service.name = " + strconv.Quote(value) + " }" })
	for i := range f.out {
		for n := range f.out[i].Values {
			f.out[i].Values[n].Colour = colourOf(f.out[i].Values[n].Text)
		}
	}
	add("Operations", names, func(value string) string { return "{ trace:rootName = " + strconv.Quote(value) + " }" })
	add("Status", errors, func(string) string { return "{ status = error }" })
	f.durations()
	f.attributes(counts)
	return f.out
}

// value returns a value whose link adds condition, or has no link if that is impossible.
func (f *facets) value(text, condition string, count int) facetValue {
	v := facetValue{Text: text, Count: count, Colour: -1}
	q, err := traceql.Parse(condition)
	if err != nil || slices.Contains(f.asked, q.String()) {
		return v
	}
	if f.query != nil {
		q = f.query.And(q)
	}
	v.Query = changed(f.form, "q", q.String())
	return v
}

// add adds the values of a facet that some of the traces have, the most frequent first.
func (f *facets) add(of facet, most int) {
	of.Values = slices.DeleteFunc(of.Values, func(v facetValue) bool { return v.Query == "" || v.Count == len(f.traces) })
	slices.SortFunc(of.Values, func(a, b facetValue) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text)) })
	if of.Values = of.Values[:min(len(of.Values), most)]; len(of.Values) > 0 {
		f.out = append(f.out, of)
	}
}

// leastTenth is the number of traces that have a slowest tenth.
const leastTenth = 10

// durations adds the powers of ten that part the traces, and the slowest tenth. Of several durations
// with the same traces, the longest is shown.
func (f *facets) durations() {
	of := facet{Title: "Duration"}
	add := func(text string, d time.Duration) {
		n := 0
		for i := range f.traces {
			if f.traces[i].Duration >= d {
				n++
			}
		}
		if n == 0 || n == len(f.traces) {
			return
		}
		if last := len(of.Values) - 1; last >= 0 && of.Values[last].Count == n {
			of.Values = of.Values[:last]
		}
		of.Values = append(of.Values, facetValue{text + d.String(), changed(f.form, "minDuration", d.String()), n, -1})
	}
	for d := time.Millisecond; d <= 10*time.Second; d *= 10 {
		add("≥ ", d)
	}
	if len(f.traces) >= leastTenth {
		add("slowest tenth ≥ ", slowest(f.traces))
	}
	if len(of.Values) > 0 {
		f.out = append(f.out, of)
	}
}

// slowest returns the least duration of the slowest tenth of traces, and at least of one, rounded
// down to three digits.
func slowest(traces []traceql.Result) time.Duration {
	sorted := slices.SortedFunc(slices.Values(traces), func(a, b traceql.Result) int { return cmp.Compare(b.Duration, a.Duration) })
	d := sorted[max(len(sorted)/10-1, 0)].Duration
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d - d%unit
}

// attributes adds the attributes whose values tell the traces apart. Those come first of which a value
// parts the traces best, which is into halves. Of several that part them in the same way, the first is
// shown. Values that are different for each trace, such as ids, are left out.
func (f *facets) attributes(counts *tally) {
	type candidate struct {
		*fieldTally
		best int    // traces on the smaller side
		way  uint64 // hash of the two sides
	}
	var everything uint64
	for n := range f.traces {
		everything ^= maphash.Comparable(tallySeed, n)
	}
	var all []candidate
	for _, of := range counts.fields {
		c, repeated := candidate{fieldTally: of}, false
		for _, v := range of.values {
			smaller, way := min(v.count[0], len(f.traces)-v.count[0]), min(v.set, v.set^everything)
			if smaller > c.best || smaller == c.best && way < c.way {
				c.best, c.way = smaller, way
			}
			repeated = repeated || smaller > 0 && v.count[0] > 1
		}
		if !of.cut && len(of.values) > 1 && repeated && of.Key != semconv.ServiceName && !meaningless[of.Key] {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.best, a.best), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Scope, b.Scope))
	})
	known := map[uint64]bool{}
	for _, c := range all {
		if known[c.way] || len(known) == maxFacetAttributes {
			continue
		}
		known[c.way] = true
		var values []facetValue
		for _, v := range c.values {
			values = append(values, f.value(v.Text(), condition(c.Field, v.Value), v.count[0]))
		}
		f.add(facet{c.Key, c.Field.String(), values}, shownFacetSplit)
	}
}

// changed returns the query part of the address of the list with another value for key, or without it.
func changed(form url.Values, key, value string) string {
	q := maps.Clone(form)
	if q == nil {
		q = url.Values{}
	}
	if q.Set(key, value); value == "" {
		q.Del(key)
	}
	if len(q) == 0 { // an empty query is the overview
		q.Set("limit", strconv.Itoa(pageLimit))
	}
	return "?" + q.Encode()
}

// chosenCondition is a condition of the list, with a link to the list without it.
type chosenCondition struct {
	Text    string
	At      time.Time // if it is about a time
	Without string
}

// conditionsOf returns the conditions in form that have no field of their own.
func conditionsOf(form url.Values, s search) (out []chosenCondition) {
	if q, err := traceql.Parse(form.Get("q")); err == nil {
		all := q.Conjuncts()
		for i, c := range all {
			var rest *traceql.Query
			for n, other := range all {
				switch {
				case n == i:
				case rest == nil:
					rest = other
				default:
					rest = rest.And(other)
				}
			}
			text := ""
			if rest != nil {
				text = rest.String()
			}
			out = append(out, chosenCondition{Text: short(c.String()), Without: changed(form, "q", text)})
		}
	}
	if !s.Start.IsZero() {
		out = append(out, chosenCondition{"from", s.Start, changed(form, "start", "")})
	}
	if form.Get("end") != "" {
		out = append(out, chosenCondition{"to", s.End, changed(form, "end", "")})
	}
	if d := strings.TrimSpace(form.Get("maxDuration")); d != "" {
		out = append(out, chosenCondition{Text: "≤ " + d, Without: changed(form, "maxDuration", "")})
	}
	return out
}
