package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

func serve(t *testing.T, version string, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	return testkit.Serve(t, version, h)
}

// client returns the client of s, traced, and what it records.
func client(t *testing.T, s *httptest.Server) (*http.Client, *testkit.Recorder) {
	t.Helper()
	tracer, recorder := testkit.NewTracer(t)
	t.Cleanup(func() {
		stats := tracer.Stats()
		testkit.Equal(t, "spans ended twice, or written after their end", stats.EndedTwice+stats.WrittenAfterEnd, uint64(0))
	})
	c := *s.Client()
	c.Transport = transport.New(c.Transport, transport.Options{Tracer: tracer})
	return &c, recorder
}

// roundTripper is a function that is an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func attributes(span testkit.Span) map[string]string {
	out := map[string]string{}
	for _, a := range span.Attributes {
		out[a.Key] = a.Value.String()
	}
	return out
}

func TestExchange(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, "four")
			})
			c, recorder := client(t, s)
			target := strings.Replace(s.URL, "://", "://alice:s3cr3t@", 1) + "/items/a%2Fb?token=s3cr3t&debug#part"
			resp, err := c.Post(target, "text/plain", strings.NewReader("12345"))
			testkit.NoError(t, err)
			testkit.Equal(t, "spans before the body is read", len(recorder.Spans()), 0)
			body, err := io.ReadAll(resp.Body)
			testkit.NoError(t, err)
			testkit.Equal(t, "body", string(body), "four")
			span := recorder.Wait(t, 1)[0]
			testkit.NoError(t, resp.Body.Close())

			host := strings.Split(s.Listener.Addr().String(), ":")
			testkit.Equal(t, "attributes", attributes(span), map[string]string{
				"http.request.method":       "POST",
				"url.full":                  s.URL + "/items/a%2Fb?token=REDACTED&debug",
				"server.address":            host[0],
				"server.port":               host[1],
				"http.request.body.size":    "5",
				"http.response.status_code": "200",
				"network.protocol.version":  version,
				"http.response.body.size":   "4",
				"network.peer.address":      host[0],
				"network.peer.port":         host[1],
			})
			testkit.Equal(t, "name", span.Name, "POST")
			testkit.Equal(t, "kind", span.Kind, dendro.KindClient)
			testkit.Equal(t, "status", span.Status, dendro.Status{})
			testkit.Equal(t, "spans", len(recorder.Spans()), 1)
		})
	}
}

func TestStatusCodes(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(map[string]int{"/304": 304, "/404": 404, "/503": 503}[r.URL.Path])
	})
	c, recorder := client(t, s)
	for path, want := range map[string]string{"/304": "", "/404": "404", "/503": "503"} {
		recorder.Reset()
		resp, err := c.Get(s.URL + path)
		testkit.NoError(t, err)
		resp.Body.Close()
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, path+": error.type", attributes(span)["error.type"], want)
		testkit.Equal(t, path+": error", span.Status.Code == dendro.StatusError, want != "")
	}
}

// The span of the client is the parent of that of the server, which gets the
// state and the baggage.
func TestPropagation(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			tracer, recorder := testkit.NewTracer(t)
			var user string
			h := middleware.New(middleware.Options{Tracer: tracer})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				user = dendro.BaggageFromContext(r.Context()).Get("user")
			}))
			s := serve(t, version, h.ServeHTTP)
			baggage, _ := dendro.ParseBaggage("user=alice")
			ctx, root := tracer.Start(dendro.ContextWithBaggage(context.Background(), baggage), "root")
			c := *s.Client()
			c.Transport = transport.New(c.Transport, transport.Options{}) // the tracer of the span in ctx
			req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			resp, err := c.Do(req)
			testkit.NoError(t, err)
			resp.Body.Close()
			root.End()

			spans := map[dendro.Kind]testkit.Span{}
			for _, span := range recorder.Wait(t, 3) {
				testkit.Equal(t, "trace", span.TraceID, root.Context().TraceID)
				spans[span.Kind] = span
			}
			testkit.Equal(t, "parent of the client span", spans[dendro.KindClient].ParentID, root.Context().SpanID)
			testkit.Equal(t, "parent of the server span", spans[dendro.KindServer].ParentID, spans[dendro.KindClient].SpanID)
			testkit.Equal(t, "baggage", user, "alice")
		})
	}
}

