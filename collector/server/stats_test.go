package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const zipkinSpans = `[
	{"traceId":"1","id":"2","kind":"CLIENT","name":"call","timestamp":1,"duration":9,"localEndpoint":{"serviceName":"shop"},"tags":{"a":"b"}},
	{"traceId":"1","id":"2","kind":"SERVER","shared":true,"name":"serve","timestamp":2,"duration":5,"localEndpoint":{"serviceName":"till"}}]`

func TestZipkin(t *testing.T) {
	_, store := testkit.NewTracer(t)
	h := server.New(collector.WriterOf(store), server.Options{})
	send := func(method, contentType, encoding, body string) *httptest.ResponseRecorder {
		r := request(contentType, encoding, []byte(body))
		r.Method, r.URL.Path = method, "/zipkin/api/v2/spans"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := send("POST", "application/json; charset=utf-8", "", zipkinSpans)
	testkit.Equal(t, "answer", []any{w.Code, w.Body.Len()}, []any{202, 0})
	w = send("POST", json, "zstd", string(zstandard([]byte("[]"))))
	testkit.Equal(t, "empty list", w.Code, 202)
	spans := store.Spans()
	testkit.Equal(t, "names", testkit.Names(spans), []string{"call", "serve"})
	testkit.Equal(t, "parent of the server's half", spans[1].ParentID, spans[0].SpanID)
	testkit.Equal(t, "service", spans[1].Service, "till")

	for _, test := range []struct {
		method, contentType, body string
		status                    int
		says                      string
	}{
		{"GET", "", "", 405, "POST"},
		{"POST", protobuf, "", 415, json},
		{"POST", "", zipkinSpans, 415, json},
		{"POST", json, `[{"traceId":"x"}]`, 400, "[0].traceId"},
		{"POST", json, `{}`, 400, "decoding application/json"},
	} {
		w := send(test.method, test.contentType, "", test.body)
		testkit.Equal(t, test.body, w.Code, test.status)
		if !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("answer %q does not say %q", w.Body, test.says)
		}
	}
}

// gate is a store that says that it has begun to write, and waits.
type gate struct{ begun, done chan struct{} }

func (g gate) Write(context.Context, []*dendro.Batch) error {
	g.begun <- struct{}{}
	<-g.done
	return nil
}

// TestBusy: when too many bytes are in flight, requests are refused until others end.
func TestBusy(t *testing.T) {
	g := gate{make(chan struct{}), make(chan struct{})}
	const body = 20_000
	h := server.New(g, server.Options{MaxBodyBytes: body, MaxInFlightBytes: 60_000})
	send := func(encoding string, body []byte) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(protobuf, encoding, body))
		return w
	}
	large := otlp.AppendTraces(nil, batch("shop", strings.Repeat("x", body-2000)))
	small := otlp.AppendTraces(nil, batches...)
	var open sync.WaitGroup
	for range 2 { // of 22,000 and some bytes, and 4 KiB each
		open.Go(func() { testkit.Equal(t, "open", send("", large).Code, 200) })
		<-g.begun
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"large":                              send("", large),
		"large only when it is decompressed": send("gzip", zip(large)),
	} {
		testkit.Equal(t, name, []any{w.Code, w.Header().Get("Retry-After"), w.Header().Get("Content-Type")}, []any{429, "1", protobuf})
		if !strings.Contains(w.Body.String(), "60000 bytes") {
			t.Errorf("the answer does not say why: %q", w.Body)
		}
	}
	open.Go(func() { testkit.Equal(t, "small", send("", small).Code, 200) })
	<-g.begun
	grpc := request("application/grpc", "", message(0, large))
	grpc.URL.Path, grpc.ProtoMajor = export, 2
	w := httptest.NewRecorder()
	h.ServeHTTP(w, grpc)
	testkit.Equal(t, "gRPC", w.Header().Get("Grpc-Status"), "8")

	close(g.done)
	open.Wait()
	testkit.Equal(t, "in flight", h.Stats().InFlightBytes, int64(0))
	open.Go(func() { testkit.Equal(t, "afterwards", send("", large).Code, 200) })
	<-g.begun
	open.Wait()
	testkit.Equal(t, "busy", h.Stats().Protocols[0].RefusedRequests["busy"], uint64(2))
	testkit.Equal(t, "busy", h.Stats().Protocols[2].RefusedRequests["busy"], uint64(1))
}

// writeFunc is a [collector.Writer] made from a function.
type writeFunc func(context.Context, []*dendro.Batch) error

func (f writeFunc) Write(ctx context.Context, b []*dendro.Batch) error { return f(ctx, b) }

