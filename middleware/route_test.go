package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func ok(http.ResponseWriter, *http.Request) {}

// copied is a middleware that passes a copy of the request on.
func copied(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.Clone(r.Context()))
	})
}

func chiRoutes(r chi.Router) {
	r.Get("/", ok)
	r.Get("/orders/{id:[0-9]+}", ok)
	r.Post("/orders", ok)
	r.With(copied).Get("/copied/{x}", ok)
	r.Route("/api", func(r chi.Router) {
		r.Get("/", ok)
		r.Group(func(r chi.Router) {
			r.Use(copied)
			r.Get("/users/{user}", ok)
		})
		r.Route("/v2", func(r chi.Router) { r.Get("/items/{item}/parts/*", ok) })
	})
	mounted := chi.NewRouter()
	mounted.Get("/in/{side}", ok)
	r.Mount("/mounted", mounted)
	r.Handle("/files/*", http.HandlerFunc(ok))
}

var chiNames = map[[2]string]string{
	{"GET", "/"}:                           "GET /",
	{"GET", "/orders/42"}:                  "GET /orders/{id:[0-9]+}",
	{"POST", "/orders"}:                    "POST /orders",
	{"GET", "/copied/1"}:                   "GET /copied/{x}",
	{"GET", "/api"}:                        "GET /api",
	{"GET", "/api/users/7"}:                "GET /api/users/{user}",
	{"GET", "/api/v2/items/7/parts/a/b/c"}: "GET /api/v2/items/{item}/parts/*",
	{"GET", "/mounted/in/here"}:            "GET /mounted/in/{side}",
	{"PUT", "/files/a/b"}:                  "PUT /files/*",
	{"GET", "/orders/nan"}:                 "GET",    // 404
	{"DELETE", "/orders"}:                  "DELETE", // 405
	{"GET", "/api/none"}:                   "GET /api/*",
	{"SPY", "/orders"}:                     "HTTP",
}

func TestChi(t *testing.T) {
	trace, recorder := traced(t)
	inside := chi.NewRouter()
	inside.Use(trace)
	chiRoutes(inside)
	insideCopied := chi.NewRouter()
	insideCopied.Use(trace, copied)
	chiRoutes(insideCopied)
	around := chi.NewRouter()
	chiRoutes(around)
	aroundCopied := chi.NewRouter()
	aroundCopied.Use(copied)
	chiRoutes(aroundCopied)
	for placement, h := range map[string]http.Handler{
		"in the router":             inside,
		"in the router, copied":     insideCopied,
		"around the router":         trace(around),
		"around the router, copied": trace(aroundCopied),
	} {
		for request, want := range chiNames {
			recorder.Reset()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(request[0], request[1], nil))
			checkRoute(t, placement+": "+request[1], recorder.Wait(t, 1)[0], want)
		}
	}
}

// checkRoute compares the name, and http.route with the part of it after the
// method.
func checkRoute(t *testing.T, what string, span testkit.Span, name string) {
	t.Helper()
	testkit.Equal(t, what, span.Name, name)
	var route any
	for i := range name {
		if name[i] == ' ' {
			route = name[i+1:]
		}
	}
	testkit.Equal(t, what+": http.route", span.Attr("http.route"), route)
}

// A middleware that is around a router leaves the router as it is: it routes,
// and middlewares within it find the routes.
func TestAroundChiIsTransparent(t *testing.T) {
	trace, recorder := traced(t)
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler { // as chi's GetHead does
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if !chi.RouteContext(req.Context()).Routes.Match(chi.NewRouteContext(), req.Method, req.URL.Path) {
				w.Header().Set("X-Match", "none")
			}
			next.ServeHTTP(w, req)
		})
	})
	r.Get("/a/{x}", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Param", chi.URLParam(r, "x")) })
	h := trace(r)
	for range 3 { // contexts are used again
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/a/1", nil))
		testkit.Equal(t, "header", w.Header(), http.Header{"X-Param": {"1"}})
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/b", nil))
		testkit.Equal(t, "header", w.Header().Get("X-Match"), "none")
	}
	testkit.Equal(t, "names", testkit.Names(recorder.Spans()), []string{"GET /a/{x}", "GET", "GET /a/{x}", "GET", "GET /a/{x}", "GET"})
}

func TestServeMux(t *testing.T) {
	trace, recorder := traced(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", ok)
	mux.HandleFunc("POST shop.example/orders", ok)
	mux.HandleFunc("/files/", ok)
	mux.HandleFunc("GET /{$}", ok)
	for _, c := range []struct{ method, url, name string }{
		{"GET", "http://a.example/items/7", "GET /items/{id}"},
		{"HEAD", "http://a.example/items/7", "HEAD /items/{id}"},
		{"POST", "http://shop.example/orders", "POST /orders"},
		{"GET", "http://a.example/files/a/b", "GET /files/"},
		{"GET", "http://a.example/", "GET /{$}"},
		{"GET", "http://a.example/none", "GET"},
		{"DELETE", "http://a.example/items/7", "DELETE"},
	} {
		recorder.Reset()
		r := httptest.NewRequest(c.method, c.url, nil)
		trace(mux).ServeHTTP(httptest.NewRecorder(), r)
		span := recorder.Wait(t, 1)[0]
		checkRoute(t, c.url, span, c.name)
		// The handlers outside see the pattern as without the middleware.
		_, pattern := mux.Handler(r)
		testkit.Equal(t, c.url+": pattern outside", r.Pattern, pattern)
	}

	within := http.NewServeMux()
	within.Handle("GET /items/{id}", trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		testkit.Equal(t, "path value", r.PathValue("id"), "7")
	})))
	recorder.Reset()
	within.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/items/7", nil))
	checkRoute(t, "around one handler", recorder.Wait(t, 1)[0], "GET /items/{id}")
}
