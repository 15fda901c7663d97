package middleware_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// with returns the middleware with o, and the recorder of its spans.
func with(t *testing.T, o middleware.Options) (func(http.Handler) http.Handler, *testkit.Recorder) {
	t.Helper()
	tracer, recorder := testkit.NewTracer(t)
	o.Tracer = tracer
	return middleware.New(o), recorder
}

// serve answers r with h and returns the response.
func serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestPublicEndpoint(t *testing.T) {
	trace, recorder := with(t, middleware.Options{
		PublicEndpoint: func(r *http.Request) bool { return r.URL.Path == "/public" },
	})
	var baggage dendro.Baggage
	h := trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { baggage = dendro.BaggageFromContext(r.Context()) }))
	for path, public := range map[string]bool{"/public": true, "/private": false} {
		for _, traceparent := range []string{sampled, unsampled, ""} {
			recorder.Reset()
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Baggage", "user=7")
			r.Header.Set("Traceparent", traceparent)
			serve(h, r)
			testkit.Equal(t, path+": baggage", baggage.Len() == 0, public)
			caller, _ := dendro.ParseTraceparent(traceparent)
			span := recorder.Wait(t, 1)[0]
			joined := !public && traceparent != ""
			testkit.Equal(t, path+": parent", span.ParentID == caller.SpanID, joined || traceparent == "")
			testkit.Equal(t, path+": same trace", span.TraceID == caller.TraceID, joined)
			testkit.Equal(t, path+": remote", span.Remote, joined)
			links := 0
			for _, l := range span.Links {
				testkit.Equal(t, "link", l.SpanContext, caller)
				links++
			}
			testkit.Equal(t, path+": links", links == 1, public && traceparent != "")
		}
	}
}

// A tracer decides which headers its middleware reads.
func TestPropagatorOfTheTracer(t *testing.T) {
	tracer := dendro.New(dendro.Options{Propagator: dendro.W3C{NoTraceContext: true}})
	h := middleware.New(middleware.Options{Tracer: tracer})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		sc := dendro.SpanFromContext(r.Context()).Context()
		testkit.Equal(t, "the caller's trace", strings.HasPrefix(sampled[3:], sc.TraceID.String()), false)
	}))
	serve(h, tracedRequest(sampled))
}

func TestTraceResponse(t *testing.T) {
	always, _ := testkit.NewTracer(t)
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	for _, tracer := range []*dendro.Tracer{always, never} {
		trace := middleware.New(middleware.Options{Tracer: tracer, TraceResponse: true, ServerTiming: true})
		var id string
		h := trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id = dendro.SpanFromContext(r.Context()).Context().Traceparent()
			w.Header().Add("Server-Timing", "db;dur=5")
		}))
		resp := serve(h, plainRequest())
		testkit.Equal(t, "traceresponse", resp.Header.Values("Traceresponse"), []string{id})
		testkit.Equal(t, "Server-Timing", resp.Header.Values("Server-Timing"), []string{`traceparent;desc="` + id + `"`, "db;dur=5"})
	}
	trace, _ := with(t, middleware.Options{})
	testkit.Equal(t, "by default", len(serve(trace(http.HandlerFunc(ok)), plainRequest()).Header), 0)
}

