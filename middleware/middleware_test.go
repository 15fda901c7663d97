package middleware_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// traced returns a middleware and what it records.
func traced(t *testing.T) (func(http.Handler) http.Handler, *testkit.Recorder) {
	t.Helper()
	tracer, recorder := testkit.NewTracer(t)
	return middleware.New(middleware.Options{Tracer: tracer}), recorder
}

// get fetches a URL and returns the status and what could be read of the body.
func get(t *testing.T, s *httptest.Server, path string) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Get(s.URL + path)
	testkit.NoError(t, err)
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// attributes returns those of span as text.
func attributes(span testkit.Span) map[string]string {
	out := map[string]string{}
	for _, a := range span.Attributes {
		out[a.Key] = a.Value.String()
	}
	return out
}

func TestAttributes(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := traced(t)
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("User-Agent") // what handlers change is not what came
				r.Method, r.RemoteAddr = "PUT", "192.0.2.1:1"
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, "made")
			})))
			var local string
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				GotConn: func(c httptrace.GotConnInfo) { local = c.Conn.LocalAddr().String() },
			})
			req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/orders/a%2Fb?token=s3cr3t&debug", strings.NewReader("12345"))
			req.Header.Set("User-Agent", "shop/1.0")
			resp, err := s.Client().Do(req)
			testkit.NoError(t, err)
			resp.Body.Close()

			span := recorder.Wait(t, 1)[0]
			host := strings.Split(s.Listener.Addr().String(), ":")
			want := map[string]string{
				"http.request.method":       "POST",
				"url.scheme":                "http",
				"url.path":                  "/orders/a%2Fb",
				"url.query":                 "token=REDACTED&debug",
				"network.protocol.version":  version,
				"server.address":            host[0],
				"server.port":               host[1],
				"client.address":            "127.0.0.1",
				"network.peer.address":      "127.0.0.1",
				"network.peer.port":         strings.Split(local, ":")[1],
				"user_agent.original":       "shop/1.0",
				"http.response.status_code": "201",
				"http.request.body.size":    "5",
				"http.response.body.size":   "4",
			}
			if version == "2" {
				want["url.scheme"] = "https"
			}
			testkit.Equal(t, "attributes", attributes(span), want)
			testkit.Equal(t, "kind", span.Kind, dendro.KindServer)
			testkit.Equal(t, "status", span.Status, dendro.Status{})
			testkit.Equal(t, "name", span.Name, "POST")
		})
	}
}

func TestOutcomes(t *testing.T) {
	cause := errors.New("no stock")
	for name, c := range map[string]struct {
		handle    http.HandlerFunc
		code      string // "" for none
		errorType string
		status    dendro.Status
		size      string
	}{
		"nothing written": {func(http.ResponseWriter, *http.Request) {}, "200", "", dendro.Status{}, "0"},
		"not found":       {http.NotFound, "404", "", dendro.Status{}, "19"},
		"failed": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 503) },
			"503", "503", dendro.Status{Code: dendro.StatusError}, "2"},
		"failed with reason": {func(w http.ResponseWriter, r *http.Request) {
			dendro.SpanFromContext(r.Context()).RecordError(cause)
			w.WriteHeader(500)
		}, "500", "500", dendro.Status{Code: dendro.StatusError, Message: "no stock"}, "0"},
		"twice": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) },
			"201", "", dendro.Status{}, "0"},
		"early hints": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusTeapot)
		}, "418", "", dendro.Status{}, "0"},
		"panic": {func(http.ResponseWriter, *http.Request) { panic(cause) },
			"500", "*errors.errorString", dendro.Status{Code: dendro.StatusError, Message: "panic: no stock"}, "0"},
		"panic after the first byte": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("12")); panic("late") },
			"200", "string", dendro.Status{Code: dendro.StatusError, Message: "panic: late"}, "2"},
		"panic after flush": {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic("late") },
			"200", "string", dendro.Status{Code: dendro.StatusError, Message: "panic: late"}, "0"},
		"panic after FlushError": {func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			panic("late")
		}, "200", "string", dendro.Status{Code: dendro.StatusError, Message: "panic: late"}, "0"},
		"aborted": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"", "aborted", dendro.Status{Code: dendro.StatusError, Message: "aborted"}, "0"},
		"exit": {func(http.ResponseWriter, *http.Request) { runtime.Goexit() },
			"", "aborted", dendro.Status{Code: dendro.StatusError, Message: "aborted"}, "0"},
	} {
		for _, version := range testkit.Protocols {
			t.Run(name+"/"+version, func(t *testing.T) {
				testkit.NoLeaks(t)
				trace, recorder := traced(t)
				s := testkit.Serve(t, version, trace(c.handle))
				if resp, err := s.Client().Get(s.URL); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					testkit.Equal(t, "status that was sent", fmt.Sprint(resp.StatusCode), c.code)
				}
				span := recorder.Wait(t, 1)[0]
				got := attributes(span)
				testkit.Equal(t, "code", got["http.response.status_code"], c.code)
				testkit.Equal(t, "error.type", got["error.type"], c.errorType)
				testkit.Equal(t, "status", span.Status, c.status)
				testkit.Equal(t, "size", got["http.response.body.size"], c.size)
				panicked := strings.HasPrefix(c.status.Message, "panic")
				testkit.Equal(t, "exception event", span.Event("exception") != nil, panicked || name == "failed with reason")
				if panicked {
					stack := span.Event("exception").Attributes[2]
					if stack.Key != "exception.stacktrace" || !strings.Contains(stack.Value.String(), "TestOutcomes") {
						t.Errorf("stack does not show the handler: %v", stack)
					}
				}
			})
		}
	}
}

