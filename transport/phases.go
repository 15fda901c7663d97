package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// traceKey and dialKey are the context keys of httptrace and of package net.
var traceKey, dialKey = traceKeys()

// keys is a context that records the keys it is asked for.
type keys struct {
	context.Context
	asked []any
}

func (k *keys) Value(key any) any {
	k.asked = append(k.asked, key)
	return nil
}

// traceKeys finds the keys, which are not exported. If a key cannot be found, it is
// nil and its events are not recorded.
func traceKeys() (trace, dial any) {
	probe := &keys{Context: context.Background()}
	httptrace.ContextClientTrace(probe)
	_, _ = (&net.Dialer{}).DialContext(probe, "no network", "")
	known := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{ConnectStart: func(string, string) {}})
	for _, key := range probe.asked {
		switch known.Value(key).(type) {
		case nil:
		case *httptrace.ClientTrace:
			trace = key
		default:
			dial = key
		}
	}
	return trace, dial
}

// phases gathers what httptrace reports about a request, from several goroutines. It
// is written to the span when RoundTrip returns. What a dial reports after that is
// dropped.
type phases struct {
	trace httptrace.ClientTrace
	// composed has the hooks of trace and of the caller. It is nil if the caller has
	// none.
	composed context.Context

	mu       sync.Mutex // guards what follows
	asked    time.Time  // when the request asked for a connection; zero once it has one
	conns    []conn     // that the request got
	first    [1]conn    // initial memory of conns
	written  time.Time  // when the request was written last
	dials    []phase
	tlsStart time.Time
}

// conn is a connection that the request got.
type conn struct {
	asked, got time.Time
	host       string // "" if not known
	port       int32
	reused     bool
	idle       time.Duration
}

// phase is an event with a duration.
type phase struct {
	name  string
	start time.Time
	took  time.Duration
	attrs []slog.Attr
}

// newPhases returns the hooks of a request with ctx. They include the hooks of dials
// only if they must be composed with hooks of the caller.
func newPhases(ctx context.Context, secure bool) *phases {
	p := &phases{asked: monotonic.Now()}
	p.conns = p.first[:0]
	p.trace.GotConn = p.gotConn
	p.trace.WroteRequest = p.wroteRequest
	caller := httptrace.ContextClientTrace(ctx)
	if secure || caller != nil {
		p.trace.TLSHandshakeStart = p.tlsHandshakeStart
		p.trace.TLSHandshakeDone = p.tlsHandshakeDone
	}
	if caller != nil {
		p.hookDial(&p.trace)
		p.composed = httptrace.WithClientTrace(ctx, &p.trace)
	}
	return p
}

// value returns the context value for traceKey or dialKey.
func (p *phases) value(key any) any {
	switch {
	case p.composed != nil:
		return p.composed.Value(key)
	case key == traceKey:
		return &p.trace
	}
	var trace httptrace.ClientTrace
	p.hookDial(&trace)
	return httptrace.WithClientTrace(context.Background(), &trace).Value(key)
}

