package otelbridge

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
)

// propagator is a [propagation.TextMapPropagator].
type propagator struct {
	of     dendro.Propagator
	fields []string // in lower case, as OpenTelemetry's propagators write them
}

// NewPropagator returns a propagator for libraries that use OpenTelemetry's. It writes and reads
// the headers of p, such as [dendro.Tracer.Propagator], for both APIs. If p is nil, that is
// [dendro.W3C]. Like p, it may be used by several goroutines at once.
func NewPropagator(p dendro.Propagator) propagation.TextMapPropagator {
	register()
	if p == nil {
		p = dendro.W3C{}
	}
	header := map[string][]string{}
	state, _ := dendro.TraceState{}.Set("k", "v")
	baggage, _ := dendro.Baggage{}.Set("k", "v")
	p.Inject(header, dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}, State: state}, baggage)
	out := propagator{of: p}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		out.fields = append(out.fields, strings.ToLower(name))
	}
	return out
}

// Fields implements [propagation.TextMapPropagator].
func (p propagator) Fields() []string { return slices.Clone(p.fields) }

// Inject implements [propagation.TextMapPropagator].
func (p propagator) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	header := map[string][]string{}
	p.of.Inject(header, contextOf(trace.SpanFromContext(ctx)), dendro.BaggageFromContext(ctx))
	for name, values := range header {
		carrier.Set(strings.ToLower(name), strings.Join(values, ","))
	}
}

// Extract implements [propagation.TextMapPropagator].
func (p propagator) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	header := http.Header{}
	for _, name := range slices.Concat(carrier.Keys(), p.fields) {
		key := http.CanonicalHeaderKey(name)
		if _, known := header[key]; known {
			continue
		}
		if all, ok := carrier.(propagation.ValuesGetter); ok {
			if values := all.Values(name); len(values) > 0 {
				header[key] = values
			}
		} else if value := carrier.Get(name); value != "" {
			header[key] = []string{value}
		}
	}
	sc, baggage := p.of.Extract(header)
	if sc.IsValid() {
		ctx = trace.ContextWithSpan(ctx, unrecorded{sc: sc, remote: true, in: dendro.SpanFromContext(ctx)})
	}
	if baggage.Len() > 0 {
		ctx = dendro.ContextWithBaggage(ctx, baggage)
	}
	return ctx
}