// The caller's request stays as it is, and the response shows it.
func TestRequestIsUntouched(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	unsampled, _ := dendro.New(dendro.Options{Sampler: dendro.NeverSample}).Start(context.Background(), "root")
	for name, c := range map[string]struct {
		options transport.Options
		ctx     context.Context
	}{
		"sampled":     {transport.Options{Tracer: tracer}, context.Background()},
		"not sampled": {transport.Options{}, unsampled},
	} {
		header := http.Header{"X-Values": append(make([]string, 0, 4), "a"), "Traceparent": {"mine"}, "Tracestate": {"mine=1"}}
		req, _ := http.NewRequestWithContext(c.ctx, "GET", "http://a.example/", http.NoBody)
		req.Header = maps.Clone(header)
		before := *req
		var sent http.Header
		rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			r.Header.Add("X-Values", "b")
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
		}), c.options)
		resp, err := rt.RoundTrip(req)
		testkit.NoError(t, err)
		testkit.Equal(t, name+": request", *req, before)
		testkit.Equal(t, name+": header", req.Header, header)
		testkit.Equal(t, name+": request of the response", resp.Request == req, true)
		if got := sent.Get("Traceparent"); len(got) != 55 {
			t.Errorf("%s: traceparent %q", name, got)
		}
		testkit.Equal(t, name+": foreign tracestate", sent["Tracestate"], []string(nil))
	}
	testkit.Equal(t, "names", testkit.Names(recorder.Spans()), []string{"GET"})
}

// net/http sends a copy of a request with a body, and may answer with that.
func TestRequestOfTheResponse(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(http.ResponseWriter, *http.Request) {})
			c, _ := client(t, s)
			for range 2 { // on a new connection and on a used one
				req, _ := http.NewRequest("POST", s.URL, strings.NewReader("body"))
				resp, err := c.Transport.RoundTrip(req)
				testkit.NoError(t, err)
				resp.Body.Close()
				testkit.Equal(t, "header", resp.Request.Header, http.Header{})
				testkit.Equal(t, "context", resp.Request.Context(), context.Background())
			}
		})
	}
}

// Trailers are there at the end of the body, announced or not.
func TestTrailers(t *testing.T) {
	for _, version := range testkit.Protocols {
		for _, announced := range []bool{false, true} {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, _ *http.Request) {
				name := "Grpc-Status"
				if announced {
					w.Header().Set("Trailer", name)
				} else {
					name = http.TrailerPrefix + name
				}
				_, _ = io.WriteString(w, "part")
				w.(http.Flusher).Flush()
				w.Header().Set(name, "0")
			})
			c, _ := client(t, s)
			resp, err := c.Get(s.URL)
			testkit.NoError(t, err)
			if _, there := resp.Trailer["Grpc-Status"]; there != announced {
				t.Errorf("HTTP/%s: trailers before the end: %v", version, resp.Trailer)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			testkit.NoError(t, err)
			testkit.Equal(t, "trailers with HTTP/"+version, resp.Trailer, http.Header{"Grpc-Status": {"0"}})
			resp.Body.Close()
		}
	}
}

func TestPassThrough(t *testing.T) {
	dendro.SetDefault(nil)
	req, _ := http.NewRequest("GET", "http://a.example/", nil)
	want := &http.Response{Body: io.NopCloser(strings.NewReader(""))}
	body := want.Body
	rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
		testkit.Equal(t, "request", r == req, true)
		return want, nil
	}), transport.Options{})
	got, err := rt.RoundTrip(req)
	testkit.NoError(t, err)
	testkit.Equal(t, "response", got == want && got.Body == body, true)
}

