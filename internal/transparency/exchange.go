package transparency

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// patience bounds how long to wait for something that should happen at once.
const patience = 5 * time.Second

// exchange is a run of a case.
type exchange struct {
	protocol string
	wrapper  Wrapper
	quiet    bool   // do not note the bytes: how many arrive is up to chance
	atEnd    func() // when all that ran has ended
	servers  []*httptest.Server
	conns    []*recordedConn // of the clients, HTTP/1.1 only

	mu    sync.Mutex
	notes map[string][]string // by who made them
}

// note adds a note by who.
func (x *exchange) note(who, format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.notes[who] = append(x.notes[who], fmt.Sprintf(format, args...))
}

func (x *exchange) client(format string, args ...any)  { x.note("client", format, args...) }
func (x *exchange) handler(format string, args ...any) { x.note("handler", format, args...) }

// outer adds a note by a handler outside the wrapper.
func (x *exchange) outer(format string, args ...any) { x.note("outer handler", format, args...) }

// all returns the notes, grouped by who made them, because their order among each
// other is up to chance.
func (x *exchange) all() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, who := range slices.Sorted(maps.Keys(x.notes)) {
		for _, n := range x.notes[who] {
			out = append(out, who+": "+n)
		}
	}
	return out
}

// await waits until c is closed or has a value. If neither happens, it adds a note
// about what.
func (x *exchange) await(c <-chan struct{}, what string) bool {
	select {
	case <-c:
		return true
	case <-time.After(patience):
		x.note("stuck", "%s", what)
		return false
	}
}

// wrap wraps h.
func (x *exchange) wrap(h http.Handler) http.Handler {
	if x.wrapper.Handler == nil {
		return h
	}
	return x.wrapper.Handler(h)
}

// handle serves h in the wrapper.
func (x *exchange) handle(h http.HandlerFunc) *httptest.Server { return x.serve(x.wrap(h)) }

// serve serves h without the wrapper.
func (x *exchange) serve(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(serverLog{x}, "", 0)
	switch x.protocol {
	case HTTP1:
		s.Start()
		transportOf(s).DialContext = x.dial
	case HTTP2:
		s.EnableHTTP2 = true
		s.StartTLS()
	case H2C:
		s.Config.Protocols = unencryptedHTTP2()
		s.Start()
		transportOf(s).Protocols = unencryptedHTTP2()
	}
	x.servers = append(x.servers, s)
	return s
}

func unencryptedHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// transportOf returns the bare transport of the client of s.
func transportOf(s *httptest.Server) *http.Transport { return s.Client().Transport.(*http.Transport) }

// callServer returns a client of s that goes through the wrapper.
func (x *exchange) callServer(s *httptest.Server) *http.Client {
	return &http.Client{Transport: x.around(transportOf(s))}
}

// around wraps base.
func (x *exchange) around(base http.RoundTripper) http.RoundTripper {
	if x.wrapper.Transport == nil {
		return base
	}
	return x.wrapper.Transport(base)
}

// serverLog records what a server logs, without addresses and stacks.
type serverLog struct{ x *exchange }

func (l serverLog) Write(p []byte) (int, error) {
	line, _, _ := strings.Cut(string(p), "\n")
	if !strings.Contains(line, "TLS handshake error") { // of a client that has left in time
		l.x.note("log", "%s", withoutAddresses(line))
	}
	return len(p), nil
}

var address = regexp.MustCompile(`(127\.0\.0\.1|\[::1\]):\d+`)

func withoutAddresses(s string) string { return address.ReplaceAllString(s, "ADDRESS") }

// lost matches the errors of the system for a connection that the peer has closed.
// Which of them occurs depends on timing.
var lost = regexp.MustCompile(`(read|write) tcp \S+: .*(connection reset by peer|broken pipe|use of closed network connection|connection was aborted|forcibly closed).*|^connection error: .*|^client disconnected$`)

// describe returns the types and the text of err.
func describe(err error) string {
	if err == nil {
		return "no error"
	}
	text := withoutAddresses(err.Error())
	if lost.MatchString(text) {
		return "connection lost"
	}
	var kinds []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		kinds = append(kinds, fmt.Sprintf("%T", e))
	}
	return fmt.Sprintf("%s %q", strings.Join(kinds, ", "), text)
}

// show returns data, or its length and checksum if it is long.
func show(data []byte) string {
	if len(data) <= 2000 {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%d bytes with the checksum %08x", len(data), crc32.ChecksumIEEE(data))
}

// added are the headers that tracing adds on purpose.
var added = []string{"Traceparent", "Tracestate", "Baggage"}

// headers returns h in a fixed order, without the values of Date and of tracing.
func headers(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		switch {
		case slices.Contains(added, name):
		case name == "Date":
			fmt.Fprintf(&b, " Date")
		default:
			fmt.Fprintf(&b, " %s=%q", name, h[name])
		}
	}
	return withoutAddresses(strings.TrimSpace(b.String()))
}

// newRequest returns a request to a path of s.
func (x *exchange) newRequest(method string, s *httptest.Server, path string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		panic(err)
	}
	return r
}

// get fetches paths, one after the other.
func (x *exchange) get(s *httptest.Server, paths ...string) {
	for _, path := range paths {
		x.do(s, x.newRequest("GET", s, path, nil))
	}
}

