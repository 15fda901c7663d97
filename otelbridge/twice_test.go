package otelbridge_test

import (
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	otelpropagation "go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
)

// own starts a span as a wrapper of this module does.
func own(t *testing.T, tracer *dendro.Tracer, kind dendro.Kind, work bridge.Work) (*dendro.Span, otelpropagation.MapCarrier) {
	t.Helper()
	p := otelbridge.NewPropagator(nil)
	sc := dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{2}, Flags: dendro.FlagSampled}
	_, s := tracer.StartWith(t.Context(), "ours", dendro.StartOptions{Parent: sc, Kind: kind})
	bridge.Mark(s, work)
	headers := otelpropagation.MapCarrier{}
	p.Inject(trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	})), headers)
	return s, headers
}

// A library that finds the parent of our span in the headers of the same request makes no second
// span, and the handler writes ours.
func TestServerSpanOfTheSameRequest(t *testing.T) {
	tracer, r, _ := newTracer()
	library := otelbridge.NewTracerProvider(tracer).Tracer("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
	p := otelbridge.NewPropagator(nil)
	ours, headers := own(t, tracer, dendro.KindServer, bridge.HTTPServer)

	ctx := p.Extract(dendro.ContextWithSpan(t.Context(), ours), headers)
	ctx, s := library.Start(ctx, "theirs", trace.WithSpanKind(trace.SpanKindServer))
	testkit.Equal(t, "the span of a handler", dendro.SpanFromContext(ctx), ours)
	trace.SpanFromContext(ctx).SetAttributes(attribute.Bool("written", true))
	s.SetAttributes(attribute.Bool("written twice", true))
	s.End()
	testkit.Equal(t, "ours is open", ours.IsRecording(), true)

	headers["traceparent"] = "00-01000000000000000000000000000000-0300000000000000-01"
	ctx = p.Extract(dendro.ContextWithSpan(t.Context(), ours), headers)
	_, s = library.Start(ctx, "of another request", trace.WithSpanKind(trace.SpanKindServer))
	s.End()
	ours.End()
	testkit.Equal(t, "written", r.find(t, "ours").Attributes, []slog.Attr{slog.Bool("written", true)})
	testkit.Equal(t, "parent", r.find(t, "of another request").ParentID, dendro.SpanID{3})
	testkit.Equal(t, "spans", len(r.spans), 2)
}

// A library that takes the span from the context, as otelpgx does, does not end ours.
func TestLibraryEndsSpanOfContext(t *testing.T) {
	tracer, r, _ := newTracer()
	provider := otelbridge.NewTracerProvider(tracer)
	ours, _ := own(t, tracer, dendro.KindClient, bridge.Database)
	ctx, _ := provider.Tracer("github.com/exaring/otelpgx").Start(dendro.ContextWithSpan(t.Context(), ours), "theirs", trace.WithSpanKind(trace.SpanKindClient))
	testkit.Equal(t, "dendro's span", dendro.SpanFromContext(ctx), ours)
	theirs := trace.SpanFromContext(ctx)
	testkit.Equal(t, "ids", theirs.SpanContext().SpanID(), trace.SpanID(ours.Context().SpanID))
	testkit.Equal(t, "provider", theirs.TracerProvider(), provider)
	theirs.SetAttributes(attribute.Bool("written", true))
	theirs.End()
	testkit.Equal(t, "ours is open", ours.IsRecording(), true)
	_, child := provider.Tracer("other").Start(ctx, "child")
	child.End()
	ours.End()
	testkit.Equal(t, "parent", r.find(t, "child").ParentID, ours.Context().SpanID)
	testkit.Equal(t, "attributes", len(r.find(t, "ours").Attributes), 0)
}