func TestHeaders(t *testing.T) {
	trace, recorder := with(t, middleware.Options{
		RequestHeaders:  []string{"X-Tenant", "authorization", "cookie", "x-missing"},
		ResponseHeaders: []string{"X-Cache", "Set-Cookie", "X-Late"},
	})
	h := trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-Tenant", "changed")
		w.Header().Add("X-Cache", "hit")
		w.Header().Add("X-Cache", "stale")
		w.Header().Set("Set-Cookie", "session=s3cr3t; Path=/")
		_, _ = io.WriteString(w, "x")
		w.Header().Set("X-Late", "not sent")
	}))
	r := plainRequest()
	r.Header.Set("X-Tenant", "blue")
	r.Header.Set("Authorization", "Bearer s3cr3t")
	r.Header.Set("Cookie", "session=s3cr3t; lang=en")
	serve(h, r)
	span := recorder.Wait(t, 1)[0]
	for key, want := range map[string]any{
		"http.request.header.x-tenant":      []string{"blue"},
		"http.request.header.authorization": []string{"Bearer REDACTED"},
		"http.request.header.cookie":        []string{"session=REDACTED; lang=REDACTED"},
		"http.request.header.x-missing":     nil,
		"http.response.header.x-cache":      []string{"hit", "stale"},
		"http.response.header.set-cookie":   []string{"session=REDACTED"},
		"http.response.header.x-late":       nil,
	} {
		testkit.Equal(t, key, span.Attr(key), want)
	}
	// Headers of a response that net/http sends when the handler has returned.
	recorder.Reset()
	serve(trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Cache", "miss") })), plainRequest())
	testkit.Equal(t, "sent at the end", recorder.Wait(t, 1)[0].Attr("http.response.header.x-cache"), any([]string{"miss"}))
}

func TestTrustedProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for name, c := range map[string]struct {
		peer           string
		header         http.Header
		client, scheme string
	}{
		"no header":          {"10.0.0.1:99", nil, "10.0.0.1", "http"},
		"not trusted":        {"203.0.113.9:99", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}}, "203.0.113.9", "http"},
		"one proxy":          {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}}, "192.0.2.1", "https"},
		"forged in front":    {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"1.1.1.1, 192.0.2.1"}}, "192.0.2.1", "http"},
		"two proxies":        {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"1.1.1.1, 192.0.2.1,10.2.3.4"}}, "192.0.2.1", "http"},
		"two lines":          {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"1.1.1.1, 192.0.2.1", "10.2.3.4"}}, "192.0.2.1", "http"},
		"all trusted":        {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"10.9.9.9, 10.2.3.4"}}, "10.9.9.9", "http"},
		"with a port":        {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"192.0.2.1:4711"}}, "192.0.2.1", "http"},
		"nonsense":           {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"192.0.2.1, <script>, 10.2.3.4"}}, "10.2.3.4", "http"},
		"empty":              {"10.0.0.1:99", http.Header{"X-Forwarded-For": {""}}, "10.0.0.1", "http"},
		"proto is nonsense":  {"10.0.0.1:99", http.Header{"X-Forwarded-Proto": {"gopher"}}, "10.0.0.1", "http"},
		"proto of the last":  {"10.0.0.1:99", http.Header{"X-Forwarded-Proto": {"http, HTTPS"}}, "10.0.0.1", "https"},
		"v6":                 {"[2001:db8::1]:99", http.Header{"X-Forwarded-For": {"2001:db9::2"}}, "2001:db9::2", "http"},
		"v4 in v6":           {"[::ffff:10.0.0.1]:99", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, "192.0.2.1", "http"},
		"Forwarded":          {"10.0.0.1:99", http.Header{"Forwarded": {`for=1.1.1.1, For="192.0.2.1:47";proto=https;by=10.0.0.1`}}, "192.0.2.1", "http"},
		"Forwarded, v6":      {"10.0.0.1:99", http.Header{"Forwarded": {`proto=http; for="[2001:db9::17]:4711"`}}, "2001:db9::17", "http"},
		"Forwarded, quoted":  {"10.0.0.1:99", http.Header{"Forwarded": {`for=192.0.2.1;host="x,for=1.1.1.1;for=1.1.1.1"`}}, "192.0.2.1", "http"},
		"Forwarded, escaped": {"10.0.0.1:99", http.Header{"Forwarded": {`for=192.0.2.1;host="\",for=1.1.1.1"`}}, "192.0.2.1", "http"},
		"Forwarded, open":    {"10.0.0.1:99", http.Header{"Forwarded": {`for="1.1.1.1, for=192.0.2.1`}}, "192.0.2.1", "http"},
		"both, the same":     {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.1"}}, "192.0.2.1", "http"},
		"both, one forged":   {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"1.1.1.1"}, "Forwarded": {"for=192.0.2.1"}}, "10.0.0.1", "http"},
		"empty elements":     {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"192.0.2.1, ,10.0.0.2,"}}, "192.0.2.1", "http"},
		"with a zone":        {"10.0.0.1:99", http.Header{"X-Forwarded-For": {"fe80::1%<script>"}}, "fe80::1", "http"},
		"Forwarded, unknown": {"10.0.0.1:99", http.Header{"Forwarded": {`for=192.0.2.1, for=unknown`}}, "10.0.0.1", "http"},
		"Forwarded, hidden":  {"10.0.0.1:99", http.Header{"Forwarded": {`for=_gazonk`}}, "10.0.0.1", "http"},
		"Forwarded, no for":  {"10.0.0.1:99", http.Header{"Forwarded": {`by=10.0.0.7`}}, "10.0.0.1", "http"},
	} {
		trace, recorder := with(t, middleware.Options{TrustedProxies: proxies})
		r := plainRequest()
		r.RemoteAddr, r.Header = c.peer, c.header
		serve(trace(http.HandlerFunc(ok)), r)
		got := attributes(recorder.Wait(t, 1)[0])
		testkit.Equal(t, name+": client", got["client.address"], c.client)
		testkit.Equal(t, name+": scheme", got["url.scheme"], c.scheme)
		testkit.Equal(t, name+": peer", got["network.peer.address"], strings.Trim(c.peer[:strings.LastIndex(c.peer, ":")], "[]"))
	}
	trace, recorder := with(t, middleware.Options{})
	r := plainRequest()
	r.RemoteAddr = "10.0.0.1:99"
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	serve(trace(http.HandlerFunc(ok)), r)
	testkit.Equal(t, "nobody is trusted by default", recorder.Wait(t, 1)[0].Attr("client.address"), any("10.0.0.1"))
}

