// Package middleware traces the server side of net/http. It knows the routes of
// chi and of [http.ServeMux].
//
// A traced request is one span of kind server, below the span of the caller
// that W3C traceparent names. Handlers find it in the context of the request,
// and the baggage of the caller too. Its name is the method and the route
// pattern, "GET /orders/{id}", or the method alone for a request that no route
// matched; its attributes follow the stable HTTP conventions of OpenTelemetry.
// Values of query parameters are redacted.
//
// Handlers see no other difference: the http.ResponseWriter has the optional
// interfaces of the one it wraps and no other, panics go on, and the forms and
// the pattern that they set on their request are there for the handlers outside.
// One thing no wrapper can keep: [http.MaxBytesReader] does not recognise a
// wrapped writer, and so does not close the connection when a body is too large.
package middleware

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures [New]. The zero value works.
type Options struct {
	// Tracer makes the spans. Default: that of the span in the context of the
	// request, else [dendro.Default] at the time of the request; without
	// either, requests are not traced.
	Tracer *dendro.Tracer
	// Filter returns false for requests that are not to be traced: they reach
	// the next handler as they are. It is called by many goroutines at once.
	// Default: all requests are traced.
	Filter func(*http.Request) bool
}

// New returns a middleware that traces requests.
//
// The route is known when the middleware is in a chi router (Use, With, Group),
// directly around a [chi.Mux], directly around an [http.ServeMux], or around a
// handler within them. With handlers of others between it and the router it is
// known unless they copy the request.
//
// Mounted twice it makes two spans, the inner below the outer.
func New(o Options) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		mux, _ := next.(*chi.Mux)
		return &handler{Options: o, next: next, mux: mux}
	}
}

// Trace is [New] with the default options.
func Trace(next http.Handler) http.Handler { return New(Options{})(next) }

type handler struct {
	Options
	next http.Handler
	mux  *chi.Mux // next, if it is one
	// seen is the last type of response writer: a server has one or two.
	seen atomic.Pointer[writerType]
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	above := dendro.SpanFromContext(r.Context())
	switch {
	case h.Tracer == nil && above == nil && dendro.Default() == nil,
		h.Filter != nil && !h.Filter(r):
		h.next.ServeHTTP(w, r)
		return
	}
	shareTrailer(r)
	method, name := semconv.HTTPMethod(r.Method)
	ctx, span := h.start(r, above, name)
	if !span.IsRecording() {
		inner := r.WithContext(ctx)
		defer giveBack(r, inner)
		h.next.ServeHTTP(w, inner)
		return
	}
	x := newExchange(ctx, span, w, r, h.mux)
	x.describeRequest(method)
	defer x.finish(name)
	h.next.ServeHTTP(x.writer.with(h.interfaces(w)), &x.request)
	x.returned = true
}

// writerType is the optional interfaces of a type of response writer.
type writerType struct {
	of  reflect.Type
	has uint8
}

// interfaces is optionalInterfaces.
func (h *handler) interfaces(w http.ResponseWriter) uint8 {
	of := reflect.TypeOf(w)
	t := h.seen.Load()
	if t == nil || t.of != of {
		t = &writerType{of, optionalInterfaces(w)}
		h.seen.Store(t)
	}
	return t.has
}

// start begins the span of r. above is the span that is in its context.
func (h *handler) start(r *http.Request, above *dendro.Span, name string) (context.Context, *dendro.Span) {
	ctx := r.Context()
	o := dendro.StartOptions{Tracer: h.Tracer, Kind: dendro.KindServer}
	if above == nil {
		var baggage dendro.Baggage
		o.Parent, baggage = dendro.Extract(r.Header)
		if baggage.Len() > 0 {
			ctx = dendro.ContextWithBaggage(ctx, baggage)
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

// giveBack copies to r what handlers inside have set on inner, a copy of r, and
// what the server or handlers outside look for: net/http removes the temporary
// files of a form that it can see.
func giveBack(r, inner *http.Request) {
	if inner.Pattern != r.Pattern {
		r.Pattern = inner.Pattern
	}
	if r.Form == nil && inner.Form != nil {
		r.Form = inner.Form
	}
	if r.PostForm == nil && inner.PostForm != nil {
		r.PostForm = inner.PostForm
	}
	if r.MultipartForm == nil && inner.MultipartForm != nil {
		r.MultipartForm = inner.MultipartForm
	}
}
