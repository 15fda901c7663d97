package middleware

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Values of error.type for requests that end without an answer.
const (
	// aborted: the handler gave up the connection.
	aborted = "aborted"
	// clientDisconnected: the client did not wait for the response.
	clientDisconnected = "client_disconnected"
)

// exchange is everything that a traced request needs, in one allocation. It is also
// the context that inner handlers get.
type exchange struct {
	context.Context // with the span
	h               *handler
	span            *dendro.Span
	outer           *http.Request // as the middleware got it
	request         http.Request  // as the next handler gets it
	body            body          // the body of request, if it has one
	writer          writer
	route           route
	told            notes
	named           bool // the span began with the name of a route
}

// unwound is the panic value for a handler that neither returned nor panicked with a
// value: it called runtime.Goexit, or panic(nil) with GODEBUG=panicnil=1.
type unwound struct{}

func (h *handler) newExchange(ctx context.Context, span *dendro.Span, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{Context: ctx, h: h, span: span, outer: r}
	x.writer.next, x.writer.x = w, x
	x.route.enter(ctx, h.mux)
	x.request = *r.WithContext(x)
	if r.Body != nil && r.Body != http.NoBody {
		x.body.ReadCloser = r.Body
		x.request.Body = &x.body
	}
	return x
}

// exchangeKey is the context key of an exchange.
type exchangeKey struct{}

// exchangeOf returns the exchange whose request is r or a copy of r, or nil if there
// is none. A request that a handler makes itself, to serve part of a batch for
// example, is a different one, even if it has the same context.
func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil || !sameMap(r.Header, x.request.Header) && !sameTarget(r, x.outer) {
		return nil
	}
	return x
}

// sameTarget reports whether a and b are the same request of a server, going by fields
// that [http.Request.Clone] keeps.
func sameTarget(a, b *http.Request) bool {
	return a.RequestURI != "" && a.RequestURI == b.RequestURI && a.Method == b.Method &&
		a.URL != nil && b.URL != nil && a.URL.Path == b.URL.Path
}

// Value implements [context.Context].
func (x *exchange) Value(key any) any {
	switch {
	case key == any(exchangeKey{}):
		return x
	case key == any(chi.RouteCtxKey):
		if c := x.route.context(x); c != nil {
			return c
		}
	}
	return x.Context.Value(key)
}

// String keeps package fmt from reading fields that are being written.
func (x *exchange) String() string { return fmt.Sprint(x.Context) }

// serve calls the next handler and finishes x. If the handler panics with a value, so
// does serve. If the handler calls panic(nil), serve returns false: a deferred
// function cannot tell that from runtime.Goexit, but after Goexit serve does not
// return.
func (x *exchange) serve(w http.ResponseWriter, name string, began time.Time) (returned bool) {
	defer func() {
		p := recover()
		if p == nil && !returned {
			p = unwound{}
		}
		x.finish(p, name, began)
	}()
	x.h.next.ServeHTTP(w, &x.request)
	return true
}

// describeRequest sets the attributes that are known before the next handler runs,
// which may change the request.
func (x *exchange) describeRequest(method string) {
	r := x.outer
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	peer, port := semconv.SplitHostPort(r.RemoteAddr)
	client := peer
	if len(x.h.TrustedProxies) > 0 {
		client, scheme = x.h.forwarded(r.Header, peer, scheme)
	}
	attrs := append(make([]slog.Attr, 0, 13),
		slog.String(semconv.HTTPRequestMethod, method),
		slog.String(semconv.URLScheme, scheme),
		slog.String(semconv.NetworkProtocolVersion, semconv.HTTPVersion(r.ProtoMajor, r.ProtoMinor)))
	if method == semconv.HTTPMethodOther {
		attrs = append(attrs, slog.String(semconv.HTTPRequestMethodOriginal, r.Method))
	}
	if r.URL != nil { // always true for requests of a server
		attrs = append(attrs, slog.String(semconv.URLPath, r.URL.EscapedPath()))
		if r.URL.RawQuery != "" {
			var buf [256]byte
			query := semconv.AppendRedactedQuery(buf[:0], r.URL.RawQuery)
			attrs = append(attrs, slog.String(semconv.URLQuery, string(query)))
		}
	}
	if host, port := semconv.SplitHostPort(r.Host); host != "" {
		attrs = append(attrs, slog.String(semconv.ServerAddress, host))
		if port != 0 {
			attrs = append(attrs, slog.Int(semconv.ServerPort, port))
		}
	}
	if port != 0 {
		attrs = append(attrs,
			slog.String(semconv.ClientAddress, client),
			slog.String(semconv.NetworkPeerAddress, peer),
			slog.Int(semconv.NetworkPeerPort, port))
	} else if isAddr(client) { // an outer handler has set it from a header, as chi's RealIP does
		attrs = append(attrs, slog.String(semconv.ClientAddress, client))
	}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		attrs = append(attrs, slog.String(semconv.UserAgentOriginal, agent[0]))
	}
	x.span.SetAttributes(attrs...)
	if len(x.h.requestHeaders) > 0 {
		x.span.SetAttributes(x.h.requestHeaders.Append(nil, r.Header)...)
	}
}

// refused reports whether the status is one that a router answers with if no route matches.
func (x *exchange) refused() bool {
	status := x.writer.status.Load()
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed
}