func TestHooks(t *testing.T) {
	var results []middleware.Result
	trace, recorder := with(t, middleware.Options{
		IsError:  func(status int) bool { return status == 404 },
		SpanName: func(r middleware.Result) string { return strings.TrimPrefix(r.Route, "/") },
		Attributes: func(r middleware.Result) []slog.Attr {
			return []slog.Attr{slog.String("tenant", r.Request.Header.Get("X-Tenant"))}
		},
		Keep: func(r middleware.Result) bool {
			results = append(results, r)
			return r.Route != "/healthz" || r.ErrorType != ""
		},
	})
	router := chi.NewRouter()
	router.Use(trace)
	router.Get("/orders", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	router.Get("/healthz", func(w http.ResponseWriter, r *http.Request) {
		_, span := dendro.Start(r.Context(), "check")
		defer span.End()
		if r.Header.Get("X-Tenant") == "ill" {
			panic("ill")
		}
	})
	for _, c := range [][2]string{{"/orders", "a"}, {"/none", "b"}, {"/healthz", "well"}, {"/healthz", "ill"}} {
		r := httptest.NewRequest("GET", c[0], nil)
		r.Header.Set("X-Tenant", c[1])
		func() {
			defer func() { _ = recover() }()
			serve(router, r)
		}()
	}
	spans := recorder.Wait(t, 4)
	testkit.Equal(t, "names", testkit.Names(spans), []string{"orders", "GET", "healthz", "check"})
	testkit.Equal(t, "500 is no error", spans[0].Status.Code, dendro.StatusUnset)
	testkit.Equal(t, "404 is one", spans[1].Status.Code, dendro.StatusError)
	testkit.Equal(t, "404", spans[1].Attr("error.type"), any("404"))
	testkit.Equal(t, "attribute", spans[0].Attr("tenant"), any("a"))
	testkit.Equal(t, "results", len(results), 4)
	for i, want := range []middleware.Result{
		{Route: "/orders", Status: 500},
		{Status: 404, ErrorType: "404"},
		{Route: "/healthz", Status: 200},
		{Route: "/healthz", Status: 500, ErrorType: "string"},
	} {
		got := results[i]
		if got.Duration <= 0 || got.Request == nil {
			t.Errorf("result %d: %+v", i, got)
		}
		got.Duration, got.Request = 0, nil
		testkit.Equal(t, "result", got, want)
	}
}

func TestRouteOfOthers(t *testing.T) {
	trace, recorder := with(t, middleware.Options{})
	name := func(h http.Handler, path string) string {
		recorder.Reset()
		func() {
			defer func() { _ = recover() }()
			serve(trace(h), httptest.NewRequest("GET", path, nil))
		}()
		return recorder.Wait(t, 1)[0].Name
	}
	set := func(pattern string) http.Handler {
		return copied(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { middleware.SetRoute(r.Context(), pattern) }))
	}
	testkit.Equal(t, "SetRoute", name(set("/a/{b}"), "/a/1"), "GET /a/{b}")
	testkit.Equal(t, "SetRoute, of a mux", name(set("GET shop.example/a/{b}"), "/a/1"), "GET /a/{b}")
	testkit.Equal(t, "SetRoute, nothing", name(set(""), "/a/1"), "GET")
	middleware.SetRoute(context.Background(), "/not/traced")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /a/{b}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("b") == "panic" {
			panic("x")
		}
	})
	testkit.Equal(t, "mux, copied: not known", name(copied(mux), "/a/1"), "GET")
	testkit.Equal(t, "mux, Route", name(copied(middleware.Route(mux)), "/a/1"), "GET /a/{b}")
	testkit.Equal(t, "mux, Route, panic", name(copied(middleware.Route(mux)), "/a/panic"), "GET /a/{b}")
	testkit.Equal(t, "mux, Route, 404", name(copied(middleware.Route(mux)), "/none"), "GET")

	inner := chi.NewRouter()
	chiRoutes(inner)
	testkit.Equal(t, "chi, copied: not known", name(copied(inner), "/orders/42"), "GET")
	for request, want := range chiNames {
		if request[0] == "GET" {
			testkit.Equal(t, "chi, Route", name(copied(middleware.Route(inner)), request[1]), want)
		}
	}
	// Not below the middleware it does nothing.
	testkit.Equal(t, "alone", serve(middleware.Route(inner), httptest.NewRequest("GET", "/orders/42", nil)).StatusCode, 200)
	testkit.Equal(t, "alone", serve(middleware.Route(mux), httptest.NewRequest("GET", "/none", nil)).StatusCode, 404)
}