func TestStats(t *testing.T) {
	var err error
	h := server.New(writeFunc(func(context.Context, []*dendro.Batch) error { return err }), server.Options{MaxSpans: 3})
	send := func(r *http.Request) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	proto := otlp.AppendTraces(nil, batches...) // three spans
	testkit.Equal(t, "stored", send(request(protobuf, "", proto)), 200)
	for _, test := range []struct {
		err    error
		status int
	}{
		{&collector.RejectedError{Spans: 2, Reason: "old"}, 200},
		{&dendro.DropError{Reason: "queue_full"}, 503},
		{errors.New("sync"), 503},
	} {
		err = test.err
		testkit.Equal(t, err.Error(), send(request(protobuf, "", proto)), test.status)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	err = gone.Err()
	testkit.Equal(t, "canceled", send(request(protobuf, "", proto).WithContext(gone)), 503)
	err = nil
	many := otlp.AppendTraces(nil, append(batches, batch("shop", "a"))...)
	testkit.Equal(t, "too many spans", send(request(protobuf, "", many)), 413)
	testkit.Equal(t, "invalid", send(request(protobuf, "", []byte("x"))), 400)
	testkit.Equal(t, "encoding", send(request(protobuf, "br", nil)), 415)
	testkit.Equal(t, "content type", send(request("text/plain", "", nil)), 415)
	lost := request(protobuf, "", nil)
	lost.URL.Path = "/"
	testkit.Equal(t, "path", send(lost), 404)

	stats := h.Stats()
	var names []string
	for _, p := range stats.Protocols {
		names = append(names, p.Protocol)
	}
	testkit.Equal(t, "protocols", names, []string{"otlp_http_protobuf", "otlp_http_json", "otlp_grpc", "zipkin_json", "unknown"})
	p := stats.Protocols[0]
	testkit.Equal(t, "requests", p.Requests, uint64(8))
	testkit.Equal(t, "bytes", p.Bytes, uint64(5*len(proto)+len(many)+1))
	testkit.Equal(t, "received", p.ReceivedSpans, uint64(5*3+4))
	testkit.Equal(t, "stored", p.StoredSpans, uint64(3+1))
	testkit.Equal(t, "rejected", p.RejectedSpans, map[string]uint64{
		"rejected": 2, "full": 3, "unavailable": 3, "canceled": 3, "too_many_spans": 4, "timeout": 0,
	})
	testkit.Equal(t, "refused", p.RefusedRequests, map[string]uint64{
		"full": 1, "unavailable": 1, "canceled": 1, "too_many_spans": 1, "invalid": 1, "content_encoding": 1,
		"busy": 0, "content_type": 0, "method": 0, "not_found": 0, "timeout": 0, "too_large": 0,
	})
	u := stats.Protocols[4]
	testkit.Equal(t, "unknown", []uint64{u.Requests, u.RefusedRequests["content_type"], u.RefusedRequests["not_found"]}, []uint64{2, 1, 1})
}

func TestCORS(t *testing.T) {
	const shop, other = "https://shop.example.com", "https://other.example.com"
	preflight := func(origin string, allowed ...string) (int, http.Header) {
		r := httptest.NewRequest("OPTIONS", "/v1/traces", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		w := httptest.NewRecorder()
		server.New(discard{}, server.Options{AllowedOrigins: allowed}).ServeHTTP(w, r)
		return w.Code, w.Header()
	}
	code, header := preflight(shop, other, shop)
	testkit.Equal(t, "preflight", code, 204)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": shop, "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "POST",
		"Access-Control-Allow-Headers": "authorization,content-type", "Access-Control-Max-Age": "7200",
	} {
		testkit.Equal(t, name, header.Get(name), want)
	}
	testkit.Equal(t, "Vary", header.Values("Vary"), []string{"Origin", "Access-Control-Request-Headers"})
	code, header = preflight(shop, "*")
	testkit.Equal(t, "any origin", []any{code, header.Get("Access-Control-Allow-Origin"), header.Get("Access-Control-Allow-Credentials")}, []any{204, "*", ""})
	for _, allowed := range [][]string{nil, {other}, {"shop.example.com"}, {"https://shop.example.com/"}} {
		code, header = preflight(shop, allowed...)
		testkit.Equal(t, "not allowed", []any{code, header.Get("Access-Control-Allow-Origin")}, []any{405, ""})
	}

	r := request(json, "", otlp.AppendTracesJSON(nil, batches...))
	r.Header.Set("Origin", shop)
	_, store := testkit.NewTracer(t)
	w := serve(store, server.Options{AllowedOrigins: []string{shop}}, r)
	testkit.Equal(t, "request", []any{w.Code, w.Header().Get("Access-Control-Allow-Origin"), w.Header().Get("Access-Control-Expose-Headers")}, []any{200, shop, "Retry-After"})
	testkit.Equal(t, "spans", len(store.Spans()), 3)
}
