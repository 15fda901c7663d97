package transparency

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// echo serves a handler, not wrapped, that answers with what it gets.
func (x *exchange) echo() *httptest.Server {
	return x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		x.handler("%s %s length %d, headers %s, body %s, %s", r.Method, r.URL, r.ContentLength, headers(r.Header), show(body), describe(err))
		_, _ = w.Write(body)
	}))
}

// trackedBody counts how often it is closed.
type trackedBody struct {
	io.Reader
	closed atomic.Int32
}

func (b *trackedBody) Close() error { b.closed.Add(1); return nil }

// roundTripper is a function that is an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// roundTrip notes what the wrapper around base makes of r.
func (x *exchange) roundTrip(base http.RoundTripper, r *http.Request) *http.Response {
	defer func() {
		if p := recover(); p != nil {
			x.client("panic %T %v", p, p)
		}
	}()
	resp, err := x.around(base).RoundTrip(r)
	x.client("response %t, %s", resp != nil, describe(err))
	return resp
}

// bodyInterfaces names the optional interfaces of a response body.
func bodyInterfaces(body io.ReadCloser) string {
	_, w := body.(io.Writer)
	_, t := body.(io.WriterTo)
	_, c := body.(interface{ CloseWrite() error })
	return fmt.Sprintf("Writer=%t WriterTo=%t CloseWrite=%t none=%t", w, t, c, body == http.NoBody)
}

