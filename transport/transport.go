// Package transport traces the client side of net/http.
//
// An HTTP exchange is one span of kind client, below the span in the context of
// the request: it begins with RoundTrip and ends when the response body has
// been read to its end, has failed or is closed. A redirect that
// [net/http.Client] follows is another exchange. The server gets the span and
// the baggage of the context in W3C headers. Attributes follow the stable HTTP
// conventions of OpenTelemetry; of the URL, credentials and the values of query
// parameters are not recorded.
//
// A response body that is neither read to its end nor closed keeps its span
// unfinished, as it keeps its connection: see [dendro.Stats].
package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures [New]. The zero value works.
type Options struct {
	// Tracer makes the spans. Default: that of the span in the context of the
	// request, else [dendro.Default] at the time of the request; without
	// either, requests pass through as they are.
	Tracer *dendro.Tracer
}

// errNoResponse is recorded, the caller gets what the base returned.
var errNoResponse = errors.New("neither response nor error")

var _ http.RoundTripper = (*Transport)(nil)

// Transport is an [http.RoundTripper] that traces another one. Its methods may
// be called by several goroutines at once if those of the other may.
type Transport struct {
	base   http.RoundTripper
	tracer *dendro.Tracer
}

// New returns a Transport around base; nil means [http.DefaultTransport].
func New(base http.RoundTripper, o Options) *Transport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &Transport{base, o.Tracer}
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
// headers traceparent, tracestate and baggage, in place of those that r has; r
// is left as it is. Response and error are those of the base.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	method, name := semconv.HTTPMethod(r.Method)
	ctx, span := dendro.StartWith(r.Context(), name, dendro.StartOptions{Tracer: t.tracer, Kind: dendro.KindClient})
	if span == nil {
		return t.base.RoundTrip(r)
	}
	if !span.IsRecording() {
		inner := r.WithContext(ctx)
		inject(inner)
		resp, err := t.base.RoundTrip(inner)
		giveBack(resp, inner, r)
		return resp, err
	}
	return t.trace(ctx, span, r, method)
}

// exchange is all that one traced request needs, in one allocation.
type exchange struct {
	request http.Request // as the base gets it
	body    body         // of the response
}

// trace is RoundTrip below span.
func (t *Transport) trace(ctx context.Context, span *dendro.Span, r *http.Request, method string) (*http.Response, error) {
	x := &exchange{body: body{span: span, request: r}}
	x.request = *r.WithContext(ctx)
	inject(&x.request)
	describeRequest(span, r, method)
	returned := false
	defer func() {
		if !returned { // a panic, which goes on, or runtime.Goexit
			span.SetAttributes(slog.String(semconv.ErrorType, "panic"))
			span.SetStatus(dendro.StatusError, "panic in RoundTrip")
			span.End()
		}
	}()
	resp, err := t.base.RoundTrip(&x.request)
	returned = true
	giveBack(resp, &x.request, r)
	if resp != nil {
		describeResponse(span, resp)
	}
	switch {
	case err != nil:
		x.body.end(err)
	case resp == nil:
		x.body.end(errNoResponse)
	case bodyless(r, resp):
		x.body.end(nil)
	default:
		x.body.inner = resp.Body
		x.body.upgraded = resp.StatusCode == http.StatusSwitchingProtocols
		resp.Body = x.body.exact()
	}
	return resp, err
}

// bodyless reports whether nobody has to read or close the body of resp.
func bodyless(r *http.Request, resp *http.Response) bool {
	return resp.Body == nil || resp.Body == http.NoBody || r.Method == http.MethodHead ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// inject gives r, a copy, headers of its own that name the span in its context.
// Without headers it is left to the base to refuse it.
func inject(r *http.Request) {
	if r.Header == nil {
		return
	}
	header := maps.Clone(r.Header)
	for name, values := range header {
		if len(values) < cap(values) {
			header[name] = slices.Clip(values) // an append must not reach the original
		}
	}
	dendro.Inject(r.Context(), header)
	r.Header = header
}

// giveBack shows the caller its own request in the response, not inner, nor the
// shallow copy of it that net/http answers with on a used HTTP/2 connection.
func giveBack(resp *http.Response, inner, r *http.Request) {
	if resp != nil && resp.Request != nil && (resp.Request == inner || sameValues(resp.Request.Header, inner.Header)) {
		resp.Request = r
	}
}

// sameValues reports whether the two have the same traceparent in memory.
func sameValues(a, b http.Header) bool {
	x, y := a["Traceparent"], b["Traceparent"]
	return len(x) > 0 && len(y) > 0 && &x[0] == &y[0]
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
