package transparency

import (
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// chiMiddleware is one of chi's, with requests that show what it does.
type chiMiddleware struct {
	name  string
	make  func(*exchange) func(http.Handler) http.Handler
	serve func(*exchange) http.HandlerFunc
	ask   func(*exchange, *httptest.Server)
}

// once is for middlewares that need nothing from the exchange.
func once(m func(http.Handler) http.Handler) func(*exchange) func(http.Handler) http.Handler {
	return func(*exchange) func(http.Handler) http.Handler { return m }
}

// chiCases has each middleware with the wrapper outside and inside of it, and
// many of them with the wrapper first, in the middle and last.
func chiCases() []Case {
	var cases []Case
	for _, m := range chiMiddlewares {
		cases = append(cases,
			Case{"chi's " + m.name + " inside", noTLS, func(x *exchange) {
				x.inRouter(m, x.wrap, m.make(x))
			}},
			Case{"chi's " + m.name + " outside", noTLS, func(x *exchange) {
				x.inRouter(m, m.make(x), x.wrap)
			}})
	}
	for at, name := range []string{"first", "second", "in the middle", "last"} {
		cases = append(cases, Case{"chi's middlewares together, " + name, noTLS, func(x *exchange) {
			x.together([]int{0, 1, 4, 9}[at])
		}})
	}
	return cases
}

// inRouter asks a router with these middlewares.
func (x *exchange) inRouter(m chiMiddleware, use ...func(http.Handler) http.Handler) {
	r := chi.NewRouter()
	r.Use(use...)
	h := x.answer("the handler")
	if m.serve != nil {
		h = m.serve(x)
	}
	r.Get("/*", h)
	r.Post("/*", h)
	m.ask(x, x.serve(r))
}

// together has the wrapper among nine middlewares, behind the first at.
func (x *exchange) together(at int) {
	use := []func(http.Handler) http.Handler{
		middleware.RequestID,
		middleware.RealIP, //nolint:staticcheck // deprecated, but routers have it
		middleware.RequestLogger(logFormatter{x}),
		middleware.Recoverer,
		middleware.StripSlashes,
		middleware.Compress(5),
		middleware.Throttle(10),
		middleware.Timeout(time.Minute),
		middleware.NoCache,
	}
	use = slices.Insert(use, at, x.wrap)
	r := chi.NewRouter()
	r.Use(use...)
	r.Get("/items/{id}", func(w http.ResponseWriter, r *http.Request) {
		x.handler("request id %t, remote %q, interfaces %s", middleware.GetReqID(r.Context()) != "", withoutAddresses(r.RemoteAddr), interfaces(w))
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat(r.PathValue("id"), 100))
		flushNow(w)
		io.WriteString(w, "end")
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("for Recoverer") })
	s := x.serve(r)
	for _, path := range []string{"/items/7/", "/items/8", "/panic", "/none"} {
		r := x.newRequest("GET", s, path, nil)
		r.Header.Set("X-Real-IP", "192.0.2.7")
		x.do(s, r)
	}
}

