package dendro_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// tailSampler records everything, and samples what head does.
type tailSampler struct{ *testkit.Recorder }

func (tailSampler) Sampler(head dendro.Sampler) dendro.Sampler {
	return func(p dendro.SamplingParameters) dendro.SamplingResult {
		r := head(p)
		r.Record = true
		return r
	}
}

func newTailTracer(head dendro.Sampler) (*dendro.Tracer, *testkit.Recorder) {
	recorder := new(testkit.Recorder)
	return dendro.New(dendro.Options{Sampler: head, Collector: tailSampler{recorder}}), recorder
}

// What a TailSampler wants is recorded, while other services hear that it is not sampled.
func TestRecordOnly(t *testing.T) {
	tracer, recorder := newTailTracer(dendro.NeverSample)
	ctx, root := tracer.Start(background, "root")
	inner, child := dendro.Start(ctx, "child")
	header := http.Header{}
	dendro.Inject(inner, header)
	sent, err := dendro.ParseTraceparent(header.Get("Traceparent"))
	testkit.NoError(t, err)
	testkit.Equal(t, "sent", sent.Flags.Sampled(), false)
	testkit.Equal(t, "recorded", child.IsRecorded(), true)
	child.End()
	root.End()
	testkit.Equal(t, "still recorded", child.IsRecorded(), true)
	_, late := dendro.Start(ctx, "late")
	testkit.Equal(t, "late", late.Context().Flags.Sampled(), false)
	late.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"root", "child", "late"})
	testkit.Equal(t, "not sampled", tracer.Stats().NotSampled, uint64(0))
	for _, s := range recorder.Spans() {
		testkit.Equal(t, "flag of "+s.Name, s.Flags.Sampled(), false)
	}
}

// Keep says why, and the calls that follow are sampled.
func TestKeep(t *testing.T) {
	tracer, recorder := newTailTracer(dendro.NeverSample)
	ctx, root := tracer.Start(background, "root")
	_, before := dendro.Start(ctx, "before")
	before.End()
	root.Keep("refund")
	after, span := dendro.Start(ctx, "after")
	header := http.Header{}
	dendro.Inject(after, header)
	sent, err := dendro.ParseTraceparent(header.Get("Traceparent"))
	testkit.NoError(t, err)
	testkit.Equal(t, "sent", sent.Flags.Sampled(), true)
	span.End()
	root.End()
	root.Keep("too late")
	(*dendro.Span)(nil).Keep("nothing")
	spans := recorder.Spans()
	testkit.Equal(t, "names", testkit.Names(spans), []string{"root", "before", "after"})
	testkit.Equal(t, "reason", spans[0].Attr(dendro.KeepReason), any("refund"))

	none := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	_, unrecorded := none.Start(background, "root")
	unrecorded.Keep("nothing")
	testkit.Equal(t, "of an unrecorded span", unrecorded.Context().Flags.Sampled(), false)
	testkit.Equal(t, "recorded", unrecorded.IsRecorded(), false)
}

// A sampler sees the context of the caller, and so its baggage.
func TestSamplerContext(t *testing.T) {
	baggage, err := dendro.Baggage{}.Set("tenant", "acme")
	testkit.NoError(t, err)
	tracer := dendro.New(dendro.Options{Collector: new(testkit.Recorder), Sampler: func(p dendro.SamplingParameters) dendro.SamplingResult {
		return dendro.SamplingResult{Sampled: dendro.BaggageFromContext(p.Context).Get("tenant") == "acme"}
	}})
	_, span := tracer.Start(dendro.ContextWithBaggage(context.Background(), baggage), "x", slog.Int("n", 1))
	testkit.Equal(t, "with it", span.IsRecorded(), true)
	_, span = tracer.Start(background, "x")
	testkit.Equal(t, "without", span.IsRecorded(), false)
}
