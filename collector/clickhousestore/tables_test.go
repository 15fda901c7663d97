package clickhousestore

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// execute runs the statement of a file in the database of a DSN.
func execute(t *testing.T, dsn, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	testkit.NoError(t, err)
	config, err := clickhouse.ParseDSN(dsn)
	testkit.NoError(t, err)
	conn, err := clickhouse.Open(config)
	testkit.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the statement has succeeded
	testkit.NoError(t, conn.Exec(t.Context(), string(text)))
}

// answers asks s all queries of the table, and returns those whose answers are not those of the table.
func answers(t *testing.T, s *Store) string {
	t.Helper()
	for _, b := range storetest.Data() {
		testkit.NoError(t, s.Collect(b))
	}
	var out strings.Builder
	lines := storetest.Queries()
	for i, line := range lines {
		if want, ok := strings.CutPrefix(line, "\t"); ok {
			if got := storetest.Answer(t, s, lines[i-1]); got != want {
				const most = 200 // of those of compare
				fmt.Fprintf(&out, "%s\n\t%s\n", lines[i-1], got[:min(len(got), most)])
			}
		}
	}
	return out.String()
}

// With the columns of OpenTelemetry's exporter alone, the types of attributes are guessed. The file names each query that
// has another answer therefore.
func TestExporterSchema(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of ClickHouse, which is another process")
	}
	s := open(t, testkit.ClickHouseDatabase(t), Options{ExporterSchema: true})
	testkit.Equal(t, "columns of ours", s.t.ours, false)
	testkit.Golden(t, "testdata/exporter-schema.txt", answers(t, s))
}

// OpenTelemetry's exporter may make other indexes, and columns for them.
func TestItems(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of ClickHouse, which is another process")
	}
	dsn := testkit.ClickHouseDatabase(t)
	execute(t, dsn, "testdata/traces-items.sql")
	s := open(t, dsn, Options{})
	testkit.Equal(t, "items", s.t.hasItems, true)
	testkit.Equal(t, "other answers", answers(t, s), "")
}

// Rows that OpenTelemetry's exporter has inserted are read, whether the columns of this package were there before or not.
func TestExporterRows(t *testing.T) {
	for _, o := range []Options{{}, {ExporterSchema: true}} {
		dsn := testkit.ClickHouseDatabase(t)
		s := open(t, dsn, o)
		execute(t, dsn, "testdata/exporter-insert.sql")
		got, err := s.Trace(t.Context(), dendro.TraceID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, collector.TimeRange{})
		testkit.NoError(t, err)
		if got == nil || len(got.Spans) != 2 {
			t.Fatalf("got %+v, want a trace of two spans", got)
		}
		root, child := &got.Spans[0], &got.Spans[1]
		testkit.Equal(t, "span", fmt.Sprintln(root.SpanID, root.Name, root.Kind, root.State, root.Duration(), root.Status, root.RemoteUnknown), "0102030405060708 GET /cart server a=b 25ms {error no cart} true\n")
		testkit.Equal(t, "attributes", fmt.Sprintf("%#v", values(root.Attributes)), fmt.Sprintf("%#v", []any{int64(500), "/cart", 0.5, true, `["a","b"]`, "007"}))
		testkit.Equal(t, "resource", fmt.Sprintf("%#v", values(root.Resource.Attributes)), fmt.Sprintf("%#v", []any{"a", int64(4711), "shop"}))
		testkit.Equal(t, "scope", root.Scope.Name+" "+root.Scope.Version, "otelhttp 0.63.0")
		testkit.Equal(t, "events", fmt.Sprint(root.Events), fmt.Sprint([]dendro.Event{{Name: "exception", Time: root.Start + 1e6, Attributes: []slog.Attr{slog.String("exception.type", "E"), slog.Int("n", 1)}}}))
		testkit.Equal(t, "links", fmt.Sprint(root.Links[0].TraceID, root.Links[0].SpanID, root.Links[0].State, root.Links[0].Attributes), "100f0e0d0c0b0a090807060504030201 0807060504030201 c=d [kind=follows]")
		testkit.Equal(t, "child", fmt.Sprint(child.ParentID, child.Kind, child.Status.Code, child.Resource == root.Resource), "0102030405060708 client error true")
		for query, want := range map[string]string{
			`{ resource.service.name = "shop" && span.http.response.status_code >= 500 && status = error } | count() = 1`: "1",
			`{ span.zero = "007" && span.retry = true && span.ratio < 1 && resource.process.pid = 4711 }`:                 "1",
			`{ span.http.response.status_code = "500" }`:                                                                  "0",
		} {
			testkit.Equal(t, query, fmt.Sprint(len(search(t, s, query))), want)
		}
	}
}

func search(t *testing.T, s *Store, query string) []traceql.Result {
	t.Helper()
	q, err := traceql.Parse(query)
	testkit.NoError(t, err)
	found, _, err := q.Search(t.Context(), s, traceql.SearchOptions{})
	testkit.NoError(t, err)
	return found
}

func values(attrs []slog.Attr) (out []any) {
	for _, a := range attrs {
		out = append(out, a.Value.Any())
	}
	return out
}

// Times of traces are read from the spans, if there is no table of them.
func TestNoTableOfTimes(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	execute(t, dsn, "testdata/traces-items.sql")
	s := open(t, dsn, Options{ExistingTables: true})
	testkit.Equal(t, "table of times", s.t.hasIDs, false)
	write(t, s, spanAt(1, 1, "span 3", time.Now()), spanAt(1, 2, "span", time.Now().Add(-time.Minute)))
	testkit.Equal(t, "traces", visits(t, s, collector.Scan{}), map[int]int{1: 1})
	got, err := s.Trace(t.Context(), spanAt(1, 1, "", time.Time{}).TraceID, collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", len(got.Spans), 2)
	testkit.Equal(t, "found", len(search(t, s, `{ name = "span 3" }`)), 1)
}

func TestOpenErrors(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	u, err := url.Parse(dsn)
	testkit.NoError(t, err)
	u.Path = "/absent"
	for name, test := range map[string]struct {
		dsn  string
		o    Options
		want string
	}{
		"no DSN":      {"://", Options{}, "DSN"},
		"no server":   {"http://127.0.0.1:1/x?dial_timeout=100ms", Options{}, "connection refused"},
		"no database": {u.String(), Options{}, "absent"},
		"no table":    {dsn, Options{ExistingTables: true}, "there is no table otel_traces"},
	} {
		_, err := Open(t.Context(), test.dsn, test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want one about %q", name, err, test.want)
		}
	}
}
