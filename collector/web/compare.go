package web

import (
	"cmp"
	"fmt"
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

// comparePage shows two traces as one tree.
type comparePage struct {
	frame
	A, B    comparedTrace
	Problem string
	Chosen  bool // B was chosen by the page
	Rows    []comparedRow
	More    int // rows that are not shown
}

type comparedTrace struct {
	ID string // as it was asked for
	collector.Summary
}

// comparedRow is the spans of one service and name below the same such spans, in both traces.
type comparedRow struct {
	Service, Name string
	Depth         int
	A, B          comparedSpans
	Change        time.Duration // of the total
	Much          bool          // a tenth of the longer trace or more
}

type comparedSpans struct {
	Spans, Errors int
	Total         time.Duration // sum of the durations
}

// Indent has an element for each level.
func (r comparedRow) Indent() []struct{} { return make([]struct{}, min(r.Depth, 24)) }

// Only returns "a" or "b" if only that trace has the row.
func (r comparedRow) Only() string {
	switch {
	case r.B.Spans == 0:
		return "a"
	case r.A.Spans == 0:
		return "b"
	}
	return ""
}

// Share returns a total as a part of the longer trace.
func (p comparePage) Share(d time.Duration) string {
	longer := max(p.A.Duration, p.B.Duration)
	return percent(min(d, longer), longer)
}

// Signed formats a difference.
func (r comparedRow) Signed() string {
	switch {
	case r.Change > 0:
		return "+" + formatDuration(r.Change)
	case r.Change < 0:
		return "−" + formatDuration(-r.Change)
	}
	return "="
}

const (
	maxComparedRows = 1000
	// typicalOf is the number of traces of which the page chooses the one to compare with.
	typicalOf = 100
)

// compare serves the page that compares the traces a and b, or without both two groups of spans. Without
// b, it redirects to a typical trace with the same root as a.
func (h *handler) compare(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	if !form.Has("a") && !form.Has("b") {
		h.groups(w, r)
		return
	}
	p := comparePage{frame: h.frame(r.Context(), "./", "Compare")}
	p.Chosen = form.Get("typical") == "true"
	p.A.ID, p.B.ID = strings.TrimSpace(form.Get("a")), strings.TrimSpace(form.Get("b"))
	status := http.StatusOK
	fail := func(s int, err error) { status, p.Problem = s, err.Error() }
	find := func(id string) *collector.Trace {
		if id == "" || p.Problem != "" {
			return nil
		}
		t, s, err := h.lookUp(r, id)
		if err != nil {
			fail(s, err)
		}
		return t
	}
	a := find(p.A.ID)
	if a != nil && p.B.ID == "" {
		id, err := h.typical(r, a)
		if err != nil {
			fail(http.StatusInternalServerError, err)
		}
		if id != "" { // the address then has both traces
			w.Header().Set("Location", "?"+url.Values{"view": {"compare"}, "a": {p.A.ID}, "b": {id}, "typical": {"true"}}.Encode())
			w.WriteHeader(http.StatusSeeOther)
			return
		}
	}
	if b := find(p.B.ID); a != nil && b != nil {
		p.A.Summary, p.B.Summary = a.Summary(), b.Summary()
		p.Rows = compareTraces(a, b, max(p.A.Duration, p.B.Duration))
		if n := len(p.Rows); n > maxComparedRows {
			p.Rows, p.More = p.Rows[:maxComparedRows], n-maxComparedRows
		}
	}
	render(w, status, "compare.html", p)
}

// typical returns the id of the trace of median duration among the newest other ones with the same
// root as t, or "" if there is none.
func (h *handler) typical(r *http.Request, t *collector.Trace) (string, error) {
	sum := t.Summary()
	q, err := traceql.Parse(fmt.Sprintf("{ trace:rootService = %s && trace:rootName = %s && span:parentID = nil }", strconv.Quote(sum.RootService), strconv.Quote(sum.RootName)))
	if err != nil || sum.RootMissing {
		return "", err
	}
	found, _, err := q.Search(r.Context(), h.store, traceql.SearchOptions{Limit: typicalOf, Spans: 1})
	found = slices.DeleteFunc(found, func(o traceql.Result) bool { return o.TraceID == t.ID })
	if err != nil || len(found) == 0 {
		return "", err
	}
	slices.SortFunc(found, func(a, b traceql.Result) int { return cmp.Compare(a.Duration, b.Duration) })
	return found[len(found)/2].TraceID.String(), nil
}

// compareTraces merges two traces by the path of services and names from the root. Rows are in
// the order of the tree; siblings are in the order in which they come first.
func compareTraces(a, b *collector.Trace, longer time.Duration) []comparedRow {
	type key struct{ service, name string }
	type node struct {
		comparedRow
		first int64 // earliest start, relative to the trace
		below map[key]*node
		order []*node
	}
	root := &node{below: map[key]*node{}}
	add := func(t *collector.Trace, side func(*node) *comparedSpans) {
		rows := layOut(t.Spans)
		nodes := make([]*node, len(rows))
		for i := range rows {
			above := root
			if p := rows[i].parent; p >= 0 {
				above = nodes[p]
			}
			k := key{"", missingParent}
			if s := rows[i].span; s != nil {
				k = key{s.Resource.Service(), nameOf(s)}
			}
			n := above.below[k]
			if n == nil {
				n = &node{comparedRow: comparedRow{Service: k.service, Name: k.name, Depth: rows[i].depth}, first: rows[i].start - t.Start(), below: map[key]*node{}}
				above.below[k] = n
				above.order = append(above.order, n)
			}
			nodes[i] = n
			n.first = min(n.first, rows[i].start-t.Start())
			of := side(n)
			of.Spans++
			of.Total += min(time.Duration(rows[i].end-rows[i].start), math.MaxInt64-of.Total)
			if rows[i].span != nil {
				of.Errors += errorsOf(rows[i].span)
			}
		}
	}
	add(a, func(n *node) *comparedSpans { return &n.A })
	add(b, func(n *node) *comparedSpans { return &n.B })
	var out []comparedRow
	stack := []*node{root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n != root {
			n.Change = n.A.Total - n.B.Total
			n.Much = n.Change.Abs() >= longer/10 && n.Change != 0
			out = append(out, n.comparedRow)
		}
		slices.SortStableFunc(n.order, func(a, b *node) int { return cmp.Compare(b.first, a.first) })
		stack = append(stack, n.order...)
	}
	return out
}
