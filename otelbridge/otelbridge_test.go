package otelbridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	otelpropagation "go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
	"github.com/dendrotrace/dendro/propagation"
)

// recorder keeps spans and their resources, in the order in which they ended.
type recorder struct {
	mu        sync.Mutex
	spans     []*dendro.SpanData
	resources []*dendro.Resource
}

func (r *recorder) Collect(b *dendro.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range b.Spans {
		r.spans = append(r.spans, s.Clone())
		r.resources = append(r.resources, b.Resource)
	}
	return nil
}

// find returns the span with a name.
func (r *recorder) find(t *testing.T, name string) *dendro.SpanData {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.spans, func(s *dendro.SpanData) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no span %q", name)
	}
	return r.spans[i]
}

func newTracer() (*dendro.Tracer, *recorder, trace.Tracer) {
	r := &recorder{}
	t := dendro.New(dendro.Options{Service: "shop", Collector: r})
	return t, r, otelbridge.NewTracerProvider(t).Tracer("test")
}

type key struct{}

// Spans of both APIs are in one tree, at any depth, and each API sees those of the other.
func TestOneContext(t *testing.T) {
	tracer, r, otelTracer := newTracer()
	ctx, root := tracer.Start(t.Context(), "0")
	names := []string{"0"}
	var ends []func()
	for i := 1; i < 8; i++ {
		name := fmt.Sprint(i)
		if i%2 == 1 {
			ctx = context.WithValue(ctx, key{}, i) // not only nodes
			var s trace.Span
			ctx, s = otelTracer.Start(ctx, name)
			testkit.Equal(t, "dendro's span", dendro.SpanFromContext(ctx).Context().SpanID, dendro.SpanID(s.SpanContext().SpanID()))
			testkit.Equal(t, "below a value", dendro.SpanFromContext(context.WithValue(ctx, key{}, 0)), dendro.SpanFromContext(ctx))
			testkit.Equal(t, "OpenTelemetry's span", trace.SpanFromContext(ctx), s)
			ends = append(ends, func() { s.End() })
		} else {
			var s *dendro.Span
			ctx, s = dendro.Start(ctx, name)
			testkit.Equal(t, "OpenTelemetry's span", trace.SpanContextFromContext(ctx).SpanID(), trace.SpanID(s.Context().SpanID))
			testkit.Equal(t, "dendro's span", dendro.SpanFromContext(context.WithValue(ctx, key{}, 0)), s)
			ends = append(ends, s.End)
		}
		names = append(names, name)
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.Int("otel", 1))
	dendro.SpanFromContext(ctx).SetAttributes(slog.Int("dendro", 2))
	for _, end := range slices.Backward(ends) {
		end()
	}
	root.End()
	for i, name := range names[1:] {
		testkit.Equal(t, "parent of "+name, r.find(t, name).ParentID, r.find(t, names[i]).SpanID)
		testkit.Equal(t, "trace of "+name, r.find(t, name).TraceID, root.Context().TraceID)
	}
	testkit.Equal(t, "attributes", fmt.Sprint(r.find(t, "7").Attributes), "[otel=1 dendro=2]")
}

// The span that was put into the context last is the current one, whichever API did it.
func TestContextWithSpan(t *testing.T) {
	tracer, _, otelTracer := newTracer()
	a, first := tracer.Start(t.Context(), "first")
	_, second := otelTracer.Start(t.Context(), "second")
	b := trace.ContextWithSpan(a, second)
	testkit.Equal(t, "dendro's span", dendro.SpanFromContext(b).Context().SpanID, dendro.SpanID(second.SpanContext().SpanID()))
	c := dendro.ContextWithSpan(b, first)
	testkit.Equal(t, "OpenTelemetry's span", trace.SpanContextFromContext(c).SpanID(), trace.SpanID(first.Context().SpanID))
	none := dendro.ContextWithSpan(c, nil)
	testkit.Equal(t, "dendro's span", dendro.SpanFromContext(none) == nil, true)
	testkit.Equal(t, "OpenTelemetry's span", trace.SpanFromContext(none).SpanContext().IsValid(), false)
	_, root := otelTracer.Start(none, "root")
	testkit.Equal(t, "a new trace", root.SpanContext().TraceID() != second.SpanContext().TraceID(), true)
	testkit.Equal(t, "no span", trace.SpanFromContext(t.Context()).SpanContext().IsValid(), false)
}

