// Package middleware traces the server side of net/http. It knows the routes of chi
// and of [http.ServeMux].
//
// Each traced request is one span of kind server. Its parent is the span of the
// caller, as the headers of the request name it; see [dendro.Propagator]. Handlers
// find the span in the context of the request, together with the caller's baggage. The
// name of the span is the method and the route pattern, "GET /orders/{id}", or just
// the method if no route matched. It usually has the name from when the handler returns;
// while package diagnostics needs it before, the routers are asked ahead. Its attributes follow OpenTelemetry's stable
// conventions for HTTP. Values of query parameters are redacted.
//
// The span records how the request ended. A panic is recorded as an error, with its
// value and stack, and with status 500 if no other status was sent. [Recoverer] does
// the same for panics that another middleware recovers from. If the handler panics
// with [http.ErrAbortHandler], error.type is "aborted". If the client disconnects
// before the response is complete, error.type is "client_disconnected" and the status
// of the span stays unset. The middleware learns of that from the context of the
// request, so canceling the server's BaseContext has the same effect.
//
// While a response takes long, spans below that of the request show what has been sent
// so far: the first after five seconds, the next ones at intervals that grow to a
// minute. Their name is that of the request with " (open)" appended.
//
// If a handler hijacks the connection, for a WebSocket for example, the span has the
// attribute dendro.http.hijacked and ends when the connection is closed.
//
// Handlers behave as they do without the middleware. The [http.ResponseWriter] they
// get has exactly the optional interfaces of the one it wraps, panics continue to
// outer handlers, and what a handler assigns to fields of its request is visible to
// outer handlers. There is one exception: [http.MaxBytesReader] does not recognize a
// wrapped writer. The middleware closes the connection in its place when a body is too
// large, but it cannot do so if the reader was put on a copy of the request, as
// [http.MaxBytesHandler] does, or if the header was sent before.
package middleware

import (
	"context"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/naming"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures [New]. The zero value is ready to use. Its functions may be
// called by several goroutines at once. They run as part of the request: if one
// panics, the panic is handled like one of the handler.
type Options struct {
	// Tracer makes the spans. If it is nil, the tracer of the span in the context of
	// the request is used, or else [dendro.Default] at the time of the request.
	// Without any of them requests are not traced.
	Tracer *dendro.Tracer
	// Filter reports whether to trace a request. If it returns false, the next handler
	// gets the request unchanged. If Filter is nil, all requests are traced.
	Filter func(*http.Request) bool
	// PublicEndpoint reports whether the caller of a request is not trusted. If so,
	// the span begins a new trace with a link to the caller's span, and the caller's
	// baggage is ignored and not passed on by a traced transport. PublicEndpoint is
	// not called if the context of the request already has a span, for example of the
	// same middleware further out. If it is nil, all callers are trusted.
	PublicEndpoint func(*http.Request) bool
	// TrustedProxies are the addresses of proxies that are trusted to set
	// X-Forwarded-For or Forwarded (RFC 7239), for the address of the client, and
	// X-Forwarded-Proto, for the scheme. If a request has both X-Forwarded-For and
	// Forwarded and they disagree, both are ignored, because one of them may come from
	// the client. A proxy must overwrite X-Forwarded-Proto, or the client can choose
	// it. If there are none, client.address is the peer of the connection, or what an
	// outer handler has assigned to RemoteAddr.
	TrustedProxies []netip.Prefix
	// RequestHeaders and ResponseHeaders name headers to record, as the attributes
	// http.request.header.<name> and http.response.header.<name>. Credentials are
	// redacted: of Authorization only the scheme is kept, of cookies only the names.
	RequestHeaders, ResponseHeaders []string
	// TraceResponse adds the header traceresponse of W3C Trace Context Level 2 to
	// responses. It has the ids of the span in the format of traceparent.
	TraceResponse bool
	// ServerTiming adds the same ids to the header Server-Timing, as the metric
	// "traceparent". Scripts of a web page can read that header.
	ServerTiming bool
	// IsError reports whether a response status makes the span an error. If it is nil,
	// 500 and above do.
	IsError func(status int) bool
	// SpanName returns the name of the span. It is called when the handler has
	// returned. If it returns "", the name stays as it is.
	SpanName func(Result) string
	// Attributes returns additional attributes. It is called when the handler has
	// returned.
	Attributes func(Result) []slog.Attr
	// Keep reports whether to keep the spans of a request. It is called when the
	// handler has returned and route and outcome are known. If it returns false, the
	// spans that this process made for the request are discarded; see
	// [dendro.Span.Discard].
	Keep func(Result) bool
}

// Result describes a request whose handler has returned.
type Result struct {
	// Request is the request that the handler got. It must not be retained.
	Request *http.Request
	// Route is the pattern that matched, or "" if none did or it is not known.
	Route string
	// Status is the status of the response, or 0 if none was sent.
	Status int
	// ErrorType is the attribute error.type of the span, or "" if there is no error.
	ErrorType string
	// Duration is how long the handler ran.
	Duration time.Duration
}

// New returns a middleware that traces requests.
//
// The route is known if the middleware is in a chi router (Use, With, Group), directly
// around a [chi.Mux] or an [http.ServeMux], or around a handler in one of them. If
// other handlers stand between the middleware and the router, the route is known
// unless they copy the request; see [Route].
//
// If the middleware is mounted twice for one request, the inner one makes no span,
// unless it has another Tracer. It only tells the outer one the route.
func New(o Options) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		mux, _ := next.(*chi.Mux)
		serveMux, _ := next.(*http.ServeMux)
		return &handler{
			Options:         o,
			next:            next,
			mux:             mux,
			serveMux:        serveMux,
			firstPart:       firstPart,
			requestHeaders:  semconv.RequestHeaders(o.RequestHeaders),
			responseHeaders: semconv.ResponseHeaders(o.ResponseHeaders),
		}
	}
}

