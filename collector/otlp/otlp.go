// Package otlp encodes and decodes spans in the OpenTelemetry protocol, as
// protobuf and as JSON (opentelemetry-proto 1.x, trace/v1 and
// collector/trace/v1).
//
// The encoders append to a buffer of the caller and cannot fail. The decoders
// read both encodings with the same code: a field has a number in one and a
// name in the other, see schema.go. Their errors name the field in the words of
// the JSON encoding, such as
//
//	resourceSpans[0].scopeSpans[0].spans[3].spanId: want 8 bytes, got 5
//
// What the two models of a span do not share:
//
//   - Remote is in the bits 8 and 9 of Span.flags, the trace flags are in the
//     lower 8, as the protocol defines it.
//   - The Duration of an event is its attribute dendro.event.duration_ns.
//   - A kvlist attribute becomes its members with dotted keys, as a group does,
//     also within an array: a[0].b is "a.0.b".
//   - An array of strings, integers, doubles or bools becomes a typed slice,
//     every other one, the empty too, a []slog.Value.
//   - Text that is not UTF-8, which protobuf receivers refuse, has U+FFFD in
//     place of the wrong bytes, in both directions.
//   - A kind or a status code that the protocol may add later is read as
//     internal or unset, a tracestate that breaks W3C Trace Context as none.
//   - An attribute without a key, and an event or a link that says nothing,
//     count as dropped.
//   - The dropped_attributes_count of resources and scopes, and what the
//     protocol may add later, is skipped.
//
// Functions may be called by several goroutines at once.
package otlp