// finish runs when the next handler has returned or panicked with p. name is the name
// of the span without a route. began is when the handler was called; it is zero if
// there is no hook.
func (x *exchange) finish(p any, name string, began time.Time) {
	w := &x.writer
	stream := w.end()
	concluded := false
	defer func() { x.leave(p, concluded, stream) }() // even if a hook panics
	// An outer handler that did not wait for next may have returned already. Then the
	// context has been canceled.
	if w.status.Load() == 0 && x.Err() == nil {
		if p == nil {
			w.begin() // net/http sends the header now
		} else {
			w.limit() // an outer handler may answer
		}
	}
	status, errorType := x.outcome(p)
	attrs := make([]slog.Attr, 0, 6)
	if errorType != "" {
		attrs = append(attrs, slog.String(semconv.ErrorType, errorType))
	}
	if status != 0 {
		attrs = append(attrs, slog.Int(semconv.HTTPResponseStatusCode, status))
	}
	if n := x.requestSize(); n > 0 {
		attrs = append(attrs, slog.Int64(semconv.HTTPRequestBodySize, n))
	}
	if x.outer.Method != http.MethodHead && !w.hijacked.Load() {
		attrs = append(attrs, slog.Int64(semconv.HTTPResponseBodySize, w.bytes.Load()))
	}
	if stream != nil {
		if n := stream.flushes.Load(); n > 0 {
			attrs = append(attrs, slog.Int64(semconv.HTTPResponseFlushes, n))
		}
	}
	pattern := x.route.pattern(x)
	if pattern != "" {
		attrs = append(attrs, slog.String(semconv.HTTPRoute, pattern))
	}
	if pattern != "" || x.named {
		x.span.SetName(nameOf(name, pattern))
	}
	x.span.SetAttributes(attrs...)
	if x.h.hooked() {
		x.conclude(Result{&x.request, pattern, status, errorType, time.Since(began)})
	}
	if p == nil {
		x.route.leave()
	}
	concluded = true
}

// leave ends the span, unless its connection lives on without the handler, and
// repanics with p, the panic of the handler, if there is one. concluded reports
// whether the hooks have returned.
func (x *exchange) leave(p any, concluded bool, stream *stream) {
	if !concluded {
		x.span.SetAttributes(slog.String(semconv.ErrorType, "panic"))
		x.span.SetStatus(dendro.StatusError, "panic in a hook of the middleware")
	}
	if stream == nil || !x.converse(stream) {
		x.span.End()
	}
	if x.route.passedOn() {
		giveBack(x.outer, &x.request)
	}
	if p != nil && p != any(unwound{}) {
		panic(p)
	}
}

// conclude calls the hooks.
func (x *exchange) conclude(result Result) {
	h := x.h
	if h.SpanName != nil {
		if name := h.SpanName(result); name != "" {
			x.span.SetName(name)
		}
	}
	if h.Attributes != nil {
		x.span.SetAttributes(h.Attributes(result)...)
	}
	if h.Keep != nil && !h.Keep(result) {
		x.span.Discard()
	}
}

// outcome returns the status that was sent or will be, 0 for none, and the error.type,
// "" for no error. It sets the status of the span. p is the panic of the handler.
func (x *exchange) outcome(p any) (status int, errorType string) {
	status = int(x.writer.status.Load())
	switch {
	case (p == nil || p == http.ErrAbortHandler || p == any(unwound{})) && x.clientGone(): //nolint:errorlint // as net/http compares
		return status, clientDisconnected
	case p == http.ErrAbortHandler, p == any(unwound{}): //nolint:errorlint // see above
		x.span.SetStatus(dendro.StatusError, aborted)
		return status, aborted
	case p != nil:
		if status == 0 && !x.writer.hijacked.Load() {
			status = http.StatusInternalServerError
		}
		return status, x.recordPanic(p)
	case status == 0 && !x.writer.hijacked.Load():
		status = http.StatusOK // as net/http does
	}
	if x.isError(status) {
		x.span.SetStatus(dendro.StatusError, "")
		errorType = strconv.Itoa(status)
	}
	return status, cmp.Or(x.told.get().panicked, errorType)
}

func (x *exchange) isError(status int) bool {
	if x.h.IsError != nil {
		return x.h.IsError(status)
	}
	return status >= 500
}

// clientGone reports whether the client left before it had the whole response.
// net/http cancels the context of the request then.
func (x *exchange) clientGone() bool {
	if x.Err() != context.Canceled || x.writer.hijacked.Load() { //nolint:errorlint // never wrapped
		return false
	}
	w := &x.writer
	return w.status.Load() == 0 || w.length < 0 || w.bytes.Load() < w.length
}

// requestSize returns the size that the client announced, or what was read if that is
// more.
func (x *exchange) requestSize() int64 { return max(x.outer.ContentLength, x.body.bytes.Load()) }

// recordPanic adds an exception event for p and returns the type of p. It adds none if
// an inner handler has already recorded the same panic.
func (x *exchange) recordPanic(p any) string {
	kind, message := fmt.Sprintf("%T", p), semconv.RedactURLs(fmt.Sprint(p))
	if x.told.get().panicked == kind {
		return kind
	}
	x.told.change(func(n *note) { n.panicked = kind })
	x.span.AddEvent(semconv.ExceptionEvent,
		slog.String(semconv.ExceptionType, kind),
		slog.String(semconv.ExceptionMessage, message),
		slog.String(semconv.ExceptionStacktrace, string(debug.Stack())))
	x.span.SetStatus(dendro.StatusError, "panic: "+message)
	return kind
}
