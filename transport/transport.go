// Package transport traces the client side of net/http.
//
// An HTTP exchange is one span of kind client, below the span in the context of
// the request: it begins with RoundTrip and ends when the response body has
// been read to its end, has failed or is closed. The server gets the span and the
// baggage of the context in headers. Attributes follow the stable HTTP
// conventions of OpenTelemetry; of URLs, credentials and the values of query
// parameters are not recorded.
//
// The phases of an exchange are events with a duration: http.dns, http.connect and
// http.tls of a new connection (not of one to a proxy, for a URL that is not https),
// http.getconn until the request has a connection, new or used before, and http.wait
// from the last byte of the request to the response. If net/http sends the request
// again by itself, because the connection was dead, there is another http.getconn
// with http.request.resend_count, which says when but not how long. A base that
// makes requests of its own with the context of the one it was given, for a token
// say, counts like that too.
//
// A redirect that [net/http.Client] follows is another exchange, with a link to
// the one before and its number as http.request.resend_count.
//
// An exchange that failed has error.type: the status code, timeout, canceled, dns,
// connection_refused, connection_reset, unreachable, tls, eof, body_not_closed,
// panic, or the Go type of any other error. The type body_not_closed is a mistake
// of the caller: the response body was neither read to its end nor closed. The span
// ends when the garbage collector finds out; the connection stays open for good.
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
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures [New]. The zero value works. Its functions are called by
// many goroutines at once.
type Options struct {
	// Tracer makes the spans. Default: that of the span in the context of the
	// request, else [dendro.Default] at the time of the request; without
	// either, requests pass through as they are.
	Tracer *dendro.Tracer
	// Filter returns false for requests that are not to be traced: they reach
	// the base as they are, without headers for the server. Default: all
	// requests are traced.
	Filter func(*http.Request) bool
	// PropagateTo names the hosts that get the span and the baggage in headers,
	// so that strangers do not: "stock.example", "*.shop.example" for any
	// host below shop.example, either with a port, "stock.example:8080".
	// Requests to other hosts are traced and keep the headers that they have.
	// Upper and lower case are the same, as are a name with and without a
	// dot at its end. Default, if it is nil: all hosts; empty but not nil: none.
	PropagateTo []string
	// SpanName names the span of a request. Default, and if it returns "": the
	// method. Names should be few: not a URL with an id.
	SpanName func(*http.Request) string
	// Attributes returns more attributes, when RoundTrip has returned: the
	// request as the caller made it, the response, which may be nil, and the
	// error. It must leave the response body alone, which is closed if it
	// panics.
	Attributes func(*http.Request, *http.Response, error) []slog.Attr
	// RequestHeaders and ResponseHeaders name headers to record, as
	// http.request.header.<name> and http.response.header.<name>. Credentials in
	// them are redacted: of Authorization the scheme stays, of cookies the
	// name, of Location and Referer what url.full has; of headers that are
	// called after a token, a secret, a password or an API key nothing stays.
	RequestHeaders, ResponseHeaders []string
}

// errNoResponse is recorded, the caller gets what the base returned.
var errNoResponse = errors.New("neither response nor error")

var _ http.RoundTripper = (*Transport)(nil)

// Transport is an [http.RoundTripper] that traces another one. Its methods may
// be called by several goroutines at once if those of the other may.
type Transport struct {
	base            http.RoundTripper
	options         Options
	propagateTo     hostList
	requestHeaders  semconv.HeaderList
	responseHeaders semconv.HeaderList
	redirects       redirects
}

// New returns a Transport around base; nil means [http.DefaultTransport].
func New(base http.RoundTripper, o Options) *Transport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &Transport{
		base:            base,
		options:         o,
		propagateTo:     newHostList(o.PropagateTo),
		requestHeaders:  semconv.RequestHeaders(o.RequestHeaders),
		responseHeaders: semconv.ResponseHeaders(o.ResponseHeaders),
	}
}

// Unwrap returns what New was given.
func (t *Transport) Unwrap() http.RoundTripper { return t.base }

