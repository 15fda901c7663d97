package integration

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/openzipkin/zipkin-go"
	"github.com/openzipkin/zipkin-go/idgenerator"
	"github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/reporter"
	zipkinhttp "github.com/openzipkin/zipkin-go/reporter/http"
)

// What zipkin-go's reporter sends is stored, with the client's and the server's half of a span
// that share an id.
func TestZipkinGoReports(t *testing.T) {
	for name, ids := range map[string]idgenerator.IDGenerator{"128-bit ids": idgenerator.NewRandom128(), "64-bit ids": idgenerator.NewRandom64()} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, store collector.Store) { testZipkinGoReports(t, store, ids) })
		})
	}
}

func testZipkinGoReports(t *testing.T, store collector.Store, ids idgenerator.IDGenerator) {
	h := otlpserver.New(store, otlpserver.Options{})
	srv := httptest.NewServer(h)
	defer srv.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	out := zipkinhttp.NewReporter(srv.URL+"/api/v2/spans", zipkinhttp.Client(&http.Client{Transport: transport}))
	client, server := zipkinTracer(t, out, "shop", ids), zipkinTracer(t, out, "till", ids)

	start := time.Unix(1_700_000_000, 123_456_000)
	call := client.StartSpan("call", zipkin.Kind(model.Client), zipkin.StartTime(start))
	serve := server.StartSpan("serve", zipkin.Kind(model.Server), zipkin.Parent(call.Context()), zipkin.StartTime(start.Add(time.Millisecond)))
	query := server.StartSpan("query", zipkin.Parent(serve.Context()), zipkin.StartTime(start.Add(2*time.Millisecond)))
	query.Annotate(start.Add(3*time.Millisecond), "row")
	query.FinishedWithDuration(2 * time.Millisecond)
	zipkin.TagError.Set(serve, "it broke")
	serve.Tag("http.path", "/pay")
	serve.FinishedWithDuration(5 * time.Millisecond)
	call.FinishedWithDuration(7 * time.Millisecond)
	testkit.NoError(t, out.Close())

	id, err := dendro.ParseTraceID(call.Context().TraceID.String())
	if err != nil { // 64 bits
		id, err = dendro.ParseTraceID("0000000000000000" + call.Context().TraceID.String())
	}
	testkit.NoError(t, err)
	got, err := store.Trace(t.Context(), id, collector.TimeRange{})
	testkit.NoError(t, err)
	if got == nil || len(got.Spans) != 3 {
		t.Fatalf("got %+v, refused %v", got, h.Stats().Protocols[3].RefusedRequests)
	}
	above := map[string]string{}
	names := map[dendro.SpanID]string{}
	for _, s := range got.Spans {
		names[s.SpanID] = s.Name
	}
	for _, s := range got.Spans {
		above[s.Name] = names[s.ParentID]
	}
	testkit.Equal(t, "parents", above, map[string]string{"call": "", "serve": "call", "query": "serve"})
	s := got.Spans[1]
	testkit.Equal(t, "service", s.Resource.Service(), "till")
	testkit.Equal(t, "kind", s.Kind, dendro.KindServer)
	testkit.Equal(t, "times", []int64{s.Start, s.End}, []int64{start.UnixNano() + 1e6, start.UnixNano() + 6e6})
	testkit.Equal(t, "status", s.Status, dendro.Status{Code: dendro.StatusError, Message: "it broke"})
	testkit.Equal(t, "tag", values(s.Attributes)["http.path"], any("/pay"))
	testkit.Equal(t, "event", got.Spans[2].Events[0].Name, "row")
}

func zipkinTracer(t *testing.T, out reporter.Reporter, service string, ids idgenerator.IDGenerator) *zipkin.Tracer {
	t.Helper()
	endpoint, err := zipkin.NewEndpoint(service, "127.0.0.1:80")
	testkit.NoError(t, err)
	tracer, err := zipkin.NewTracer(out, zipkin.WithLocalEndpoint(endpoint), zipkin.WithIDGenerator(ids), zipkin.WithSharedSpans(true))
	testkit.NoError(t, err)
	return tracer
}
