package transparency

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/go-chi/chi/v5"
)

// answer returns a handler that responds with its name and with what the router
// matched.
func (x *exchange) answer(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x.handler("%s: pattern %q, chi %q, id %q %q, path %s", name, r.Pattern, chi.RouteContext(r.Context()).RoutePattern(), r.PathValue("id"), chi.URLParam(r, "id"), r.URL.Path)
		fmt.Fprintf(w, "I am %s", name)
	}
}

// watched serves h. A handler outside records what it sees of the route.
func (x *exchange) watched(h http.Handler) *httptest.Server {
	return x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		x.outer("pattern %q", r.Pattern)
	}))
}

// mux returns a router of the standard library.
func (x *exchange) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /items/{id}", x.answer("item"))
	mux.Handle("POST /items", x.answer("new item"))
	mux.Handle("/files/{rest...}", x.answer("files"))
	mux.Handle("/dir/", x.answer("directory"))
	mux.Handle("other.example/", x.answer("other host"))
	mux.Handle("/{$}", x.answer("root"))
	return mux
}

func (x *exchange) askMux(s *httptest.Server) {
	x.get(s, "/items/7", "/files/a/b%2Fc", "/dir", "/dir/", "/dir/../items/8", "/", "/none")
	x.post(s, "/items/7", "")
	x.post(s, "/items", "")
	x.do(s, x.newRequest("HEAD", s, "/items/7", nil))
	r := x.newRequest("GET", s, "/", nil)
	r.Host = "other.example"
	x.do(s, r)
}

// chiRoutes adds routes of all kinds to r, some of them with middlewares.
func (x *exchange) chiRoutes(r chi.Router, in ...func(http.Handler) http.Handler) {
	r.Get("/", x.answer("root"))
	r.Get("/items/{id}", x.answer("item"))
	r.Get("/items/{id:[0-9]+}/parts/{part}", x.answer("part"))
	r.With(in...).Get("/with/{id}", x.answer("with"))
	r.Group(func(r chi.Router) {
		r.Use(in...)
		r.Get("/group/{id}", x.answer("group"))
	})
	r.Route("/nested/{id}", func(r chi.Router) {
		r.Use(in...)
		r.Get("/", x.answer("nested"))
		r.Get("/deep", x.answer("deep"))
		r.NotFound(x.answer("nothing nested"))
	})
	sub := chi.NewRouter()
	sub.Use(in...)
	sub.Get("/{id}/x", x.answer("mounted"))
	r.Mount("/mounted", sub)
	r.Handle("/wild/*", x.answer("wildcard"))
	r.Method("GET", "/std/", http.StripPrefix("/std", x.answer("stripped")))
}

func (x *exchange) askChi(s *httptest.Server) {
	x.get(s, "/", "/items/a%2Fb", "/items/7/parts/8", "/with/7", "/group/7", "/nested/7", "/nested/7/", "/nested/7/deep", "/nested/7/none",
		"/mounted/7/x", "/mounted/none", "/wild/a/b", "/std/", "/none")
	x.post(s, "/items/7", "")
	x.post(s, "/mounted/7/x", "")
	x.do(s, x.newRequest("HEAD", s, "/items/7", nil))
}

var routerCases = []Case{
	{"http.ServeMux inside", noTLS, func(x *exchange) { x.askMux(x.watched(x.wrap(x.mux()))) }},
	{"http.ServeMux outside", noTLS, func(x *exchange) {
		mux := http.NewServeMux()
		mux.Handle("GET /items/{id}", x.wrap(x.answer("item")))
		mux.Handle("/dir/", x.wrap(x.answer("directory")))
		mux.Handle("/nested/", x.wrap(http.StripPrefix("/nested", x.mux())))
		s := x.watched(mux)
		x.get(s, "/items/7", "/dir", "/none", "/nested/items/8", "/nested/none")
		x.post(s, "/items/7", "")
	}},
	{"chi router inside", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		x.chiRoutes(r)
		x.askChi(x.watched(x.wrap(r)))
	}},
	{"chi router with Use", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		r.Use(x.wrap)
		x.chiRoutes(r)
		x.askChi(x.watched(r))
	}},
	{"chi router with With, Group, Route and Mount", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		x.chiRoutes(r, x.wrap)
		x.askChi(x.watched(r))
	}},
	{"chi router around single handlers", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		r.Method("GET", "/items/{id}", x.wrap(x.answer("item")))
		r.Mount("/mounted", x.wrap(x.answer("mounted")))
		r.Handle("/mux/*", x.wrap(http.StripPrefix("/mux", x.mux())))
		s := x.watched(r)
		x.get(s, "/items/7", "/mounted/a", "/mux/items/8", "/mux/none")
	}},
	{"chi router in http.ServeMux inside", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		r.Route("/api", func(r chi.Router) { x.chiRoutes(r) })
		mux := x.mux()
		mux.Handle("/api/", r)
		s := x.watched(x.wrap(mux))
		x.get(s, "/api/items/7", "/api/nested/7/deep", "/api/mounted/7/x", "/api/none", "/items/7", "/none")
	}},
	{"http.ServeMux in chi router inside", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		x.chiRoutes(r)
		r.Mount("/mux", http.StripPrefix("/mux", x.mux()))
		r.Mount("/items/{id}/mux", x.mux())
		s := x.watched(x.wrap(r))
		x.get(s, "/mux/items/7", "/mux/none", "/items/7/mux/x", "/items/7")
	}},
	{"chi router with NotFound and MethodNotAllowed", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		r.Use(x.wrap)
		r.NotFound(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "nothing at "+r.URL.Path)
		})
		r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusMethodNotAllowed)
			io.WriteString(w, "no "+r.Method)
		})
		x.chiRoutes(r)
		x.askChi(x.watched(r))
	}},
	{"the chi context, seen by handlers outside", noTLS, func(x *exchange) {
		r := chi.NewRouter()
		r.Use(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				c := chi.RouteContext(r.Context())
				x.outer("%q, %q, params %q %q, path %q, method %q", c.RoutePattern(), c.RoutePatterns, c.URLParams.Keys, c.URLParams.Values, c.RoutePath, c.RouteMethod)
			})
		}, x.wrap)
		x.chiRoutes(r)
		x.askChi(x.watched(r))
	}},
}
