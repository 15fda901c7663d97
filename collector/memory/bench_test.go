package memory_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// request returns the batch of request n of a program: a server span, a client span
// and three queries, with the attributes that the wrappers of dendro set.
func request(n int) *dendro.Batch {
	b := &dendro.Batch{Resource: shop}
	start := int64(1_700_000_000_000_000_000) + int64(n)*1_234_567
	var trace dendro.TraceID
	binary.BigEndian.PutUint64(trace[:], mix(uint64(n)))
	binary.BigEndian.PutUint64(trace[8:], mix(uint64(n)+1<<32))
	ids := make([]dendro.SpanID, 5)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][:], mix(uint64(n*5+i)+1<<48))
	}
	add := func(i int, kind dendro.Kind, name string, from, to int64, attrs ...slog.Attr) {
		s := &dendro.SpanData{
			SpanContext: dendro.SpanContext{TraceID: trace, SpanID: ids[i], Flags: 3},
			Kind:        kind, Name: name, Scope: scope, Start: start + from, End: start + to, Attributes: attrs,
		}
		if i > 0 {
			s.ParentID = ids[0]
		}
		b.Spans = append(b.Spans, s)
	}
	query := func(i int, from int64, operation, text string) {
		add(i, dendro.KindClient, operation+" orders", from, from+412_345,
			slog.String("db.system.name", "postgresql"),
			slog.String("db.namespace", "shop"),
			slog.String("db.operation.name", operation),
			slog.String("db.collection.name", "orders"),
			slog.String("db.query.summary", operation+" orders"),
			slog.String("db.query.text", text),
			slog.String("server.address", "db-1.internal"),
			slog.Int("server.port", 5432),
			slog.Int("db.response.returned_rows", n%20))
	}
	query(1, 150_000, "SELECT", "SELECT id, customer_id, state, total FROM orders WHERE id = ?")
	query(2, 600_000, "SELECT", "SELECT sku, quantity, price FROM order_lines WHERE order_id = ? ORDER BY position")
	query(3, 1_200_000, "UPDATE", "UPDATE orders SET state = ?, seen_at = ? WHERE id = ?")
	add(4, dendro.KindClient, "GET", 1_700_000, 4_900_000,
		slog.String("http.request.method", "GET"),
		slog.String("url.full", fmt.Sprintf("http://stock.internal:8080/items/%d?warehouse=REDACTED", n%5000)),
		slog.String("server.address", "stock.internal"),
		slog.Int("server.port", 8080),
		slog.String("network.protocol.version", "1.1"),
		slog.Int("http.response.status_code", 200),
		slog.Int("http.response.body.size", 300+n%700),
		slog.String("network.peer.address", "10.0.3.17"))
	add(0, dendro.KindServer, "GET /orders/{id}", 0, 5_300_000,
		slog.String("http.request.method", "GET"),
		slog.String("http.route", "/orders/{id}"),
		slog.String("url.path", fmt.Sprintf("/orders/%d", n)),
		slog.String("url.scheme", "http"),
		slog.String("server.address", "shop.example.com"),
		slog.Int("http.response.status_code", 200),
		slog.Int("http.response.body.size", 1000+n%3000),
		slog.String("client.address", fmt.Sprintf("192.0.2.%d", n%250)),
		slog.String("network.protocol.version", "1.1"),
		slog.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"))
	return b
}

