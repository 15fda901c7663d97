package pebblestore

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// BenchmarkWrite writes requests of 512 spans, in traces of eight, with all that comes after: runs as
// well. "make bench-collector" measures a whole server with more realistic spans, and searches.
func BenchmarkWrite(b *testing.B) {
	const spans, traceSpans = 512, 8
	s, err := Open(b.TempDir(), Options{})
	testkit.NoError(b, err)
	defer s.Close() //nolint:errcheck // the writes have succeeded
	scope := &dendro.Scope{Name: "bench"}
	request := []*dendro.Batch{{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}}}
	for i := range spans {
		request[0].Spans = append(request[0].Spans, &dendro.SpanData{
			Name: fmt.Sprint("SELECT table_", i%20), Kind: dendro.KindClient, Scope: scope,
			Attributes: []slog.Attr{
				slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.collection.name", fmt.Sprint("table_", i%20)),
				slog.String("server.address", "db.example.com"), slog.Int("server.port", 5432), slog.Int("db.response.returned_rows", i),
			},
		})
	}
	number := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now().UnixNano()
		for i, span := range request[0].Spans {
			number++
			binary.BigEndian.PutUint64(span.TraceID[:], (number-1)/traceSpans*0x9e3779b97f4a7c15)
			binary.BigEndian.PutUint64(span.SpanID[:], number)
			span.Start, span.End = now+int64(i), now+int64(1000*i)
		}
		testkit.NoError(b, s.Write(b.Context(), request))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(spans*b.N), "ns/span")
}