// A span context of another process is the parent of spans of both APIs, and is sent on by both.
func TestRemoteParent(t *testing.T) {
	tracer, r, otelTracer := newTracer()
	state, err := trace.ParseTraceState("k=v")
	testkit.NoError(t, err)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
	outer, above := tracer.Start(t.Context(), "above")
	ctx := trace.ContextWithRemoteSpanContext(outer, sc)
	testkit.Equal(t, "dendro's span", dendro.SpanFromContext(ctx) == nil, true)
	header := http.Header{}
	dendro.Inject(ctx, header)
	testkit.Equal(t, "traceparent", header.Get("traceparent"), "00-01000000000000000000000000000000-0200000000000000-01")

	_, one := otelTracer.Start(ctx, "otel")
	_, two := tracer.Start(context.WithValue(ctx, key{}, 1), "dendro")
	_, other := tracer.StartWith(ctx, "explicit", dendro.StartOptions{Parent: above.Context()})
	testkit.Equal(t, "tracestate", one.SpanContext().TraceState().String(), "k=v")
	one.End()
	two.End()
	other.End()
	for _, name := range []string{"otel", "dendro"} {
		s := r.find(t, name)
		testkit.Equal(t, name, fmt.Sprint(s.TraceID, s.ParentID, s.Remote, s.Flags.Sampled(), s.State.String()),
			"01000000000000000000000000000000 0200000000000000 true truek=v")
	}
	testkit.Equal(t, "an explicit parent", r.find(t, "explicit").ParentID, above.Context().SpanID)

	ctx = trace.ContextWithRemoteSpanContext(t.Context(), sc.WithTraceFlags(0))
	below, unsampled := otelTracer.Start(ctx, "unsampled")
	testkit.Equal(t, "recording", unsampled.IsRecording(), false)
	testkit.Equal(t, "sampled", unsampled.SpanContext().IsSampled(), false)
	testkit.Equal(t, "trace", unsampled.SpanContext().TraceID(), trace.TraceID{1})
	unsampled.SetAttributes(attribute.Int("a", 1))
	unsampled.AddEvent("e")
	unsampled.RecordError(errors.New("e"))
	unsampled.End()
	_, child := dendro.Start(below, "child")
	testkit.Equal(t, "a child is recorded", child.IsRecording(), false)
}

// Work that outlives a request begins a new trace, and what is not traced has no spans of either API.
func TestDetachedAndUntraced(t *testing.T) {
	tracer, r, otelTracer := newTracer()
	ctx, above := tracer.Start(t.Context(), "request")
	detached := dendro.Detach(ctx)
	testkit.Equal(t, "OpenTelemetry's span", trace.SpanContextFromContext(detached).IsValid(), false)
	_, s := otelTracer.Start(detached, "job")
	s.End()
	job := r.find(t, "job")
	testkit.Equal(t, "a new trace", job.TraceID != above.Context().TraceID && !job.ParentID.IsValid(), true)
	testkit.Equal(t, "link", job.Links[0].SpanContext, above.Context())

	untraced := dendro.Untraced(ctx)
	below, s := otelTracer.Start(untraced, "no")
	testkit.Equal(t, "recording", s.IsRecording() || s.SpanContext().IsValid(), false)
	s.End()
	_, s = otelTracer.Start(below, "no", trace.WithNewRoot())
	testkit.Equal(t, "recording", s.IsRecording(), false)
	testkit.Equal(t, "the request is open", above.IsRecording(), true)

	off := dendro.New(dendro.Options{})
	testkit.NoError(t, off.Shutdown(t.Context()))
	_, s = otelbridge.NewTracerProvider(off).Tracer("t").Start(ctx, "off")
	s.End()
	testkit.Equal(t, "the request is open", above.IsRecording(), true)
	_, s = otelbridge.NewTracerProvider(nil).Tracer("t").Start(ctx, "nil")
	testkit.Equal(t, "recording", s.IsRecording(), false)
}

