// Package otlp encodes and decodes spans in the OpenTelemetry protocol, in protobuf
// and in JSON (opentelemetry-proto 1.x, trace/v1 and collector/trace/v1).
//
// The encoders append to a buffer of the caller and cannot fail. The decoders read
// both encodings with the same code: a field has a number in protobuf and a name in
// JSON, see schema.go. Their errors name the field as in the JSON encoding, for
// example
//
//	resourceSpans[0].scopeSpans[0].spans[3].spanId: want 8 bytes, got 5
//
// The protocol and [dendro.SpanData] differ in some points:
//
//   - Whether a parent or a linked span is remote is encoded in bits 8 and 9 of the
//     flags, and the trace flags in the lower 8 bits, as the protocol defines. The other
//     bits are reserved. They are ignored.
//   - The Duration of an event is its attribute dendro.event.duration_ns.
//   - A kvlist becomes a [dendro.KeyValues].
//   - An array of strings, integers, doubles or bools becomes a typed slice. Any
//     other array, including an empty one, becomes a []slog.Value.
//   - Invalid UTF-8, which protobuf receivers refuse, is replaced by U+FFFD in both
//     directions.
//   - An unknown kind or status code, which the protocol may add later, is read as
//     unspecified or unset. An invalid tracestate is ignored.
//   - Attributes without a key, and empty events and links, count as dropped.
//   - Unknown fields are ignored.
//
// All functions are safe for concurrent use.
package otlp
