package integration

import (
	"context"
	"net/http"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// baggageValues are values that must be encoded, or must not be.
var baggageValues = map[string]string{
	"plain": "1", "spaces": "a b", "signs": `a,b;c="d"\%`, "unicode": "Grüße 🌳", "equals": "a=b==", "percent": "100%", "plus": "a+b", "empty": "",
}

// OpenTelemetry extracts what dendro injects.
func TestOTelExtractsDendro(t *testing.T) {
	for _, c := range []struct {
		name, state string
		sampler     dendro.Sampler
	}{
		{"sampled", "", dendro.AlwaysSample},
		{"not sampled", "", dendro.NeverSample},
		{"tracestate", "vendor=a b,t@other=0,a*/x=1", dendro.AlwaysSample},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, err := dendro.ParseTraceState(c.state)
			testkit.NoError(t, err)
			parent := dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{2}, State: state}
			tracer := dendro.New(dendro.Options{Sampler: c.sampler})
			ctx, span := tracer.StartWith(context.Background(), "call", dendro.StartOptions{Parent: parent})
			defer span.End()
			var bag dendro.Baggage
			for key, value := range baggageValues {
				bag, err = bag.Set(key, value)
				testkit.NoError(t, err)
			}
			header := http.Header{}
			dendro.Inject(dendro.ContextWithBaggage(ctx, bag), header)

			ctx = w3c.Extract(context.Background(), propagation.HeaderCarrier(header))
			got, want := trace.SpanContextFromContext(ctx), span.Context()
			testkit.Equal(t, "trace id", dendro.TraceID(got.TraceID()), want.TraceID)
			testkit.Equal(t, "span id", dendro.SpanID(got.SpanID()), want.SpanID)
			testkit.Equal(t, "sampled", got.IsSampled(), want.Flags.Sampled())
			testkit.Equal(t, "tracestate", got.TraceState().String(), c.state)
			values := map[string]string{}
			for _, m := range baggage.FromContext(ctx).Members() {
				values[m.Key()] = m.Value()
			}
			testkit.Equal(t, "baggage", values, baggageValues)
		})
	}
}

// Dendro extracts what OpenTelemetry injects.
func TestDendroExtractsOTel(t *testing.T) {
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled, 3} {
		state, err := trace.ParseTraceState("vendor=a b,t@other=0")
		testkit.NoError(t, err)
		sent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 15: 2}, SpanID: trace.SpanID{3, 7: 4}, TraceFlags: flags, TraceState: state})
		var members []baggage.Member
		for key, value := range baggageValues {
			m, err := baggage.NewMemberRaw(key, value)
			testkit.NoError(t, err)
			members = append(members, m)
		}
		bag, err := baggage.New(members...)
		testkit.NoError(t, err)
		header := http.Header{}
		w3c.Inject(baggage.ContextWithBaggage(trace.ContextWithSpanContext(context.Background(), sent), bag), propagation.HeaderCarrier(header))

		got, gotBag := dendro.Extract(header)
		testkit.Equal(t, "trace id", trace.TraceID(got.TraceID), sent.TraceID())
		testkit.Equal(t, "span id", trace.SpanID(got.SpanID), sent.SpanID())
		testkit.Equal(t, "sampled", got.Flags.Sampled(), sent.IsSampled())
		testkit.Equal(t, "tracestate", got.State.String(), "vendor=a b,t@other=0")
		values := map[string]string{}
		for _, m := range gotBag.Members() {
			values[m.Key] = m.Value
		}
		testkit.Equal(t, "baggage", values, baggageValues)
	}
}