func TestBaggage(t *testing.T) {
	newTracer()
	one, err := dendro.ParseBaggage("a=1;p=2,b=%C3%BC")
	testkit.NoError(t, err)
	ctx := dendro.ContextWithBaggage(t.Context(), one)
	got := baggage.FromContext(ctx)
	testkit.Equal(t, "OpenTelemetry's", got.Member("a").Value()+got.Member("b").Value()+fmt.Sprint(got.Member("a").Properties()), "1ü[p=2]")
	testkit.Equal(t, "dendro's, sorted", dendro.BaggageFromContext(ctx).String(), one.String())

	member, err := baggage.NewMemberRaw("c", "x y")
	testkit.NoError(t, err)
	got, err = got.SetMember(member)
	testkit.NoError(t, err)
	below := baggage.ContextWithBaggage(context.WithValue(ctx, key{}, 1), got)
	testkit.Equal(t, "dendro's", dendro.BaggageFromContext(below).Get("a")+dendro.BaggageFromContext(below).Get("c"), "1x y")
	testkit.Equal(t, "none", dendro.BaggageFromContext(t.Context()).Len()+baggage.FromContext(t.Context()).Len(), 0)

	empty := baggage.ContextWithoutBaggage(below)
	header := http.Header{"Baggage": {"a=1"}}
	dendro.Inject(empty, header)
	testkit.Equal(t, "the program has removed it", header.Get("baggage"), "")
	empty = dendro.ContextWithBaggage(below, dendro.Baggage{})
	testkit.Equal(t, "OpenTelemetry's", baggage.FromContext(empty).Len(), 0)
}

func TestPropagator(t *testing.T) {
	tracer, r, otelTracer := newTracer()
	for name, format := range map[string]dendro.Propagator{"w3c": nil, "b3": propagation.B3{}, "b3multi": propagation.B3{Multi: true}} {
		t.Run(name, func(t *testing.T) {
			p := otelbridge.NewPropagator(format)
			b, _ := dendro.ParseBaggage("k=v")
			ctx, span := tracer.Start(dendro.ContextWithBaggage(t.Context(), b), "client")
			headers := otelpropagation.HeaderCarrier{}
			message := otelpropagation.MapCarrier{}
			p.Inject(ctx, headers)
			p.Inject(context.WithValue(ctx, key{}, 1), message)
			for name := range message {
				testkit.Equal(t, "case", name, strings.ToLower(name))
				testkit.Equal(t, "listed", slices.Contains(p.Fields(), name), true)
				testkit.Equal(t, name, headers.Get(name), message[name])
			}
			for side, carrier := range map[string]otelpropagation.TextMapCarrier{"headers": headers, "message": message} {
				got := p.Extract(t.Context(), carrier)
				sc := trace.SpanContextFromContext(got)
				testkit.Equal(t, "remote", sc.IsRemote(), true)
				_, one := otelTracer.Start(got, name+side+"otel")
				one.End()
				_, two := tracer.Start(got, name+side+"dendro")
				two.End()
				for _, api := range []string{"otel", "dendro"} {
					testkit.Equal(t, "parent", r.find(t, name+side+api).ParentID, span.Context().SpanID)
				}
				again := otelpropagation.MapCarrier{}
				p.Inject(got, again)
				testkit.Equal(t, "sent on", fmt.Sprint(again), fmt.Sprint(message))
				if name == "w3c" {
					testkit.Equal(t, "baggage", baggage.FromContext(got).Member("k").Value(), "v")
				}
			}
			testkit.Equal(t, "nothing to extract", p.Extract(ctx, otelpropagation.MapCarrier{}), ctx)
		})
	}
}