var roundTripCases = []Case{
	{"body read to its end", everywhere, func(x *exchange) {
		s := x.echo()
		x.post(s, "/", "hello")
		x.post(s, "/", strings.Repeat("hello", 1000))
		x.get(s, "/")
	}},
	{"body closed early", everywhere, func(x *exchange) {
		x.quiet = true
		gone := make(chan struct{}, 2)
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "first")
			flushNow(w)
			x.await(r.Context().Done(), "the client to leave")
			gone <- struct{}{}
		}))
		for range 2 {
			if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
				_, err := io.ReadFull(resp.Body, make([]byte, 5))
				x.client("ReadFull %s", describe(err))
				x.client("Close %s", describe(resp.Body.Close()))
				_, err = resp.Body.Read(make([]byte, 1))
				x.client("Read after Close fails: %t", err != nil && err != io.EOF)
				x.client("Close %s", describe(resp.Body.Close()))
			}
			x.await(gone, "the handler")
		}
	}},
	{"body not read while the next request is made", everywhere, func(x *exchange) {
		s := x.echo()
		c := x.callServer(s)
		first := x.send(c, x.newRequest("POST", s, "/", strings.NewReader("hello")))
		second := x.send(c, x.newRequest("GET", s, "/", nil))
		for _, resp := range []*http.Response{first, second} {
			if resp != nil {
				x.readBody(resp)
			}
		}
	}},
	{"interfaces of response bodies", everywhere, func(x *exchange) {
		s := x.echo()
		for _, r := range []*http.Request{
			x.newRequest("GET", s, "/", nil),
			x.newRequest("POST", s, "/", strings.NewReader("hello")),
			x.newRequest("HEAD", s, "/", nil),
		} {
			if resp := x.begin(s, r); resp != nil {
				x.client("%s", bodyInterfaces(resp.Body))
				x.readBody(resp)
			}
		}
	}},
	{"upgraded connection, half closed", onlyHTTP1, func(x *exchange) {
		s := x.serve(http.HandlerFunc(x.echoUpgraded))
		r := x.newRequest("GET", s, "/", nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "echo")
		resp := x.begin(s, r)
		if resp == nil {
			return
		}
		defer resp.Body.Close()
		x.client("%s", bodyInterfaces(resp.Body))
		conn, ok := resp.Body.(interface {
			io.ReadWriteCloser
			CloseWrite() error
		})
		if !ok {
			return
		}
		_, err := io.WriteString(conn, "hello\n")
		x.client("Write %s, CloseWrite %s", describe(err), describe(conn.CloseWrite()))
		rest, err := io.ReadAll(conn)
		x.client("%q, %s", rest, describe(err))
	}},
	{"the caller's request afterwards", everywhere, func(x *exchange) {
		s := x.echo()
		values := append(make([]string, 0, 4), "a")
		r := x.newRequest("POST", s, "/?a=1", strings.NewReader("hello"))
		r.Header["X-Values"] = values
		r.Header.Set("Traceparent", "mine")
		before, header := *r, r.Header.Clone()
		resp := x.roundTrip(transportOf(s), r)
		x.client("untouched %t, header %t, values %q", reflect.DeepEqual(*r, before), reflect.DeepEqual(r.Header, header), values[:2])
		if resp != nil {
			x.client("resp.Request headers %s, context %v", headers(resp.Request.Header), resp.Request.Context() == r.Context())
			x.readBody(resp)
		}
	}},
	{"the request of the response", everywhere, func(x *exchange) {
		s := x.echo()
		for range 2 {
			r := x.newRequest("GET", s, "/", nil)
			if resp := x.roundTrip(transportOf(s), r); resp != nil {
				x.client("the same %t", resp.Request == r)
				x.readBody(resp)
			}
		}
	}},
	{"redirects", everywhere, func(x *exchange) {
		echo := x.answer("")
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			x.handler("%s %s, %q, %s, referer %q, cookies %v", r.Method, r.URL, body, describe(err), withoutAddresses(r.Referer()), r.Cookies())
			code := 0
			if _, err := fmt.Sscanf(r.URL.Path, "/%d", &code); err == nil {
				http.SetCookie(w, &http.Cookie{Name: "code", Value: fmt.Sprint(code)})
				http.Redirect(w, r, "/end", code)
				return
			}
			echo(w, r)
		}))
		c := x.callServer(s)
		c.Jar, _ = cookiejar.New(nil)
		for _, code := range []int{301, 302, 303, 307, 308} {
			resp := x.send(c, x.newRequest("POST", s, fmt.Sprintf("/%d", code), strings.NewReader("body")))
			if resp != nil {
				x.client("at %s by %s, after %d", resp.Request.URL.Path, resp.Request.Method, resp.Request.Response.StatusCode)
				x.readBody(resp)
			}
		}
		r := x.newRequest("POST", s, "/307", io.MultiReader(strings.NewReader("once")))
		if resp := x.send(c, r); resp != nil {
			x.readBody(resp)
		}
	}},
	{"retry on a connection that the server has closed", onlyHTTP1, func(x *exchange) {
		x.quiet = true
		s := x.echo()
		closed := make(chan struct{}, 4)
		transportOf(s).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := x.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &staleConn{Conn: conn, closed: closed}, nil
		}
		x.get(s, "/")
		r := x.newRequest("POST", s, "/", strings.NewReader("again"))
		r.Header.Set("Idempotency-Key", "1")
		x.do(s, r)
	}},
	{"hooks of httptrace", everywhere, func(x *exchange) {
		s := x.echo()
		for range 2 {
			r := x.newRequest("POST", s, "/", strings.NewReader("hello"))
			var mu sync.Mutex
			var hooks, dial []string
			note := func(to *[]string, name string) {
				mu.Lock()
				defer mu.Unlock()
				*to = append(*to, name)
			}
			hook := func(name string) { note(&hooks, name) }
			reused := false
			ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				GetConn:              func(string) { hook("GetConn") },
				GotConn:              func(i httptrace.GotConnInfo) { reused = i.Reused; hook(fmt.Sprintf("GotConn %t", i.Reused)) },
				ConnectStart:         func(string, string) { note(&dial, "ConnectStart") },
				ConnectDone:          func(_, _ string, err error) { note(&dial, "ConnectDone "+describe(err)) },
				TLSHandshakeStart:    func() { note(&dial, "TLSHandshakeStart") },
				TLSHandshakeDone:     func(s tls.ConnectionState, err error) { note(&dial, "TLSHandshakeDone "+secure(&s)+describe(err)) },
				WroteHeaders:         func() { hook("WroteHeaders") },
				WroteRequest:         func(i httptrace.WroteRequestInfo) { x.note("hook of the writer", "WroteRequest %s", describe(i.Err)) },
				GotFirstResponseByte: func() { x.note("hook of the reader", "GotFirstResponseByte") },
			})
			x.do(s, r.WithContext(ctx))
			mu.Lock()
			all := slices.Clone(hooks)
			if !reused { // else net/http may have begun a dial that it then did not need
				all = append(all, dial...)
			}
			mu.Unlock()
			for _, name := range all {
				x.note("hook", "%s", name)
			}
		}
	}},
	{"informational responses", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "x")
		}))
		x.get(s, "/")
		stop := errors.New("stop")
		r := x.newRequest("GET", s, "/", nil)
		x.quiet = true
		x.do(s, r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { return stop },
		})))
	}},
	{"CloseIdleConnections", everywhere, func(x *exchange) {
		s := x.echo()
		c := x.callServer(s)
		for range 2 {
			if resp := x.send(c, x.newRequest("GET", s, "/", nil)); resp != nil {
				x.readBody(resp)
			}
			c.CloseIdleConnections()
		}
	}},
	{"gzip", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(gzipped("plain text"))
		}))
		x.get(s, "/")
		r := x.newRequest("GET", s, "/", nil)
		r.Header.Set("Accept-Encoding", "gzip")
		x.do(s, r)
	}},
	{"HEAD, 204 and 304", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/204":
				w.WriteHeader(204)
			case "/304":
				w.WriteHeader(304)
			default:
				w.Header().Set("Content-Length", "7")
			}
		}))
		x.do(s, x.newRequest("HEAD", s, "/", nil))
		x.get(s, "/204", "/304")
		x.do(s, x.newRequest("HEAD", s, "/", nil))
	}},
	{"trailers of the response", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-A")
			io.WriteString(w, "x")
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-B", "2")
		}))
		x.get(s, "/", "/")
	}},
	{"trailers of the request, set while it is sent", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			x.handler("trailer %v", r.Trailer)
		}))
		trailer := http.Header{"X-A": nil}
		body := io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) {
			trailer.Set("X-A", "late")
			return 0, io.EOF
		}))
		r := x.newRequest("POST", s, "/", body)
		r.Trailer = trailer
		x.do(s, r)
	}},
	{"the request body is closed once", everywhere, func(x *exchange) {
		s := x.echo()
		for _, target := range []string{s.URL, "http://" + refusing()} {
			body := &trackedBody{Reader: strings.NewReader("hello")}
			r := x.newRequest("POST", s, "/", body)
			r.URL.Scheme, r.URL.Host, _ = strings.Cut(target, "://")
			r.ContentLength = 5
			if resp := x.roundTrip(transportOf(s), r); resp != nil {
				x.readBody(resp)
			}
			x.client("closed %t", body.closed.Load() > 0)
		}
	}},
	{"a body of unknown length", everywhere, func(x *exchange) {
		s := x.echo()
		x.do(s, x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("hello"))))
		r := x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("hello")))
		r.ContentLength = 5
		x.do(s, r)
		x.do(s, x.newRequest("POST", s, "/", http.NoBody))
	}},
	{"TLS", everywhere, func(x *exchange) {
		s := x.echo()
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
			x.client("TLS %s", secure(resp.TLS))
			x.readBody(resp)
		}
	}},
	{"WriterTo and own types of bodies", onlyHTTP1, func(x *exchange) {
		for _, body := range []io.ReadCloser{
			io.NopCloser(strings.NewReader("hello")), // has WriteTo
			io.NopCloser(io.MultiReader(strings.NewReader("hello"))),
			http.NoBody,
		} {
			resp := x.roundTrip(roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: body, Request: r}, nil
			}), &http.Request{Method: "GET", Header: http.Header{}})
			x.client("%s", bodyInterfaces(resp.Body))
			var read bytes.Buffer
			n, err := io.Copy(&read, resp.Body)
			x.client("copied %d, %q, %s", n, read.String(), describe(err))
		}
	}},
	{"Expect: 100-continue", everywhere, func(x *exchange) {
		x.expect(x.echo())
		x.expect(x.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })))
	}},
}