// The client goes away before the response is complete.
func TestClientGone(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := with(t, middleware.Options{})
			left := make(chan struct{})
			handle := map[string]http.HandlerFunc{
				"/silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
				"/started": func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "12345")
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				},
				"/gives up": func(w http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					panic(http.ErrAbortHandler)
				},
				"/panics": func(w http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					panic(errors.New("x"))
				},
				"/complete": func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", "5")
					_, _ = io.WriteString(w, "12345")
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				},
			}
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				left <- struct{}{}
				handle[r.URL.Path](w, r)
			})))
			for path, want := range map[string]struct {
				errorType, status, code, size string
			}{
				"/silent":   {"client_disconnected", "unset", "", "0"},
				"/started":  {"client_disconnected", "unset", "200", "5"},
				"/gives up": {"client_disconnected", "unset", "", "0"},
				"/panics":   {"*errors.errorString", "error", "500", "0"},
			} {
				recorder.Reset()
				ctx, cancel := context.WithCancel(context.Background())
				req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+strings.ReplaceAll(path, " ", "%20"), nil)
				go func() { <-left; cancel() }()
				if resp, err := s.Client().Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				span := recorder.Wait(t, 1)[0]
				got := attributes(span)
				testkit.Equal(t, path+": error.type", got["error.type"], want.errorType)
				testkit.Equal(t, path+": status", span.Status.Code.String(), want.status)
				testkit.Equal(t, path+": code", got["http.response.status_code"], want.code)
				testkit.Equal(t, path+": size", got["http.response.body.size"], want.size)
				cancel()
			}
			if version == "1.1" { // whole response, then gone
				recorder.Reset()
				go func() { <-left }()
				resp, err := s.Client().Get(s.URL + "/complete")
				testkit.NoError(t, err)
				_, _ = io.ReadFull(resp.Body, make([]byte, 5))
				s.CloseClientConnections()
				resp.Body.Close()
				testkit.Equal(t, "complete", recorder.Wait(t, 1)[0].Attr("error.type"), nil)
			}
		})
	}
}

