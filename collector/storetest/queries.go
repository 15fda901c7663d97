package storetest

import (
	_ "embed"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// table has queries, each with its answer in the line below.
//
//go:embed queries.txt
var table string

// Queries returns the queries that [Run] asks every store about [Data], each with its
// answer as of [Answer], and the lines between them.
func Queries() (lines []string) { return strings.Split(strings.TrimSuffix(table, "\n"), "\n") }

// queries asks s all queries of the table.
func queries(t *testing.T, s collector.Store) {
	collect(t, s, Data()...)
	lines := Queries()
	asked := 0
	for i, line := range lines {
		if want, ok := strings.CutPrefix(line, "\t"); ok {
			asked++
			if got := Answer(t, s, lines[i-1]); got != want {
				t.Errorf("%s\n got %s\nwant %s", lines[i-1], got, want)
			}
		}
	}
	if asked < 200 {
		t.Errorf("%d queries, want at least 200", asked)
	}
}

// Answer returns what a query finds in a store with [Data]: the number of each trace with the
// ids of the spans of each span set and the attributes of the set, or the error.
func Answer(t testing.TB, s collector.Store, query string) string {
	t.Helper()
	q, err := traceql.Parse(query)
	if err != nil {
		return "error " + err.Error()
	}
	if q.IsMetrics() {
		return metrics(t, s, q)
	}
	found, _, err := q.Search(t.Context(), s, traceql.SearchOptions{Spans: traceql.MaxSpans})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range found {
		text := fmt.Sprint(numbers([]collector.Trace{{ID: r.TraceID}})[0], ":")
		for i, set := range r.Sets {
			if i > 0 {
				text += " |"
			}
			for _, s := range set.Spans {
				text += fmt.Sprintf(" %d", s.SpanID[7])
			}
			for _, a := range set.Attributes {
				text += " " + a.Name + "=" + a.Value.String()
			}
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

// metrics returns the series of a query: their labels, and their values, one for each second.
func metrics(t testing.TB, s collector.Store, q *traceql.Query) string {
	t.Helper()
	start := time.Unix(0, epoch-1)
	got, _, err := q.Metrics(t.Context(), s, traceql.Range{Start: start, End: start.Add(4 * time.Second), Step: time.Second, Exemplars: 100})
	if err != nil {
		return "error " + err.Error()
	}
	var out []string
	for _, series := range got.Series {
		text := series.Name()
		for _, v := range series.Values {
			if v != v {
				text += " -"
			} else {
				text += fmt.Sprintf(" %.4g", v)
			}
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}

// Data returns the traces that the queries of the table are about.
//
//	1  POST /checkout      shop  error, 100 ms
//	   2  charge           shop  50 ms, an event
//	      3  POST          shop  client
//	         4  POST /pay  pay   error
//	   5  SELECT orders    shop  8 ms, of the scope sql
//	   6  SELECT orders    shop  4 ms, of the scope sql
//	11 GET /orders         shop  20 ms
//	   12 … 16  SELECT items     1 … 5 ms
//	21 worker              jobs  consumer, its parent 20 is missing; a link to trace 1
//	   22 step             jobs
//	23 worker              jobs  its parent 20 is missing
//	31 health                    attributes of all types
func Data() []*dendro.Batch {
	of := func(s *dendro.SpanData, kind dendro.Kind, millis int64) *dendro.SpanData {
		s.Kind = kind
		return lasting(s, millis)
	}
	checkout := failed(of(span(1, 1, 0, "POST /checkout", 0,
		slog.String("http.route", "/checkout"), slog.Int("http.response.status_code", 500), slog.Bool("retry", true)), dendro.KindServer, 100))
	charge := of(span(1, 2, 1, "charge", 10, slog.Float64("amount", 19.99), slog.String("card.brand", "visa"), slog.Any("items", []string{"pen", "book"})), dendro.KindInternal, 50)
	charge.Events = []dendro.Event{
		{Name: "exception", Time: charge.Start + 5*ms, Attributes: []slog.Attr{slog.String("exception.type", "Timeout"), slog.Int("attempt", 1)}},
		{Name: "retry", Time: charge.Start + 20*ms, Attributes: []slog.Attr{slog.Int("attempt", 2)}},
	}
	pay := failed(of(span(1, 4, 3, "POST /pay", 15, slog.Int("http.response.status_code", 502), slog.String("http.route", "/pay")), dendro.KindServer, 35))
	pay.Status.Message = "bank is closed"
	worker := of(span(3, 21, 20, "worker", 2000, slog.String("queue", "mail"), slog.Bool("retry", false),
		slog.Any("job", dendro.KeyValues{slog.Int("id", 7), slog.Any("tags", []slog.Value{slog.AnyValue(dendro.KeyValues{slog.String("name", "bulk")}), slog.StringValue("night")}), slog.Any("none", dendro.KeyValues{})})), dendro.KindConsumer, 30)
	worker.RemoteUnknown = true
	worker.Links = []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: traceID(1), SpanID: spanID(2)}, Attributes: []slog.Attr{slog.String("link.kind", "follows")}}}
	sql := &dendro.Scope{Name: "sql", Version: "3", Attributes: []slog.Attr{slog.String("language", "sql")}}
	probe := &dendro.Scope{Name: "probe", Version: "2", Attributes: []slog.Attr{slog.String("language", "go")}}
	health := &dendro.Batch{
		Resource: &dendro.Resource{},
		Spans: []*dendro.SpanData{of(ofScope(probe, span(4, 31, 0, "health", 3000,
			slog.Int("timeout", 5_000_000), slog.Float64("share", 0.5), slog.Int("neg", -3), slog.Int("zero", 0), slog.Int("big", 1<<53+1),
			slog.String("key with space", "x"), slog.String("quoted\"key", "y"), slog.String("empty", ""), slog.String("text", "line one\nline two"),
			slog.String("number", "42"), slog.Float64("five", 5), slog.Any("numbers", []int64{1, 2, 3}), slog.Any("none", []string{}),
			slog.Bool("yes", true), slog.String("service.version", "of the span"), slog.String("http.route", "ünï/päth"))), dendro.KindServer, 2)},
	}
	batches := []*dendro.Batch{
		batch("shop", checkout, charge,
			of(span(1, 3, 2, "POST", 12, slog.String("server.address", "pay"), slog.String("http.response.status_code", "502")), dendro.KindClient, 43),
			of(ofScope(sql, span(1, 5, 1, "SELECT orders", 62, slog.String("db.system.name", "postgresql"), slog.Int("rows", 3))), dendro.KindClient, 8),
			of(ofScope(sql, span(1, 6, 1, "SELECT orders", 71, slog.String("db.system.name", "postgresql"), slog.Int("rows", 0))), dendro.KindClient, 4)),
		batch("pay", pay),
		batch("shop", of(span(2, 11, 0, "GET /orders", 1000, slog.String("http.route", "/orders"), slog.Int("http.response.status_code", 200)), dendro.KindServer, 20)),
		batch("jobs", worker, of(span(3, 22, 21, "step", 2001), dendro.KindInternal, 3),
			of(span(3, 23, 20, "worker", 2040, slog.String("queue", "mail")), dendro.KindConsumer, 5)),
		health,
	}
	for n := 1; n <= 5; n++ {
		batches = append(batches, batch("shop", of(span(2, 11+n, 11, "SELECT items", int64(1000+3*n), slog.String("db.system.name", "postgresql"), slog.Int("rows", n)), dendro.KindClient, int64(n))))
	}
	for _, b := range batches[:1] {
		b.Resource.Attributes = append(b.Resource.Attributes, slog.String("service.version", "1.2.3"), slog.String("deployment.environment.name", "prod"))
	}
	return batches
}
