package integration

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
)

// otelAPI is what a process gives to libraries that are instrumented with OpenTelemetry's API.
type otelAPI struct {
	tracer     *dendro.Tracer // nil with OpenTelemetry's SDK
	provider   trace.TracerProvider
	propagator propagation.TextMapPropagator
	// start begins a span of the process itself: one of package dendro, or, with OpenTelemetry's SDK,
	// one that is equal.
	start func(ctx context.Context, name string) (_ context.Context, end func())
	// another returns that of another process, whose spans come to the same collector.
	another func(service string) otelAPI
}

// likeSDK runs a program with OpenTelemetry's SDK and with the bridge, fails the test unless both record the
// same, field by field, and returns the spans of the bridge.
func likeSDK(t *testing.T, program func(t *testing.T, shop otelAPI)) []testkit.Span {
	t.Helper()
	sdk, bridged := spansOf(t, "sdk", newSDK, program), spansOf(t, "bridge", newBridge, program)
	want, got := testkit.Normal(sdk, anyAddress, anyTime), testkit.Normal(bridged, anyAddress, anyTime)
	if got != want {
		t.Errorf("got\n%s\nwant, as OpenTelemetry's SDK records\n%s", unlike(got, want), unlike(want, got))
	}
	return bridged
}

// spansOf returns the spans that a program makes.
func spansOf(t *testing.T, name string, newAPI func(t *testing.T, r *testkit.Recorder, service string) otelAPI, program func(t *testing.T, shop otelAPI)) []testkit.Span {
	t.Helper()
	var r testkit.Recorder
	t.Run(name, func(t *testing.T) { // its cleanups deliver the spans
		program(t, newAPI(t, &r, "shop"))
	})
	return r.Spans()
}

// newBridge returns the API of [otelbridge].
func newBridge(t *testing.T, r *testkit.Recorder, service string) otelAPI {
	tracer := dendro.New(dendro.Options{Service: service, Collector: r, Sampler: dendro.AlwaysSample})
	t.Cleanup(func() {
		testkit.Equal(t, "spans that were never ended", tracer.Stats().Unfinished, uint64(0))
		testkit.NoError(t, tracer.Shutdown(context.Background()))
	})
	return otelAPI{
		tracer:   tracer,
		provider: otelbridge.NewTracerProvider(tracer), propagator: otelbridge.NewPropagator(tracer.Propagator()),
		start: func(ctx context.Context, name string) (context.Context, func()) {
			ctx, span := dendro.StartWith(ctx, name, dendro.StartOptions{Tracer: tracer})
			return ctx, span.End
		},
		another: func(service string) otelAPI { return newBridge(t, r, service) },
	}
}

// newSDK returns the API of OpenTelemetry's SDK.
func newSDK(t *testing.T, r *testkit.Recorder, service string) otelAPI {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(otelbridge.NewExporter(r)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	t.Cleanup(func() { testkit.NoError(t, provider.Shutdown(context.Background())) })
	own := provider.Tracer("github.com/dendrotrace/dendro", trace.WithInstrumentationVersion(dendro.Version))
	return otelAPI{
		provider:   provider,
		propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		start: func(ctx context.Context, name string) (context.Context, func()) {
			ctx, span := own.Start(ctx, name)
			return ctx, func() { span.End() }
		},
		another: func(service string) otelAPI { return newSDK(t, r, service) },
	}
}

var port = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// anyAddress returns an attribute without what differs from run to run.
func anyAddress(a slog.Attr) slog.Attr {
	switch {
	case strings.HasSuffix(a.Key, ".port"):
		a.Value = slog.Int64Value(0)
	case a.Value.Kind() == slog.KindString:
		a.Value = slog.StringValue(port.ReplaceAllString(a.Value.String(), "127.0.0.1:0"))
	}
	return a
}

func anyTime(int64) string { return "" }

// unlike returns the lines of a that b does not have.
func unlike(a, b string) string {
	other := strings.Split(b, "\n")
	lines := slices.DeleteFunc(strings.Split(a, "\n"), func(line string) bool { return slices.Contains(other, line) })
	return strings.Join(lines, "\n")
}

// treeOf returns the kinds and names of spans, indented below their parents, in the order in which they
// started.
func treeOf(spans []testkit.Span) string {
	return indented(spans, func(s testkit.Span) string { return s.Kind.String() + " " + s.Name })
}

func indented(spans []testkit.Span, text func(testkit.Span) string) string {
	var b strings.Builder
	var add func(parent dendro.SpanID, depth int)
	add = func(parent dendro.SpanID, depth int) {
		for _, s := range spans {
			if s.ParentID == parent {
				b.WriteString(strings.Repeat("  ", depth) + text(s) + "\n")
				add(s.SpanID, depth+1)
			}
		}
	}
	add(dendro.SpanID{}, 0)
	return strings.TrimSuffix(b.String(), "\n")
}
