// Package middleware traces the server side of net/http. It knows the routes of
// chi and of [http.ServeMux].
//
// A traced request is one span of kind server, below the span of the caller
// that the headers name, see [dendro.Propagator]. Handlers find it in the context
// of the request, and the baggage of the caller too. Its name is the method and the
// route pattern, "GET /orders/{id}", or the method alone for a request that no route
// matched; its attributes follow the stable HTTP conventions of OpenTelemetry.
// Values of query parameters are redacted.
//
// The span says how the request ended. A panic is an error with its value and
// stack, and status 500 if no other was sent; for one that a middleware inside recovers
// from, see [Recoverer]. A handler that gives up on the
// connection, by a panic with [http.ErrAbortHandler], has error.type "aborted". If
// the context of the request was canceled before the response was complete, which
// net/http does when the client has gone, error.type is "client_disconnected", and
// the span has no error: so it is, too, when the server's BaseContext is canceled.
//
// A response that takes long is visible while it is open: after five seconds, and
// then at growing intervals up to a minute, a span below that of the request
// says what has been sent so far. It is named as the other, with " (open)" at the
// end.
//
// A handler may hijack the connection, for a WebSocket say. Its span has
// dendro.http.hijacked, and ends when the connection is closed.
//
// Handlers see no other difference: the http.ResponseWriter has the optional
// interfaces of the one it wraps and no other, panics go on, and what they assign on
// their request is there for the handlers outside.
// One thing no wrapper can keep whole: [http.MaxBytesReader] does not recognise a
// wrapped writer. When a body is too large the connection is closed all the same,
// unless the reader was put on a copy of the request, as by [http.MaxBytesHandler],
// or the header had gone before.
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
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures [New]. The zero value works. Its functions are called by many
// goroutines at once, on the path of the request; their panics are those of the
// handler.
type Options struct {
	// Tracer makes the spans. Default: that of the span in the context of the
	// request, else [dendro.Default] at the time of the request; without
	// either, requests are not traced.
	Tracer *dendro.Tracer
	// Filter returns false for requests that are not to be traced: they reach
	// the next handler as they are. Default: all requests are traced.
	Filter func(*http.Request) bool
	// PublicEndpoint returns true for requests of callers that are not trusted:
	// the span does not belong to their trace but begins one of its own, with a
	// link to theirs, and their baggage is ignored: a reverse proxy whose
	// transport is traced does not pass it on, if the tracer's propagator has
	// baggage. It is not asked below a span that the context has already, of
	// this middleware further out for example. Default: all are trusted.
	PublicEndpoint func(*http.Request) bool
	// TrustedProxies are the addresses of proxies whose X-Forwarded-For or
	// Forwarded (RFC 7239) tells the address of the client, and
	// X-Forwarded-Proto the scheme. If a request has both and they disagree,
	// one of them is the client's, and neither counts. A proxy has to set
	// X-Forwarded-Proto itself, else the client may. Default: none;
	// client.address is the peer of the connection, unless a handler outside
	// has changed RemoteAddr.
	TrustedProxies []netip.Prefix
	// RequestHeaders and ResponseHeaders name headers to record, as attributes
	// http.request.header.<name> and http.response.header.<name>. Of those
	// that carry credentials only the scheme or the names of cookies are kept.
	RequestHeaders, ResponseHeaders []string
	// TraceResponse adds the header traceresponse of W3C Trace Context level 2
	// to responses: the ids of the span, in the form of a traceparent.
	TraceResponse bool
	// ServerTiming adds the same to the header Server-Timing, as metric
	// "traceparent", where scripts of a page can read it.
	ServerTiming bool
	// IsError tells which response status makes the span an error. Default:
	// 500 and above.
	IsError func(status int) bool
	// SpanName returns the name of the span, when the handler has returned; ""
	// leaves the name as it is.
	SpanName func(Result) string
	// Attributes returns more attributes, when the handler has returned.
	Attributes func(Result) []slog.Attr
	// Keep returns false for requests that nobody wants to see, now that route
	// and outcome are known: the spans that this process has made for them are
	// given up, as by [dendro.Span.Discard].
	Keep func(Result) bool
}

