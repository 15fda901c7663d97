package otelbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
)

// execute makes the span of a statement as a library does, with an error.
func execute(ctx context.Context, tracer trace.Tracer, key, system, text string) {
	_, s := tracer.Start(ctx, system, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", system), attribute.String(key, text)))
	s.SetStatus(codes.Error, `bad value: "secret"`)
	s.RecordError(errors.New(`bad value: "secret"`))
	s.End()
}

// No literal of a statement is recorded, unless that is asked for.
func TestStatementsHaveNoLiterals(t *testing.T) {
	const query = "SELECT a FROM t WHERE b = 'secret'"
	for _, key := range []string{"db.query.text", "db.statement"} {
		for _, system := range []string{"postgresql", "mysql", "unheard of"} {
			tracer, r, otelTracer := newTracer()
			execute(t.Context(), otelTracer, key, system, query)
			_, s := otelTracer.Start(t.Context(), "set later")
			s.SetAttributes(attribute.String(key, query))
			s.End()
			if all := fmt.Sprint(r.find(t, system), r.find(t, "set later")); strings.Contains(all, "secret") {
				t.Errorf("%s of %s: %s", key, system, all)
			}
			testkit.Equal(t, key, r.find(t, system).Attributes[1].Value.String(), "SELECT a FROM t WHERE b = ?")
			testkit.Equal(t, key, r.find(t, "set later").Attributes[0].Value.String(), "SELECT a FROM t WHERE b = ?")
			testkit.Equal(t, "message", r.find(t, system).Status.Message, `bad value: "?"`)

			otelbridge.NewTracerProvider(tracer, otelbridge.WithRawStatements())
			execute(t.Context(), otelTracer, key, system+", raw", query)
			raw := r.find(t, system+", raw")
			testkit.Equal(t, "as it is", raw.Attributes[1].Value.String(), query)
			testkit.Equal(t, "message as it is", raw.Status.Message, `bad value: "secret"`)
		}
	}
	_, r, otelTracer := newTracer()
	execute(t.Context(), otelTracer, "db.statement", "redis", "set key 'secret'")
	testkit.Equal(t, "not SQL", r.find(t, "redis").Attributes[1].Value.String(), "set key 'secret'")
	_, s := otelTracer.Start(t.Context(), "no text", trace.WithAttributes(attribute.Int("db.query.text", 5)))
	s.SetStatus(codes.Error, `bad value: "5"`)
	s.End()
	testkit.Equal(t, "no text", r.find(t, "no text").Attributes[0], slog.Int("db.query.text", 5))
	testkit.Equal(t, "no statement", r.find(t, "no text").Status.Message, `bad value: "5"`)
}

// A span below which one place repeats a statement is marked, as with package sqldriver.
func TestRepeatedStatements(t *testing.T) {
	tracer, r, otelTracer := newTracer()
	each := func(ctx context.Context, n int) {
		for i := range n {
			execute(ctx, otelTracer, "db.query.text", "postgresql", fmt.Sprint("SELECT name FROM items WHERE id = ", i))
		}
	}
	ctx, s := tracer.Start(t.Context(), "loop")
	each(ctx, 6)
	s.End()
	ctx, s = tracer.Start(t.Context(), "few")
	each(ctx, 4)
	s.End()
	ctx, s = tracer.StartWith(t.Context(), "batch", dendro.StartOptions{Kind: dendro.KindClient})
	each(ctx, 6)
	s.End()
	each(t.Context(), 6) // below no span

	marked := r.find(t, "loop")
	testkit.Equal(t, "count", fmt.Sprint(marked.Attributes), "[dendro.db.repeated=true dendro.db.repeated.SELECT items=6]")
	testkit.Equal(t, "event", marked.Events[0].Name, "repeated statement")
	testkit.Equal(t, "statement", fmt.Sprint(marked.Events[0].Attributes[:2]), "[db.query.summary=SELECT items db.query.text=SELECT name FROM items WHERE id = ?]")
	for _, name := range []string{"few", "batch"} {
		testkit.Equal(t, name, len(r.find(t, name).Attributes), 0)
	}
}