// makeRequest makes the spans of request n with a tracer.
func makeRequest(t *dendro.Tracer, n int) {
	path, url, client := paths[n%len(paths)], urls[n%len(urls)], clients[n%len(clients)]
	ctx, root := t.StartWith(context.Background(), "GET", dendro.StartOptions{Kind: dendro.KindServer})
	root.SetAttributes(
		slog.String("http.request.method", "GET"),
		slog.String("url.path", path),
		slog.String("url.scheme", "http"),
		slog.String("server.address", "shop.example.com"),
		slog.String("client.address", client),
		slog.String("network.protocol.version", "1.1"),
		slog.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"))
	query := func(operation, text string) {
		_, span := dendro.StartWith(ctx, operation+" orders", dendro.StartOptions{Kind: dendro.KindClient},
			slog.String("db.system.name", "postgresql"),
			slog.String("db.namespace", "shop"),
			slog.String("db.operation.name", operation),
			slog.String("db.collection.name", "orders"),
			slog.String("db.query.summary", operation+" orders"),
			slog.String("db.query.text", text),
			slog.String("server.address", "db-1.internal"),
			slog.Int("server.port", 5432))
		span.SetAttributes(slog.Int("db.response.returned_rows", n%20))
		span.End()
	}
	query("SELECT", "SELECT id, customer_id, state, total FROM orders WHERE id = ?")
	query("SELECT", "SELECT sku, quantity, price FROM order_lines WHERE order_id = ? ORDER BY position")
	query("UPDATE", "UPDATE orders SET state = ?, seen_at = ? WHERE id = ?")
	_, call := dendro.StartWith(ctx, "GET", dendro.StartOptions{Kind: dendro.KindClient},
		slog.String("http.request.method", "GET"),
		slog.String("url.full", url),
		slog.String("server.address", "stock.internal"),
		slog.Int("server.port", 8080))
	call.SetAttributes(
		slog.String("network.protocol.version", "1.1"),
		slog.Int("http.response.status_code", 200),
		slog.Int("http.response.body.size", 300+n%700),
		slog.String("network.peer.address", "10.0.3.17"))
	call.End()
	root.SetName("GET /orders/{id}")
	root.SetAttributes(
		slog.String("http.route", "/orders/{id}"),
		slog.Int("http.response.status_code", 200),
		slog.Int("http.response.body.size", 1000+n%3000))
	root.End()
}

var paths, urls, clients = texts(1<<15, "/orders/%d"), texts(5000, "http://stock.internal:8080/items/%d?warehouse=REDACTED"), texts(250, "192.0.2.%d")

func texts(n int, format string) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

// nothing is a collector that drops all spans.
type nothing struct{}

func (nothing) Collect(*dendro.Batch) error { return nil }

// BenchmarkRequest makes the five spans of a request and, in "kept", stores them. The
// difference is the cost of storing.
func BenchmarkRequest(b *testing.B) {
	for name, c := range map[string]dendro.Collector{
		"made": nothing{},
		"kept": memory.New(memory.Options{MaxBytes: 64 << 20}),
	} {
		b.Run(name, func(b *testing.B) {
			t := dendro.New(dendro.Options{Collector: c, Resource: shop.Attributes})
			ballast := make([]byte, 64<<20) // a heap of the size that programs have
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				makeRequest(t, n)
				n++
			}
			runtime.KeepAlive(ballast)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(5*b.N), "ns/span")
		})
	}
}

// mix spreads n over 64 bits, like a random id.
func mix(n uint64) uint64 {
	n = (n + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

var (
	shop = &dendro.Resource{Attributes: []slog.Attr{
		slog.String("service.name", "shop"),
		slog.String("service.version", "1.14.2"),
		slog.String("deployment.environment.name", "production"),
		slog.String("host.name", "shop-7d9c5b5f4-x2x9q"),
		slog.Int("process.pid", 1),
	}}
	scope = &dendro.Scope{Name: "github.com/dendrotrace/dendro", Version: "0.1.0"}
)

func BenchmarkCollect(b *testing.B) {
	m := memory.New(memory.Options{MaxBytes: 64 << 20})
	batches := make([]*dendro.Batch, 1<<13)
	now := time.Now().UnixNano()
	for i := range batches {
		batches[i] = request(i)
		for _, s := range batches[i].Spans { // spans of the past are not counted
			s.Start, s.End = now-(s.End-s.Start), now
		}
	}
	var n uint64
	b.ReportAllocs()
	for b.Loop() {
		batch := batches[n%uint64(len(batches))]
		n++
		for _, s := range batch.Spans { // another trace with the same content
			binary.LittleEndian.PutUint64(s.TraceID[:], n)
		}
		if err := m.Collect(batch); err != nil {
			b.Fatal(err)
		}
	}
	s := statsOf(b, m)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(5*b.N), "ns/span")
	b.ReportMetric(float64(s.Bytes)/float64(s.Spans), "B/span")
}

func BenchmarkTraceOf100kSpans(b *testing.B) {
	m := memory.New(memory.Options{})
	for i := range 200 {
		batch := &dendro.Batch{Resource: shop}
		for n := range 100 {
			batch.Spans = append(batch.Spans, request(i*100+n).Spans...)
		}
		for _, s := range batch.Spans {
			s.TraceID = dendro.TraceID{1}
		}
		if err := m.Collect(batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		trace, err := m.Trace(b.Context(), dendro.TraceID{1}, collector.TimeRange{})
		if err != nil || len(trace.Spans) != 100_000 {
			b.Fatal(err, len(trace.Spans))
		}
	}
	b.ReportMetric(float64(statsOf(b, m).Bytes)/100_000, "B/span")
}

func BenchmarkSearch(b *testing.B) {
	m := memory.New(memory.Options{})
	for i := range 20_000 {
		if err := m.Collect(request(i)); err != nil {
			b.Fatal(err)
		}
	}
	for name, query := range map[string]string{
		"newest":  `{ }`,
		"service": `{ resource.service.name = "shop" && name = "GET" }`,
		"tag":     `{ span.url.path = "/orders/77" }`,
		"absent":  `{ span.absent = "" }`,
	} {
		q, err := traceql.Parse(query)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			measure(b, func() error {
				_, _, err := q.Search(b.Context(), m, traceql.SearchOptions{})
				return err
			})
		})
	}
}

