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
	api := bridge.Registered()
	if api == nil {
		return ctx.Value(spanKey{})
	}
	v := api.Current(ctx.Value(api.SpanKey)) // all contexts with a spanKey have that, too
	if sc, foreign := v.(SpanContext); foreign {
		// What makes no spans may have put the span context of our span there.
		if s, _ := ctx.Value(spanKey{}).(*Span); s != nil && s.id == sc.SpanID && s.common.traceID == sc.TraceID {
			return s
		}
	}
	return v
}

func init() {
	bridge.Read = func(span any, f func(data any, work bridge.Work)) {
		span.(*Span).withSlot(func(s *slot) { f(&s.data, s.work) })
	}
	bridge.SetWork = func(span any, work bridge.Work) {
		span.(*Span).withSlot(func(s *slot) { s.work = work })
	}
	bridge.IsForeign = func(ctx context.Context) bool {
		_, foreign := current(ctx).(SpanContext)
		return foreign
	}
	bridge.Attached = func(tracer any, value func(tracer any) any) any {
		t := tracer.(*Tracer)
		if t.attached.Load() == nil {
			v := value(tracer)
			t.attached.CompareAndSwap(nil, &v)
		}
		return *t.attached.Load()
	}
}

// withSlot calls f with the locked slot of s, unless s is not recorded or has ended.
func (s *Span) withSlot(f func(*slot)) {
	if !s.IsRecording() {
		return
	}
	if slot := s.edit(); slot != nil {
		defer s.unlock()
		f(slot)
	}
}

// node is a context and its span, in one allocation.
type node struct {
	context.Context
	span Span
}

func (n *node) Value(key any) any {
	if _, ok := key.(spanKey); ok {
		return &n.span
	}
	if api := bridge.Registered(); api != nil && key == api.SpanKey {
		return api.Span(&n.span)
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
	if _, ok := key.(spanKey); ok {
		return w.value
	}
	if api := bridge.Registered(); api != nil && key == api.SpanKey {
		return api.Span(w.value)
	}
	return w.Context.Value(key)
}

// String keeps package fmt from reading a span that is being written.
func (w *withSpan) String() string { return fmt.Sprintf("dendro.WithSpan(%T)", w.value) }

// detachedFrom replaces the span of a request for work that outlives it. It remembers
// the span for a link.
type detachedFrom struct {
	tracer *Tracer // nil if the span was of another API
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
	switch v := current(ctx).(type) {
	case *Span:
		if v != nil {
			return &withSpan{out, &detachedFrom{v.common.tracer, v.Context()}}
		}
	case SpanContext:
		return &withSpan{out, &detachedFrom{nil, v}}
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
