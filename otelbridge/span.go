package otelbridge

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/dendrotrace/dendro"
)

// span is a [trace.Span]. Two of the same *dendro.Span are equal.
type span struct {
	embedded.Span
	s *dendro.Span // not nil
}

// TracerProvider implements [trace.Span].
func (s span) TracerProvider() trace.TracerProvider { return providerOf(s.s.Tracer()) }

func (s span) statements() *statements { return &s.TracerProvider().(*provider).statements }

// SpanContext implements [trace.Span].
func (s span) SpanContext() trace.SpanContext { return toOTel(s.s.Context()) }

// IsRecording implements [trace.Span].
func (s span) IsRecording() bool { return s.s.IsRecording() }

// SetName implements [trace.Span].
func (s span) SetName(name string) { s.s.SetName(name) }

// SetAttributes implements [trace.Span].
func (s span) SetAttributes(attributes ...attribute.KeyValue) {
	if !s.s.IsRecording() {
		return
	}
	var buffer [inline]slog.Attr
	attrs := appendAttributes(buffer[:0], attributes)
	s.statements().redact(attrs)
	s.s.SetAttributes(attrs...)
}

// SetStatus implements [trace.Span].
func (s span) SetStatus(code codes.Code, description string) {
	switch code {
	case codes.Ok:
		s.s.SetStatus(dendro.StatusOK, "")
	case codes.Error:
		if s.s.IsRecording() {
			description = s.statements().message(s.s, description)
		}
		s.s.SetStatus(dendro.StatusError, description)
	}
}

// AddEvent implements [trace.Span].
func (s span) AddEvent(name string, options ...trace.EventOption) {
	if !s.s.IsRecording() {
		return
	}
	c := trace.NewEventConfig(options...)
	var buffer [inline]slog.Attr
	s.s.AddEventAt(c.Timestamp(), 0, name, appendAttributes(buffer[:0], c.Attributes())...)
}

// RecordError implements [trace.Span].
func (s span) RecordError(err error, options ...trace.EventOption) {
	if err == nil || !s.s.IsRecording() {
		return
	}
	s.addException(err, s.statements().message(s.s, textOf(err)), options...)
}

// textOf returns the text of err, whose method may panic on a nil pointer.
func textOf(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC %T: %v", err, p)
		}
	}()
	return err.Error()
}

// addException adds an event for an error or the value of a panic.
func (s span) addException(value any, message string, options ...trace.EventOption) {
	c := trace.NewEventConfig(options...)
	attrs := append(appendAttributes(nil, c.Attributes()),
		slog.String("exception.type", typeOf(value)), slog.String("exception.message", message))
	if c.StackTrace() {
		attrs = append(attrs, slog.String("exception.stacktrace", string(debug.Stack())))
	}
	s.s.AddEventAt(c.Timestamp(), 0, "exception", attrs...)
}

// typeOf returns the type of a value as OpenTelemetry's SDK does.
func typeOf(value any) string {
	t := reflect.TypeOf(value)
	if t.PkgPath() == "" && t.Name() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// AddLink implements [trace.Span].
func (s span) AddLink(link trace.Link) {
	s.s.AddLink(fromOTel(link.SpanContext), appendAttributes(nil, link.Attributes)...)
}

// End implements [trace.Span]. A panic that it is deferred in is recorded, and continues.
func (s span) End(options ...trace.SpanEndOption) {
	if !s.s.IsRecording() {
		s.s.End() // which counts
		return
	}
	c := trace.NewSpanEndConfig(options...)
	if p := recover(); p != nil {
		defer panic(p)
		s.addException(p, fmt.Sprint(p), trace.WithStackTrace(c.StackTrace()))
	}
	s.s.EndAt(c.Timestamp())
}
