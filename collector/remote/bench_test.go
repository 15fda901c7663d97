package remote_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/remote"
)

// requestTraces returns the traces of requests with a query and a call: 3 spans with 8
// attributes each. Their random ids do not compress.
func requestTraces() (all [256]*dendro.Batch) {
	for i := range all {
		all[i] = requestTrace()
	}
	return all
}

func requestTrace() *dendro.Batch {
	b := batch("GET /orders/{id}", "SELECT orders", "GET")
	var trace dendro.TraceID
	binary.NativeEndian.PutUint64(trace[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(trace[8:], rand.Uint64())
	for _, s := range b.Spans {
		s.TraceID = trace
		binary.NativeEndian.PutUint64(s.SpanID[:], rand.Uint64())
		s.Start = time.Now().UnixNano()
		s.End = s.Start + rand.Int64N(1e9)
		s.Attributes = []slog.Attr{
			slog.String("http.request.method", "GET"), slog.String("url.path", "/orders/17"), slog.String("url.scheme", "https"),
			slog.String("http.route", "/orders/{id}"), slog.Int("http.response.status_code", 200), slog.String("server.address", "shop.example"),
			slog.Int("server.port", 443), slog.String("db.query.text", "SELECT id, total FROM orders WHERE id = ?"),
		}
	}
	return b
}

// nowhere is a collector that drops everything.
type nowhere struct{}

func (nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Body.Close()
	return answer(200), nil
}

// BenchmarkCollect collects three spans per operation. "delivered" includes what the
// client does in the background, mostly compression.
func BenchmarkCollect(b *testing.B) {
	for _, c := range []struct {
		name string
		o    remote.Options
	}{
		{"delivered, gzip", remote.Options{HTTPClient: &http.Client{Transport: nowhere{}}, Compression: "gzip"}},
		{"delivered, plain", remote.Options{HTTPClient: &http.Client{Transport: nowhere{}}, Compression: "none"}},
		{"queue full", remote.Options{QueueBytes: 1500}},
	} {
		b.Run(c.name, func(b *testing.B) {
			client, err := remote.Dial("http://127.0.0.1:1", c.o)
			if err != nil {
				b.Fatal(err)
			}
			traces := requestTraces()
			refused := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if client.Collect(traces[i%len(traces)]) != nil {
					refused++
				}
				if i%1000 == 999 && c.o.QueueBytes == 0 {
					_ = client.Flush(background)
				}
			}
			stats := client.Stats()
			if stats.SentSpans > 0 {
				b.ReportMetric(float64(stats.SentBytes)/float64(stats.SentSpans), "wire-B/span")
			}
			b.ReportMetric(float64(refused)/float64(b.N), "refused/op")
			ctx, cancel := context.WithCancel(background)
			cancel()
			_ = client.Shutdown(ctx) // the collector does not exist
		})
	}
}

// BenchmarkSpool writes and syncs a request of a thousand spans per operation, as while the
// collector is away.
func BenchmarkSpool(b *testing.B) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(before)
	for _, compression := range []string{"gzip", "none"} {
		b.Run(compression, func(b *testing.B) {
			client, err := remote.Dial("http://127.0.0.1:1", remote.Options{Spool: b.TempDir(), SpoolBytes: 1 << 40, Compression: compression})
			if err != nil {
				b.Fatal(err)
			}
			traces := requestTraces()
			spans := 0
			for b.Loop() {
				for i := range 334 {
					if err := client.Collect(traces[i%len(traces)]); err != nil {
						b.Fatal(err)
					}
					spans += 3
				}
				if err := client.Flush(background); err != nil {
					b.Fatal(err)
				}
			}
			if err := client.Shutdown(background); err != nil {
				b.Fatal(err)
			}
			stats := client.Stats()
			b.ReportMetric(float64(stats.SpooledBytes)/float64(stats.SpooledSpans), "disk-B/span")
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(spans), "µs/span")
		})
	}
}

// BenchmarkCollectParallel shows the cost of the lock.
func BenchmarkCollectParallel(b *testing.B) {
	client, err := remote.Dial("http://127.0.0.1:1", remote.Options{HTTPClient: &http.Client{Transport: nowhere{}}, Compression: "none"})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Shutdown(background)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		traces := requestTraces()
		for i := 0; p.Next(); i++ {
			_ = client.Collect(traces[i%len(traces)])
		}
	})
}
