// Package transport traces the client side of net/http.
//
// Each HTTP exchange is one span of kind client, below the span in the context of the
// request. It begins with RoundTrip. It ends when the response body has been read to
// its end, has failed or is closed. The server gets the span and the baggage of the
// context in headers. Attributes follow OpenTelemetry's stable conventions for HTTP.
// Credentials and the values of query parameters in URLs are not recorded.
//
// The phases of an exchange are events with a duration. For a new connection they are
// http.dns, http.connect and http.tls; the last is missing for a proxy if the URL is
// not https. The event http.getconn lasts until the request has a connection, whether
// new or reused, and http.wait from the last byte of the request to the response. If
// net/http resends the request because its connection was dead, there is another
// http.getconn, without a duration, that has http.request.resend_count. The same
// happens if the base makes requests of its own with the context it was given, to
// fetch a token for example.
//
// If [net/http.Client] follows a redirect, the next exchange has a link to the one
// before and its number as http.request.resend_count.
//
// If an exchange fails, error.type is the status code, timeout, canceled, dns,
// connection_refused, connection_reset, unreachable, tls, eof, body_not_closed, panic,
// or the Go type of any other error. The type body_not_closed is a mistake of the
// caller, who neither read the response body to its end nor closed it. The span then
// ends when the garbage collector finds the body; the connection stays open.
package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/transport/internal/http2"
)

// Options configures [New]. The zero value is ready to use. Its functions may be
// called by several goroutines at once.
type Options struct {
	// Tracer makes the spans. If it is nil, the tracer of the span in the context of
	// the request is used, or else [dendro.Default] at the time of the request.
	// Without any of them requests are passed to the base unchanged.
	Tracer *dendro.Tracer
	// Filter reports whether to trace a request. If it returns false, the base gets
	// the request unchanged, without headers for the server. If Filter is nil, all
	// requests are traced.
	Filter func(*http.Request) bool
	// PropagateTo names the hosts that get the span and the baggage in headers, such
	// as "stock.example", or "*.shop.example" for all hosts below shop.example. A port
	// may follow: "stock.example:8080". Case does not matter, nor does a dot at the
	// end of a name. Requests to other hosts are traced and keep the headers they
	// have. If PropagateTo is nil, all hosts get the headers; if it is empty but not
	// nil, none do.
	PropagateTo []string
	// SpanName returns the name of the span of a request. There should be few
	// different names, so no URLs with ids. If SpanName is nil or returns "", the name
	// is the method.
	SpanName func(*http.Request) string
	// Attributes returns additional attributes. It is called when RoundTrip of the
	// base has returned, with the request of the caller, the response, which may be
	// nil, and the error. It must not read or close the response body. If it panics,
	// the body is closed.
	Attributes func(*http.Request, *http.Response, error) []slog.Attr
	// RequestHeaders and ResponseHeaders name headers to record, as the attributes
	// http.request.header.<name> and http.response.header.<name>. Credentials are
	// redacted: of Authorization only the scheme is kept, of cookies only the names,
	// of Location and Referer only what url.full would keep. Headers whose names
	// suggest a token, a secret, a password or an API key are redacted entirely.
	RequestHeaders, ResponseHeaders []string
}

// errNoResponse is recorded if the base returns neither. The caller gets what the base
// returned.
var errNoResponse = errors.New("neither response nor error")

type roundTripper struct {
	base            http.RoundTripper
	options         Options
	propagateTo     hostList
	requestHeaders  semconv.HeaderList
	responseHeaders semconv.HeaderList
	redirects       redirects
}