// With GODEBUG=panicnil=1 a panic(nil) aborts the exchange without a word in the log,
// as net/http has it for http.ErrAbortHandler.
func TestPanicNil(t *testing.T) {
	testkit.NoLeaks(t)
	t.Setenv("GODEBUG", "panicnil=1")
	trace, recorder := traced(t)
	s := testkit.Serve(t, "1.1", trace(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(nil) })))
	if resp, err := s.Client().Get(s.URL); err == nil {
		resp.Body.Close()
		t.Errorf("the client got %s", resp.Status)
	}
	span := recorder.Wait(t, 1)[0]
	testkit.Equal(t, "error.type", span.Attr("error.type"), any("aborted"))
	testkit.Equal(t, "status", span.Status, dendro.Status{Code: dendro.StatusError, Message: "aborted"})
}

// A panic reaches the handlers outside as it was.
func TestPanicGoesOn(t *testing.T) {
	trace, recorder := traced(t)
	for _, value := range []any{http.ErrAbortHandler, []int{1, 2}, errors.New("x")} {
		h := trace(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }))
		func() {
			defer func() { testkit.Equal(t, "value", recover(), value) }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			t.Error("the panic is lost")
		}()
	}
	testkit.Equal(t, "spans", len(recorder.Spans()), 3)
}

func TestInformationalResponsesArrive(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := traced(t)
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</style.css>; rel=preload")
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusAccepted)
			})))
			var hints []int
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints = append(hints, code); return nil },
			})
			req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			resp, err := s.Client().Do(req)
			testkit.NoError(t, err)
			resp.Body.Close()
			testkit.Equal(t, "informational", hints, []int{103})
			testkit.Equal(t, "final", resp.StatusCode, 202)
			testkit.Equal(t, "recorded", recorder.Wait(t, 1)[0].Attr("http.response.status_code"), any(int64(202)))
		})
	}
}

// readFromSpy sees whether net/http gets the file itself, which it needs for
// sendfile.
type readFromSpy struct {
	http.ResponseWriter
	src io.Reader
}

func (w *readFromSpy) ReadFrom(src io.Reader) (int64, error) {
	w.src = src
	return w.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
}

func TestFilesAreSentWhole(t *testing.T) {
	testkit.NoLeaks(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	file := filepath.Join(t.TempDir(), "file.bin")
	testkit.NoError(t, os.WriteFile(file, content, 0o600))
	trace, recorder := traced(t)
	send := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(file)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		_, _ = io.Copy(w, f)
	})
	var sources []string
	for _, h := range []http.Handler{send, trace(send)} {
		var spy readFromSpy
		s := testkit.Serve(t, "1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			spy.ResponseWriter = w
			h.ServeHTTP(&spy, r)
		}))
		resp, body := get(t, s, "/")
		testkit.Equal(t, "status", resp.StatusCode, 200)
		testkit.Equal(t, "body", body == string(content), true)
		s.Close()
		sources = append(sources, fmt.Sprintf("%T", spy.src))
	}
	testkit.Equal(t, "what net/http was given, bare and wrapped", sources[1], sources[0])
	testkit.Equal(t, "bytes", recorder.Wait(t, 1)[0].Attr("http.response.body.size"), any(int64(len(content))))
}