// CloseIdleConnections calls the method of that name of the base, if it has
// one. [http.Client.CloseIdleConnections] looks for it.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper]. The base gets a copy of r with the
// headers of the tracer's [dendro.Propagator], traceparent, tracestate and baggage
// unless it has another one, in place of those that r has; r is left as it is.
// Response and error are those of the base; with HTTP/2 the response is a copy.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.options.Filter != nil && !t.options.Filter(r) {
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

// exchange is all that one traced request needs, in one allocation, but for the
// body of the response. It is the context of the request that the base gets.
type exchange struct {
	context.Context              // that knows span
	request         http.Request // as the base gets it
	span            *dendro.Span
	phases          atomic.Pointer[phases] // nil: nobody has asked
	received        atomic.Int64           // bytes of the body of the response
	decoded         bool                   // by the base: received is not what was sent
	secure          bool                   // https
}

// Value has the hooks of httptrace, made for the first who asks.
func (x *exchange) Value(key any) any {
	if key == traceKey || key == dialKey {
		return x.hooks().value(key)
	}
	return x.Context.Value(key)
}

// String keeps fmt from reading what is being written.
func (x *exchange) String() string { return fmt.Sprint(x.Context) }

func (x *exchange) hooks() *phases {
	p := x.phases.Load()
	if p == nil {
		x.phases.CompareAndSwap(nil, newPhases(x.Context, x.secure))
		p = x.phases.Load()
	}
	return p
}

// end ends the span; err, if not nil, is why.
func (x *exchange) end(err error) {
	if err != nil {
		x.describeError(err)
	}
	x.span.End()
}

// endBody is end with the size of the body that was received.
func (x *exchange) endBody(err error) {
	if !x.decoded {
		x.span.SetAttributes(slog.Int64(semconv.HTTPResponseBodySize, x.received.Load()))
	}
	x.end(err)
}

// forgotten ends the span of a response whose body nobody has ended.
func (x *exchange) forgotten() {
	x.span.SetAttributes(slog.String(semconv.ErrorType, "body_not_closed"))
	x.span.SetStatus(dendro.StatusError, "response body was neither read to its end nor closed")
	x.endBody(nil)
}

// trace is RoundTrip below span.
func (t *Transport) trace(ctx context.Context, span *dendro.Span, r *http.Request, method string) (*http.Response, error) {
	x := &exchange{Context: ctx, span: span, secure: r.URL != nil && r.URL.Scheme == "https"}
	x.request = *r.WithContext(x)
	t.inject(ctx, &x.request)
	describeRequest(span, r, method)
	if len(t.requestHeaders) > 0 {
		span.SetAttributes(t.requestHeaders.Append(nil, x.request.Header)...)
	}
	resends := t.redirects.link(span, r)
	var resp *http.Response
	returned := false
	defer func() {
		if !returned { // a panic, which goes on, or runtime.Goexit
			span.SetAttributes(slog.String(semconv.ErrorType, "panic"))
			span.SetStatus(dendro.StatusError, "panic in RoundTrip")
			span.End()
			if resp != nil && resp.Body != nil { // of a hook
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

// bodyless reports whether nobody has to read or close the body of resp.
func bodyless(r *http.Request, resp *http.Response) bool {
	return resp.Body == nil || resp.Body == http.NoBody || r.Method == http.MethodHead ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// inject gives r, a copy, headers of its own that name the span in ctx, if its host
// is to know. Without headers it is left to the base to refuse it. Values are not
// copied: no RoundTripper may change them or add to them. Without this package one that
// does would change the header of the caller itself.
func (t *Transport) inject(ctx context.Context, r *http.Request) {
	if r.Header == nil {
		return
	}
	r.Header = maps.Clone(r.Header)
	if t.propagateTo.has(r.URL) {
		dendro.Inject(ctx, r.Header)
	}
}

// giveBack shows the caller its own request in the response, not inner, nor the
// shallow copy of it that net/http answers with on a used HTTP/2 connection.
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
