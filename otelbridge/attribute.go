package otelbridge

import (
	"log/slog"

	"go.opentelemetry.io/otel/attribute"

	"github.com/dendrotrace/dendro"
)

// inline is the number of attributes for which a call has memory on its stack.
const inline = 16

// appendAttributes appends attributes to attrs. Those without a key are left out.
func appendAttributes(attrs []slog.Attr, attributes []attribute.KeyValue) []slog.Attr {
	for i := range attributes {
		if a := &attributes[i]; a.Key != "" {
			attrs = append(attrs, slog.Attr{Key: string(a.Key), Value: valueOf(a.Value)})
		}
	}
	return attrs
}

// maxDepth bounds how deep values are nested. OTLP and the stores have a bound, too.
const maxDepth = 64

// valueOf returns a value as [dendro.SpanData] has it. What is nested too deep is "…".
func valueOf(v attribute.Value) slog.Value { return valueAt(v, 0) }

func valueAt(v attribute.Value, depth int) slog.Value {
	switch v.Type() {
	case attribute.BOOL:
		return slog.BoolValue(v.AsBool())
	case attribute.INT64:
		return slog.Int64Value(v.AsInt64())
	case attribute.FLOAT64:
		return slog.Float64Value(v.AsFloat64())
	case attribute.STRING:
		return slog.StringValue(v.AsString())
	}
	return nestedValue(v, depth+1)
}

// nestedValue is valueAt for values that have values in them. It is a function of its own because
// what it calls is on the heap, and attributes should not be.
func nestedValue(v attribute.Value, depth int) slog.Value {
	switch v.Type() {
	case attribute.MAP, attribute.SLICE:
		if depth > maxDepth {
			return slog.StringValue("…")
		}
	}
	switch v.Type() {
	case attribute.MAP:
		var members dendro.KeyValues
		for _, a := range v.AsMap() {
			members = append(members, slog.Attr{Key: string(a.Key), Value: valueAt(a.Value, depth)})
		}
		return slog.AnyValue(members)
	case attribute.SLICE:
		var elements []slog.Value
		for _, element := range v.AsSlice() {
			elements = append(elements, valueAt(element, depth))
		}
		return slog.AnyValue(elements)
	}
	return slog.AnyValue(v.AsInterface()) // a slice of one type, or nil
}