// exchange sends a request of HTTP/1, as it stands, and returns what comes back,
// without the date.
func exchange(t *testing.T, s *httptest.Server, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	testkit.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	testkit.NoError(t, err)
	answer, _ := io.ReadAll(conn)
	lines := strings.SplitAfter(string(answer), "\r\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Date:") }), "")
}

// Clients and handlers see the same with and without the middleware.
func TestSameBytes(t *testing.T) {
	testkit.NoLeaks(t)
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n%s\r\n3\r\nabc\r\n0\r\n%s\r\n"
	get := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	trailer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Trailer)
	}
	file := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("content"))
	}
	for name, c := range map[string]struct {
		request string
		handle  http.HandlerFunc
		code    string // that is recorded
	}{
		"trailer":             {fmt.Sprintf(chunked, "Trailer: X-A\r\n", "X-A: 1\r\n"), trailer, "200"},
		"trailer unannounced": {fmt.Sprintf(chunked, "", "X-A: 1\r\n"), trailer, "200"},
		"expect": {fmt.Sprintf(chunked, "Expect: 100-continue\r\n", ""),
			func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, "200"},
		"expect, refused": {fmt.Sprintf(chunked, "Expect: 100-continue\r\n", ""),
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) }, "417"},
		"trailer of the response": {get, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-A")
			_, _ = io.WriteString(w, "x")
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-B", "2")
		}, "200"},
		"source fails at once": {get, func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.Copy(w, iotest.ErrReader(errors.New("no file"))); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}, "500"},
		"HEAD":  {strings.Replace(get, "GET", "HEAD", 1), file, "200"},
		"range": {strings.Replace(get, "\r\n\r\n", "\r\nRange: bytes=2-4\r\n\r\n", 1), file, "206"},
		"body not allowed": {get, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				panic(err)
			}
		}, "204"},
		"timeout": {get, http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			time.Millisecond, "slow").ServeHTTP, "503"},
		"aborted": {get, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "200"},
	} {
		trace, recorder := traced(t)
		never := middleware.New(middleware.Options{Tracer: dendro.New(dendro.Options{Sampler: dendro.NeverSample})})
		want := exchange(t, testkit.Serve(t, "1.1", c.handle), c.request)
		testkit.Equal(t, name, exchange(t, testkit.Serve(t, "1.1", trace(c.handle)), c.request), want)
		testkit.Equal(t, name+", not sampled", exchange(t, testkit.Serve(t, "1.1", never(c.handle)), c.request), want)
		testkit.Equal(t, name+": code", attributes(recorder.Wait(t, 1)[0])["http.response.status_code"], c.code)
	}
}

// A message of an event stream arrives while the handler waits for the next.
func TestFlushArrivesAtOnce(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := traced(t)
			next := make(chan struct{})
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for range 3 {
					_, _ = io.WriteString(w, "data: x\n")
					if err := http.NewResponseController(w).Flush(); err != nil {
						panic(err)
					}
					<-next
				}
			})))
			resp, err := s.Client().Get(s.URL)
			testkit.NoError(t, err)
			defer resp.Body.Close()
			lines := bufio.NewScanner(resp.Body)
			for range 3 {
				if !lines.Scan() || lines.Text() != "data: x" {
					t.Fatalf("got %q, %v", lines.Text(), lines.Err())
				}
				next <- struct{}{}
			}
			testkit.Equal(t, "more", lines.Scan(), false)
			testkit.Equal(t, "size", recorder.Wait(t, 1)[0].Attr("http.response.body.size"), any(int64(24)))
		})
	}
}

func TestControllerReachesTheConnection(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			trace, _ := traced(t)
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c := http.NewResponseController(w)
				err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}), c.EnableFullDuplex())
				if err != nil {
					http.Error(w, err.Error(), 500)
				}
			})))
			resp, body := get(t, s, "/")
			testkit.Equal(t, body, resp.StatusCode, 200)
		})
	}
}