// Result is what is known of a request when its handler has returned.
type Result struct {
	// Request is that of the handler. It must not be kept.
	Request *http.Request
	// Route is the pattern that matched, "" if none did or it is not known.
	Route string
	// Status is that of the response, 0 if none was sent.
	Status int
	// ErrorType is error.type of the span, "" if all is well.
	ErrorType string
	// Duration is how long the handler took.
	Duration time.Duration
}

// New returns a middleware that traces requests.
//
// The route is known when the middleware is in a chi router (Use, With, Group),
// directly around a [chi.Mux], directly around an [http.ServeMux], or around a
// handler within them. With handlers of others between it and the router it is
// known unless they copy the request: see [Route].
//
// Mounted twice for one request, the inner one does nothing but to tell the outer one
// the route, unless its Tracer is another one.
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

	// seen is the last type of response writer: a server has one or two.
	seen atomic.Pointer[writerType]
}

// hooked reports whether something wants to know the [Result].
func (h *handler) hooked() bool { return h.SpanName != nil || h.Attributes != nil || h.Keep != nil }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	above := dendro.SpanFromContext(r.Context())
	switch {
	case h.Tracer == nil && above == nil && dendro.Default() == nil,
		h.Filter != nil && !h.Filter(r):
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
	ctx, span := h.start(r, above, name)
	h.answer(w.Header, span)
	if !span.IsRecording() {
		inner := r.WithContext(ctx)
		defer giveBack(r, inner)
		h.next.ServeHTTP(w, inner)
		return
	}
	var began time.Time
	if h.hooked() {
		began = monotonic.Now()
	}
	x := h.newExchange(ctx, span, w, r)
	x.describeRequest(method)
	if !x.serve(x.writer.with(h.typeOf(w).has), name, began) {
		panic(nil) // as the handler did
	}
}

// answer tells the client which span is its request.
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

// typeOf returns the type of w.
func (h *handler) typeOf(w http.ResponseWriter) *writerType {
	t := h.seen.Load()
	if t == nil || t.of != reflect.TypeOf(w) {
		t = newWriterType(w)
		h.seen.Store(t)
	}
	return t
}

// start begins the span of r. above is the span that is in its context.
func (h *handler) start(r *http.Request, above *dendro.Span, name string) (context.Context, *dendro.Span) {
	ctx := r.Context()
	o := dendro.StartOptions{Tracer: h.Tracer, Kind: dendro.KindServer}
	if above != nil {
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
		if dendro.BaggageFromContext(ctx).Len() == 0 { // else a handler outside has set it
			ctx = dendro.ContextWithBaggage(ctx, dendro.Baggage{})
		}
		if caller.IsValid() {
			o.Links = []dendro.Link{{SpanContext: caller}}
		}
	}
	return dendro.StartWith(ctx, name, o)
}

// shareTrailer gives r and its copies one map of trailers. net/http adds those
// that the client did not announce to the request that it made, at the end of
// the body.
func shareTrailer(r *http.Request) {
	if r.Trailer == nil && r.ContentLength < 0 && r.ProtoMajor == 1 {
		r.Trailer = http.Header{}
	}
}

// giveBack copies to r what handlers inside have assigned on inner, a copy of r: for
// the handlers outside, and for the server, which removes the temporary files of a
// form that it can see. What is as it was it does not touch.
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

// formsOf returns what r has parsed by now. A goroutine that the handler left behind
// may do that at any time: nobody would read its result without the middleware, so
// it is no race of the program. Each field is one word, which is nil or not.
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

// sameMap reports whether a and b are one map. Go does not compare maps, but a map is a
// pointer; package reflect, which says so as well, takes longer than all of giveBack.
func sameMap[M ~map[string][]string](a, b M) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}
