package web

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestFileStore counts the operations and calls of a file that is older than any counts that a
// store keeps.
func TestFileStore(t *testing.T) {
	resource := func(service string) *dendro.Resource {
		return &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}}
	}
	const second, day = int64(time.Second), int64(24 * time.Hour)
	span := func(trace, id, parent byte, name string, kind dendro.Kind, at int64, attrs ...slog.Attr) *dendro.SpanData {
		s := &dendro.SpanData{ParentID: dendro.SpanID{7: parent}, Name: name, Kind: kind, Start: at, End: at + second, Scope: &dendro.Scope{}, Attributes: attrs}
		s.TraceID, s.SpanID = dendro.TraceID{15: trace}, dendro.SpanID{7: id}
		return s
	}
	const begin = 1_000_000_020 * second // a whole minute
	f, err := newFileStore([]*dendro.Batch{
		{Resource: resource("shop"), Spans: []*dendro.SpanData{
			span(1, 2, 1, "GET", dendro.KindClient, begin), span(1, 1, 0, "GET /", dendro.KindServer, begin-second), span(1, 2, 1, "GET", dendro.KindClient, begin),
			span(2, 1, 0, "pay", dendro.KindClient, begin-60*second, slog.String("peer.service", "bank")),
			span(3, 1, 0, "long ago", dendro.KindServer, begin-3*day),
		}},
		{Resource: resource("stock"), Spans: []*dendro.SpanData{span(1, 3, 2, "GET /items", dendro.KindServer, begin)}},
	}, 1000)
	testkit.NoError(t, err)

	got, err := f.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "stats", []any{got.Traces, got.Spans, got.Accepted, got.Duplicates, got.Bytes, got.Operations.Late}, []any{3, 5, uint64(5), uint64(1), int64(1000), uint64(1)})
	testkit.Equal(t, "window", f.window(), "24h")
	testkit.Equal(t, "windows end after the last span", f.now().UnixNano(), begin+second+1)
	var order []byte
	testkit.NoError(t, f.Scan(t.Context(), collector.Scan{}, func(t *collector.Trace) bool {
		order = append(order, t.ID[15])
		return true
	}))
	testkit.Equal(t, "the newest first", order, []byte{1, 2, 3})
	trace, err := f.Trace(t.Context(), dendro.TraceID{15: 1}, collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "ordered by start", fmt.Sprint(trace.Spans[0].Name, trace.Spans[1].Name, trace.Spans[2].Name, len(trace.Spans)), "GET /GETGET /items3")

	last := collector.OperationScan{Start: f.now().Add(-15 * time.Minute), End: f.now()}
	var names []string
	testkit.NoError(t, f.Operations(t.Context(), last, func(o *collector.Operation) bool {
		names = append(names, o.Service+" "+o.Name)
		return true
	}))
	testkit.Equal(t, "operations", names, []string{"shop GET", "shop GET /", "shop pay", "stock GET /items"})
	names = nil
	testkit.NoError(t, f.Edges(t.Context(), last, func(e *collector.Edge) bool {
		names = append(names, e.Client.Name+" "+e.Server.Name)
		return true
	}))
	testkit.Equal(t, "edges", names, []string{"shop bank", "shop stock"})
}

// The times of a hostile file.
func TestFileStoreTimes(t *testing.T) {
	for _, at := range []int64{0, 1, 1<<63 - 1, 1<<63 - 1 - int64(time.Hour)} {
		s := &dendro.SpanData{Scope: &dendro.Scope{}, Kind: dendro.KindClient, Start: at, End: at, Attributes: []slog.Attr{slog.String("peer.service", "bank")}}
		s.TraceID, s.SpanID = dendro.TraceID{1}, dendro.SpanID{1}
		f, err := newFileStore([]*dendro.Batch{{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{s}}}, 1)
		testkit.NoError(t, err)
		operations, edges := 0, 0
		last := collector.OperationScan{Start: f.now().Add(-time.Minute), End: f.now()}
		testkit.NoError(t, f.Operations(t.Context(), last, func(*collector.Operation) bool {
			operations++
			return true
		}))
		testkit.NoError(t, f.Edges(t.Context(), last, func(*collector.Edge) bool {
			edges++
			return true
		}))
		testkit.Equal(t, fmt.Sprint("operations and edges at ", at), []int{operations, edges}, []int{1, 1})
	}
}

func TestFileStoreIsBounded(t *testing.T) {
	b := &dendro.Batch{Resource: &dendro.Resource{}, Spans: slices.Repeat([]*dendro.SpanData{{}}, maxImportedSpans+1)}
	_, err := newFileStore([]*dendro.Batch{b}, 1)
	testkit.Equal(t, "error", err, errTooMany)
}
