package dendro

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/dendrotrace/dendro/internal/bridge"
)

// spanKey is the context key of the current span. The value is a *Span, a
// *detachedFrom or an untraced.
type spanKey struct{}

// current returns the value of spanKey in ctx, or the SpanContext of a span that another
// API has put into ctx below that, or nil.
func current(ctx context.Context) any {
	switch n := ctx.(type) { // nothing is below it
	case *node:
		return &n.span
	case *rootNode:
		return &n.span
	}
	if api := bridge.Registered(); api != nil {
		return api.Current(ctx.Value(api.SpanKey)) // all contexts with a spanKey have that, too
	}
	return ctx.Value(spanKey{})
}

func init() {
	bridge.Read = func(span any, f func(data any)) {
		if s := span.(*Span); s.IsRecording() {
			if slot := s.edit(); slot != nil {
				defer s.unlock()
				f(&slot.data)
			}
		}
	}
}

// valueOf returns what a context with value for spanKey has for key, if that is its own.
func valueOf(key, value any) (_ any, own bool) {
	if _, ok := key.(spanKey); ok {
		return value, true
	}
	if api := bridge.Registered(); api != nil && key == api.SpanKey {
		return api.Span(value), true
	}
	return nil, false
}

// node is a context and its span, in one allocation.
type node struct {
	context.Context
	span Span
}

func (n *node) Value(key any) any {
	if v, own := valueOf(key, &n.span); own {
		return v
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

// withSpan is a context with a value for spanKey.
type withSpan struct {
	context.Context
	value any
}

func (w *withSpan) Value(key any) any {
	if v, own := valueOf(key, w.value); own {
		return v
	}
	return w.Context.Value(key)
}

// String keeps package fmt from reading a span that is being written.
func (w *withSpan) String() string { return fmt.Sprintf("dendro.WithSpan(%T)", w.value) }

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
	s, _ := current(ctx).(*Span)
	return s
}

// ContextWithSpan returns a context in which s is the current span. It is for code
// that has a span but not its context; [Start] returns such a context itself.
func ContextWithSpan(ctx context.Context, s *Span) context.Context {
	return &withSpan{ctx, s}
}

// Detach returns a context for work that outlives the request of ctx. It keeps the
// values, including baggage, but not the cancellation and deadline. Spans started with
// it do not belong to the trace of the request: each begins a new trace, with a link
// to the span in ctx.
func Detach(ctx context.Context) context.Context {
	out := context.WithoutCancel(ctx)
	if s := SpanFromContext(ctx); s != nil {
		return &withSpan{out, &detachedFrom{s.common.tracer, s.Context()}}
	}
	return out
}

// Untraced returns a context for work that must not be traced, such as the delivery of
// spans. No [Tracer] starts a span with it.
func Untraced(ctx context.Context) context.Context {
	return &withSpan{ctx, untraced{}}
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
