package transparency

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"
)

// proxyTo returns a reverse proxy to backend.
func (x *exchange) proxyTo(backend *httptest.Server) *httputil.ReverseProxy {
	target, err := url.Parse(backend.URL)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: transportOf(backend),
		ErrorLog:  log.New(serverLog{x}, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			x.note("proxy", "%s", describe(err))
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// proxied returns two cases with a reverse proxy. In one the proxy is wrapped, in the
// other the server behind it.
func proxied(name string, protocols []string, backend func(*exchange) http.HandlerFunc, ask func(*exchange, *httptest.Server)) []Case {
	return []Case{
		{"reverse proxy inside: " + name, protocols, func(x *exchange) {
			ask(x, x.handle(x.proxyTo(x.serve(backend(x))).ServeHTTP))
		}},
		{"reverse proxy in front: " + name, protocols, func(x *exchange) {
			ask(x, x.serve(x.proxyTo(x.handle(backend(x)))))
		}},
	}
}

var nestedCases = slices.Concat(
	proxied("an answer with everything", everywhere, func(x *exchange) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			x.handler("%s %s, headers %s", r.Method, r.URL, headers(r.Header))
			x.readAll(r)
			w.Header().Set("Trailer", "X-A")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, "answer")
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-B", "2")
		}
	}, func(x *exchange, s *httptest.Server) {
		x.post(s, "/path?a=1", "body")
		x.do(s, x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("body"))))
	}),
	proxied("an event stream", everywhere, func(x *exchange) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n")
			flushNow(w)
			x.await(r.Context().Done(), "the client to leave")
		}
	}, func(x *exchange, s *httptest.Server) {
		x.quiet = true
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
			line, err := bufio.NewReader(resp.Body).ReadString('\n')
			x.client("%q, %s", line, describe(err))
			resp.Body.Close()
		}
	}),
	proxied("an upgrade", onlyHTTP1, func(x *exchange) http.HandlerFunc { return x.echoUpgraded },
		func(x *exchange, s *httptest.Server) {
			conn := x.upgrade(s)
			if conn == nil {
				return
			}
			_, _ = io.WriteString(conn, "hello\n")
			lines := bufio.NewReader(conn)
			line, err := lines.ReadString('\n')
			x.client("echo %q, %s", line, describe(err))
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				x.client("CloseWrite %s", describe(half.CloseWrite()))
				line, err = lines.ReadString('\n')
				x.client("then %q, %s", line, describe(err))
			}
			conn.Close()
		}),
	proxied("an aborted backend", everywhere, func(x *exchange) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "begin")
			flushNow(w)
			panic(http.ErrAbortHandler)
		}
	}, func(x *exchange, s *httptest.Server) {
		x.quiet = true
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
			_, err := io.ReadAll(resp.Body)
			x.client("fails: %t", err != nil)
			resp.Body.Close()
		}
	}),
	proxied("a backend that panics", everywhere, func(*exchange) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	}, func(x *exchange, s *httptest.Server) { x.get(s, "/") }),
	[]Case{
		{"TimeoutHandler inside", everywhere, func(x *exchange) {
			x.timeouts(func(h http.Handler, d time.Duration) http.Handler {
				return x.wrap(http.TimeoutHandler(h, d, "too slow"))
			})
		}},
		{"TimeoutHandler outside", everywhere, func(x *exchange) {
			x.timeouts(func(h http.Handler, d time.Duration) http.Handler {
				return http.TimeoutHandler(x.wrap(h), d, "too slow")
			})
		}},
		{"StripPrefix inside", everywhere, func(x *exchange) {
			s := x.handle(http.StripPrefix("/api", x.path()).ServeHTTP)
			x.get(s, "/api/a%2Fb", "/other")
		}},
		{"StripPrefix outside", everywhere, func(x *exchange) {
			s := x.serve(http.StripPrefix("/api", x.wrap(x.path())))
			x.get(s, "/api/a%2Fb", "/other")
		}},
		{"AllowQuerySemicolons inside", everywhere, func(x *exchange) {
			s := x.handle(http.AllowQuerySemicolons(x.path()).ServeHTTP)
			x.get(s, "/?a=1;b=2")
		}},
		{"a writer around the wrapper's", everywhere, func(x *exchange) {
			s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
				u := unwrapper{w}
				x.handler("Flush %s", describe(http.NewResponseController(u).Flush()))
				x.handler("SetWriteDeadline %s", describe(http.NewResponseController(u).SetWriteDeadline(time.Time{})))
				x.handler("interfaces below %s", interfaces(w))
				io.WriteString(u, "x")
			})
			x.get(s, "/")
		}},
		{"a plain writer below the wrapper's", everywhere, func(x *exchange) {
			inner := x.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				x.handler("interfaces %s", interfaces(w))
				c := http.NewResponseController(w)
				x.handler("Flush %s", describe(c.Flush()))
				x.handler("SetReadDeadline %s", describe(c.SetReadDeadline(time.Time{})))
				x.handler("EnableFullDuplex %s", describe(c.EnableFullDuplex()))
				_, _, err := c.Hijack()
				x.handler("Hijack %s", describe(err))
				io.WriteString(w, "x")
			}))
			s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
			}))
			x.get(s, "/")
		}},
	},
)

// unwrapper is a writer as middlewares typically make it.
type unwrapper struct{ http.ResponseWriter }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// path returns a handler that responds with the path that it sees.
func (x *exchange) path() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %v", r.URL, r.RequestURI, r.URL.Query())
	})
}

// timeouts has a handler that is in time and one that is late.
func (x *exchange) timeouts(limited func(http.Handler, time.Duration) http.Handler) {
	late := make(chan struct{})
	s := x.serve(limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.handler("interfaces %s", interfaces(w))
		_, deadline := r.Context().Deadline()
		x.handler("deadline %t", deadline)
		w.Header().Set("X-A", "1")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "in time")
	}), time.Minute))
	x.get(s, "/")
	s = x.serve(limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(late)
		x.await(r.Context().Done(), "the end of the time")
		// By now http.TimeoutHandler has responded, or will before this handler does.
		x.handler("error %s", describe(r.Context().Err()))
	}), 10*time.Millisecond))
	x.get(s, "/")
	x.await(late, "the handler")
}
