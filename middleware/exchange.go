package middleware

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// aborted is the error.type of a request whose handler gave up on the
// connection.
const aborted = "aborted"

// exchange is all that one traced request needs, in one allocation.
type exchange struct {
	span    *dendro.Span
	outer   *http.Request // as it came
	request http.Request  // as the next handler gets it
	body    body          // of request, unless its length is known
	writer  writer
	route   route
	// returned says that the next handler did not panic.
	returned bool
}

func newExchange(ctx context.Context, span *dendro.Span, w http.ResponseWriter, r *http.Request, mux *chi.Mux) *exchange {
	x := &exchange{span: span, outer: r, writer: writer{next: w, span: span}}
	ctx = x.route.enter(ctx, mux)
	x.request = *r.WithContext(ctx)
	if r.ContentLength < 0 && r.Body != nil && r.Body != http.NoBody {
		x.body.ReadCloser = r.Body
		x.request.Body = &x.body
	}
	return x
}

// describeRequest sets the attributes that are known before the next handler,
// which may change the request.
func (x *exchange) describeRequest(method string) {
	r := x.outer
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attrs := append(make([]slog.Attr, 0, 13),
		slog.String(semconv.HTTPRequestMethod, method),
		slog.String(semconv.URLScheme, scheme),
		slog.String(semconv.URLPath, r.URL.EscapedPath()),
		slog.String(semconv.NetworkProtocolVersion, semconv.HTTPVersion(r.ProtoMajor, r.ProtoMinor)))
	if method == semconv.HTTPMethodOther {
		attrs = append(attrs, slog.String(semconv.HTTPRequestMethodOriginal, r.Method))
	}
	if r.URL.RawQuery != "" {
		var buf [256]byte
		query := semconv.AppendRedactedQuery(buf[:0], r.URL.RawQuery)
		attrs = append(attrs, slog.String(semconv.URLQuery, string(query)))
	}
	if host, port := semconv.SplitHostPort(r.Host); host != "" {
		attrs = append(attrs, slog.String(semconv.ServerAddress, host))
		if port != 0 {
			attrs = append(attrs, slog.Int(semconv.ServerPort, port))
		}
	}
	if peer, port := semconv.SplitHostPort(r.RemoteAddr); port != 0 {
		attrs = append(attrs,
			slog.String(semconv.ClientAddress, peer),
			slog.String(semconv.NetworkPeerAddress, peer),
			slog.Int(semconv.NetworkPeerPort, port))
	} else if _, err := netip.ParseAddr(peer); err == nil { // a header told a handler outside, as chi's RealIP
		attrs = append(attrs, slog.String(semconv.ClientAddress, peer))
	}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		attrs = append(attrs, slog.String(semconv.UserAgentOriginal, agent[0]))
	}
	x.span.SetAttributes(attrs...)
}

// finish is deferred around the next handler. It ends the span of a request
// whose name without a route is name, and lets a panic go on.
func (x *exchange) finish(name string) {
	p := recover()
	attrs := make([]slog.Attr, 0, 5)
	status := x.writer.status
	switch {
	case p == http.ErrAbortHandler, p == nil && !x.returned: //nolint:errorlint // as net/http compares; the latter is runtime.Goexit
		attrs = append(attrs, slog.String(semconv.ErrorType, aborted))
		x.span.SetStatus(dendro.StatusError, aborted)
	case p != nil:
		attrs = append(attrs, slog.String(semconv.ErrorType, x.recordPanic(p)))
		if status == 0 && !x.writer.hijacked {
			status = http.StatusInternalServerError
		}
	case status == 0 && !x.writer.hijacked:
		status = http.StatusOK // as net/http does
	case status >= 500:
		attrs = append(attrs, slog.String(semconv.ErrorType, strconv.Itoa(status)))
		x.span.SetStatus(dendro.StatusError, "")
	}
	if status != 0 {
		attrs = append(attrs, slog.Int(semconv.HTTPResponseStatusCode, status))
	}
	if n := x.requestSize(); n > 0 {
		attrs = append(attrs, slog.Int64(semconv.HTTPRequestBodySize, n))
	}
	if x.outer.Method != http.MethodHead && !x.writer.hijacked {
		attrs = append(attrs, slog.Int64(semconv.HTTPResponseBodySize, x.writer.bytes))
	}
	if pattern := x.route.pattern(&x.request); pattern != "" {
		attrs = append(attrs, slog.String(semconv.HTTPRoute, pattern))
		x.span.SetName(name + " " + pattern)
	}
	x.span.SetAttributes(attrs...)
	x.span.End()
	giveBack(x.outer, &x.request)
	if p != nil {
		panic(p)
	}
	x.route.leave()
}

// requestSize is what the client announced, or what was read.
func (x *exchange) requestSize() int64 { return max(x.outer.ContentLength, x.body.bytes.Load()) }

// recordPanic adds the exception event and returns the type of p.
func (x *exchange) recordPanic(p any) string {
	kind, message := fmt.Sprintf("%T", p), fmt.Sprint(p)
	x.span.AddEvent(semconv.ExceptionEvent,
		slog.String(semconv.ExceptionType, kind),
		slog.String(semconv.ExceptionMessage, message),
		slog.String(semconv.ExceptionStacktrace, string(debug.Stack())))
	x.span.SetStatus(dendro.StatusError, "panic: "+message)
	return kind
}
