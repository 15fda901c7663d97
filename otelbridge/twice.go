package otelbridge

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
)

// workOf returns what a library makes spans of a kind for, if a package of this module makes
// them, too, or 0.
func workOf(scope string, kind dendro.Kind) bridge.Work {
	switch scope {
	case "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
		"go.opentelemetry.io/contrib/instrumentation/net/http/httptrace/otelhttptrace",
		"github.com/riandyrn/otelchi":
		switch kind {
		case dendro.KindServer:
			return bridge.HTTPServer
		case dendro.KindClient:
			return bridge.HTTPClient
		}
	case "github.com/XSAM/otelsql", "go.nhat.io/otelsql", "github.com/uptrace/opentelemetry-go-extra/otelsql",
		"github.com/exaring/otelpgx":
		if kind == dendro.KindClient {
			return bridge.Database
		}
	}
	return 0
}

// madeByUs returns the span in ctx if a package of this module has made it for work, or nil. If a
// propagator has replaced that by its parent, which is in the headers of the same request, it is
// the one before.
func madeByUs(ctx context.Context, work bridge.Work, tracer *dendro.Tracer) *dendro.Span {
	var s *dendro.Span
	var parent dendro.SpanContext
	switch current := trace.SpanFromContext(ctx).(type) {
	case span:
		s = current.s
	case unrecorded:
		s, parent = current.in, current.sc
	}
	if s == nil || s.Tracer() != tracer {
		return nil
	}
	made := false
	bridge.Read(s, func(data any, of bridge.Work) {
		d := data.(*dendro.SpanData)
		made = of == work && (!parent.IsValid() || parent.TraceID == d.TraceID && parent.SpanID == d.ParentID)
	})
	if !made {
		return nil
	}
	return s
}

// madeAlready returns what [trace.Tracer.Start] does if s was made for the same work. Libraries write
// and end the span that they find in the context, so that is not s, except for handlers of
// requests.
func madeAlready(ctx context.Context, s *dendro.Span, work bridge.Work) (context.Context, trace.Span) {
	u := unrecorded{sc: s.Context(), in: s}
	if work == bridge.HTTPServer {
		return dendro.ContextWithSpan(ctx, s), u
	}
	return trace.ContextWithSpan(ctx, u), u
}

// madeByOthers is [bridge.API.Made].
func madeByOthers(ctx context.Context, work bridge.Work, tracer any) (made bool) {
	wanted, _ := tracer.(*dendro.Tracer)
	if s, ok := trace.SpanFromContext(ctx).(span); ok && (wanted == nil || wanted == s.s.Tracer()) {
		bridge.Read(s.s, func(data any, _ bridge.Work) {
			d := data.(*dendro.SpanData)
			made = workOf(d.Scope.Name, d.Kind) == work
		})
	}
	return made
}
