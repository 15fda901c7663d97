package otelbridge_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
)

// A span takes one allocation for itself and its context, as a dendro span does, and one for
// OpenTelemetry's interface. trace.WithAttributes takes one for each call that it is given to.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	tracer := dendro.New(dendro.Options{Collector: collect(func(*dendro.Batch) error { return nil })})
	api := otelbridge.NewTracerProvider(tracer).Tracer("lib")
	attributes := []attribute.KeyValue{attribute.String("a", "b"), attribute.Int("c", 1), attribute.Bool("d", true)}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...)}
	event := []trace.EventOption{trace.WithAttributes(attributes...)}
	ctx, root := tracer.Start(t.Context(), "root")
	defer root.End()
	for what, c := range map[string]struct {
		most float64
		do   func()
	}{
		"span": {2, func() {
			_, s := api.Start(ctx, "child")
			s.End()
		}},
		"span with attributes": {4, func() {
			_, s := api.Start(context.Background(), "root", options...) // whose memory is used again
			s.SetAttributes(attributes...)
			s.AddEvent("event", event...)
			s.SetName("renamed")
			s.End()
		}},
		"current span, of dendro": {1, func() { trace.SpanFromContext(ctx).SetAttributes(attributes...) }},
		"dendro span":             {1, func() { _, s := dendro.Start(ctx, "child"); s.End() }},
		"tracer":                  {0, func() { otelbridge.NewTracerProvider(tracer).Tracer("lib") }},
		"no span":                 {0, func() { dendro.SpanFromContext(context.Background()) }},
	} {
		if got := testing.AllocsPerRun(200, c.do); got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", what, got, c.most)
		}
	}
}