func TestBodyOfUnknownLength(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := traced(t)
			s := testkit.Serve(t, version, trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			})))
			body := io.MultiReader(strings.NewReader("123"), strings.NewReader("4567"))
			resp, err := s.Client().Post(s.URL, "text/plain", body)
			testkit.NoError(t, err)
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			testkit.Equal(t, "echo", string(got), "1234567")
			testkit.Equal(t, "size", recorder.Wait(t, 1)[0].Attr("http.request.body.size"), any(int64(7)))
		})
	}
}

// chi's RealIP and its like set an address without a port.
func TestClientAddress(t *testing.T) {
	trace, recorder := traced(t)
	for remote, want := range map[string][2]any{
		"192.0.2.7:80":    {"192.0.2.7", "192.0.2.7"},
		"[2001:db8::1]:9": {"2001:db8::1", "2001:db8::1"},
		"192.0.2.7":       {"192.0.2.7", nil},
		"2001:db8::1":     {"2001:db8::1", nil},
		"@":               {nil, nil}, // a Unix socket
	} {
		recorder.Reset()
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		trace(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, remote, [2]any{span.Attr("client.address"), span.Attr("network.peer.address")}, want)
	}
}

func TestUnknownMethod(t *testing.T) {
	trace, recorder := traced(t)
	h := trace(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("SPY", "/", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("HEAD", "/", nil))
	spans := recorder.Spans()
	testkit.Equal(t, "names", testkit.Names(spans), []string{"HTTP", "HEAD"})
	testkit.Equal(t, "method", spans[0].Attr("http.request.method"), any("_OTHER"))
	testkit.Equal(t, "original", spans[0].Attr("http.request.method_original"), any("SPY"))
	testkit.Equal(t, "size of a HEAD", spans[1].Attr("http.response.body.size"), nil)
}

func TestParent(t *testing.T) {
	trace, recorder := traced(t)
	var baggage string
	h := trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		baggage = dendro.BaggageFromContext(r.Context()).Get("user")
	}))
	serve := func(header map[string]string) testkit.Span {
		recorder.Reset()
		r := httptest.NewRequest("GET", "/", nil)
		for key, value := range header {
			r.Header.Set(key, value)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		return recorder.Wait(t, 1)[0]
	}
	span := serve(map[string]string{"traceparent": sampled, "tracestate": "a=1", "baggage": "user=alice"})
	testkit.Equal(t, "trace", span.TraceID.String(), "0af7651916cd43dd8448eb211c80319c")
	testkit.Equal(t, "parent", span.ParentID.String(), "b7ad6b7169203331")
	testkit.Equal(t, "remote", span.Remote, true)
	testkit.Equal(t, "state", span.State.String(), "a=1")
	testkit.Equal(t, "baggage", baggage, "alice")

	for _, malformed := range []string{
		"", "00", "00-xyz", strings.Repeat("0", 55), strings.Replace(sampled, "00-", "ff-", 1), sampled + "-00", strings.ToUpper(sampled),
	} {
		span := serve(map[string]string{"traceparent": malformed, "tracestate": "a=1", "baggage": "=;"})
		if span.Remote || span.ParentID.IsValid() || span.State.String() != "" || baggage != "" {
			t.Errorf("traceparent %q was taken for a parent", malformed)
		}
	}
}

// One request is one span, wherever the middleware is mounted.
func TestMountedTwice(t *testing.T) {
	for name, between := range map[string]func(http.Handler) http.Handler{
		"around itself":    func(h http.Handler) http.Handler { return h },
		"around a copy":    copied,
		"around a context": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") },
		"in the main router and in a mounted one": func(h http.Handler) http.Handler {
			inner := chi.NewRouter()
			inner.Use(middleware.Trace)
			inner.Mount("/", h)
			outer := chi.NewRouter()
			outer.Mount("/", inner)
			return outer
		},
		"around a span": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, span := dendro.Start(r.Context(), "between")
				defer span.End()
				h.ServeHTTP(w, r.WithContext(ctx))
			})
		},
	} {
		trace, recorder := traced(t)
		h := trace(between(trace(http.HandlerFunc(ok))))
		h.ServeHTTP(httptest.NewRecorder(), tracedRequest(sampled))
		var servers []testkit.Span
		for _, s := range recorder.Wait(t, 1) {
			if s.Kind == dendro.KindServer {
				servers = append(servers, s)
			}
		}
		testkit.Equal(t, name+": server spans", len(servers), 1)
		testkit.Equal(t, name+": parent", servers[0].ParentID.String(), "b7ad6b7169203331")
	}
}

