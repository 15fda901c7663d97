package otelbridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
)

var then = time.Unix(1_700_000_000, 5)

var everyType = []attribute.KeyValue{
	attribute.Bool("bool", true), attribute.Int64("int", math.MinInt64), attribute.Float64("float", math.Inf(1)),
	attribute.String("string", "ü"), attribute.BoolSlice("bools", []bool{true, false}), attribute.Int64Slice("ints", []int64{1, 2}),
	attribute.Float64Slice("floats", []float64{1.5}), attribute.StringSlice("strings", []string{"a", ""}), attribute.StringSlice("none", nil),
	attribute.ByteSlice("bytes", []byte{0, 255}),
	attribute.Slice("slice", attribute.IntValue(1), attribute.StringValue("x"), attribute.MapValue(attribute.Int("deep", 1))),
	attribute.Map("map", attribute.Int("a", 1), attribute.Map("b", attribute.Bool("c", true))),
}

type ownError struct{}

func (*ownError) Error() string { return "own" }

// programs are what libraries do with a tracer. Both implementations must record the same.
var programs = map[string]func(ctx context.Context, tracer trace.Tracer){
	"kinds": func(ctx context.Context, tracer trace.Tracer) {
		for k := trace.SpanKindUnspecified; k <= trace.SpanKindConsumer+1; k++ {
			_, s := tracer.Start(ctx, fmt.Sprint(int(k)), trace.WithSpanKind(k))
			s.End()
		}
	},
	"tree": func(ctx context.Context, tracer trace.Tracer) {
		ctx, a := tracer.Start(ctx, "a", trace.WithAttributes(everyType...))
		below, b := tracer.Start(ctx, "b")
		_, c := tracer.Start(below, "c")
		c.End()
		_, late := tracer.Start(below, "root again", trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(below, attribute.String("why", "late"))))
		late.End()
		b.End()
		a.End()
		a.End()
		a.SetName("too late")
		a.SetAttributes(attribute.Int("too", 1))
	},
	"attributes": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s", trace.WithAttributes(attribute.Int("a", 1), attribute.Int("b", 1)), trace.WithAttributes(attribute.Int("a", 2)))
		s.SetAttributes(everyType...)
		s.SetAttributes(attribute.String("b", "3"), attribute.Int("c", 1), attribute.Int("c", 2))
		s.SetAttributes(attribute.String("long", strings.Repeat("x", 10_000)))
		s.SetAttributes()
		s.End()
	},
	"times": func(ctx context.Context, tracer trace.Tracer) {
		ctx, s := tracer.Start(ctx, "s", trace.WithTimestamp(then))
		s.AddEvent("e", trace.WithTimestamp(then.Add(time.Second)))
		_, child := tracer.Start(ctx, "child", trace.WithTimestamp(then.Add(time.Millisecond)))
		child.End(trace.WithTimestamp(then.Add(2 * time.Millisecond)))
		s.End(trace.WithTimestamp(then.Add(time.Minute)))
	},
	"events": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s")
		s.AddEvent("plain", trace.WithTimestamp(then))
		s.AddEvent("with", trace.WithTimestamp(then), trace.WithAttributes(everyType...), trace.WithStackTrace(true))
		s.RecordError(errors.New("bad"), trace.WithTimestamp(then))
		s.RecordError(fmt.Errorf("wrapped: %w", io.EOF), trace.WithTimestamp(then), trace.WithAttributes(attribute.Int("a", 1)))
		s.RecordError(&ownError{}, trace.WithTimestamp(then), trace.WithStackTrace(true))
		s.RecordError(nil)
		s.End()
	},
	"links": func(ctx context.Context, tracer trace.Tracer) {
		_, other := tracer.Start(ctx, "other")
		other.End()
		_, s := tracer.Start(ctx, "s", trace.WithLinks(trace.Link{SpanContext: other.SpanContext(), Attributes: everyType}))
		s.AddLink(trace.Link{SpanContext: other.SpanContext()})
		s.AddLink(trace.Link{})
		s.End()
	},
	"status": func(ctx context.Context, tracer trace.Tracer) {
		type set struct {
			code codes.Code
			text string
		}
		for i, sets := range [][]set{
			{{codes.Error, "bad"}, {codes.Ok, "ignored"}}, {{codes.Ok, ""}, {codes.Error, "late"}}, {{codes.Error, "a"}, {codes.Error, "b"}},
			{{codes.Error, "a"}, {codes.Unset, ""}}, {{codes.Ok, ""}, {codes.Unset, ""}}, {{codes.Unset, "text"}}, {{codes.Error, ""}},
		} {
			_, s := tracer.Start(ctx, fmt.Sprint(i))
			for _, set := range sets {
				s.SetStatus(set.code, set.text)
			}
			s.End()
		}
	},
	"remote": func(ctx context.Context, tracer trace.Tracer) {
		state, _ := trace.ParseTraceState("a=1,b@c=2")
		for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled, trace.FlagsSampled | trace.FlagsRandom} {
			sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, TraceState: state})
			below, s := tracer.Start(trace.ContextWithRemoteSpanContext(ctx, sc), fmt.Sprint("flags ", flags))
			_, child := tracer.Start(below, fmt.Sprint("child ", flags))
			child.End()
			s.End()
		}
	},
	"limits": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s")
		for i := range 130 {
			s.SetAttributes(attribute.Int(fmt.Sprint("a", i), i))
		}
		s.SetAttributes(attribute.Int("a0", -1))
		s.SetName("renamed")
		s.End()
	},
	"panic": func(ctx context.Context, tracer trace.Tracer) {
		for _, value := range []any{"text", io.EOF, 5} {
			func() {
				defer func() { _ = recover() }()
				_, s := tracer.Start(ctx, fmt.Sprint(value))
				defer s.End(trace.WithStackTrace(true))
				panic(value)
			}()
		}
	},
	"goroutines": func(ctx context.Context, tracer trace.Tracer) {
		ctx, s := tracer.Start(ctx, "s")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, child := tracer.Start(ctx, "child")
				s.SetAttributes(attribute.Bool("x", true))
				child.End()
			})
		}
		all.Wait()
		s.End()
	},
}