// BenchmarkQuery asks a store of two million spans. "first" stops at twenty traces; the
// others read whatever may match.
func BenchmarkQuery(b *testing.B) {
	m := memory.New(memory.Options{MaxBytes: 1 << 30})
	for i := range 400_000 {
		if err := m.Collect(request(i)); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ name, query string }{
		{"first", `{ }`},
		{"rare value", `{ span.url.path = "/orders/77" && span.client.address = "absent" }`},
		{"rare key", `{ span.absent = 1 }`},
		{"rare key of any scope", `{ .absent = 1 }`},
		{"service, operation and duration", `{ resource.service.name = "shop" && name = "GET" && duration > 1h }`},
		{"trace duration", `{ traceDuration > 1h }`},
		{"errors", `{ status = error && name = "absent" }`},
		{"structure", `{ kind = server } >> { span.db.operation.name = "absent" }`},
		{"descendants", `{ kind = server } >> { kind = server }`},
		{"count", `{ kind = client } | count() > 100`},
	} {
		q, err := traceql.Parse(c.query)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			measure(b, func() error {
				_, _, err := q.Search(b.Context(), m, traceql.SearchOptions{})
				return err
			})
		})
	}
}

// BenchmarkTags asks a store of two million spans for the keys and values of attributes.
func BenchmarkTags(b *testing.B) {
	m := memory.New(memory.Options{MaxBytes: 1 << 30})
	for i := range 400_000 {
		if err := m.Collect(request(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("keys", func(b *testing.B) {
		measure(b, func() error {
			_, _, err := traceql.All().Keys(b.Context(), m, traceql.TagOptions{})
			return err
		})
	})
	for _, name := range []string{"resource.service.name", "name", "span.http.route", "span.absent"} {
		f, err := traceql.ParseField(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			measure(b, func() error {
				_, _, err := traceql.All().Values(b.Context(), m, f, traceql.TagOptions{})
				return err
			})
		})
	}
}

// BenchmarkMetrics makes series of two million spans.
func BenchmarkMetrics(b *testing.B) {
	m := memory.New(memory.Options{MaxBytes: 1 << 30})
	for i := range 400_000 {
		if err := m.Collect(request(i)); err != nil {
			b.Fatal(err)
		}
	}
	start := time.Unix(0, 1_700_000_000_000_000_000)
	for _, query := range []string{"{ } | rate() by(resource.service.name)", "{ } | quantile_over_time(duration, .5, .99) by(name)"} {
		q, err := traceql.Parse(query)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(query, func(b *testing.B) {
			b.ReportAllocs()
			measure(b, func() error {
				_, _, err := q.Metrics(b.Context(), m, traceql.Range{Start: start, End: start.Add(10 * time.Minute), Step: 10 * time.Second})
				return err
			})
		})
	}
}

// BenchmarkCollectWhileQueried measures how long Collect takes while eight queries at once read
// two million spans, and without them.
func BenchmarkCollectWhileQueried(b *testing.B) {
	m := memory.New(memory.Options{MaxBytes: 1 << 30})
	for i := range 400_000 {
		if err := m.Collect(request(i)); err != nil {
			b.Fatal(err)
		}
	}
	batches := make([]*dendro.Batch, 1<<13)
	for i := range batches {
		batches[i] = request(i)
	}
	q, err := traceql.Parse(`{ kind = server } >> { span.absent != nil || name = "absent" }`)
	if err != nil {
		b.Fatal(err)
	}
	n := uint64(1 << 40)
	for _, queries := range []int{0, 1, 8} {
		b.Run(fmt.Sprint(queries), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			for range queries {
				running.Go(func() {
					for ctx.Err() == nil {
						_, _, _ = q.Search(ctx, m, traceql.SearchOptions{})
					}
				})
			}
			measure(b, func() error {
				batch := batches[n%uint64(len(batches))]
				n++
				for _, s := range batch.Spans {
					binary.LittleEndian.PutUint64(s.TraceID[:], n)
				}
				return m.Collect(batch)
			})
			cancel()
			running.Wait()
		})
	}
}

// measure calls f again and again, and reports how long it takes in half of the calls, and in
// all but one in a hundred.
func measure(b *testing.B, f func() error) {
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*p/100]), fmt.Sprintf("p%d-ns", p))
	}
}