// Two tracers make a span each, the inner one below the outer one, whatever the headers
// say.
func TestTwoTracers(t *testing.T) {
	outside, outer := traced(t)
	inside, inner := traced(t)
	var inContext dendro.SpanContext
	h := outside(inside(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inContext = dendro.SpanFromContext(r.Context()).Context()
	})))
	h.ServeHTTP(httptest.NewRecorder(), tracedRequest(sampled))
	span, below := outer.Wait(t, 1)[0], inner.Wait(t, 1)[0]
	testkit.Equal(t, "outer", span.ParentID.String(), "b7ad6b7169203331")
	testkit.Equal(t, "inner", below.ParentID, span.SpanID)
	testkit.Equal(t, "in the context", inContext.SpanID, below.SpanID)
}

// A request that a handler makes itself, for a part of a batch say, is another one.
func TestRequestsWithinARequest(t *testing.T) {
	trace, recorder := traced(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", ok)
	h := trace(mux)
	mux.HandleFunc("POST /batch", func(_ http.ResponseWriter, r *http.Request) {
		for _, path := range []string{"/items/1", "/items/2"} {
			part, err := http.NewRequestWithContext(r.Context(), "GET", path, nil)
			testkit.NoError(t, err)
			h.ServeHTTP(httptest.NewRecorder(), part)
		}
	})
	serve(h, httptest.NewRequest("POST", "/batch", nil))
	testkit.Equal(t, "names", testkit.Names(recorder.Wait(t, 3)), []string{"POST /batch", "GET /items/{id}", "GET /items/{id}"})
}

func TestNotSampled(t *testing.T) {
	tracer := dendro.New(dendro.Options{Sampler: dendro.ParentSample(nil)})
	reached := false
	h := middleware.New(middleware.Options{Tracer: tracer})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached = true
		span := dendro.SpanFromContext(r.Context())
		testkit.Equal(t, "recording", span.IsRecording(), false)
		testkit.Equal(t, "trace", span.Context().TraceID.String(), "0af7651916cd43dd8448eb211c80319c")
		testkit.Equal(t, "flags", span.Context().Flags.Sampled(), false)
		testkit.Equal(t, "baggage", dendro.BaggageFromContext(r.Context()).Get("user"), "alice")
		if _, ok := w.(*httptest.ResponseRecorder); !ok {
			t.Errorf("a writer in the way: %T", w)
		}
	}))
	r := tracedRequest(unsampled)
	r.Header.Set("Baggage", "user=alice")
	h.ServeHTTP(httptest.NewRecorder(), r)
	testkit.Equal(t, "handler reached", reached, true)
}

func TestNotTraced(t *testing.T) {
	dendro.SetDefault(nil)
	tracer, recorder := testkit.NewTracer(t)
	for name, trace := range map[string]func(http.Handler) http.Handler{
		"no tracer": middleware.Trace,
		"filtered": middleware.New(middleware.Options{Tracer: tracer,
			Filter: func(r *http.Request) bool { return r.URL.Path != "/health" }}),
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/health", nil)
		reached := false
		trace(http.HandlerFunc(func(gotW http.ResponseWriter, gotR *http.Request) {
			reached = gotW == w && gotR == r
		})).ServeHTTP(w, r)
		testkit.Equal(t, name+": handler gets what came", reached, true)
	}
	testkit.Equal(t, "spans", len(recorder.Spans()), 0)
}

func TestDefaultTracerIsLookedUpPerRequest(t *testing.T) {
	h := middleware.Trace(http.NotFoundHandler())
	tracer, recorder := testkit.NewTracer(t)
	dendro.SetDefault(tracer)
	defer dendro.SetDefault(nil)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"GET"})
}