func TestErrors(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
		<-r.Context().Done()
	})
	c, recorder := client(t, s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	listener.Close()
	withTimeout := *c
	withTimeout.Timeout = 20 * time.Millisecond
	expiring, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, x := range map[string]struct {
		client *http.Client
		ctx    context.Context
		url    string
		want   string
	}{
		"refused":        {c, context.Background(), "http://" + listener.Addr().String(), "connection_refused"},
		"deadline":       {c, expiring, s.URL, "timeout"},
		"client timeout": {&withTimeout, context.Background(), s.URL, "timeout"},
		"canceled":       {c, canceled, s.URL, "canceled"},
	} {
		recorder.Reset()
		req, _ := http.NewRequestWithContext(x.ctx, "GET", x.url, nil)
		resp, err := x.client.Do(req)
		if err == nil {
			resp.Body.Close()
			t.Fatalf("%s: no error", name)
		}
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": error.type", attributes(span)["error.type"], x.want)
		testkit.Equal(t, name+": status", span.Status.Code, dendro.StatusError)
		testkit.Equal(t, name+": event", span.Event("exception") != nil, true)
	}
}

// hangingUp returns the address of a server that does with a connection what hangUp
// does when there is a request.
func hangingUp(t *testing.T, hangUp func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			hangUp(conn.(*net.TCPConn))
		}
	}()
	return listener.Addr().String()
}

func TestErrorTypes(t *testing.T) {
	testkit.NoLeaks(t)
	plain := serve(t, "1.1", func(http.ResponseWriter, *http.Request) {})
	secure := serve(t, "2", func(http.ResponseWriter, *http.Request) {})
	clientCert := httptest.NewUnstartedServer(http.NotFoundHandler())
	clientCert.Config.ErrorLog = secure.Config.ErrorLog
	clientCert.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
	clientCert.StartTLS()
	defer clientCert.Close()
	tracer, recorder := testkit.NewTracer(t)
	noDNS := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}
	trusting := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for name, c := range map[string]struct {
		base *http.Transport
		url  string
		want string
	}{
		"dns":               {&http.Transport{DialContext: noDNS.DialContext}, "http://stock.invalid", "dns"},
		"wrong CA":          {&http.Transport{}, secure.URL, "tls"},
		"wrong name":        {&http.Transport{TLSClientConfig: trusting}, strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), "tls"},
		"alert":             {&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, clientCert.URL, "tls"},
		"no TLS":            {&http.Transport{}, strings.Replace(plain.URL, "http:", "https:", 1), "tls"},
		"reset":             {&http.Transport{}, "http://" + hangingUp(t, func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }), "connection_reset"},
		"closed":            {&http.Transport{}, "http://" + hangingUp(t, func(c *net.TCPConn) { c.Close() }), "eof"},
		"incomplete answer": {&http.Transport{}, "http://" + hangingUp(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nServer: x\r\n"); c.Close() }), "eof"},
		"other":             {&http.Transport{}, "http://" + hangingUp(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello\r\n"); c.Close() }), "*errors.errorString"},
	} {
		recorder.Reset()
		c.base.Proxy = nil
		cl := &http.Client{Transport: transport.New(c.base, transport.Options{Tracer: tracer})}
		resp, err := cl.Get(c.url)
		if err == nil {
			resp.Body.Close()
			t.Fatalf("%s: no error", name)
		}
		cl.CloseIdleConnections()
		testkit.Equal(t, name+": "+err.Error(), attributes(recorder.Wait(t, 1)[0])["error.type"], c.want)
	}
}

func TestBodyFails(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "part")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			c, recorder := client(t, s)
			resp, err := c.Get(s.URL)
			testkit.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			span := recorder.Wait(t, 1)[0]
			testkit.Equal(t, "status", span.Status, dendro.Status{Code: dendro.StatusError, Message: err.Error()})
			testkit.Equal(t, "size", span.Attr("http.response.body.size"), any(int64(4)))
			testkit.Equal(t, "error.type is there", span.Attr("error.type") != nil, true)
		})
	}
}