// What http.MaxBytesReader does to the connection it does with the middleware.
func TestMaxBytesReader(t *testing.T) {
	testkit.NoLeaks(t)
	limited := map[string]func(w http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser{
		"plain": http.MaxBytesReader,
		"for nobody": func(_ http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser {
			return http.MaxBytesReader(nil, body, limit)
		},
		"for another writer": func(w http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser {
			return http.MaxBytesReader(struct{ http.ResponseWriter }{w}, body, limit)
		},
		"within a larger one": func(w http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser {
			return http.MaxBytesReader(w, http.MaxBytesReader(w, body, limit), 100)
		},
		"around a larger one": func(w http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser {
			return http.MaxBytesReader(w, http.MaxBytesReader(nil, body, 100), limit)
		},
		"around what is decoded": func(w http.ResponseWriter, body io.ReadCloser, limit int64) io.ReadCloser {
			return http.MaxBytesReader(w, struct{ io.ReadCloser }{io.NopCloser(io.LimitReader(body, 0))}, limit)
		},
	}
	known := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"
	last := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	trace, _ := traced(t)
	outside := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(plain{w}, r) })
	}
	for how, reader := range limited {
		for name, request := range map[string]string{"known length": known, "chunked": chunked} {
			for _, limit := range []int64{0, 9, 10, 11} {
				upload := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Body = reader(w, r.Body, limit)
					var tooLarge *http.MaxBytesError
					if _, err := io.Copy(io.Discard, r.Body); errors.As(err, &tooLarge) {
						http.Error(w, "too large", http.StatusRequestEntityTooLarge)
					}
				})
				want := exchange(t, testkit.Serve(t, "1.1", upload), request+last)
				if how == "plain" {
					testkit.Equal(t, name+": responses", strings.Count(want, "HTTP/1.1"), map[bool]int{true: 1, false: 2}[limit < 10])
				}
				testkit.Equal(t, how+", "+name, exchange(t, testkit.Serve(t, "1.1", trace(upload)), request+last), want)
				testkit.Equal(t, how+", "+name+", twice", exchange(t, testkit.Serve(t, "1.1", trace(trace(upload))), request+last), want)
				want = exchange(t, testkit.Serve(t, "1.1", outside(upload)), request+last)
				testkit.Equal(t, how+", "+name+", outside", exchange(t, testkit.Serve(t, "1.1", outside(trace(upload))), request+last), want)
			}
		}
	}
}

type plain struct{ http.ResponseWriter }

// The connection is closed too if a handler outside answers for one that panics.
func TestMaxBytesReaderAndPanic(t *testing.T) {
	testkit.NoLeaks(t)
	trace, _ := traced(t)
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		if _, err := io.ReadAll(r.Body); err != nil {
			panic(err)
		}
	})
	recoverer := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					http.Error(w, "too large", http.StatusRequestEntityTooLarge)
				}
			}()
			h.ServeHTTP(w, r)
		})
	}
	requests := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	want := exchange(t, testkit.Serve(t, "1.1", recoverer(limited)), requests)
	testkit.Equal(t, "responses", strings.Count(want, "HTTP/1.1"), 1)
	testkit.Equal(t, "wrapped", exchange(t, testkit.Serve(t, "1.1", recoverer(trace(limited))), requests), want)
}