var chiMiddlewares = []chiMiddleware{
	{
		name: "Compress",
		make: func(*exchange) func(http.Handler) http.Handler { return middleware.Compress(5) },
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				x.noteWrite(io.WriteString(w, strings.Repeat("a", 1000)))
				if r.URL.Path == "/flush" {
					flushNow(w)
				}
				n, err := io.Copy(w, strings.NewReader("bcd"))
				x.handler("copied %d, %s", n, describe(err))
			}
		},
		ask: func(x *exchange, s *httptest.Server) {
			x.get(s, "/", "/flush")
			r := x.newRequest("GET", s, "/", nil)
			r.Header.Set("Accept-Encoding", "gzip")
			if resp := x.begin(s, r); resp != nil {
				defer resp.Body.Close()
				plain, err := gzip.NewReader(resp.Body)
				x.client("gzip %s", describe(err))
				if err == nil {
					body, err := io.ReadAll(plain)
					x.client("body %s, %s", show(body), describe(err))
				}
			}
		},
	},
	{
		name: "Recoverer and RequestLogger",
		make: func(x *exchange) func(http.Handler) http.Handler {
			return func(next http.Handler) http.Handler {
				return middleware.RequestLogger(logFormatter{x})(middleware.Recoverer(next))
			}
		},
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/panic":
					panic("for Recoverer")
				case "/late":
					io.WriteString(w, "begin")
					panic("late")
				case "/abort":
					panic(http.ErrAbortHandler)
				}
				http.Error(w, "no", http.StatusTeapot)
			}
		},
		ask: func(x *exchange, s *httptest.Server) { x.get(s, "/", "/panic", "/late", "/abort") },
	},
	{
		name: "Logger",
		make: func(*exchange) func(http.Handler) http.Handler {
			return middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0), NoColor: true})
		},
		ask: func(x *exchange, s *httptest.Server) { x.get(s, "/a", "/b") },
	},
	{
		name: "RequestID",
		make: once(middleware.RequestID),
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, middleware.GetReqID(r.Context())) }
		},
		ask: func(x *exchange, s *httptest.Server) {
			r := x.newRequest("GET", s, "/", nil)
			r.Header.Set("X-Request-Id", "mine")
			x.do(s, r)
		},
	},
	{
		name: "RealIP",
		make: once(middleware.RealIP), //nolint:staticcheck // deprecated, but routers have it
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }
		},
		ask: func(x *exchange, s *httptest.Server) {
			r := x.newRequest("GET", s, "/", nil)
			r.Header.Set("X-Forwarded-For", "192.0.2.7, 10.0.0.1")
			x.do(s, r)
		},
	},
	{
		name: "Throttle",
		make: func(*exchange) func(http.Handler) http.Handler { return middleware.Throttle(1) },
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				flushNow(w)
				x.await(r.Context().Done(), "the client to leave")
			}
		},
		ask: func(x *exchange, s *httptest.Server) {
			x.quiet = true
			first := x.begin(s, x.newRequest("GET", s, "/1", nil))
			x.get(s, "/2")
			if first != nil {
				first.Body.Close()
			}
		},
	},
	{
		name: "Timeout",
		make: func(*exchange) func(http.Handler) http.Handler { return middleware.Timeout(10 * time.Millisecond) },
		serve: func(x *exchange) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				x.await(r.Context().Done(), "the end of the time")
				x.handler("%s", describe(r.Context().Err()))
			}
		},
		ask: func(x *exchange, s *httptest.Server) { x.get(s, "/") },
	},
	{
		name: "StripSlashes",
		make: once(middleware.StripSlashes),
		ask:  func(x *exchange, s *httptest.Server) { x.get(s, "/a/", "/a") },
	},
	{
		name: "RedirectSlashes",
		make: once(middleware.RedirectSlashes),
		ask:  func(x *exchange, s *httptest.Server) { x.get(s, "/a/?b=1", "/a") },
	},
	{
		name: "GetHead",
		make: once(middleware.GetHead),
		ask: func(x *exchange, s *httptest.Server) {
			x.do(s, x.newRequest("HEAD", s, "/a", nil))
		},
	},
	{
		name: "WrapResponseWriter",
		make: func(x *exchange) func(http.Handler) http.Handler {
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
					var copied strings.Builder
					ww.Tee(&copied)
					next.ServeHTTP(ww, r)
					x.outer("status %d, %d bytes, %q", ww.Status(), ww.BytesWritten(), copied.String())
				})
			}
		},
		serve: func(x *exchange) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				x.handler("interfaces %s", interfaces(w))
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusCreated)
				io.WriteString(w, "a")
				_, _ = w.Write([]byte("b"))
				_, _ = io.Copy(w, io.LimitReader(strings.NewReader("cd"), 1))
				flushNow(w)
			}
		},
		ask: func(x *exchange, s *httptest.Server) { x.get(s, "/") },
	},
	{
		name: "NoCache",
		make: once(middleware.NoCache),
		ask: func(x *exchange, s *httptest.Server) {
			r := x.newRequest("GET", s, "/", nil)
			r.Header.Set("If-None-Match", `"v1"`)
			x.do(s, r)
		},
	},
	{
		name: "AllowContentType",
		make: func(*exchange) func(http.Handler) http.Handler { return middleware.AllowContentType("text/plain") },
		ask: func(x *exchange, s *httptest.Server) {
			for _, kind := range []string{"text/plain; charset=utf-8", "text/html"} {
				r := x.newRequest("POST", s, "/", strings.NewReader("body"))
				r.Header.Set("Content-Type", kind)
				x.do(s, r)
			}
		},
	},
	{
		name: "Heartbeat",
		make: func(*exchange) func(http.Handler) http.Handler { return middleware.Heartbeat("/ping") },
		ask:  func(x *exchange, s *httptest.Server) { x.get(s, "/ping", "/other") },
	},
	{
		name: "CleanPath",
		make: once(middleware.CleanPath),
		ask:  func(x *exchange, s *httptest.Server) { x.get(s, "/a//b/../c") },
	},
}

// logFormatter notes what chi's RequestLogger gets to log.
type logFormatter struct{ x *exchange }

func (f logFormatter) NewLogEntry(r *http.Request) middleware.LogEntry {
	f.x.note("request log", "%s %s", r.Method, r.URL.Path)
	return logEntry(f)
}

type logEntry struct{ x *exchange }

func (e logEntry) Write(status, bytes int, h http.Header, _ time.Duration, _ any) {
	e.x.note("request log", "%d, %d bytes, %s", status, bytes, headers(h))
}

func (e logEntry) Panic(v any, _ []byte) { e.x.note("request log", "panic %s", fmt.Sprint(v)) }
