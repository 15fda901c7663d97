// Package otlp encodes and decodes spans in the OpenTelemetry protocol, as
// protobuf and as JSON (opentelemetry-proto 1.x, trace/v1 and
// collector/trace/v1).
package otlp
