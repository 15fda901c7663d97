package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// discard is a collector that takes everything.
type discard struct{}

func (discard) Collect(*dendro.Batch) error { return nil }

// nowhere is a writer that costs nothing, with the methods of net/http's.
type nowhere struct {
	*httptest.ResponseRecorder // for the methods that are not called
	header                     http.Header
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(int)             {}
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }

var answer = []byte("ok")

// router has one route with a parameter.
func router(use ...func(http.Handler) http.Handler) http.Handler {
	r := chi.NewRouter()
	r.Use(use...)
	r.Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) { w.Write(answer) })
	return r
}

// plainRequest has everything that becomes an attribute but a query.
func plainRequest() *http.Request {
	r := httptest.NewRequest("GET", "http://shop.example:8080/orders/42", nil)
	r.Header.Set("User-Agent", "curl/8.5.0")
	return r
}

func tracedRequest(traceparent string) *http.Request {
	r := plainRequest()
	r.Header.Set("Traceparent", traceparent)
	return r
}

const (
	sampled   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	trace := middleware.New(middleware.Options{Tracer: dendro.New(dendro.Options{Collector: discard{}})})
	queried := tracedRequest(sampled)
	queried.URL.RawQuery = "page=3&token=s3cr3t"
	for name, c := range map[string]struct {
		traced  http.Handler
		request *http.Request
		budget  float64
	}{
		"new trace":          {router(trace), plainRequest(), 3},
		"remote parent":      {router(trace), tracedRequest(sampled), 3},
		"query":              {router(trace), queried, 4},
		"around the router":  {trace(router()), tracedRequest(sampled), 3},
		"not sampled":        {router(trace), tracedRequest(unsampled), 2},
		"without any tracer": {router(middleware.Trace), plainRequest(), 0},
	} {
		w := &nowhere{header: http.Header{}}
		measure := func(h http.Handler) float64 {
			return testing.AllocsPerRun(200, func() { h.ServeHTTP(w, c.request) })
		}
		bare := measure(router())
		if got := measure(c.traced) - bare; got > c.budget {
			t.Errorf("%s: %v allocations over bare, want at most %v", name, got, c.budget)
		}
	}
}

func BenchmarkMiddleware(b *testing.B) {
	trace := middleware.New(middleware.Options{Tracer: dendro.New(dendro.Options{Collector: discard{}})})
	for _, c := range []struct {
		name    string
		handler http.Handler
		request *http.Request
	}{
		{"bare", router(), plainRequest()},
		{"sampled", router(trace), plainRequest()},
		{"traceparent", router(trace), tracedRequest(sampled)},
		{"outside", trace(router()), plainRequest()},
		{"unsampled", router(trace), tracedRequest(unsampled)},
		{"untraced", router(middleware.Trace), plainRequest()},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := &nowhere{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				c.handler.ServeHTTP(w, c.request)
			}
		})
	}
}
