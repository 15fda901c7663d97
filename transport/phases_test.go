package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

// get reads the answer to a request to its end.
func get(t *testing.T, c *http.Client, ctx context.Context, url string) { //nolint:revive // the client is what this is about
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	testkit.NoError(t, err)
	resp, err := c.Do(req)
	testkit.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	testkit.NoError(t, err)
	resp.Body.Close()
}

func events(span testkit.Span) []string {
	var names []string
	for _, e := range span.Events {
		names = append(names, e.Name)
	}
	return names
}

func eventAttrs(e *dendro.Event) map[string]any {
	out := map[string]any{}
	if e != nil {
		for _, a := range e.Attributes {
			out[a.Key] = a.Value.Any()
		}
	}
	return out
}

// inside fails the test unless all events happened during the span.
func inside(t *testing.T, span testkit.Span) {
	t.Helper()
	for _, e := range span.Events {
		if end := e.Time + int64(e.Duration); e.Time < span.Start || end > span.End {
			t.Errorf("%s lasts from %d to %d, the span from %d to %d", e.Name, e.Time, end, span.Start, span.End)
		}
	}
}

func TestPhases(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(http.ResponseWriter, *http.Request) {})
			c, recorder := client(t, s)
			get(t, c, context.Background(), s.URL)
			get(t, c, context.Background(), s.URL)
			spans := recorder.Wait(t, 2)

			dialed := []string{"http.connect", "http.getconn"}
			if version == "2" {
				dialed = []string{"http.connect", "http.tls", "http.getconn"}
				tls := eventAttrs(spans[0].Event("http.tls"))
				testkit.Equal(t, "http.tls", tls, map[string]any{"tls.protocol.version": "1.3", "tls.resumed": false})
			}
			// With HTTP/2 the answer may be faster than the news that the
			// request was written.
			wait := func(name string) bool { return name == "http.wait" }
			testkit.Equal(t, "events", slices.DeleteFunc(events(spans[0]), wait), dialed)
			testkit.Equal(t, "events of a used connection", slices.DeleteFunc(events(spans[1]), wait), []string{"http.getconn"})
			if version == "1.1" {
				testkit.Equal(t, "http.wait", spans[1].Event("http.wait") != nil, true)
			}

			host, port, _ := net.SplitHostPort(s.Listener.Addr().String())
			connect := eventAttrs(spans[0].Event("http.connect"))
			testkit.Equal(t, "address", connect["network.peer.address"], any(host))
			testkit.Equal(t, "took", spans[0].Event("http.connect").Duration > 0, true)
			testkit.Equal(t, "a new connection", eventAttrs(spans[0].Event("http.getconn")), map[string]any{"http.conn.reused": false})
			used := eventAttrs(spans[1].Event("http.getconn"))
			testkit.Equal(t, "a used connection", used["http.conn.reused"], any(true))
			testkit.Equal(t, "idle", used["http.conn.idletime_ns"] != nil, true)
			for _, span := range spans {
				testkit.Equal(t, "port", attributes(span)["network.peer.port"], port)
				inside(t, span)
			}
		})
	}
}

func TestDNSPhase(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(http.ResponseWriter, *http.Request) {})
	c, recorder := client(t, s)
	get(t, c, context.Background(), strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
	dns := recorder.Wait(t, 1)[0].Event("http.dns")
	testkit.Equal(t, "http.dns", eventAttrs(dns), map[string]any{"dns.question.name": "localhost"})
}

// The hooks that the caller has are called as without the Transport, and ours too.
func TestHooksOfTheCaller(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			s := serve(t, version, func(http.ResponseWriter, *http.Request) {})
			c, recorder := client(t, s)
			called := func(c *http.Client) []string {
				var mu sync.Mutex
				var names []string
				note := func(name string) {
					mu.Lock()
					defer mu.Unlock()
					names = append(names, name)
				}
				written := make(chan struct{})
				ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
					GetConn:           func(string) { note("GetConn") },
					GotConn:           func(httptrace.GotConnInfo) { note("GotConn") },
					ConnectStart:      func(string, string) { note("ConnectStart") },
					ConnectDone:       func(string, string, error) { note("ConnectDone") },
					TLSHandshakeStart: func() { note("TLSHandshakeStart") },
					TLSHandshakeDone:  func(tls.ConnectionState, error) { note("TLSHandshakeDone") },
					WroteRequest:      func(httptrace.WroteRequestInfo) { close(written) },
				})
				get(t, c, ctx, s.URL)
				<-written
				c.CloseIdleConnections()
				return names
			}
			want := called(s.Client())
			testkit.Equal(t, "hooks", called(c), want)
			span := recorder.Wait(t, 1)[0]
			testkit.Equal(t, "http.connect", span.Event("http.connect") != nil, true)
			testkit.Equal(t, "http.getconn", span.Event("http.getconn") != nil, true)
			testkit.Equal(t, "http.tls", span.Event("http.tls") != nil, version == "2")
		})
	}
}

