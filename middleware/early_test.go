package middleware_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/naming"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// beginnings is an observer that has the names with which spans began.
type beginnings struct {
	mu    sync.Mutex
	names []string
}

func (b *beginnings) SpanStarted(ctx context.Context, _ *dendro.Span, d *dendro.SpanData, _ bool) (context.Context, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.names = append(b.names, d.Name)
	return ctx, false
}

func (b *beginnings) SpanEnded(*dendro.Span, *dendro.SpanData, bool) {}

// While somebody needs it, the span of a request begins with the name that it ends with, wherever the
// middleware is. Nothing else changes.
func TestNameAtTheStart(t *testing.T) {
	var began beginnings
	recorder := &testkit.Recorder{}
	tracer := dendro.New(dendro.Options{Collector: recorder, Sampler: dendro.AlwaysSample, Observer: &began})
	trace := middleware.New(middleware.Options{Tracer: tracer})
	inside := chi.NewRouter()
	inside.Use(trace)
	chiRoutes(inside)
	around := chi.NewRouter()
	chiRoutes(around)
	inner := chi.NewRouter()
	inner.Route("/api", func(r chi.Router) {
		r.Use(trace)
		r.Get("/users/{user}", ok)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", ok)
	mux.Handle("/shop/", around)
	nested := http.NewServeMux()
	nested.Handle("/orders/", mux)
	handlers := http.NewServeMux()
	handlers.Handle("GET /orders/{id}", trace(http.HandlerFunc(ok)))
	refusing := chi.NewRouter()
	refusing.Use(trace, func(http.Handler) http.Handler { return http.NotFoundHandler() })
	refusing.Get("/orders/{id}", ok)

	naming.Early(1)
	defer naming.Early(-1)
	check := func(what string, h http.Handler, method, path, start, end string) {
		t.Helper()
		recorder.Reset()
		began.names = nil
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		testkit.Equal(t, what+": name at the start", began.names, []string{start})
		checkRoute(t, what+": "+path, recorder.Wait(t, 1)[0], end)
	}
	for request, want := range chiNames {
		switch start := want; request[1] {
		case "/mounted", "/mounted/":
			check("in the router", inside, request[0], request[1], "GET /mounted", want)
		case "/api":
			if request[0] == "POST" {
				start = "POST /api"
			}
			check("in the router", inside, request[0], request[1], start, want)
		default:
			check("in the router", inside, request[0], request[1], start, want)
			check("around the router", trace(around), request[0], request[1], start, want)
		}
	}
	check("in a router in a router", inner, "GET", "/api/users/7", "GET /api/users/{user}", "GET /api/users/{user}")
	check("around a ServeMux", trace(mux), "GET", "/orders/7", "GET /orders/{id}", "GET /orders/{id}")
	check("around nested ServeMuxes", trace(nested), "GET", "/orders/7", "GET /orders/{id}", "GET /orders/{id}")
	check("in a ServeMux", handlers, "GET", "/orders/7", "GET /orders/{id}", "GET /orders/{id}")
	check("around a ServeMux, no route", trace(mux), "GET", "/none", "GET", "GET")
	check("refused before it is routed", refusing, "GET", "/orders/7", "GET /orders/{id}", "GET")
	check("no router", trace(http.HandlerFunc(ok)), "GET", "/orders/7", "GET", "GET")
}