// New returns an [http.RoundTripper] that traces base. If base is nil, it traces
// [http.DefaultTransport]. Several goroutines may use the result at once if they may use
// base.
//
// The base gets a copy of each request, with the headers of the tracer's
// [dendro.Propagator], which by default are traceparent, tracestate and baggage. They
// replace headers of the same name. The request itself is not modified. The caller gets
// the response and error of the base. With HTTP/2 the response is a copy.
//
// The result also has the methods CloseIdleConnections, which calls the method of that
// name of base, if it has one, and Unwrap, which returns base.
func New(base http.RoundTripper, o Options) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t := &roundTripper{
		base:            base,
		options:         o,
		propagateTo:     newHostList(o.PropagateTo),
		requestHeaders:  semconv.RequestHeaders(o.RequestHeaders),
		responseHeaders: semconv.ResponseHeaders(o.ResponseHeaders),
	}
	switch base.(type) {
	case *http.Transport, *http2.Transport:
		return &http2.Transport{RoundTripper: t}
	}
	return t
}

func (t *roundTripper) Unwrap() http.RoundTripper { return t.base }

func (t *roundTripper) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.options.Filter != nil && !t.options.Filter(r) || bridge.Made(r.Context(), bridge.HTTPClient, t.options.Tracer) {
		return t.base.RoundTrip(r)
	}
	method, name := semconv.HTTPMethod(r.Method)
	if t.options.SpanName != nil {
		name = cmp.Or(t.options.SpanName(r), name)
	}
	ctx, span := dendro.StartWith(r.Context(), name, dendro.StartOptions{Tracer: t.options.Tracer, Kind: dendro.KindClient})
	if span == nil {
		return t.base.RoundTrip(r)
	}
	if !span.IsRecording() {
		inner := r.WithContext(ctx)
		t.inject(ctx, inner)
		resp, err := t.base.RoundTrip(inner)
		giveBack(resp, inner, r)
		return resp, err
	}
	return t.trace(ctx, span, r, method)
}

// exchange is everything that a traced request needs except the response body, in one
// allocation. It is also the context of the request that the base gets.
type exchange struct {
	context.Context              // with span
	request         http.Request // as the base gets it
	span            *dendro.Span
	phases          atomic.Pointer[phases] // nil until they are needed
	received        atomic.Int64           // bytes of the body of the response
	decoded         bool                   // the base decompressed the body, so received is not its size on the wire
	secure          bool                   // https
}

// Value returns the hooks of httptrace, which it makes when they are first needed.
func (x *exchange) Value(key any) any {
	if key == traceKey || key == dialKey {
		return x.hooks().value(key)
	}
	return x.Context.Value(key)
}

// String keeps package fmt from reading fields that are being written.
func (x *exchange) String() string { return fmt.Sprint(x.Context) }

func (x *exchange) hooks() *phases {
	p := x.phases.Load()
	if p == nil {
		x.phases.CompareAndSwap(nil, newPhases(x.Context, x.secure))
		p = x.phases.Load()
	}
	return p
}

// end ends the span, with an error if err is not nil.
func (x *exchange) end(err error) {
	if err != nil {
		x.describeError(err)
	}
	x.span.End()
}

// endBody is like end and also records the size of the received body.
func (x *exchange) endBody(err error) {
	if !x.decoded {
		x.span.SetAttributes(slog.Int64(semconv.HTTPResponseBodySize, x.received.Load()))
	}
	x.end(err)
}

// forgotten ends the span of a response whose body was never ended.
func (x *exchange) forgotten() {
	x.span.SetAttributes(slog.String(semconv.ErrorType, "body_not_closed"))
	x.span.SetStatus(dendro.StatusError, "response body was neither read to its end nor closed")
	x.endBody(nil)
}

