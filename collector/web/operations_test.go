package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The counts are right for traces that are gone.
func TestOperations(t *testing.T) {
	store := memory.New(memory.Options{MaxBytes: 1 << 20})
	shop := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
	ids := byte(0)
	serveOrders := func(d time.Duration) (dendro.TraceID, dendro.SpanID) {
		ids++
		end := time.Now().UnixNano()
		root := &dendro.SpanData{Name: "GET /orders", Kind: dendro.KindServer, Start: end - int64(d), End: end}
		query := &dendro.SpanData{Name: "SELECT", Kind: dendro.KindClient, Start: end - 1000, End: end,
			Attributes: []slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.query.text", fmt.Sprintf("%70000d", 1))}}
		root.TraceID, root.SpanID = dendro.TraceID{1, ids}, dendro.SpanID{1, ids}
		query.TraceID, query.SpanID, query.ParentID = root.TraceID, dendro.SpanID{2, ids}, root.SpanID
		if d > time.Second {
			root.Status.Code = dendro.StatusError
		}
		testkit.NoError(t, store.Collect(&dendro.Batch{Resource: shop, Spans: []*dendro.SpanData{query, root}, Fresh: true}))
		return root.TraceID, root.SpanID
	}
	for range 95 {
		serveOrders(100 * time.Millisecond)
	}
	for range 4 {
		serveOrders(2 * time.Second)
	}
	trace, span := serveOrders(900 * time.Millisecond)
	if st, err := store.Stats(t.Context()); err != nil || st.Traces > 50 {
		t.Fatalf("%d traces are held", st.Traces)
	}

	server := serve(t, store, web.Options{})
	get := func(path string, into any) {
		t.Helper()
		r := do(t, http.MethodGet, server.URL+path, nil)
		if r.status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		testkit.NoError(t, json.Unmarshal([]byte(r.body), into))
	}
	type counts struct {
		Count, Errors, P50, P90, P99 float64
		Over                         struct{ Count, P99 []float64 }
	}
	var ops struct {
		Points, Step int
		Operations   []struct {
			Service, Name, Kind string
			counts
		}
		Heatmap [][]float64
	}
	get("/api/dendro/operations?since=10m&step=1m&heatmap=true", &ops)
	if len(ops.Operations) != 2 || ops.Points < 10 || ops.Step != 60 || len(ops.Heatmap) != ops.Points {
		t.Fatalf("got %+v", ops)
	}
	orders := ops.Operations[0]
	testkit.Equal(t, "operation", fmt.Sprint(orders.Service, orders.Name, orders.Kind, orders.Count, orders.Errors), "shopGET /ordersserver100 4")
	for what, is := range map[string][2]float64{"p50": {orders.P50, 1e8}, "p90": {orders.P90, 1e8}, "p99": {orders.P99, 2e9}} {
		if math.Abs(is[0]-is[1]) > .05*is[1] {
			t.Errorf("%s is %v, want %v", what, is[0], is[1])
		}
	}
	sum, durations := 0.0, 0.0
	for i, n := range orders.Over.Count {
		sum += n
		for at := 1; at < len(ops.Heatmap[i]); at += 2 {
			durations += ops.Heatmap[i][at]
		}
	}
	testkit.Equal(t, "sum of the points and of the heatmap", [2]float64{sum, durations}, [2]float64{100, 200})

	var graph struct {
		Edges []struct {
			Client, Server struct{ Kind, Name, System string }
			counts
		}
	}
	get("/api/dendro/graph?since=10m", &graph)
	testkit.Equal(t, "edges", len(graph.Edges), 1)
	testkit.Equal(t, "edge", fmt.Sprint(graph.Edges[0].Client, graph.Edges[0].Server, graph.Edges[0].Count), "{service shop } {database shop postgresql} 100")

	var detail struct {
		Spans []struct {
			Rank struct{ Spans, Slower float64 }
		}
	}
	get("/api/dendro/traces/"+trace.String()+"/spans/"+span.String(), &detail)
	testkit.Equal(t, "rank", detail.Spans[0].Rank, struct{ Spans, Slower float64 }{100, .955})

	for path, status := range map[string]int{
		"/api/dendro/operations?step=0":              http.StatusBadRequest,
		"/api/dendro/operations?since=48h&step=1m":   http.StatusBadRequest,
		"/api/dendro/operations?heatmap=perhaps":     http.StatusBadRequest,
		"/api/dendro/graph?start=2&end=1":            http.StatusBadRequest,
		"/api/dendro/graph?start=1&end=2":            http.StatusOK,
		"/api/dendro/operations?service=nobody":      http.StatusOK,
		"/api/dendro/operations?since=24h&step=1m":   http.StatusOK,
		"/api/dendro/operations?start=0&end=1&step=": http.StatusOK,
	} {
		if r := do(t, http.MethodGet, server.URL+path, nil); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
	}
	broken := serve(t, &fakeStore{err: errors.New("broken")}, web.Options{})
	for _, path := range []string{"/api/dendro/operations", "/api/dendro/graph"} {
		testkit.Equal(t, path, do(t, http.MethodGet, broken.URL+path, nil).status, http.StatusInternalServerError)
	}
}
