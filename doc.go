// Package dendro traces what a request does: spans that travel in
// [context.Context] through net/http middleware, an HTTP client transport and a
// database/sql driver, and end in a collector that runs in the program or on
// another machine.
//
// # The path of a span
//
//	http.Request → middleware → Span in ctx → (transport, sqldriver: child spans) → Span.End
//	  → local trace → Collector ─┬─ in process: collector.Memory ───────────────┐
//	                             └─ remote: client → OTLP → server → Store ─────┴→ query → API, web page
//
// A program makes one [Tracer] with [New], gives it a [Collector], and makes it
// the default:
//
//	store := collector.NewMemory(collector.MemoryOptions{})
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store})
//	defer tracer.Shutdown(context.Background())
//	dendro.SetDefault(tracer)
//
// The packages middleware, transport and sqldriver make the spans of requests,
// calls and queries. [Start] makes any other:
//
//	ctx, span := dendro.Start(ctx, "charge card", slog.String("order.id", id))
//	defer span.End()
//
// # Spans and contexts
//
// Start returns a context that knows the new span; what is started with that
// context is below it. A nil *Span is valid and all its methods do nothing, so
// that code which is not traced needs no checks. [Detach] is for work that
// outlives its request.
//
// Attributes are [slog.Attr]. An event is a name with attributes and a time;
// [Span.RecordEvent] takes any [slog.LogValuer], for events with a type of
// their own.
//
// [NewLogHandler] wraps a [slog.Handler]: records then name the span in their
// context.
//
// # Local traces
//
// The spans that one request makes in one process are a local trace. They are
// gathered under a lock of their own and handed to the collector in one [Batch]
// when the first of them, the root, ends. A local trace hands over what has ended
// so far when that is 512 spans, when a span ends two seconds after the last
// handing over, and in [Tracer.Flush]. What ends after the root follows by itself.
//
// # Nothing is lost in silence
//
// Recording never blocks, never fails a request and does not care whether a
// context is cancelled. Everything is bounded, and [Tracer.Stats] counts what
// was sampled away, dropped and why, cut, never ended, ended twice, or waits.
//
// # Concurrency
//
// All methods of [Tracer] and [Span] may be called by several goroutines at
// once. Values of the other types are plain data.
//
// # Formats
//
// [Inject] and [Extract] speak W3C Trace Context level 2 and W3C Baggage, unless
// [Options.Propagator] has another format; package propagation has those of Zipkin,
// Datadog and Appdash. The environment variables OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG,
// OTEL_PROPAGATORS and OTEL_SDK_DISABLED mean what they mean to OpenTelemetry.
package dendro
