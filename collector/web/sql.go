package web

import (
	"cmp"
	"context"
	"fmt"
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
	More            int // statements that are not shown
	Traces          int // that were read
	Cut             bool
	Problem         string
}

// statement is what is known about the executions of one statement.
type statement struct {
	System, Namespace, Text string
	Count, Errors           int
	Total, Wait             time.Duration
	Repeats                 int // most executions below one span
	RepeatsIn               dendro.TraceID
	Query                   string // of the list with its traces

	durations collector.Histogram
}

// Mean returns the mean duration, and P99 the 99th percentile.
func (s *statement) Mean() time.Duration { return s.Total / time.Duration(s.Count) }
func (s *statement) P99() time.Duration  { return s.durations.Quantile(.99) }

const (
	maxStatements   = 2000 // that are counted
	shownStatements = 100
	// inspectedStatements bounds how many spans are read.
	inspectedStatements = 500_000
)

// sql serves the page of statements.
func (h *handler) sql(w http.ResponseWriter, r *http.Request) {
	p := sqlPage{frame: h.frame(r.Context(), "./", "SQL")}
	chosen := chosenOf(r.URL.Query(), map[string]string{"view": "sql", "since": "15m", "order": "time"})
	var since time.Duration
	p.Windows, since = chosen.windows()
	p.Orders = chosen.choices("order", "time", "Total time", "count", "Count", "p99", "p99", "errors", "Errors", "wait", "Pool wait", "repeats", "Repeats")
	start := time.Now().Add(-since)
	status := http.StatusOK
	if err := h.statements(r.Context(), &p, start); err != nil {
		status, p.Problem = http.StatusInternalServerError, err.Error()
	}
	by := map[string]func(s *statement) int64{
		"count": func(s *statement) int64 { return int64(s.Count) }, "p99": func(s *statement) int64 { return int64(s.P99()) },
		"errors": func(s *statement) int64 { return int64(s.Errors) }, "wait": func(s *statement) int64 { return int64(s.Wait) },
		"repeats": func(s *statement) int64 { return int64(s.Repeats) },
	}[chosen["order"]]
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
	render(w, status, "sql.html", p)
}

// statements fills in the statements of the newest traces since start.
func (h *handler) statements(ctx context.Context, p *sqlPage, start time.Time) error {
	type key struct{ system, namespace, text string }
	found := map[key]*statement{}
	scan := collector.Scan{
		TimeRange: collector.TimeRange{Start: start}, Hints: collector.Hints{Keys: []string{semconv.DBQueryText}},
		Attributes: []string{semconv.DBSystemName, semconv.DBNamespace, semconv.DBQueryText}, Details: true,
	}
	type loop struct {
		parent dendro.SpanID
		*statement
	}
	spans := 0
	err := h.store.Scan(ctx, scan, func(t *collector.Trace) bool {
		if !scan.Contains(t.Start()) {
			return true
		}
		p.Traces++
		repeats := map[loop]int{}
		for i := range t.Spans {
			s := &t.Spans[i]
			k := key{textAttribute(s.Attributes, semconv.DBSystemName), textAttribute(s.Attributes, semconv.DBNamespace), textAttribute(s.Attributes, semconv.DBQueryText)}
			if k.text == "" {
				continue
			}
			st := found[k]
			if st == nil {
				if len(found) == maxStatements {
					p.Cut = true
					continue
				}
				k = key{strings.Clone(k.system), strings.Clone(k.namespace), strings.Clone(k.text)}
				st = &statement{System: short(k.system), Namespace: short(k.namespace), Text: short(strings.ToValidUTF8(k.text, "\uFFFD"))}
				if len(k.text) <= maxShown { // a link must fit into a request
					st.Query = "?" + url.Values{
						"q": {fmt.Sprintf("{ span.%s = %s }", semconv.DBQueryText, strconv.Quote(k.text))}, "start": {strconv.FormatInt(start.Unix(), 10)},
					}.Encode()
				}
				found[k] = st
				p.Statements = append(p.Statements, st)
			}
			st.Count++
			st.Errors += errorsOf(s)
			st.Total += s.Duration()
			st.Wait += time.Duration(waitIn(s, s.Start, s.End))
			st.durations.Add(s.Duration(), 1)
			in := loop{s.ParentID, st}
			if repeats[in]++; repeats[in] > st.Repeats && s.ParentID.IsValid() {
				st.Repeats, st.RepeatsIn = repeats[in], t.ID
			}
		}
		spans += len(t.Spans)
		more := p.Traces < traceql.MaxInspected && spans < inspectedStatements
		p.Cut = p.Cut || !more
		return more
	})
	return err
}