// A proxy is the peer; behind it is the server of the handshake.
func TestProxy(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "2", func(http.ResponseWriter, *http.Request) {})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server, err := net.Dial("tcp", r.Host)
		if err != nil {
			panic(err)
		}
		defer server.Close()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			defer server.Close()
			_, _ = io.Copy(server, conn)
		}()
		_, _ = io.Copy(conn, server)
	}))
	defer proxy.Close()
	proxyURL, _ := url.Parse(proxy.URL)
	base := s.Client().Transport.(*http.Transport).Clone()
	base.Proxy = http.ProxyURL(proxyURL)
	defer base.CloseIdleConnections()
	tracer, recorder := testkit.NewTracer(t)
	get(t, &http.Client{Transport: transport.New(base, transport.Options{Tracer: tracer})}, context.Background(), s.URL)

	span := recorder.Wait(t, 1)[0]
	got := attributes(span)
	testkit.Equal(t, "peer", got["network.peer.address"]+":"+got["network.peer.port"], proxyURL.Host)
	testkit.Equal(t, "server", got["server.address"]+":"+got["server.port"], s.Listener.Addr().String())
	testkit.Equal(t, "http.connect", span.Event("http.connect") != nil, true)
	testkit.Equal(t, "http.tls", span.Event("http.tls") != nil, true)
	inside(t, span)
}

// A dial goes on when its request is over. The span has ended, and nothing is
// written to it: client looks at that.
func TestLateDial(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "2", func(http.ResponseWriter, *http.Request) {})
	c, recorder := client(t, s)
	base := s.Client().Transport.(*http.Transport)
	var once sync.Once // the next request may dial too
	dialing, release, dialed := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		once.Do(func() { close(dialing) })
		<-release
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		dialed <- err
		return conn, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-dialing
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	resp, err := c.Do(req)
	if err == nil {
		resp.Body.Close()
		t.Fatal("no error")
	}
	span := recorder.Wait(t, 1)[0]
	close(release)
	testkit.NoError(t, <-dialed)
	testkit.Equal(t, "events", events(span), []string{"exception"})
	get(t, c, context.Background(), s.URL) // waits for that dial, or for one of its own
	recorder.Wait(t, 2)
}

// A failed dial is recorded as well.
func TestFailedDial(t *testing.T) {
	testkit.NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	listener.Close()
	tracer, recorder := testkit.NewTracer(t)
	req, _ := http.NewRequest("GET", "http://"+listener.Addr().String(), nil)
	_, err = transport.New(&http.Transport{}, transport.Options{Tracer: tracer}).RoundTrip(req) //nolint:bodyclose // there is none
	testkit.Equal(t, "error", err != nil, true)
	connect := eventAttrs(recorder.Wait(t, 1)[0].Event("http.connect"))
	testkit.Equal(t, "error.type", connect["error.type"], any("connection_refused"))
}

// The error of a dial may be one whose methods panic: net/http does not call them.
func TestFailedDialWhoseErrorPanics(t *testing.T) {
	testkit.NoLeaks(t)
	tracer, recorder := testkit.NewTracer(t)
	dialer := net.Dialer{Control: func(string, string, syscall.RawConn) error { return (*nilError)(nil) }}
	req, _ := http.NewRequest("GET", "http://127.0.0.1:1", nil)
	_, err := transport.New(&http.Transport{DialContext: dialer.DialContext}, transport.Options{Tracer: tracer}).RoundTrip(req) //nolint:bodyclose // there is none
	testkit.Equal(t, "error", err != nil, true)
	connect := eventAttrs(recorder.Wait(t, 1)[0].Event("http.connect"))
	testkit.Equal(t, "error.type", connect["error.type"], any("*net.OpError"))
}

// addressed is a connection that the program has dialed itself.
type addressed struct {
	net.Conn
	addr func() net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.addr() }

