package main

import (
	"net/http"
	"net/http/httptest"

	"github.com/go-chi/chi/v5"
)

const (
	route       = "/orders/{id}"
	routeTarget = "http://shop.example:8080/orders/42"
)

// newRouter returns the router that all rows include.
func newRouter(pattern string, h http.HandlerFunc, use ...func(http.Handler) http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(use...)
	r.Get(pattern, h)
	return r
}

func (bare) serve(pattern string, h http.HandlerFunc) http.Handler { return newRouter(pattern, h) }

func serverCases() []benchmark {
	serve := func(l library) op { return serveOp(l.(serverer)) }
	base := func(library) op { return serveOp(bare{}) }
	return []benchmark{
		{
			name: "server, sampled", op: serve, base: base, baseName: "chi",
			libraries: []string{"dendro", "dendro, remote", "OpenTelemetry", "OpenTelemetry, otelchi", "zipkin-go", "Appdash", "dd-trace-go"},
		},
		{
			name: "server, not sampled", op: serve, base: base, baseName: "chi",
			libraries: []string{"dendro, never sampled", "OpenTelemetry, NeverSample", "OpenTelemetry, otelchi, NeverSample", "zipkin-go, NeverSample", "dd-trace-go, rate 0"},
		},
		{name: "server without a tracer", op: serve, base: base, baseName: "chi", libraries: []string{"dendro, no tracer", "OpenTelemetry, no-op API"}},
	}
}

// serveOp handles a request without a socket.
func serveOp(l serverer) op {
	answer := []byte("ok")
	handler := l.serve(route, func(w http.ResponseWriter, r *http.Request) { w.Write(answer) })
	return func(n int) {
		r := httptest.NewRequest(http.MethodGet, routeTarget, nil)
		r.Header.Set("User-Agent", "curl/8.5.0")
		w := &discardWriter{header: http.Header{}}
		for range n {
			clear(w.header)
			handler.ServeHTTP(w, r)
		}
	}
}

// discardWriter is a response writer with the optional methods of net/http's writer.
type discardWriter struct {
	*httptest.ResponseRecorder // for methods that are not called
	header                     http.Header
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(int)             {}
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
