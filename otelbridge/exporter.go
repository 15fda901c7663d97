package otelbridge

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// exporter is a [sdktrace.SpanExporter].
type exporter struct {
	collector dendro.Collector
	writer    collector.Writer
}

// NewExporter returns an exporter of OpenTelemetry's SDK that hands spans to c, such as a
// store, whole: with scope, links, events and what the SDK has dropped. If c is a
// [collector.Writer], ExportSpans waits while spans come faster than they can be stored, until its
// context is done. It returns the error of c, which the SDK reports. Shutdown flushes c and does
// not close it. NewExporter panics if c is nil.
func NewExporter(c dendro.Collector) sdktrace.SpanExporter {
	if c == nil {
		panic("otelbridge: NewExporter needs a collector")
	}
	w, ok := c.(collector.Writer)
	if !ok {
		w = collector.WriterOf(c)
	}
	return &exporter{c, w}
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return e.writer.Write(ctx, batchesOf(spans))
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error {
	if f, ok := e.collector.(dendro.Flusher); ok {
		return f.Flush(ctx)
	}
	return nil
}

// batchesOf returns spans by resource, in their order.
func batchesOf(spans []sdktrace.ReadOnlySpan) (batches []*dendro.Batch) {
	of := map[*resource.Resource]*dendro.Batch{}
	scopes := map[scopeKey]*dendro.Scope{}
	for _, s := range spans {
		r := s.Resource()
		b := of[r]
		if b == nil {
			b = &dendro.Batch{Resource: &dendro.Resource{Attributes: appendAttributes(nil, r.Attributes()), SchemaURL: r.SchemaURL()}}
			of[r], batches = b, append(batches, b)
		}
		scope := s.InstrumentationScope()
		key := scopeKey{scope.Name, scope.Version, scope.SchemaURL, scope.Attributes.Equivalent()}
		if scopes[key] == nil {
			scopes[key] = scopeOf(scope.Name, scope.Version, scope.SchemaURL, scope.Attributes)
		}
		b.Spans = append(b.Spans, dataOf(s, scopes[key]))
	}
	return batches
}

func scopeOf(name, version, schemaURL string, set attribute.Set) *dendro.Scope {
	return &dendro.Scope{Name: name, Version: version, SchemaURL: schemaURL, Attributes: appendAttributes(nil, set.ToSlice())}
}

func dataOf(s sdktrace.ReadOnlySpan, scope *dendro.Scope) *dendro.SpanData {
	d := &dendro.SpanData{
		SpanContext:       fromOTel(s.SpanContext()),
		ParentID:          dendro.SpanID(s.Parent().SpanID()),
		Remote:            s.Parent().IsRemote(),
		Kind:              kindOf(s.SpanKind()),
		Name:              s.Name(),
		Scope:             scope,
		Start:             s.StartTime().UnixNano(),
		End:               s.EndTime().UnixNano(),
		Attributes:        appendAttributes(nil, s.Attributes()),
		DroppedAttributes: uint32(s.DroppedAttributes()),
		DroppedEvents:     uint32(s.DroppedEvents()),
		DroppedLinks:      uint32(s.DroppedLinks()),
	}
	switch status := s.Status(); status.Code {
	case codes.Ok:
		d.Status.Code = dendro.StatusOK
	case codes.Error:
		d.Status = dendro.Status{Code: dendro.StatusError, Message: status.Description}
	}
	for _, e := range s.Events() {
		d.Events = append(d.Events, dendro.Event{
			Name: e.Name, Time: e.Time.UnixNano(),
			Attributes: appendAttributes(nil, e.Attributes), DroppedAttributes: uint32(e.DroppedAttributeCount),
		})
	}
	for _, l := range s.Links() {
		d.Links = append(d.Links, dendro.Link{
			SpanContext: fromOTel(l.SpanContext), Remote: l.SpanContext.IsRemote(), RemoteKnown: true,
			Attributes: appendAttributes(nil, l.Attributes), DroppedAttributes: uint32(l.DroppedAttributeCount),
		})
	}
	return d
}
