package dendro

import (
	"context"
	"log/slog"
)

// spanKey is the context key of the current span. Its value is a *Span, a
// *detachedFrom or an untraced.
type spanKey struct{}

// node is a context that knows a span: both are one allocation.
type node struct {
	context.Context
	span Span
}

func (n *node) Value(key any) any {
	if _, ok := key.(spanKey); ok {
		return &n.span
	}
	return n.Context.Value(key)
}

// String keeps fmt from reading a span that is being written.
func (n *node) String() string { return "dendro.Span(" + n.span.Context().Traceparent() + ")" }

// rootNode is the node of the first span of a local trace.
type rootNode struct {
	node
	common common
}

// detachedFrom hides the span of a request from the work that outlives it, and
// remembers it for a link.
type detachedFrom struct {
	tracer *Tracer
	sc     SpanContext
}

// untraced hides every tracer from what is done with a context.
type untraced struct{}

// SpanFromContext returns the span in ctx, nil if there is none. All methods of
// a nil *Span do nothing.
func SpanFromContext(ctx context.Context) *Span {
	s, _ := ctx.Value(spanKey{}).(*Span)
	return s
}

// ContextWithSpan returns a context in which s is the current span. [Start]
// does that by itself; it is for code that holds a span but not its context.
func ContextWithSpan(ctx context.Context, s *Span) context.Context {
	return context.WithValue(ctx, spanKey{}, s)
}

// Detach returns a context for work that outlives the request of ctx: it keeps
// the values, baggage included, but not the cancellation and deadline. Spans
// started with it do not belong to the request's trace: each starts a trace of
// its own, with a link to the span in ctx.
func Detach(ctx context.Context) context.Context {
	out := context.WithoutCancel(ctx)
	if s := SpanFromContext(ctx); s != nil {
		return context.WithValue(out, spanKey{}, &detachedFrom{s.common.tracer, s.Context()})
	}
	return out
}

// Untraced returns a context for work that is not to be traced, the delivery of
// spans for example: no [Tracer] starts a span with it.
func Untraced(ctx context.Context) context.Context {
	return context.WithValue(ctx, spanKey{}, untraced{})
}

// Start begins a span below the one in ctx and returns a context that knows it.
// The caller must call [Span.End]. Without a span in ctx the default tracer
// begins a new trace; without a default tracer Start returns ctx and nil.
func Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, *Span) {
	return start(ctx, nil, name, &noOptions, attrs)
}

// StartWith is [Start] with options.
func StartWith(ctx context.Context, name string, o StartOptions, attrs ...slog.Attr) (context.Context, *Span) {
	return start(ctx, o.Tracer, name, &o, attrs)
}
