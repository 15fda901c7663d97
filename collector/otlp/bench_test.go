package otlp

import (
	"log/slog"
	"testing"

	"github.com/dendrotrace/dendro"
)

// serverSpan returns a span as the middleware records it for a request, with 10
// attributes.
func serverSpan() *dendro.SpanData {
	return &dendro.SpanData{
		SpanContext: dendro.SpanContext{
			TraceID: dendro.TraceID{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
			SpanID:  dendro.SpanID{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7},
			Flags:   dendro.FlagSampled | dendro.FlagRandom,
		},
		ParentID: dendro.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31},
		Remote:   true,
		Kind:     dendro.KindServer,
		Name:     "GET /orders/{id}",
		Start:    1_795_000_000_123_456_789,
		End:      1_795_000_000_125_000_000,
		Attributes: []slog.Attr{
			slog.String("http.request.method", "GET"),
			slog.String("http.route", "/orders/{id}"),
			slog.String("url.path", "/orders/8127"),
			slog.String("url.scheme", "https"),
			slog.String("server.address", "shop.example.com"),
			slog.Int("server.port", 443),
			slog.String("network.peer.address", "192.0.2.17"),
			slog.String("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
			slog.Int("http.response.status_code", 200),
			slog.Int("http.response.body.size", 5120),
		},
	}
}

// testBatch returns a batch of n spans of one process.
func testBatch(n int) *dendro.Batch {
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop"), slog.Int("process.pid", 4711)}}}
	scope := &dendro.Scope{Name: "github.com/dendrotrace/dendro", Version: "0.1.0"}
	for range n {
		b.Spans = append(b.Spans, ofScope(scope, serverSpan()))
	}
	return b
}

func ofScope(sc *dendro.Scope, s *dendro.SpanData) *dendro.SpanData {
	s.Scope = sc
	return s
}

func BenchmarkAppendSpan(b *testing.B) {
	s := serverSpan()
	buf := AppendSpan(nil, s)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendSpan(buf[:0], s)
	}
}

// perSpan benchmarks f, which processes a batch of 512 spans.
func perSpan(b *testing.B, f func(*dendro.Batch)) {
	const spans = 512
	batch := testBatch(spans)
	b.ReportAllocs()
	for b.Loop() {
		f(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/spans, "ns/span")
}

func BenchmarkAppendTraces(b *testing.B) {
	var buf []byte
	perSpan(b, func(batch *dendro.Batch) { buf = AppendTraces(buf[:0], batch) })
}

func BenchmarkAppendTracesJSON(b *testing.B) {
	var buf []byte
	perSpan(b, func(batch *dendro.Batch) { buf = AppendTracesJSON(buf[:0], batch) })
}

func BenchmarkDecodeTraces(b *testing.B) {
	data := AppendTraces(nil, testBatch(512))
	perSpan(b, func(*dendro.Batch) {
		if _, err := DecodeTraces(data); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkDecodeTracesJSON(b *testing.B) {
	data := AppendTracesJSON(nil, testBatch(512))
	perSpan(b, func(*dendro.Batch) {
		if _, err := DecodeTracesJSON(data); err != nil {
			b.Fatal(err)
		}
	})
}