// differences are what the SDK records and we do not, with the reason. They are those that
// [otelbridge.NewTracerProvider] names.
var differences = map[string]func(ctx context.Context, tracer trace.Tracer){
	"the description of an error is not removed by a later error without one": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s")
		s.SetStatus(codes.Error, "a")
		s.SetStatus(codes.Error, "")
		s.End()
	},
	"a link to no span is not recorded, even if it has attributes": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s")
		s.AddLink(trace.Link{Attributes: everyType})
		s.End()
	},
	"of events that are too many, the first are kept, and not the last": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s")
		for i := range 130 {
			s.AddEvent(fmt.Sprint(i), trace.WithTimestamp(then))
		}
		s.End()
	},
	"texts are cut at 16 KiB": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s", trace.WithAttributes(attribute.String("a", strings.Repeat("x", 20<<10))))
		s.End()
	},
	"an empty value is the text <nil>": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s", trace.WithAttributes(attribute.KeyValue{Key: "empty"}))
		s.End()
	},
	"a span does not end before it starts": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s", trace.WithTimestamp(then))
		s.End(trace.WithTimestamp(then.Add(-time.Second)))
	},
	"an attribute without a key is not counted as dropped": func(ctx context.Context, tracer trace.Tracer) {
		_, s := tracer.Start(ctx, "s", trace.WithAttributes(attribute.Int("", 1)))
		s.End()
	},
	"new traces have the flag of random ids": func(ctx context.Context, tracer trace.Tracer) {
		ctx, s := tracer.Start(ctx, "s")
		_, child := tracer.Start(ctx, fmt.Sprint("random ", s.SpanContext().TraceFlags()&trace.FlagsRandom))
		child.End()
		s.End()
	},
}

