// Package dendro records what a request does. Spans travel in [context.Context]
// through net/http middleware, an HTTP client transport and a database/sql driver, and
// end in a collector that runs in the program or on another machine.
//
// # The path of a span
//
//	http.Request → middleware → Span in ctx → (transport, sqldriver: child spans) → Span.End
//	  → local trace → Collector ─┬─ in process: memory.Store ───────────────────┐
//	                             └─ remote: client → OTLP → server → Store ─────┴→ query → API, web page
//
// A program makes a [Tracer] with [New], gives it a [Collector], and makes it the
// default:
//
//	store := memory.New(memory.Options{})
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store})
//	defer tracer.Shutdown(context.Background())
//	dendro.SetDefault(tracer)
//
// The packages middleware, transport and sqldriver make spans for requests, calls and
// queries. [Start] makes any other span:
//
//	ctx, span := dendro.Start(ctx, "charge card", slog.String("order.id", id))
//	defer span.End()
//
// # Spans and contexts
//
// Start returns a context with the new span. Spans that are started with that context
// are below it. A nil *Span is valid and all its methods do nothing, so code needs no
// checks for the case that it is not traced. [Detach] is for work that outlives its
// request.
//
// Attributes are of type [slog.Attr]. An event is a name with attributes and a time.
// [Span.RecordEvent] takes any [slog.LogValuer], for events with a type of their own.
//
// [NewLogHandler] wraps a [slog.Handler] so that log records have the ids of the span
// in their context.
//
// # Local traces
//
// The spans that one request makes in one process form a local trace. It gathers them
// under its own lock, and delivers them to the collector in one [Batch] when its root
// span ends. It delivers the spans that have ended so far when there are 512 of them,
// when a span ends two seconds after the last delivery, and when [Tracer.Flush] is
// called. Spans that end after the root are delivered at once.
//
// # Losses are counted
//
// Recording never blocks, never fails a request, and ignores whether a context is
// canceled. Everything is bounded. [Tracer.Stats] counts the spans that were not
// sampled, were dropped and why, were truncated, have not ended, ended twice, or wait
// for delivery.
//
// # Concurrency
//
// The methods of [Tracer] and [Span] may be called by several goroutines at once.
// Values of the other types are plain data.
//
// # Formats
//
// [Inject] and [Extract] use W3C Trace Context Level 2 and W3C Baggage, unless
// [Options.Propagator] is set. Package propagation has the formats of Zipkin, Datadog
// and Appdash. The environment variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
// OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_PROPAGATORS and OTEL_SDK_DISABLED
// have the meaning that OpenTelemetry defines.
package dendro
