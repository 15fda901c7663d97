package web_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// manySpans returns the spans of a trace like that of TestBrowserManySpans.
func manySpans(n int) []*dendro.SpanData {
	out := make([]*dendro.SpanData, n)
	for i := range out {
		s := span(1, 0, 0, "shop", fmt.Sprint("span ", i), int64(i), int64(n+1)).SpanData
		s.SpanID = longID(i + 1)
		if i > 0 {
			s.ParentID = longID((i + 9) / 10)
		}
		out[i] = &s
	}
	return out
}

func longID(n int) dendro.SpanID {
	return dendro.SpanID{4: byte(n >> 24), 5: byte(n >> 16), 6: byte(n >> 8), 7: byte(n)}
}

// BenchmarkTracePage renders the page of a trace of 100,000 spans.
func BenchmarkTracePage(b *testing.B) {
	store := memory.New(memory.Options{})
	testkit.NoError(b, store.Collect(&dendro.Batch{Resource: resource("shop"), Spans: manySpans(100_000)}))
	benchmarkGet(b, store, "/trace/"+traceOne)
}

// BenchmarkMatch looks for spans in a trace of 100,000 with attributes.
func BenchmarkMatch(b *testing.B) {
	store := memory.New(memory.Options{})
	spans := manySpans(100_000)
	for i, s := range spans {
		s.Attributes = []slog.Attr{slog.String("db.query.text", "SELECT * FROM items WHERE id = ?"), slog.String("db.system.name", "postgresql"), slog.Int("row", i)}
	}
	testkit.NoError(b, store.Collect(&dendro.Batch{Resource: resource("shop"), Spans: spans}))
	for name, q := range map[string]string{"text": "Span 777", "query": `{ name =~ "span 777.*" }`} {
		b.Run(name, func(b *testing.B) {
			benchmarkGet(b, store, "/api/dendro/traces/1/match?q="+url.QueryEscape(q))
		})
	}
}

var benchSpans = flag.Int("spans", 20_000, "number of spans in the store of the benchmarks of pages")

// benchStore returns a store with traces of ten spans of two services, which ended within the last
// ten minutes.
func benchStore(b *testing.B) collector.Store {
	const perTrace = 10
	store := memory.New(memory.Options{MaxBytes: 1 << 30})
	origins := []*dendro.Resource{}
	for _, name := range []string{"shop", "bank"} {
		origins = append(origins, &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", name), slog.String("service.version", "1.4"), slog.String("host.name", name+"-1")}})
	}
	scope := &dendro.Scope{Name: "bench"}
	traces := *benchSpans / perTrace
	from, step := time.Now().Add(-10*time.Minute).UnixNano(), int64(10*time.Minute)/int64(traces)
	for n := range traces {
		start := from + int64(n)*step
		var batches [2]dendro.Batch
		for i := range perTrace {
			s := &dendro.SpanData{Name: "SELECT orders", Kind: dendro.KindClient, Scope: scope, Start: start + int64(i)*1e6, End: start + int64(i)*1e6 + int64(1+n%50)*1e5,
				Attributes: []slog.Attr{
					slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.operation.name", "SELECT"),
					slog.String("db.query.text", "SELECT id, state FROM orders WHERE id = ?"), slog.Int("db.response.returned_rows", n%20), slog.String("server.address", "db-1"),
				}}
			binary.BigEndian.PutUint64(s.TraceID[:], uint64(n+1)*0x9e3779b97f4a7c15)
			s.SpanID, s.ParentID = dendro.SpanID{0: 1, 7: byte(i + 1)}, dendro.SpanID{0: 1, 7: 1}
			if i%5 == 0 {
				s.Name, s.Kind, s.End = fmt.Sprint("GET /", n%12), dendro.KindServer, start+int64(20+n%200)*1e6
				s.Attributes = []slog.Attr{
					slog.String("http.request.method", "GET"), slog.String("http.route", fmt.Sprint("/", n%12)), slog.String("url.path", fmt.Sprint("/", n)),
					slog.Int("http.response.status_code", 200+n%40/39*300), slog.String("user.tier", []string{"free", "paid"}[n%3/2]),
				}
			}
			if i == 0 {
				s.ParentID = dendro.SpanID{}
			}
			if n%40 == 39 && i == 0 {
				s.Status = dendro.Status{Code: dendro.StatusError, Message: "no"}
			}
			of := &batches[i/5]
			of.Resource, of.Spans = origins[i/5], append(of.Spans, s)
		}
		for i := range batches {
			batches[i].Fresh = true
			testkit.NoError(b, store.Collect(&batches[i]))
		}
	}
	return store
}

// The pages below are to take 100 ms or less at 2 million spans: use -spans 2000000.

// BenchmarkListPage makes the page with 50 traces.
func BenchmarkListPage(b *testing.B) {
	store := benchStore(b)
	for name, query := range map[string]string{"all": "{ }", "errors": `{ status = error && span.http.route = "/3" }`, "none": `{ span.http.route = "/none" }`} {
		b.Run(name, func(b *testing.B) { benchmarkGet(b, store, "/?limit=50&q="+url.QueryEscape(query)) })
	}
}

// BenchmarkOverviewPage makes the start page.
func BenchmarkOverviewPage(b *testing.B) { benchmarkGet(b, benchStore(b), "/") }

// BenchmarkComparePage reads as many traces as the page reads at most.
func BenchmarkComparePage(b *testing.B) {
	benchmarkGet(b, benchStore(b), "/?view=compare&q="+url.QueryEscape("{ span:parentID = nil && status = error }")+"&against="+url.QueryEscape("{ span:parentID = nil }"))
}

// BenchmarkLinks looks for links in a store where no span has one.
func BenchmarkLinks(b *testing.B) {
	const first = "9e3779b97f4a7c150000000000000000"
	benchmarkGet(b, benchStore(b), "/api/dendro/traces/"+first+"/spans/0100000000000001/links")
}

// discarded counts what is written.
type discarded struct {
	header http.Header
	status int
	bytes  int64
}

func (d *discarded) Header() http.Header    { return d.header }
func (d *discarded) WriteHeader(status int) { d.status = status }

func (d *discarded) Write(data []byte) (int, error) {
	d.bytes += int64(len(data))
	return len(data), nil
}

func benchmarkGet(b *testing.B, store collector.Store, path string) {
	h := web.New(store, web.Options{Authorize: func(*http.Request) bool { return true }})
	b.ReportAllocs()
	for b.Loop() {
		w := &discarded{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
		b.SetBytes(w.bytes)
	}
}