// text is an address that is another type than those of package net.
type text string

func (text) Network() string  { return "text" }
func (a text) String() string { return string(a[:14]) }

// Where a connection goes is recorded if it says so; net/http does not ask.
func TestPeer(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		addr    func() net.Addr
		address any
		port    any
	}{
		"TCP":         {func() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }, "192.0.2.1", int64(80)},
		"text":        {func() net.Addr { return text("192.0.2.2:8080") }, "192.0.2.2", int64(8080)},
		"none":        {func() net.Addr { return nil }, nil, nil},
		"nil pointer": {func() net.Addr { return (*net.TCPAddr)(nil) }, nil, nil},
		"String panics": {func() net.Addr { return text("short") },
			"!PANIC transport_test.addressed: runtime error: slice bounds out of range [:14] with length 5", nil},
		"panics": {func() net.Addr { panic("not known") }, "!PANIC transport_test.addressed: not known", nil},
	} {
		tracer, recorder := testkit.NewTracer(t)
		base := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return addressed{conn, c.addr}, err
		}}
		get(t, &http.Client{Transport: transport.New(base, transport.Options{Tracer: tracer})}, context.Background(), s.URL)
		base.CloseIdleConnections()
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": address", span.Attr("network.peer.address"), c.address)
		testkit.Equal(t, name+": port", span.Attr("network.peer.port"), c.port)
		testkit.Equal(t, name+": got", span.Event("http.getconn") != nil, true)
	}
}

// net/http sends a request again when the server closes a used connection.
func TestRetry(t *testing.T) {
	testkit.NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	defer listener.Close()
	answers := []int{1, 1} // by connection; then it is closed
	go func() {
		for _, n := range answers {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reader := bufio.NewReader(conn)
			for range n {
				if _, err := http.ReadRequest(reader); err != nil {
					break
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			_, _ = http.ReadRequest(reader) // that gets no answer
			conn.Close()
		}
	}()
	tracer, recorder := testkit.NewTracer(t)
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	c := &http.Client{Transport: transport.New(base, transport.Options{Tracer: tracer})}
	target := "http://" + listener.Addr().String()
	get(t, c, context.Background(), target)
	get(t, c, context.Background(), target)

	span := recorder.Wait(t, 2)[1]
	var conns []map[string]any
	for i := range span.Events {
		if e := &span.Events[i]; e.Name == "http.getconn" {
			e.Attributes = slices.DeleteFunc(e.Attributes, func(a slog.Attr) bool { return a.Key == "http.conn.idletime_ns" })
			conns = append(conns, eventAttrs(e))
			if len(conns) == 2 { // the time of the request for it is not known
				testkit.Equal(t, "a point in time", e.Duration, time.Duration(0))
			}
		}
	}
	testkit.Equal(t, "connections", conns, []map[string]any{
		{"http.conn.reused": true},
		{"http.conn.reused": false, "http.request.resend_count": int64(1)},
	})
	testkit.Equal(t, "status", span.Status, dendro.Status{})
	inside(t, span)
}

// With IPv4 and IPv6 addresses a dial may try two at once.
func TestConnectsAtOnce(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := httptrace.ContextClientTrace(r.Context())
		trace.ConnectStart("tcp", "[2001:db8::1]:80")
		for start := time.Now(); !time.Now().After(start); { // the clock may be coarse
		}
		trace.ConnectStart("tcp", "192.0.2.1:80")
		trace.ConnectDone("tcp", "192.0.2.1:80", nil)
		trace.ConnectDone("tcp", "[2001:db8::1]:80", context.Canceled)
		return &http.Response{StatusCode: 204}, nil
	}), transport.Options{Tracer: tracer})
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{})
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://a.example", nil)
	_, err := rt.RoundTrip(req) //nolint:bodyclose // there is none
	testkit.NoError(t, err)
	events := recorder.Wait(t, 1)[0].Events
	testkit.Equal(t, "events", len(events), 2)
	testkit.Equal(t, "first", eventAttrs(&events[0]), map[string]any{
		"network.peer.address": "192.0.2.1", "network.peer.port": int64(80),
	})
	testkit.Equal(t, "second", eventAttrs(&events[1]), map[string]any{
		"network.peer.address": "2001:db8::1", "network.peer.port": int64(80), "error.type": "canceled",
	})
	testkit.Equal(t, "the second began before the first", events[1].Time < events[0].Time, true)
}