// A hook that panics takes neither the span nor what the server needs, and not the
// panic of the handler.
func TestPanickingHooks(t *testing.T) {
	bad := func() { panic("hook") }
	for name, o := range map[string]middleware.Options{
		"IsError":    {IsError: func(int) bool { bad(); return false }},
		"SpanName":   {SpanName: func(middleware.Result) string { bad(); return "" }},
		"Attributes": {Attributes: func(middleware.Result) []slog.Attr { bad(); return nil }},
		"Keep":       {Keep: func(middleware.Result) bool { bad(); return true }},
	} {
		for _, handlerPanics := range []bool{false, true} {
			trace, recorder := with(t, o)
			r := plainRequest()
			got := func() (p any) {
				defer func() { p = recover() }()
				trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					r.MultipartForm = new(multipart.Form)
					if handlerPanics {
						panic("handler")
					}
				})).ServeHTTP(httptest.NewRecorder(), r)
				return nil
			}()
			want := "hook"
			if handlerPanics {
				want = "handler"
			}
			testkit.Equal(t, name+": panic", got, any(want))
			span := recorder.Wait(t, 1)[0]
			testkit.Equal(t, name+": error", span.Status.Code, dendro.StatusError)
			testkit.Equal(t, name+": error.type", span.Attr("error.type") != nil, true)
			testkit.Equal(t, name+": form", r.MultipartForm != nil, true)
		}
	}
}

// A goroutine that the handler left behind may parse the form: what is no race
// without the middleware is none with it.
func TestFormParsedLate(t *testing.T) {
	trace, recorder := traced(t)
	for range 100 {
		parsed := make(chan struct{})
		r := httptest.NewRequest("POST", "/?id=7", strings.NewReader("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n7\r\n--x--\r\n"))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		serve(trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				defer close(parsed)
				_ = r.FormValue("id")
				_ = r.ParseMultipartForm(1)
			}()
		})), r)
		<-parsed
	}
	recorder.Wait(t, 100)
}

// The first byte of a copy is known of files alone.
func TestFirstByteOfACopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	testkit.NoError(t, os.WriteFile(file, make([]byte, 100_000), 0o600))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    bool
	}{
		"file": {func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }, true},
		"another": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("x"))
		}, false},
	} {
		trace, recorder := traced(t)
		s := testkit.Serve(t, "1.1", trace(c.handler))
		resp, err := s.Client().Get(s.URL)
		testkit.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		testkit.Equal(t, name, recorder.Wait(t, 1)[0].Event("first byte") != nil, c.want)
	}
}

// Baggage of strangers goes no further, though a proxy copies their headers.
func TestPublicEndpointBehindAProxy(t *testing.T) {
	var got http.Header
	inside := testkit.Serve(t, "1.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	target, err := url.Parse(inside.URL)
	testkit.NoError(t, err)
	for _, public := range []bool{false, true} {
		tracer, recorder := testkit.NewTracer(t)
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = transport.New(nil, transport.Options{})
		h := middleware.New(middleware.Options{Tracer: tracer, PublicEndpoint: func(*http.Request) bool { return public }})(proxy)
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Baggage", "role=admin")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		serve(h, r)
		recorder.Wait(t, 2)
		testkit.Equal(t, "baggage", got.Get("Baggage"), map[bool]string{false: "role=admin"}[public])
		testkit.Equal(t, "their trace", strings.Contains(got.Get("Traceparent"), "0af7651916cd43dd8448eb211c80319c"), !public)
	}
}