func TestBodyClosedEarly(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("first"))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			c, recorder := client(t, s)
			resp, err := c.Get(s.URL)
			testkit.NoError(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 5))
			testkit.NoError(t, err)
			testkit.Equal(t, "spans while the body is open", len(recorder.Spans()), 0)
			resp.Body.Close()
			resp.Body.Close()
			span := recorder.Wait(t, 1)[0]
			testkit.Equal(t, "size", span.Attr("http.response.body.size"), any(int64(5)))
			testkit.Equal(t, "status", span.Status, dendro.Status{})
		})
	}
}

// pipeBody is a body whose Read waits for Close, and whose Close waits for the
// reader to have gone.
type pipeBody struct {
	closed chan struct{}
	gone   chan struct{}
}

func (b pipeBody) Read([]byte) (int, error) { <-b.closed; return 0, net.ErrClosed }
func (b pipeBody) Close() error             { close(b.closed); <-b.gone; return nil }

// A Read that Close interrupts is not an error.
func TestCloseInterruptsRead(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	body := pipeBody{make(chan struct{}), make(chan struct{})}
	rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: body}, nil
	}), transport.Options{Tracer: tracer})
	resp, err := rt.RoundTrip(httptest.NewRequest("GET", "http://a.example/", nil))
	testkit.NoError(t, err)
	go func() {
		defer close(body.gone)
		_, _ = resp.Body.Read(make([]byte, 1))
	}()
	testkit.NoError(t, resp.Body.Close())
	testkit.Equal(t, "status", recorder.Wait(t, 1)[0].Status, dendro.Status{})
}

// Without a body the span ends with RoundTrip.
func TestNoBody(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "DELETE" {
					w.WriteHeader(http.StatusNoContent)
				} else {
					w.Header().Set("Content-Length", "7")
				}
			})
			c, recorder := client(t, s)
			for _, method := range []string{"HEAD", "DELETE"} {
				recorder.Reset()
				req, _ := http.NewRequest(method, s.URL, nil)
				resp, err := c.Do(req)
				testkit.NoError(t, err)
				testkit.Equal(t, method, testkit.Names(recorder.Spans()), []string{method})
				bare, err := s.Client().Do(req)
				testkit.NoError(t, err)
				testkit.Equal(t, method+": body", resp.Body, bare.Body)
			}
		})
	}
}

// The connection of 101 Switching Protocols is read, written, half closed and
// closed as without the Transport.
func TestUpgrade(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buf) // until the client closes its half
		_, _ = io.WriteString(conn, "bye")
	})
	c, recorder := client(t, s)
	req, _ := http.NewRequest("GET", s.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := c.Do(req)
	testkit.NoError(t, err)
	testkit.Equal(t, "status", resp.StatusCode, 101)
	conn := resp.Body.(io.ReadWriteCloser)
	_, err = io.WriteString(conn, "hello\n")
	testkit.NoError(t, err)
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	testkit.NoError(t, err)
	testkit.Equal(t, "echo", line, "hello\n")
	if half, ok := conn.(interface{ CloseWrite() error }); ok { // net/http has it since Go 1.26
		testkit.NoError(t, half.CloseWrite())
		rest, err := io.ReadAll(reader)
		testkit.NoError(t, err)
		testkit.Equal(t, "rest", string(rest), "bye")
	}
	testkit.Equal(t, "spans while the connection is open", len(recorder.Spans()), 0)
	testkit.NoError(t, conn.Close())
	span := recorder.Wait(t, 1)[0]
	testkit.Equal(t, "code", span.Attr("http.response.status_code"), any(int64(101)))
	testkit.Equal(t, "status", span.Status, dendro.Status{})
}

