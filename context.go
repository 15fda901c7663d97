package dendro

import (
	"context"
	"log/slog"
)

// spanKey is the context key of the current span. The value is a *Span, a
// *detachedFrom or an untraced.
type spanKey struct{}

// node is a context and its span, in one allocation.
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

// String keeps package fmt from reading a span that is being written.
func (n *node) String() string { return "dendro.Span(" + n.span.Context().Traceparent() + ")" }

// rootNode is the node of the first span of a local trace.
type rootNode struct {
	node
	common common
}

// detachedFrom replaces the span of a request for work that outlives it. It remembers
// the span for a link.
type detachedFrom struct {
	tracer *Tracer
	sc     SpanContext
}

// untraced keeps every tracer from starting spans.
type untraced struct{}

// SpanFromContext returns the span in ctx, or nil if there is none. All methods of a
// nil *Span do nothing.
func SpanFromContext(ctx context.Context) *Span {
	s, _ := ctx.Value(spanKey{}).(*Span)
	return s
}

// ContextWithSpan returns a context in which s is the current span. It is for code
// that has a span but not its context; [Start] returns such a context itself.
func ContextWithSpan(ctx context.Context, s *Span) context.Context {
	return context.WithValue(ctx, spanKey{}, s)
}

// Detach returns a context for work that outlives the request of ctx. It keeps the
// values, including baggage, but not the cancellation and deadline. Spans started with
// it do not belong to the trace of the request: each begins a new trace, with a link
// to the span in ctx.
func Detach(ctx context.Context) context.Context {
	out := context.WithoutCancel(ctx)
	if s := SpanFromContext(ctx); s != nil {
		return context.WithValue(out, spanKey{}, &detachedFrom{s.common.tracer, s.Context()})
	}
	return out
}

// Untraced returns a context for work that must not be traced, such as the delivery of
// spans. No [Tracer] starts a span with it.
func Untraced(ctx context.Context) context.Context {
	return context.WithValue(ctx, spanKey{}, untraced{})
}

// Start starts a span below the one in ctx, and returns a context with the new span.
// The caller must call [Span.End]. If ctx has no span, the default tracer begins a new
// trace. If there is no default tracer either, Start returns ctx and nil.
func Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, *Span) {
	return start(ctx, nil, name, &noOptions, attrs)
}

// StartWith is [Start] with options.
func StartWith(ctx context.Context, name string, o StartOptions, attrs ...slog.Attr) (context.Context, *Span) {
	return start(ctx, o.Tracer, name, &o, attrs)
}