// B3 may leave the decision to the receiver, which OpenTelemetry's span context cannot say.
func TestPropagatorKeepsDeferred(t *testing.T) {
	_, _, otelTracer := newTracer()
	p := otelbridge.NewPropagator(propagation.B3{})
	ctx := p.Extract(t.Context(), otelpropagation.MapCarrier{"b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1"})
	_, s := otelTracer.Start(ctx, "decided here")
	testkit.Equal(t, "recording", s.IsRecording(), true)
	sent := otelpropagation.MapCarrier{}
	p.Inject(ctx, sent)
	testkit.Equal(t, "sent", sent["b3"], "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1")
}

func TestProvider(t *testing.T) {
	tracer, r, _ := newTracer()
	p := otelbridge.NewTracerProvider(tracer)
	testkit.Equal(t, "the same", otelbridge.NewTracerProvider(tracer), p)
	name := func(options ...trace.TracerOption) trace.Tracer { return p.Tracer("lib", options...) }
	testkit.Equal(t, "the same", name(), name())
	for _, other := range []trace.Tracer{
		name(trace.WithInstrumentationVersion("1")), name(trace.WithSchemaURL("u")),
		name(trace.WithInstrumentationAttributes(attribute.Int("a", 1))), p.Tracer("other"),
	} {
		testkit.Equal(t, "the same", name() == other, false)
	}
	_, s := name(trace.WithInstrumentationVersion("1"), trace.WithSchemaURL("u"), trace.WithInstrumentationAttributes(attribute.Int("a", 1))).Start(t.Context(), "s")
	testkit.Equal(t, "provider", s.TracerProvider(), p)
	s.End()
	scope := r.find(t, "s").Scope
	testkit.Equal(t, "scope", fmt.Sprint(scope.Name, scope.Version, scope.SchemaURL, scope.Attributes), "lib1u[a=1]")
	for i := range 2000 {
		p.Tracer(fmt.Sprint(i)) // does not grow for ever
	}
	//nolint:staticcheck // as a library may do
	ctx, s := p.Tracer("lib").Start(nil, "without a context")
	testkit.Equal(t, "recording", s.IsRecording(), true)
	testkit.Equal(t, "span", trace.SpanFromContext(ctx), s)
}

var early = otel.Tracer("early") // as libraries do when they are initialized

// installed is the recorder of the tracer that is installed. OpenTelemetry passes early tracers on only once.
var installed = sync.OnceValue(func() *recorder {
	r := &recorder{}
	otelbridge.Install(dendro.New(dendro.Options{Collector: r, Propagator: propagation.B3{}}))
	return r
})

func TestInstall(t *testing.T) {
	provider, propagator, before := otel.GetTracerProvider(), otel.GetTextMapPropagator(), dendro.Default()
	t.Cleanup(func() {
		otel.SetTracerProvider(provider)
		otel.SetTextMapPropagator(propagator)
		dendro.SetDefault(before)
	})
	r := installed()
	ctx, s := early.Start(t.Context(), "otel")
	_, child := dendro.Start(ctx, "dendro")
	child.End()
	s.End()
	testkit.Equal(t, "parent", r.find(t, "dendro").ParentID, r.find(t, "otel").SpanID)
	if dendro.Default() != nil { // it was installed just now
		carrier := otelpropagation.MapCarrier{}
		otel.GetTextMapPropagator().Inject(ctx, carrier)
		testkit.Equal(t, "header", carrier["b3"] != "", true)
	}
}

func TestPanic(t *testing.T) {
	_, r, otelTracer := newTracer()
	func() {
		defer func() { testkit.Equal(t, "panic", recover(), any("oh")) }()
		_, s := otelTracer.Start(t.Context(), "s")
		defer s.End(trace.WithStackTrace(true))
		panic("oh")
	}()
	e := r.find(t, "s").Events[0]
	testkit.Equal(t, "event", fmt.Sprint(e.Name, e.Attributes[:2]), "exception[exception.type=.string exception.message=oh]")
	testkit.Equal(t, "stack", strings.Contains(e.Attributes[2].Value.String(), "TestPanic"), true)
}