// Bases that break the contract, or panic, do not break the Transport.
func TestAnyBase(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		base      roundTripper
		errorType string
	}{
		"nil body":     {func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }, ""},
		"nothing":      {func(*http.Request) (*http.Response, error) { return nil, nil }, "*errors.errorString"},
		"both":         {func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, broken }, "*errors.errorString"},
		"panic":        {func(*http.Request) (*http.Response, error) { panic(broken) }, "panic"},
		"own response": {func(r *http.Request) (*http.Response, error) { return httptest.NewRecorder().Result(), nil }, ""},
	} {
		recorder.Reset()
		call := func(rt http.RoundTripper) (resp *http.Response, err error, panicked any) { //nolint:staticcheck // in the order of what is compared
			defer func() { panicked = recover() }()
			resp, err = rt.RoundTrip(&http.Request{Method: "GET"}) // neither URL nor Header
			if resp != nil && resp.Body != nil {
				resp.Body.Close()
			}
			return resp, err, nil
		}
		_, wantErr, wantPanic := call(c.base)
		_, err, panicked := call(transport.New(c.base, transport.Options{Tracer: tracer}))
		testkit.Equal(t, name+": error", err, wantErr)
		testkit.Equal(t, name+": panic", panicked, wantPanic)
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": error.type", attributes(span)["error.type"], c.errorType)
	}
}

// What net/http refuses it refuses still, in its own words.
func TestInvalidRequests(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	rt := transport.New(nil, transport.Options{Tracer: tracer})
	for name, r := range map[string]*http.Request{
		"no URL":    {Header: http.Header{}},
		"no header": {URL: &url.URL{Scheme: "http", Host: "127.0.0.1"}},
		"no host":   {URL: &url.URL{Scheme: "http"}, Header: http.Header{}},
		"scheme":    {URL: &url.URL{Scheme: "mailto", Opaque: "alice:s3cr3t@a.example"}, Header: http.Header{}},
	} {
		recorder.Reset()
		_, want := http.DefaultTransport.RoundTrip(r)
		_, err := rt.RoundTrip(r)
		testkit.Equal(t, name, err.Error(), want.Error())
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": error", span.Status.Message, want.Error())
		if url := attributes(span)["url.full"]; strings.Contains(url, "s3cr3t") {
			t.Errorf("%s: url.full is %q", name, url)
		}
	}
}

// idler counts calls of CloseIdleConnections.
type idler struct {
	http.RoundTripper
	closed atomic.Int64
}

func (i *idler) CloseIdleConnections() { i.closed.Add(1) }

func TestCloseIdleConnections(t *testing.T) {
	base := &idler{}
	c := http.Client{Transport: transport.New(base, transport.Options{})}
	c.CloseIdleConnections()
	testkit.Equal(t, "calls", base.closed.Load(), int64(1))
	c.Transport = transport.New(roundTripper(nil), transport.Options{}) // has no such method
	c.CloseIdleConnections()
}

func TestUnwrap(t *testing.T) {
	for _, base := range []http.RoundTripper{nil, http.DefaultTransport, &idler{}, transport.New(nil, transport.Options{})} {
		got := transport.New(base, transport.Options{}).(interface{ Unwrap() http.RoundTripper }).Unwrap()
		if base == nil {
			base = http.DefaultTransport
		}
		testkit.Equal(t, "base", got == base, true)
	}
}

