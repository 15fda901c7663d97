package web

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// sqlPage lists the statements that databases executed.
type sqlPage struct {
	frame
	Windows, Orders []choice
	Statements      []*statement
	More            int    // statements that are not shown
	Trace           string // the only one, if the page is about one
	Traces          int    // that were read
	Cut             bool
	Problem         string
}

// statement is what is known about the executions of one statement.
type statement struct {
	System, Namespace, Text string
	Count, Errors           int
	Rows                    int64 // returned or changed
	Total, Longest, Wait    time.Duration
	Repeats                 int // most executions below one span
	RepeatsIn               dendro.TraceID
	LongestWait             time.Duration
	WaitedIn                dendro.SpanContext // the span with LongestWait
	Query                   string             // of the list with its traces

	durations collector.Histogram
}

// Mean returns the mean duration, and P99 the 99th percentile.
func (s *statement) Mean() time.Duration { return s.Total / time.Duration(s.Count) }
func (s *statement) P99() time.Duration  { return s.durations.Quantile(.99) }

const (
	maxStatements   = 2000 // that are counted
	shownStatements = 100
)

// sql serves the page of statements.
func (h *handler) sql(w http.ResponseWriter, r *http.Request) {
	p := sqlPage{frame: h.frame(r.Context(), "./", "SQL")}
	order := "time"
	if r.URL.Query().Get("trace") != "" {
		order = "repeats"
	}
	chosen := chosenOf(r.URL.Query(), map[string]string{"view": "sql", "since": h.since, "order": order, "trace": ""})
	var since time.Duration
	p.Windows, since = chosen.windows()
	p.Orders = chosen.choices("order", "time", "Total time", "count", "Count", "p99", "p99", "errors", "Errors", "wait", "Pool wait", "repeats", "Repeats")
	status := http.StatusOK
	if p.Trace = chosen["trace"]; p.Trace != "" {
		t, s, err := h.lookUp(r, p.Trace)
		if status = s; err != nil {
			p.Problem = err.Error()
		} else {
			p.count(time.Unix(0, t.Start())).add(t)
		}
	} else if err := p.count(h.now().Add(-since)).scan(r.Context(), h.store); err != nil {
		status, p.Problem = http.StatusInternalServerError, err.Error()
	}
	p.sort(chosen["order"])
	render(w, status, "sql.html", p)
}

// statementsOf returns the statements of one trace.
func statementsOf(t *collector.Trace) sqlPage {
	p := sqlPage{Trace: t.ID.String()}
	p.count(time.Unix(0, t.Start())).add(t)
	p.sort("repeats")
	return p
}

// count returns a counter that adds to p the statements of traces that began at start or later.
func (p *sqlPage) count(start time.Time) *statementCounter {
	return &statementCounter{page: p, start: start, found: map[statementKey]*statement{}}
}

// sort orders the statements and leaves out those of the end.
func (p *sqlPage) sort(order string) {
	by := map[string]func(s *statement) int64{
		"count": func(s *statement) int64 { return int64(s.Count) }, "p99": func(s *statement) int64 { return int64(s.P99()) },
		"errors": func(s *statement) int64 { return int64(s.Errors) }, "wait": func(s *statement) int64 { return int64(s.Wait) },
		"repeats": func(s *statement) int64 { return int64(max(s.Repeats, minFold-1)) },
	}[order]
	slices.SortFunc(p.Statements, func(a, b *statement) int {
		order := 0
		if by != nil {
			order = cmp.Compare(by(b), by(a))
		}
		return cmp.Or(order, cmp.Compare(b.Total, a.Total), strings.Compare(a.Text, b.Text))
	})
	if n := len(p.Statements); n > shownStatements {
		p.Statements, p.More = p.Statements[:shownStatements], n-shownStatements
	}
}

// statementCounter fills in the statements of a page.
type statementCounter struct {
	page  *sqlPage
	start time.Time // of the traces
	found map[statementKey]*statement
}

type statementKey struct{ system, namespace, text string }

// scan adds the newest traces.
func (c *statementCounter) scan(ctx context.Context, store collector.Reader) error {
	scan := collector.Scan{
		TimeRange: collector.TimeRange{Start: c.start}, Hints: collector.Hints{Spans: []collector.SpanHints{{Keys: []string{semconv.DBQueryText}}}},
		Details:    true,
		Attributes: []string{semconv.DBSystemName, semconv.DBNamespace, semconv.DBQueryText, semconv.DBResponseReturnedRows, semconv.DBAffectedRows},
	}
	cut, err := newest(ctx, store, scan, traceql.MaxInspected, inspectedSpans, c.add)
	c.page.Cut = c.page.Cut || cut
	return err
}

// add counts the statements of t. It keeps nothing of t.
func (c *statementCounter) add(t *collector.Trace) {
	type loop struct {
		parent dendro.SpanID
		*statement
	}
	c.page.Traces++
	repeats := map[loop]int{}
	for i := range t.Spans {
		s := &t.Spans[i]
		k := statementKey{textAttribute(s.Attributes, semconv.DBSystemName), textAttribute(s.Attributes, semconv.DBNamespace), textAttribute(s.Attributes, semconv.DBQueryText)}
		if k.text == "" {
			continue
		}
		st := c.found[k]
		if st == nil {
			if len(c.found) == maxStatements {
				c.page.Cut = true
				continue
			}
			st = c.statement(k)
		}
		st.Count++
		st.Errors += errorsOf(s)
		st.Rows += min(rowsOf(s), math.MaxInt64-st.Rows)
		st.Total += min(s.Duration(), math.MaxInt64-st.Total)
		st.Longest = max(st.Longest, s.Duration())
		wait := time.Duration(waitIn(s, s.Start, s.End))
		if st.Wait += min(wait, math.MaxInt64-st.Wait); wait > st.LongestWait {
			st.LongestWait, st.WaitedIn = wait, dendro.SpanContext{TraceID: t.ID, SpanID: s.SpanID}
		}
		st.durations.Add(s.Duration(), 1)
		in := loop{s.ParentID, st}
		if repeats[in]++; repeats[in] > st.Repeats && s.ParentID.IsValid() {
			st.Repeats, st.RepeatsIn = repeats[in], t.ID
		}
	}
}

// rowsOf returns how many rows a call returned or changed.
func rowsOf(s *collector.Span) (n int64) {
	for _, a := range s.Attributes {
		if (a.Key == semconv.DBResponseReturnedRows || a.Key == semconv.DBAffectedRows) && a.Value.Kind() == slog.KindInt64 {
			n += min(max(a.Value.Int64(), 0), math.MaxInt64-n)
		}
	}
	return n
}

// statement makes a new statement.
func (c *statementCounter) statement(k statementKey) *statement {
	k = statementKey{strings.Clone(k.system), strings.Clone(k.namespace), strings.Clone(k.text)}
	st := &statement{System: short(k.system), Namespace: short(k.namespace), Text: short(strings.ToValidUTF8(k.text, "\uFFFD"))}
	if len(k.text) <= maxShown { // a link must fit into a request
		st.Query = "?" + url.Values{
			"q": {fmt.Sprintf("{ span.%s = %s }", semconv.DBQueryText, strconv.Quote(k.text))}, "start": {strconv.FormatInt(c.start.Unix(), 10)},
		}.Encode()
	}
	c.found[k] = st
	c.page.Statements = append(c.page.Statements, st)
	return st
}