// staleConn says that the server has closed it, once it was used and is written
// to again.
type staleConn struct {
	net.Conn
	closed chan struct{}
	writes atomic.Int32
}

func (c *staleConn) Write(p []byte) (int, error) {
	if c.writes.Add(1) == 2 {
		c.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// refusing returns an address without a listener.
func refusing() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fail notes with which error a client fails.
func (x *exchange) fail(c *http.Client, r *http.Request) {
	resp, err := c.Do(r)
	if err == nil {
		resp.Body.Close()
	}
	x.client("%s", describe(err))
}

// silent serves a handler that waits for the client to leave.
func (x *exchange) silent() (s *httptest.Server, reached chan struct{}) {
	reached = make(chan struct{}, 10)
	return x.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
		x.await(r.Context().Done(), "the client to leave")
	})), reached
}

var clientErrorCases = []Case{
	{"canceled before the headers", everywhere, func(x *exchange) {
		s, reached := x.silent()
		cause := errors.New("had enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		go func() {
			x.await(reached, "the handler")
			cancel(cause)
		}()
		x.fail(x.callServer(s), x.newRequest("GET", s, "/", nil).WithContext(ctx))
		x.fail(x.callServer(s), x.newRequest("GET", s, "/", nil).WithContext(ctx))
	}},
	{"canceled in the body", everywhere, func(x *exchange) {
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "first")
			flushNow(w)
			x.await(r.Context().Done(), "the client to leave")
		}))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		resp := x.begin(s, x.newRequest("GET", s, "/", nil).WithContext(ctx))
		if resp == nil {
			return
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, 5))
		cancel()
		x.readBody(resp)
	}},
	{"Request.Cancel", everywhere, func(x *exchange) {
		s, reached := x.silent()
		cancel := make(chan struct{})
		go func() {
			x.await(reached, "the handler")
			close(cancel)
		}()
		r := x.newRequest("GET", s, "/", nil)
		r.Cancel = cancel //nolint:staticcheck // deprecated, but there
		x.fail(x.callServer(s), r)
	}},
	{"deadline of the context", everywhere, func(x *exchange) {
		x.quiet = true
		s, _ := x.silent()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		x.fail(x.callServer(s), x.newRequest("GET", s, "/", nil).WithContext(ctx))
	}},
	{"timeout of the client", everywhere, func(x *exchange) {
		// The words differ with any wrapper, and by chance: http.Client cancels
		// in two ways at once unless it knows the transport.
		s, _ := x.silent()
		c := x.callServer(s)
		c.Timeout = 20 * time.Millisecond
		_, err := c.Do(x.newRequest("GET", s, "/", nil))
		var timeout net.Error
		x.client("timeout %t, %t", errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded))
	}},
	{"nobody listens, or has that name", everywhere, func(x *exchange) {
		s := x.echo()
		for _, target := range []string{"http://" + refusing() + "/", "http://no-such-host.invalid./", "http:///", "mailto:a@b.example", "http://[::1]:bad/"} {
			r := x.newRequest("GET", s, "/", nil)
			scheme, rest, _ := strings.Cut(target, ":")
			r.URL.Scheme, r.URL.Host = scheme, strings.Trim(rest, "/")
			_, err := x.around(transportOf(s)).RoundTrip(r)
			var dns *net.DNSError
			if errors.As(err, &dns) {
				x.client("DNS error %T for %q", err, dns.Name) // the rest depends on the resolver
				continue
			}
			x.client("%s", describe(err))
		}
	}},
	{"requests that are not complete", onlyHTTP1, func(x *exchange) {
		s := x.echo()
		for _, change := range []func(*http.Request){
			func(r *http.Request) { r.Header = nil },
			func(r *http.Request) { r.URL = nil },
			func(r *http.Request) { r.Body = nil },
			func(r *http.Request) { r.Method = "" },
			func(r *http.Request) { r.Method = "NOT VALID" },
			func(r *http.Request) { r.Header["Bad name"] = []string{"x"} },
			func(r *http.Request) { r.ContentLength = 3 },
		} {
			r := x.newRequest("GET", s, "/", nil)
			change(r)
			if resp := x.roundTrip(transportOf(s), r); resp != nil {
				x.readBody(resp)
			}
		}
	}},
	{"transports that break the rules", onlyHTTP1, func(x *exchange) {
		broken := errors.New("broken")
		bases := map[string]roundTripper{
			"both":    func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, broken },
			"neither": func(*http.Request) (*http.Response, error) { return nil, nil },
			"no body": func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil },
			"error":   func(*http.Request) (*http.Response, error) { return nil, broken },
			"panic":   func(*http.Request) (*http.Response, error) { panic(broken) },
			"abort":   func(*http.Request) (*http.Response, error) { panic(http.ErrAbortHandler) },
		}
		for _, name := range slices.Sorted(maps.Keys(bases)) {
			x.client("%s", name)
			r, _ := http.NewRequest("GET", "http://a.example/", nil)
			if resp := x.roundTrip(bases[name], r); resp != nil {
				x.client("status %d, body nil=%t", resp.StatusCode, resp.Body == nil)
			}
		}
	}},
	{"a request body that fails", everywhere, func(x *exchange) {
		x.quiet = true
		arrived := make(chan struct{})
		s := x.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			close(arrived)
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		broken := errors.New("broken")
		r := x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("begin"), readerFunc(func([]byte) (int, error) {
			x.await(arrived, "the first bytes")
			return 0, broken
		})))
		_, err := x.callServer(s).Do(r)
		x.client("broken %t", errors.Is(err, broken))
	}},
	{"an aborted response", everywhere, func(x *exchange) {
		arrived := make(chan struct{})
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "begin")
			flushNow(w)
			x.await(arrived, "the first byte")
			panic(http.ErrAbortHandler)
		}))
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
			_, _ = io.ReadFull(resp.Body, make([]byte, 5))
			close(arrived)
			x.readBody(resp)
		}
	}},
	{"an answer before the body was sent", everywhere, func(x *exchange) {
		x.quiet = true
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			io.WriteString(w, "no")
			flushNow(w)
		}))
		body, send := io.Pipe()
		if resp := x.roundTrip(transportOf(s), x.newRequest("POST", s, "/", body)); resp != nil {
			answer := make([]byte, 2)
			_, err := io.ReadFull(resp.Body, answer)
			x.client("%d, %q, %s", resp.StatusCode, answer, describe(err))
			resp.Body.Close()
		}
		// Were the end of the body to arrive before the connection is closed, net/http
		// might panic: golang.org/issue/68560.
		send.CloseWithError(errors.New("no more"))
	}},
}