// A program records the same with the SDK, by NewExporter, as with a dendro tracer.
func TestLikeSDK(t *testing.T) {
	for name, program := range programs {
		t.Run(name, func(t *testing.T) {
			sdk, own := runBoth(t, program)
			testkit.Equal(t, "spans", own, sdk)
		})
	}
}

func TestDifferencesToSDK(t *testing.T) {
	for reason, program := range differences {
		t.Run(reason, func(t *testing.T) {
			if sdk, own := runBoth(t, program); sdk == own {
				t.Error("there is no difference any more: remove this line, and the one in the documentation")
			}
		})
	}
}

// runBoth returns what a program records with the SDK and with the bridge, as text that does not depend on
// ids and on times that the program has not chosen.
func runBoth(t *testing.T, program func(context.Context, trace.Tracer)) (sdk, own string) {
	t.Helper()
	ctx := context.Background()
	var fromSDK, fromOwn testkit.Recorder
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(otelbridge.NewExporter(&fromSDK)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"))))
	options := []trace.TracerOption{trace.WithInstrumentationVersion("1.2"), trace.WithSchemaURL("https://opentelemetry.io/schemas/1.37.0"), trace.WithInstrumentationAttributes(everyType...)}
	program(ctx, provider.Tracer("lib", options...))
	testkit.NoError(t, provider.Shutdown(ctx))
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: &fromOwn})
	program(ctx, otelbridge.NewTracerProvider(tracer).Tracer("lib", options...))
	testkit.NoError(t, tracer.Shutdown(ctx))
	return testkit.Normal(fromSDK.Spans(), shortStack, when), testkit.Normal(fromOwn.Spans(), shortStack, when)
}

// when returns a time that a program has chosen, or "now".
func when(at int64) string {
	if after := time.Duration(at - then.UnixNano()); after < time.Hour {
		return after.String()
	}
	return "now"
}

// shortStack keeps of a stack only whether a test made it.
func shortStack(a slog.Attr) slog.Attr {
	if a.Key == "exception.stacktrace" {
		a.Value = slog.BoolValue(strings.Contains(a.Value.String(), "otelbridge_test."))
	}
	return a
}

// A program with the SDK shows its spans in a store, with a resource, and learns what the store refuses.
func TestExporter(t *testing.T) {
	store := memory.New(memory.Options{})
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(otelbridge.NewExporter(store)),
		sdktrace.WithResource(resource.NewWithAttributes("url", attribute.String("service.name", "shop"), attribute.Int("n", 1))))
	ctx, root := provider.Tracer("lib").Start(t.Context(), "root")
	for i := range 100 {
		_, s := provider.Tracer(fmt.Sprint("lib", i%3)).Start(ctx, fmt.Sprint("child ", i))
		s.End()
	}
	root.End()
	testkit.NoError(t, provider.Shutdown(t.Context()))
	got, err := store.Trace(t.Context(), dendro.TraceID(root.SpanContext().TraceID()), collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", len(got.Spans), 101)
	testkit.Equal(t, "resource", fmt.Sprint(got.Spans[0].Resource.Attributes, got.Spans[0].Resource.SchemaURL), "[n=1 service.name=shop]url")
	resources := map[*dendro.Resource]bool{}
	for _, s := range got.Spans {
		resources[s.Resource] = true
	}
	testkit.Equal(t, "resources", len(resources), 1)

	refused := errors.New("refused")
	exporter := otelbridge.NewExporter(collect(func(*dendro.Batch) error { return refused }))
	err = exporter.ExportSpans(t.Context(), tracetest.SpanStubs{{Name: "s"}}.Snapshots())
	testkit.Equal(t, "the error of the collector", errors.Is(err, refused), true)
	testkit.NoError(t, exporter.ExportSpans(t.Context(), nil))
	testkit.NoError(t, exporter.Shutdown(t.Context()))
}

type collect func(*dendro.Batch) error

func (f collect) Collect(b *dendro.Batch) error { return f(b) }