// An http.Client with a Timeout relies on the context, as it does with a bare
// http.Transport, and its errors say that it was the Timeout.
func TestClientTimeout(t *testing.T) {
	testkit.NoLeaks(t)
	tracer, recorder := testkit.NewTracer(t)
	s := serve(t, "1.1", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	const tries = 20
	for range tries {
		c := &http.Client{Transport: transport.New(s.Client().Transport, transport.Options{Tracer: tracer}), Timeout: time.Millisecond}
		_, err := c.Get(s.URL) //nolint:bodyclose // there is none
		if err == nil || !strings.Contains(err.Error(), "Client.Timeout") {
			t.Errorf("error: %v", err)
		}
	}
	for _, span := range recorder.Wait(t, tries) {
		testkit.Equal(t, "error.type", span.Attr("error.type"), any("timeout"))
	}
	var request *http.Request
	noting := roundTripper(func(r *http.Request) (*http.Response, error) {
		request = r
		return nil, errors.New("stop")
	})
	for name, base := range map[string]http.RoundTripper{"of net/http": protocol(noting), "of others": noting} {
		url := "http://stock.example/"
		if name == "of net/http" {
			url = "stock://stock.example/"
		}
		c := &http.Client{Transport: transport.New(base, transport.Options{Tracer: tracer}), Timeout: time.Minute}
		_, _ = c.Get(url)                                              //nolint:bodyclose // there is none
		testkit.Equal(t, name+": Cancel", request.Cancel != nil, true) //nolint:staticcheck // deprecated, but http.Client sets it
	}
}

// protocol returns a transport of net/http that leaves the scheme "stock" to rt.
func protocol(rt http.RoundTripper) *http.Transport {
	t := new(http.Transport)
	t.RegisterProtocol("stock", rt)
	return t
}

// fullBody has every method that a response body may have.
type fullBody struct {
	bytes.Buffer // Read, Write, WriteTo
	halfClosed   bool
}

func (*fullBody) Close() error        { return nil }
func (b *fullBody) CloseWrite() error { b.halfClosed = true; return nil }

// A body keeps its optional interfaces and gets no other.
func TestBodyInterfaces(t *testing.T) {
	type closeWriter interface{ CloseWrite() error }
	tracer, recorder := testkit.NewTracer(t)
	full := &fullBody{}
	for _, inner := range []io.ReadCloser{
		struct{ io.ReadCloser }{full},
		struct {
			io.ReadCloser
			io.Writer
		}{full, full},
		struct {
			io.ReadCloser
			io.WriterTo
		}{full, full},
		struct {
			io.ReadCloser
			closeWriter
		}{full, full},
		struct {
			io.ReadCloser
			io.Writer
			io.WriterTo
		}{full, full, full},
		struct {
			io.ReadCloser
			io.Writer
			closeWriter
		}{full, full, full},
		struct {
			io.ReadCloser
			io.WriterTo
			closeWriter
		}{full, full, full},
		full,
	} {
		recorder.Reset()
		full.Reset()
		rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: inner}, nil
		}), transport.Options{Tracer: tracer})
		resp, err := rt.RoundTrip(httptest.NewRequest("GET", "http://a.example/", nil))
		testkit.NoError(t, err)

		writer, got := resp.Body.(io.Writer)
		_, want := inner.(io.Writer)
		testkit.Equal(t, "io.Writer", got, want)
		if got {
			_, _ = io.WriteString(writer, "write")
			testkit.Equal(t, "written", full.String(), "write")
		} else {
			full.WriteString("write")
		}
		half, got := resp.Body.(closeWriter)
		_, want = inner.(closeWriter)
		testkit.Equal(t, "CloseWrite", got, want)
		if full.halfClosed = false; got {
			_ = half.CloseWrite()
			testkit.Equal(t, "half closed", full.halfClosed, true)
		}
		to, got := resp.Body.(io.WriterTo)
		_, want = inner.(io.WriterTo)
		testkit.Equal(t, "io.WriterTo", got, want)
		if got {
			var read bytes.Buffer
			n, err := to.WriteTo(&read)
			testkit.NoError(t, err)
			testkit.Equal(t, "WriteTo", read.String(), "write")
			testkit.Equal(t, "length", n, int64(5))
		} else {
			_, _ = io.ReadAll(resp.Body)
		}
		testkit.Equal(t, "size", recorder.Wait(t, 1)[0].Attr("http.response.body.size"), any(int64(5)))
		resp.Body.Close()
	}
}
