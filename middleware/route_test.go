package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
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
		r.Get("/gone/{id}", http.NotFound)
	})
	mounted := chi.NewRouter()
	mounted.Get("/in/{side}", ok)
	r.Mount("/mounted", mounted)
	r.Handle("/files/*", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/none") {
			http.NotFound(w, r)
		}
	}))
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
	{"GET", "/api/none"}:                   "GET",    // 404
	{"PUT", "/api/users/7"}:                "PUT",    // 405
	{"GET", "/api/v2/none"}:                "GET",
	{"POST", "/api"}:                       "POST",
	{"GET", "/mounted"}:                    "GET",
	{"GET", "/mounted/"}:                   "GET",
	{"GET", "/files/none"}:                 "GET /files/*", // its handler answers 404
	{"GET", "/api/gone/7"}:                 "GET /api/gone/{id}",
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

// Of routers in each other it is the innermost that matched, with what was stripped in
// front of it, and of two that say as much of the path the inner one.
func TestRoutersInEachOther(t *testing.T) {
	mux := func(pattern string, h http.Handler) *http.ServeMux {
		m := http.NewServeMux()
		m.Handle(pattern, h)
		return m
	}
	mounted := func(pattern string, h http.Handler) *chi.Mux {
		r := chi.NewRouter()
		r.Mount(pattern, h)
		return r
	}
	leaf := http.HandlerFunc(ok)
	chiLeaf := func(pattern string) *chi.Mux {
		r := chi.NewRouter()
		r.Get(pattern, ok)
		return r
	}
	strip, route := http.StripPrefix, middleware.Route
	for _, c := range []struct {
		what, path, want string
		h                http.Handler
	}{
		{"mux in chi", "/std/items/5", "/std/items/{id}", mounted("/std", mux("GET /std/items/{id}", leaf))},
		{"mux in chi: its own 404", "/std/other", "/std/*", mounted("/std", mux("GET /std/items/{id}", leaf))},
		{"mux in chi: a wildcard says less", "/std/5/x", "/std/{n}/*", mounted("/std/{n}", mux("/", leaf))},
		{"mux in chi in chi", "/a/std/items/5", "/a/std/items/{id}", mounted("/a", mounted("/std", mux("/a/std/items/{id}", leaf)))},
		{"chi in mux", "/api/items/5", "/api/items/{id}", mux("/api/", chiLeaf("/api/items/{id}"))},
		{"chi in mux: its own 404", "/api/other", "/api/", mux("/api/", chiLeaf("/api/items/{id}"))},
		{"chi in mux in mux", "/api/items/5", "/api/items/{id}", mux("/", mux("/api/", chiLeaf("/api/items/{id}")))},
		{"mux in mux", "/api/items/5", "/api/items/{id}", mux("/api/", mux("/api/items/{id}", leaf))},
		{"mux in chi in mux", "/api/x/5", "/api/x/{id}", mux("/api/", mounted("/api", mux("GET /api/x/{id}", leaf)))},
		{"chi in mux in chi", "/std/sub/5", "/std/sub/{id}", mounted("/std", mux("/std/sub/", chiLeaf("/sub/{id}")))},
		{"chi in chi, stripped", "/v1/items/5", "/v1/items/{id}", mounted("/v1", strip("/v1", chiLeaf("/items/{id}")))},

		// StripPrefix makes a copy of the request: Route tells.
		{"mux in chi, stripped", "/std/items/5", "/std/items/{id}", mounted("/std", strip("/std", route(mux("GET /items/{id}", leaf))))},
		{"mux in chi, stripped, 404", "/std/other", "/std/*", mounted("/std", strip("/std", route(mux("GET /items/{id}", leaf))))},
		{"chi in mux, stripped", "/api/items/5", "/api/items/{id}", mux("/api/", strip("/api", route(chiLeaf("/items/{id}"))))},
		{"mux in mux, stripped", "/api/items/5", "/api/items/{id}", mux("/api/", strip("/api", route(mux("/items/{id}", leaf))))},
		{"stripped twice", "/a/b/items/5", "/a/b/items/{id}",
			mounted("/a", strip("/a", route(mux("/b/", strip("/b", route(mux("/items/{id}", leaf)))))))},
		{"a parameter is stripped", "/tenants/42/items/5", "/tenants/{tenant}/items/{id}",
			mounted("/tenants/{tenant}", strip("/tenants/42", route(mux("/items/{id}", leaf))))},
		{"stripped outside all routers", "/app/items/5", "/app/items/{id}", strip("/app", route(mux("/items/{id}", leaf)))},
		{"chi, stripped outside all routers", "/app/items/5", "/app/items/{id}", strip("/app", route(chiLeaf("/items/{id}")))},
		{"the middleware again instead of Route", "/std/items/5", "/std/items/{id}",
			mounted("/std", strip("/std", middleware.Trace(mux("GET /items/{id}", leaf))))},
	} {
		trace, recorder := traced(t)
		around := trace(c.h)
		within := chi.NewRouter()
		within.Use(trace)
		within.Mount("/", c.h)
		bare := serve(c.h, httptest.NewRequest("GET", c.path, nil)).StatusCode
		for where, h := range map[string]http.Handler{"around": around, "in a chi router": within} {
			recorder.Reset()
			if serve(h, httptest.NewRequest("GET", c.path, nil)).StatusCode != bare {
				continue // a chi router below another one does not see that something was stripped
			}
			spans := recorder.Wait(t, 1)
			testkit.Equal(t, c.what+", "+where+": spans", len(spans), 1)
			testkit.Equal(t, c.what+", "+where, spans[0].Attr("http.route"), any(c.want))
		}
	}
}

// The number of routes is bounded by the program, also where handlers strip what the
// client has chosen.
func TestStrippedPrefixesAreBounded(t *testing.T) {
	trace, recorder := traced(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/items/{id}", ok)
	inner := middleware.Route(mux)
	h := trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, _, _ := strings.Cut(r.URL.Path[1:], "/")
		http.StripPrefix("/"+tenant, inner).ServeHTTP(w, r)
	}))
	routes := map[any]bool{}
	for i := range 1000 {
		recorder.Reset()
		serve(h, httptest.NewRequest("GET", "/tenant"+strconv.Itoa(i)+"/items/5", nil))
		routes[recorder.Wait(t, 1)[0].Attr("http.route")] = true
	}
	if len(routes) > 100 || !routes["/items/{id}"] {
		t.Errorf("%d routes", len(routes))
	}
}
