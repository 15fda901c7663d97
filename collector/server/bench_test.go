package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
)

// discard is a store that costs nothing.
type discard struct{}

func (discard) Write(context.Context, []*dendro.Batch) error { return nil }

const benchSpans = 512

// benchBatch has spans as a web server records them, with ten attributes each.
func benchBatch() *dendro.Batch {
	b := batch("shop")
	scope := &dendro.Scope{Name: "test"}
	for i := range benchSpans {
		s := batch("shop", "GET /orders/{id}").Spans[0]
		s.Scope = scope
		s.SpanID[1], s.SpanID[2] = byte(i), byte(i>>8)
		s.Attributes = []slog.Attr{
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
		}
		b.Spans = append(b.Spans, s)
	}
	return b
}

// benchmark serves the request again and again.
func benchmark(b *testing.B, r *http.Request) {
	h := server.New(discard{}, server.Options{})
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(bytes.NewReader(body))
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code/100 != 2 {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSpans, "ns/span")
}

func BenchmarkReceive(b *testing.B) {
	proto, text := otlp.AppendTraces(nil, benchBatch()), otlp.AppendTracesJSON(nil, benchBatch())
	b.Run("protobuf", func(b *testing.B) { benchmark(b, request(protobuf, "", proto)) })
	b.Run("protobuf, gzip", func(b *testing.B) { benchmark(b, request(protobuf, "gzip", zip(proto))) })
	b.Run("protobuf, zstd", func(b *testing.B) { benchmark(b, request(protobuf, "zstd", zstandard(proto))) })
	b.Run("grpc", func(b *testing.B) {
		r := request("application/grpc", "", message(0, proto))
		r.URL.Path, r.ProtoMajor = export, 2
		benchmark(b, r)
	})
	b.Run("json", func(b *testing.B) { benchmark(b, request(json, "", text)) })
}
