package web

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/traceql"
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
	Title  string
	Values []facetValue
}

type facetValue struct {
	Text   string
	Query  string
	Count  int
	Colour int // of a service, or -1
}

const maxFacetValues = 8

// facetsOf returns the services and operations that traces have. What the query in form asks for
// already is left out.
func facetsOf(traces []traceql.Result, form url.Values) (out []facet) {
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
	query := strings.TrimSpace(form.Get("q"))
	// Each condition is about any span, as the counts are.
	add := func(title string, counts map[string]int, condition func(value string) string) {
		f := facet{Title: title}
		for value, n := range counts {
			set := "{ " + condition(value) + " }"
			if value == "" || len(value) > maxShown || n == len(traces) || strings.Contains(query, set) {
				continue
			}
			if query != "" {
				set = "(" + query + ") && " + set
			}
			if _, err := traceql.Parse(set); err != nil {
				continue
			}
			q := url.Values{}
			for k, v := range form {
				q[k] = v
			}
			q.Set("q", set)
			v := facetValue{value, "?" + q.Encode(), n, -1}
			if title == facetServices {
				v.Colour = colourOf(value)
			}
			f.Values = append(f.Values, v)
		}
		slices.SortFunc(f.Values, func(a, b facetValue) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text)) })
		if f.Values = f.Values[:min(len(f.Values), maxFacetValues)]; len(f.Values) > 0 {
			out = append(out, f)
		}
	}
	add(facetServices, services, func(value string) string { return "resource.service.name = " + strconv.Quote(value) })
	add("Operations", names, func(value string) string { return "trace:rootName = " + strconv.Quote(value) })
	add("Status", errors, func(string) string { return "status = error" })
	return out
}

const facetServices = "Services"