// post sends a body.
func (x *exchange) post(s *httptest.Server, path, body string) {
	x.do(s, x.newRequest("POST", s, path, strings.NewReader(body)))
}

// do sends r, and records the response to its end.
func (x *exchange) do(s *httptest.Server, r *http.Request) {
	if resp := x.begin(s, r); resp != nil {
		x.readBody(resp)
	}
}

// begin sends r and records the response up to its body. It returns nil if there was
// no response.
func (x *exchange) begin(s *httptest.Server, r *http.Request) *http.Response {
	c := &http.Client{
		Transport:     x.around(transportOf(s)),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return x.send(c, r)
}

// send is begin with a given client.
func (x *exchange) send(c *http.Client, r *http.Request) *http.Response {
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { x.client("connection reused=%t", i.Reused) },
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			x.client("informational %d %s", code, headers(http.Header(h)))
			return nil
		},
	})
	resp, err := c.Do(r.WithContext(ctx))
	if err != nil {
		x.client("no response: %s", describe(err))
		return nil
	}
	x.noteResponse(resp)
	return resp
}

func (x *exchange) noteResponse(resp *http.Response) {
	x.client("%s %s, length %d, encoding %q, close=%t, uncompressed=%t", resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Close, resp.Uncompressed)
	x.client("headers %s", headers(resp.Header))
	if len(resp.Trailer) > 0 {
		x.client("trailers announced %s", headers(resp.Trailer))
	}
}

// readBody records the rest of the response and closes it.
func (x *exchange) readBody(resp *http.Response) {
	body, err := io.ReadAll(resp.Body)
	x.client("body %s, %s", show(body), describe(err))
	if len(resp.Trailer) > 0 {
		x.client("trailers %s", headers(resp.Trailer))
	}
	if err := resp.Body.Close(); err != nil {
		x.client("closing the body: %s", describe(err))
	}
}

// raw sends bytes and records only what comes back on the connection. It returns when
// the server has closed it.
func (x *exchange) raw(s *httptest.Server, request string) { x.converse(s, request, false) }

// halfClosed is raw for a client that closes its half of the connection.
func (x *exchange) halfClosed(s *httptest.Server, request string) { x.converse(s, request, true) }

func (x *exchange) converse(s *httptest.Server, request string, half bool) {
	conn, err := x.dial(context.Background(), "tcp", s.Listener.Addr().String())
	if err != nil {
		x.client("no connection: %s", describe(err))
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, request)
	if half {
		_ = conn.(*recordedConn).CloseWrite()
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		x.client("the connection ends with %s", describe(err))
	}
}

// dial connects an HTTP/1.1 client.
func (x *exchange) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &recordedConn{TCPConn: conn.(*net.TCPConn)}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conns = append(x.conns, c)
	return c, nil
}

// recordedConn keeps what it receives.
type recordedConn struct {
	*net.TCPConn
	mu       sync.Mutex
	received bytes.Buffer
}

func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received.Write(p[:n])
	return n, err
}

var date = regexp.MustCompile(`\r\nDate: [^\r]*`)

// close stops everything, the clients first.
func (x *exchange) close() {
	for _, s := range x.servers {
		transportOf(s).CloseIdleConnections()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, s := range slices.Backward(x.servers) {
			s.Close()
		}
	}()
	if !x.await(done, "closing the servers") {
		for _, s := range x.servers {
			s.CloseClientConnections()
		}
	}
}

// noteBytes records what each server sent. If there is a proxy, the number of its
// connections is up to chance.
func (x *exchange) noteBytes() {
	if x.quiet {
		return
	}
	for _, s := range x.servers {
		var received []byte
		for _, c := range x.conns {
			if c.RemoteAddr().String() == s.Listener.Addr().String() {
				c.mu.Lock()
				received = append(received, c.received.Bytes()...)
				c.mu.Unlock()
			}
		}
		if received = date.ReplaceAll(received, []byte("\r\nDate: now")); len(received) > 0 {
			x.note("wire", "%s", withoutAddresses(show(received)))
		}
	}
}

// noteGoroutines waits for the goroutines of the exchange to end and records those
// that do not.
func (x *exchange) noteGoroutines(before map[string]string) {
	deadline := time.Now().Add(patience)
	for {
		left := goroutines()
		for id := range before {
			delete(left, id)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range slices.Sorted(maps.Values(left)) {
				x.note("stuck", "goroutine %s", name)
			}
			return
		}
		<-time.After(time.Millisecond)
	}
}

// goroutines returns the functions with which the goroutines of net/http and of this
// package began, by goroutine id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	n := runtime.Stack(buf, true)
	for n == len(buf) { // there may be more
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	out := map[string]string{}
	for i, stack := range strings.Split(string(buf[:n]), "\n\n") {
		if i == 0 || !strings.Contains(stack, "net/http.") && !strings.Contains(stack, "transparency.") {
			continue // this one, or of others
		}
		id, _, _ := strings.Cut(stack, " [")
		_, began, _ := strings.Cut(stack, "created by ")
		out[id], _, _ = strings.Cut(began, " in goroutine")
	}
	return out
}

// secure describes the state of TLS.
func secure(s *tls.ConnectionState) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("version %x, protocol %q, complete=%t", s.Version, s.NegotiatedProtocol, s.HandshakeComplete)
}
