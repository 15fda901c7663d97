package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

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

// BenchmarkLinks looks through two million spans, of which none has a link.
func BenchmarkLinks(b *testing.B) {
	store := memory.New(memory.Options{MaxBytes: 1 << 30})
	for i := range 400_000 {
		spans := manySpans(5)
		for _, s := range spans {
			s.Start, s.End = s.Start+int64(i)*1e6, s.End+int64(i)*1e6
			s.TraceID = dendro.TraceID{12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i), 15: 1}
			s.Attributes = []slog.Attr{slog.String("db.query.text", "SELECT * FROM items WHERE id = ?"), slog.String("db.system.name", "postgresql"), slog.Int("row", i)}
		}
		testkit.NoError(b, store.Collect(&dendro.Batch{Resource: resource("shop"), Spans: spans}))
	}
	benchmarkGet(b, store, "/api/dendro/traces/1/spans/0000000000000001/links")
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