// A handler outside that did not wait has answered: nothing is asked of its writer,
// which HTTP/2 would not forgive.
func TestHandlerOutsideDoesNotWait(t *testing.T) {
	for _, version := range testkit.Protocols {
		testkit.NoLeaks(t)
		trace, recorder := traced(t)
		h := trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		s := testkit.Serve(t, version, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			go h.ServeHTTP(w, r)
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		resp, err := s.Client().Get(s.URL)
		testkit.NoError(t, err)
		resp.Body.Close()
		testkit.Equal(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
		testkit.Equal(t, "error.type", recorder.Wait(t, 1)[0].Attr("error.type"), any("client_disconnected"))
	}
}

// A chi router around which the middleware is keeps its forms from the server, as
// without: their files are there as long as the program wants, sampled or not.
func TestFormFilesBehindChi(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, sample := range []dendro.Sampler{dendro.AlwaysSample, dendro.NeverSample} {
		forms := make(chan *multipart.Form, 1)
		r := chi.NewRouter()
		r.Post("/", func(_ http.ResponseWriter, r *http.Request) {
			_ = r.ParseMultipartForm(1)
			forms <- r.MultipartForm
		})
		s := testkit.Serve(t, "1.1", middleware.New(middleware.Options{Tracer: dendro.New(dendro.Options{Sampler: sample})})(r))
		contentType, body := largeForm()
		resp, err := s.Client().Post(s.URL, contentType, body)
		testkit.NoError(t, err)
		resp.Body.Close()
		s.Close()
		form := <-forms
		file, err := form.File["file"][0].Open()
		testkit.NoError(t, err)
		file.Close()
		testkit.NoError(t, form.RemoveAll())
	}
}

// largeForm has a file that is not kept in memory.
func largeForm() (contentType string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	parts := multipart.NewWriter(body)
	part, _ := parts.CreateFormFile("file", "x.bin")
	_, _ = part.Write(make([]byte, 32<<20))
	parts.Close()
	return parts.FormDataContentType(), body
}

// Credentials in what a handler panics with are not recorded.
func TestPanicWithURL(t *testing.T) {
	trace, recorder := traced(t)
	func() {
		defer func() { _ = recover() }()
		serve(trace(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(&url.Error{Op: "Get", URL: "http://a:s3cr3t@a.example/?token=s3cr3t", Err: io.EOF})
		})), httptest.NewRequest("GET", "/", nil))
	}()
	span := recorder.Wait(t, 1)[0]
	testkit.Equal(t, "status", span.Status.Message, `panic: Get "http://a.example/?token=REDACTED": EOF`)
	testkit.Equal(t, "event", strings.Contains(fmt.Sprint(span.Event("exception").Attributes[:2]), "s3cr3t"), false)
}

// With HTTP/2 nothing switches protocols: 101 is as informational as 103.
func TestSwitchingProtocolsOverHTTP2(t *testing.T) {
	trace, recorder := traced(t)
	s := testkit.Serve(t, "2", trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		w.WriteHeader(http.StatusBadGateway)
	})))
	if resp, err := s.Client().Get(s.URL); err == nil {
		resp.Body.Close()
	}
	testkit.Equal(t, "status", recorder.Wait(t, 1)[0].Attr("http.response.status_code"), any(int64(502)))
}

// A request that no server has made may lack everything.
func TestEmptyRequest(t *testing.T) {
	trace, recorder := traced(t)
	serve(trace(http.HandlerFunc(ok)), new(http.Request))
	recorder.Wait(t, 1)
}

// net/http removes the temporary files of a form that a handler has parsed.
func TestFormFilesAreRemoved(t *testing.T) {
	testkit.NoLeaks(t)
	t.Setenv("TMPDIR", t.TempDir())
	for name, sample := range map[string]dendro.Sampler{"sampled": dendro.AlwaysSample, "not sampled": dendro.NeverSample} {
		trace := middleware.New(middleware.Options{Tracer: dendro.New(dendro.Options{Sampler: sample})})
		h := trace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseMultipartForm(1); err != nil {
				http.Error(w, err.Error(), 400)
			}
			files, _ := os.ReadDir(os.TempDir())
			fmt.Fprint(w, len(files))
			panic("after the form")
		}))
		s := testkit.Serve(t, "1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { _ = recover() }() // as chi's Recoverer
			h.ServeHTTP(w, r)
		}))
		contentType, form := largeForm()
		resp, err := s.Client().Post(s.URL, contentType, form)
		testkit.NoError(t, err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		testkit.Equal(t, name+": files while the handler runs", string(body), "1")
		s.Close()
		files, _ := os.ReadDir(os.TempDir())
		testkit.Equal(t, name+": files left", len(files), 0)
	}
}
