// Package otelbridge joins package dendro and the API of OpenTelemetry.
//
// Libraries that are instrumented with OpenTelemetry, such as otelgrpc, redisotel or
// otelaws, make spans of a [dendro.Tracer]:
//
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store})
//	otelbridge.Install(tracer)
//
// Both APIs then share the contexts: a span that one of them starts is below the span that the
// other has started, [trace.SpanFromContext] and [dendro.SpanFromContext] return the same span,
// and there is one baggage.
//
// A program that has OpenTelemetry's SDK shows its spans on dendro's page by an exporter:
//
//	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(otelbridge.NewExporter(store)))
//
// # Spans that are made twice
//
// If a request, call or statement is traced by both a package of this module and one of [otelhttp], otelhttptrace,
// otelchi, otelsql and otelpgx, with the same tracer and no span in between, the outer one of them makes the span. The
// inner one makes none, and spans below it are below that of the outer one. For an inner server, the
// propagator must be that of this package.
//
// [otelhttp]: https://pkg.go.dev/go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp
package otelbridge