// Trace is [New] with the default options.
func Trace(next http.Handler) http.Handler { return New(Options{})(next) }

type handler struct {
	Options
	next     http.Handler
	mux      *chi.Mux       // next, if it is one
	serveMux *http.ServeMux // next, if it is one

	requestHeaders, responseHeaders semconv.HeaderList
	firstPart                       time.Duration

	// seen is the type of the last response writer. A server has one or two types.
	seen atomic.Pointer[writerType]
}

// hooked reports whether a hook needs the [Result].
func (h *handler) hooked() bool { return h.SpanName != nil || h.Attributes != nil || h.Keep != nil }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	above := dendro.SpanFromContext(r.Context())
	switch {
	case h.Tracer == nil && above == nil && dendro.Default() == nil,
		h.Filter != nil && !h.Filter(r),
		above != nil && bridge.Made(r.Context(), bridge.HTTPServer, h.Tracer):
		h.next.ServeHTTP(w, r)
		return
	}
	if above != nil {
		if x := exchangeOf(r); x != nil && (h.Tracer == nil || h.Tracer == x.span.Tracer()) {
			x.route.follow(x, h.next, w, r) // mounted twice
			return
		}
	}
	shareTrailer(r)
	method, name := semconv.HTTPMethod(r.Method)
	began := name // the name of the span until the route is known
	if naming.IsEarly() {
		began = nameOf(name, h.ahead(r))
	}
	ctx, span := h.start(r, above, began)
	h.answer(w.Header, span)
	if !span.IsRecording() {
		inner := r.WithContext(ctx)
		defer giveBack(r, inner)
		h.next.ServeHTTP(w, inner)
		return
	}
	x := h.newExchange(ctx, span, w, r)
	x.named = began != name
	x.describeRequest(method)
	bridge.Mark(span, bridge.HTTPServer)
	var called time.Time
	if h.hooked() {
		called = monotonic.Now()
	}
	if !x.serve(x.writer.with(h.typeOf(w).has), name, called) {
		panic(nil) // as the handler did
	}
}