func (p *phases) gotConn(info httptrace.GotConnInfo) {
	c := conn{got: monotonic.Now(), reused: info.Reused, idle: info.IdleTime}
	c.host, c.port = peer(info.Conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.asked, p.asked = p.asked, time.Time{}
	p.conns = append(p.conns, c)
}

// peer returns the remote address of conn, or "" if it is not known. A connection that
// the program has dialed itself may panic when asked, which net/http never does. The
// panic is recorded in place of the address.
func peer(conn net.Conn) (host string, port int32) {
	if conn == nil {
		return "", 0
	}
	defer func() {
		if p := recover(); p != nil {
			host, port = fmt.Sprintf("!PANIC %T: %v", conn, p), 0
		}
	}()
	switch addr := conn.RemoteAddr().(type) {
	case nil:
		return "", 0
	case *net.TCPAddr:
		if addr == nil {
			return "", 0
		}
		return addr.IP.String(), int32(addr.Port)
	default:
		host, n := semconv.SplitHostPort(addr.String())
		return host, int32(n)
	}
}

func (p *phases) wroteRequest(info httptrace.WroteRequestInfo) {
	now := monotonic.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if info.Err == nil {
		p.written = now
	}
}

func (p *phases) tlsHandshakeStart() {
	now := monotonic.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tlsStart = now
}

func (p *phases) tlsHandshakeDone(state tls.ConnectionState, err error) {
	p.mu.Lock()
	start := p.tlsStart
	p.mu.Unlock()
	attrs := errorAttrs(err)
	if err == nil {
		attrs = append(attrs,
			slog.String(semconv.TLSProtocolVersion, strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")),
			slog.Bool(semconv.TLSResumed, state.DidResume))
	}
	p.add(semconv.HTTPTLSEvent, start, attrs)
}

// add records a phase that began at start and ends now.
func (p *phases) add(name string, start time.Time, attrs []slog.Attr) {
	took := time.Since(start)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !start.IsZero() {
		p.dials = append(p.dials, phase{name, start, took, attrs})
	}
}

// dial has the hooks of one dial, which may try several addresses at once.
type dial struct {
	phases *phases

	mu       sync.Mutex // guards what follows
	dnsStart time.Time
	host     string
	connects []connect // under way
}

type connect struct {
	network, addr string
	start         time.Time
}

func (p *phases) hookDial(trace *httptrace.ClientTrace) {
	d := &dial{phases: p}
	trace.DNSStart, trace.DNSDone = d.startDNS, d.dnsDone
	trace.ConnectStart, trace.ConnectDone = d.connectStart, d.connectDone
}

func (d *dial) startDNS(info httptrace.DNSStartInfo) {
	now := monotonic.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dnsStart, d.host = now, info.Host
}

func (d *dial) dnsDone(info httptrace.DNSDoneInfo) {
	d.mu.Lock()
	start, host := d.dnsStart, d.host
	d.mu.Unlock()
	attrs := append(errorAttrs(info.Err), slog.String(semconv.DNSQuestionName, host))
	d.phases.add(semconv.HTTPDNSEvent, start, attrs)
}

func (d *dial) connectStart(network, addr string) {
	c := connect{network, addr, monotonic.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connects = append(d.connects, c)
}

func (d *dial) connectDone(network, addr string, err error) {
	var start time.Time
	d.mu.Lock()
	if i := slices.IndexFunc(d.connects, func(c connect) bool { return c.network == network && c.addr == addr }); i >= 0 {
		start = d.connects[i].start
		d.connects = slices.Delete(d.connects, i, i+1)
	}
	d.mu.Unlock()
	host, port := semconv.SplitHostPort(addr)
	d.phases.add(semconv.HTTPConnectEvent, start, append(errorAttrs(err), peerAttrs(host, port)...))
}

// errorAttrs returns error.type for err, and nothing if err is nil.
func errorAttrs(err error) []slog.Attr {
	if err == nil {
		return nil
	}
	return []slog.Attr{slog.String(semconv.ErrorType, errorType(nil, err))}
}

func peerAttrs(host string, port int) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 2), slog.String(semconv.NetworkPeerAddress, host))
	if port != 0 {
		attrs = append(attrs, slog.Int(semconv.NetworkPeerPort, port))
	}
	return attrs
}

// finish writes to span what is known by now. responded reports whether there is a
// response.
func (p *phases) finish(span *dendro.Span, responded bool) {
	now := monotonic.Now()
	p.mu.Lock()
	dials, conns, written := p.dials, p.conns, p.written
	p.mu.Unlock()
	for i := range dials {
		d := &dials[i]
		span.AddEventAt(d.start, d.took, d.name, d.attrs...)
	}
	for i := range conns {
		conns[i].record(span, i)
	}
	if responded && !written.IsZero() {
		span.AddEventAt(written, now.Sub(written), semconv.HTTPWaitEvent)
	}
}

// record writes c to span. resends is the number of connections before it. The request
// failed on each of them.
func (c *conn) record(span *dendro.Span, resends int) {
	attrs := append(make([]slog.Attr, 0, 3), slog.Bool(semconv.HTTPConnReused, c.reused))
	if c.idle > 0 {
		attrs = append(attrs, slog.Int64(semconv.HTTPConnIdleTime, int64(c.idle)))
	}
	if resends > 0 {
		attrs = append(attrs, slog.Int(semconv.HTTPRequestResendCount, resends))
	}
	start := c.asked
	if start.IsZero() {
		start = c.got
	}
	span.AddEventAt(start, c.got.Sub(start), semconv.HTTPGetConnEvent, attrs...)
	if c.host != "" {
		span.SetAttributes(peerAttrs(c.host, int(c.port))...)
	}
}