// trace is RoundTrip with the given span.
func (t *roundTripper) trace(ctx context.Context, span *dendro.Span, r *http.Request, method string) (*http.Response, error) {
	x := &exchange{Context: ctx, span: span, secure: r.URL != nil && r.URL.Scheme == "https"}
	x.request = *r.WithContext(x)
	t.inject(ctx, &x.request)
	describeRequest(span, r, method)
	bridge.Mark(span, bridge.HTTPClient)
	if len(t.requestHeaders) > 0 {
		span.SetAttributes(t.requestHeaders.Append(nil, x.request.Header)...)
	}
	resends := t.redirects.link(span, r)
	var resp *http.Response
	returned := false
	defer func() {
		if !returned { // a panic, which continues, or runtime.Goexit
			span.SetAttributes(slog.String(semconv.ErrorType, "panic"))
			span.SetStatus(dendro.StatusError, "panic in RoundTrip")
			span.End()
			if resp != nil && resp.Body != nil { // a hook panicked
				resp.Body.Close()
			}
		}
	}()
	resp, err := t.base.RoundTrip(&x.request)
	if p := x.phases.Load(); p != nil {
		p.finish(span, resp != nil)
	}
	giveBack(resp, &x.request, r)
	if resp != nil {
		x.decoded = resp.Uncompressed
		describeResponse(span, resp)
		if len(t.responseHeaders) > 0 {
			span.SetAttributes(t.responseHeaders.Append(nil, resp.Header)...)
		}
	}
	if t.options.Attributes != nil {
		span.SetAttributes(t.options.Attributes(r, resp, err)...)
	}
	returned = true
	switch {
	case err != nil:
		x.end(err)
	case resp == nil:
		x.end(errNoResponse)
	case bodyless(r, resp):
		x.end(nil)
	default:
		resp = x.wrapBody(resp)
	}
	t.redirects.note(span, resp, resends)
	return resp, err
}

// bodyless reports whether the body of resp need not be read or closed.
func bodyless(r *http.Request, resp *http.Response) bool {
	return resp.Body == nil || resp.Body == http.NoBody || r.Method == http.MethodHead ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// inject gives r, which is a copy, its own header map with the span in ctx, if its
// host is to get it. A request without headers is left for the base to refuse. The
// values of the map are shared with the caller's request, since no RoundTripper may
// modify them.
func (t *roundTripper) inject(ctx context.Context, r *http.Request) {
	if r.Header == nil {
		return
	}
	r.Header = maps.Clone(r.Header)
	if t.propagateTo.has(r.URL) {
		dendro.Inject(ctx, r.Header)
	}
}

// giveBack makes resp refer to the caller's request r again. inner is the copy that
// the base got; on a reused HTTP/2 connection net/http makes a shallow copy of that.
func giveBack(resp *http.Response, inner, r *http.Request) {
	if resp == nil || resp.Request == nil {
		return
	}
	got := resp.Request
	if got == inner || got.URL == inner.URL && got.Context() == inner.Context() &&
		reflect.ValueOf(got.Header).Pointer() == reflect.ValueOf(inner.Header).Pointer() {
		resp.Request = r
	}
}

func describeRequest(span *dendro.Span, r *http.Request, method string) {
	attrs := append(make([]slog.Attr, 0, 6), slog.String(semconv.HTTPRequestMethod, method))
	if method == semconv.HTTPMethodOther {
		attrs = append(attrs, slog.String(semconv.HTTPRequestMethodOriginal, r.Method))
	}
	if r.URL != nil {
		host, port := semconv.SplitHostPort(r.URL.Host)
		if port == 0 {
			port = defaultPort(r.URL.Scheme)
		}
		attrs = append(attrs, slog.String(semconv.URLFull, redactedURL(r.URL)), slog.String(semconv.ServerAddress, host))
		if port != 0 {
			attrs = append(attrs, slog.Int(semconv.ServerPort, port))
		}
	}
	if r.ContentLength > 0 {
		attrs = append(attrs, slog.Int64(semconv.HTTPRequestBodySize, r.ContentLength))
	}
	span.SetAttributes(attrs...)
}

func describeResponse(span *dendro.Span, resp *http.Response) {
	attrs := append(make([]slog.Attr, 0, 3), slog.Int(semconv.HTTPResponseStatusCode, resp.StatusCode))
	if resp.ProtoMajor > 0 {
		attrs = append(attrs, slog.String(semconv.NetworkProtocolVersion, semconv.HTTPVersion(resp.ProtoMajor, resp.ProtoMinor)))
	}
	if resp.StatusCode >= 400 {
		attrs = append(attrs, slog.String(semconv.ErrorType, strconv.Itoa(resp.StatusCode)))
		span.SetStatus(dendro.StatusError, "")
	}
	span.SetAttributes(attrs...)
}