// answer adds the ids of span to the response headers, as the options ask.
func (h *handler) answer(header func() http.Header, span *dendro.Span) {
	if !h.TraceResponse && !h.ServerTiming {
		return
	}
	id := span.Context().Traceparent()
	if id == "" {
		return
	}
	if h.TraceResponse {
		header().Set("Traceresponse", id)
	}
	if h.ServerTiming {
		header().Add("Server-Timing", `traceparent;desc="`+id+`"`)
	}
}

// typeOf returns what is known of the type of w.
func (h *handler) typeOf(w http.ResponseWriter) *writerType {
	t := h.seen.Load()
	if t == nil || t.of != reflect.TypeOf(w) {
		t = newWriterType(w)
		h.seen.Store(t)
	}
	return t
}

// start begins the span of r. above is the span in the context of r.
func (h *handler) start(r *http.Request, above *dendro.Span, name string) (context.Context, *dendro.Span) {
	ctx := r.Context()
	o := dendro.StartOptions{Tracer: h.Tracer, Kind: dendro.KindServer}
	if above != nil || bridge.Foreign(ctx) {
		return dendro.StartWith(ctx, name, o)
	}
	tracer := h.Tracer
	if tracer == nil {
		tracer = dendro.Default()
	}
	caller, baggage := tracer.Propagator().Extract(r.Header)
	switch {
	case h.PublicEndpoint == nil || !h.PublicEndpoint(r):
		o.Parent = caller
		if baggage.Len() > 0 {
			ctx = dendro.ContextWithBaggage(ctx, baggage)
		}
	default:
		if dendro.BaggageFromContext(ctx).Len() == 0 { // otherwise an outer handler has set it
			ctx = dendro.ContextWithBaggage(ctx, dendro.Baggage{})
		}
		if caller.IsValid() {
			o.Links = []dendro.Link{{SpanContext: caller}}
		}
	}
	return dendro.StartWith(ctx, name, o)
}

// shareTrailer makes r and its copies share one trailer map. At the end of the body,
// net/http adds trailers that the client did not announce to the request that it made.
func shareTrailer(r *http.Request) {
	if r.Trailer == nil && r.ContentLength < 0 && r.ProtoMajor == 1 {
		r.Trailer = http.Header{}
	}
}

// giveBack copies to r the fields that handlers have assigned on inner, a copy of r.
// Outer handlers expect them there, and so does the server, which removes the
// temporary files of a parsed form. Fields that are equal are not written.
func giveBack(r, inner *http.Request) {
	assign(&r.Method, inner.Method)
	assign(&r.URL, inner.URL)
	assign(&r.Host, inner.Host)
	assign(&r.RemoteAddr, inner.RemoteAddr)
	assign(&r.RequestURI, inner.RequestURI)
	assign(&r.Pattern, inner.Pattern)
	assignMap(&r.Header, inner.Header)
	form, postForm, multipartForm := formsOf(inner)
	assignMap(&r.Form, form)
	assignMap(&r.PostForm, postForm)
	assign(&r.MultipartForm, multipartForm)
}

// formsOf returns the forms that r has parsed so far. A goroutine that the handler
// left behind may be parsing them now. That is not a race of the program, which would
// not read them without the middleware. Each field is a single word, so it is either
// nil or complete.
//
//go:norace
func formsOf(r *http.Request) (form, postForm url.Values, multipartForm *multipart.Form) {
	return r.Form, r.PostForm, r.MultipartForm
}

func assign[T comparable](to *T, value T) {
	if *to != value {
		*to = value
	}
}

// assignMap is assign for maps.
func assignMap[M ~map[string][]string](to *M, value M) {
	if !sameMap(*to, value) {
		*to = value
	}
}

// sameMap reports whether a and b are the same map. Go does not compare maps, but a
// map is a pointer. Comparing with package reflect takes longer than the rest of
// giveBack.
func sameMap[M ~map[string][]string](a, b M) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}
