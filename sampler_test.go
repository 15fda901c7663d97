package dendro_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// randomIDs returns a source of trace ids that is the same in every run.
func randomIDs() func() dendro.TraceID {
	r := rand.New(rand.NewPCG(1, 2))
	return func() (id dendro.TraceID) {
		binary.BigEndian.PutUint64(id[:8], r.Uint64())
		binary.BigEndian.PutUint64(id[8:], r.Uint64())
		return id
	}
}

func traceState(t testing.TB, s string) dendro.TraceState {
	t.Helper()
	ts, err := dendro.ParseTraceState(s)
	testkit.NoError(t, err)
	return ts
}

func TestSamplers(t *testing.T) {
	random := randomIDs()
	parameters := func(parent bool, flags dendro.TraceFlags) dendro.SamplingParameters {
		p := dendro.SamplingParameters{TraceID: random()}
		if parent {
			p.Parent = dendro.SpanContext{TraceID: p.TraceID, SpanID: dendro.SpanID{1}, Flags: flags}
		}
		return p
	}
	follow := dendro.ParentSample(dendro.NeverSample)
	testkit.Equal(t, "sampled parent", follow(parameters(true, dendro.FlagSampled)).Sampled, true)
	testkit.Equal(t, "unsampled parent", dendro.ParentSample(nil)(parameters(true, 0)).Sampled, false)
	testkit.Equal(t, "no parent", follow(parameters(false, 0)).Sampled, false)
	testkit.Equal(t, "no parent, nil", dendro.ParentSample(nil)(parameters(false, 0)).Sampled, true)

	quarter, half := dendro.RatioSample(0.25), dendro.RatioSample(0.5)
	for range 100_000 {
		p := parameters(false, 0)
		q := quarter(p)
		if q.Sampled && !half(p).Sampled {
			t.Fatal("the lower ratio chose a trace that the higher did not")
		}
		p.Name = "another service"
		if quarter(p) != q {
			t.Fatal("the choice depends on more than the trace id")
		}
	}
	zero, one := dendro.SamplingParameters{}, dendro.SamplingParameters{TraceID: dendro.TraceID{15: 1}}
	for ratio, want := range map[float64]bool{-1: false, 0: false, 0x1p-58: false, 0.999: false, 0.999999: true, 1: true, 2: true, math.NaN(): false} {
		testkit.Equal(t, fmt.Sprint("lowest randomness, ratio ", ratio), dendro.RatioSample(ratio)(zero).Sampled, want)
		testkit.Equal(t, fmt.Sprint("second lowest, ratio ", ratio), dendro.RatioSample(ratio)(one).Sampled, want)
	}
	testkit.Equal(t, "at the threshold", half(dendro.SamplingParameters{TraceID: dendro.TraceID{9: 0x80}}).Sampled, true)
	testkit.Equal(t, "below the threshold", half(dendro.SamplingParameters{TraceID: dendro.TraceID{9: 0x7f, 10: 0xff, 15: 0xff}}).Sampled, false)
}

// The thresholds for 1 of n are those in the table of the OpenTelemetry specification,
// "TraceState: Probability Sampling", for a precision of four digits.
func TestThresholdOfRatio(t *testing.T) {
	highest := dendro.SamplingParameters{TraceID: dendro.TraceID{9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}}
	for n, th := range map[float64]string{
		2: "8", 3: "aaab", 4: "c", 5: "cccd", 8: "e", 10: "e666", 16: "f", 100: "fd70a", 1000: "ffbe77",
		10_000: "fff9724", 100_000: "ffff583a", 1_000_000: "ffffef39", 1 << 56: "ffffffffffffff",
	} {
		got := dendro.RatioSample(1 / n)(highest)
		testkit.Equal(t, fmt.Sprint("1 of ", n), got.State.String(), "ot=th:"+th)
		if count := got.State.AdjustedCount(); math.Abs(count/n-1) > 0.00013 {
			t.Errorf("1 of %v counts as %v", n, count)
		}
	}
	testkit.Equal(t, "all", dendro.RatioSample(1)(highest), dendro.SamplingResult{Sampled: true})
}

// The sum of the adjusted counts estimates the number of all traces.
func TestAdjustedCountsAddUp(t *testing.T) {
	const traces = 1_000_000
	for _, ratio := range []float64{0.75, 0.25, 0.1, 0.01} {
		sample, random, sum := dendro.RatioSample(ratio), randomIDs(), 0.0
		for range traces {
			if r := sample(dendro.SamplingParameters{TraceID: random()}); r.Sampled {
				sum += r.State.AdjustedCount()
			}
		}
		deviation := math.Sqrt(traces * (1 - ratio) / ratio)
		if math.Abs(sum-traces) > 4*deviation {
			t.Errorf("ratio %v: %v traces, want %v ± %.0f", ratio, sum, traces, deviation)
		}
	}
}

func TestStateAfterSampling(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	half := dendro.RatioSample(0.5)
	long := "x:" + strings.Repeat("y", 250)
	for _, c := range []struct {
		name    string
		sampler dendro.Sampler
		parent  string // the randomness of the trace id is ce92…
		sampled bool
		want    string
	}{
		{"no tracestate", half, "", true, "ot=th:8"},
		{"no tracestate, not sampled", dendro.RatioSample(0.125), "", false, ""},
		{"other members stay", half, "a=1,b=2", true, "ot=th:8,a=1,b=2"},
		{"32 members", half, members(32), true, "ot=th:8," + members(31)},
		{"other sub-keys stay", half, "a=1,ot=x:y;z:1", true, "ot=th:8;x:y;z:1,a=1"},
		{"another th is replaced", half, "a=1,ot=x:y;th:c", true, "ot=th:8;x:y,a=1"},
		{"only another th", half, "ot=th:0", true, "ot=th:8"},
		{"th is removed", dendro.RatioSample(0.125), "a=1,ot=x:y;th:c;z:1,b=2", false, "ot=x:y;z:1,a=1,b=2"},
		{"only th is removed", dendro.RatioSample(0.125), "ot=th:c,a=1", false, "a=1"},
		{"the same th", half, "a=1,ot=x:y;th:8", true, "a=1,ot=x:y;th:8"},
		{"rv at the threshold", half, "ot=rv:80000000000000", true, "ot=th:8;rv:80000000000000"},
		{"rv below the threshold", half, "ot=rv:7fffffffffffff", false, "ot=rv:7fffffffffffff"},
		{"rv and another th", half, "ot=th:c;rv:7fffffffffffff", false, "ot=rv:7fffffffffffff"},
		{"short rv", half, "ot=rv:7fffffffffff", true, "ot=th:8;rv:7fffffffffff"},
		{"upper-case rv", half, "ot=rv:7FFFFFFFFFFFFF", true, "ot=th:8;rv:7FFFFFFFFFFFFF"},
		{"rv of another vendor", half, "otx=rv:7fffffffffffff", true, "ot=th:8,otx=rv:7fffffffffffff"},
		{"no room for th", half, "ot=" + long, true, "ot=" + long},
		{"malformed", half, "ot=;;x:y ;th:c;", true, "ot=th:8;x:y"},
		{"always", dendro.AlwaysSample, "ot=th:c;x:y,a=1", true, "ot=x:y,a=1"},
		{"never", dendro.NeverSample, "ot=th:c;x:y,a=1", false, "ot=x:y,a=1"},
		{"parent", dendro.ParentSample(half), "a=1,ot=x:y;th:c", true, "a=1,ot=x:y;th:c"},
		{"parent without tracestate", dendro.ParentSample(half), "", true, ""},
		{"default", nil, "a=1,ot=x:y;th:c", true, "a=1,ot=x:y;th:c"},
		{"no probability", func(p dendro.SamplingParameters) dendro.SamplingResult {
			return dendro.SamplingResult{Sampled: p.Name == "x"}
		}, "ot=th:c,a=1", true, "a=1"},
		{"a tracestate of its own", func(dendro.SamplingParameters) dendro.SamplingResult {
			return dendro.SamplingResult{Sampled: true, State: traceState(t, "b=2")}
		}, "ot=th:c,a=1", true, "b=2"},
		{"panic", func(dendro.SamplingParameters) dendro.SamplingResult { panic("x") }, "ot=th:c,a=1", false, "a=1"},
	} {
		sc, err := dendro.ParseTraceparent("00-" + traceID + "-" + spanID + "-01")
		testkit.NoError(t, err)
		sc.State = traceState(t, c.parent)
		ctx, span := dendro.New(dendro.Options{Sampler: c.sampler}).StartWith(background, "x", dendro.StartOptions{Parent: sc})
		_, child := dendro.Start(ctx, "child")
		testkit.Equal(t, c.name+": sampled", span.Context().Flags.Sampled(), c.sampled)
		testkit.Equal(t, c.name, span.Context().State.String(), c.want)
		testkit.Equal(t, c.name+": child", child.Context().State.String(), c.want)
		child.End()
		span.End()
	}
}

func TestStateOfParentsThatDoNotRecord(t *testing.T) {
	sc, err := dendro.ParseTraceparent("00-" + traceID + "-" + spanID + "-00")
	testkit.NoError(t, err)
	sc.State = traceState(t, "ot=th:c")
	sampler := dendro.ParentSample(dendro.RatioSample(0.5))
	decided := sampler(dendro.SamplingParameters{Parent: sc, TraceID: sc.TraceID})
	testkit.Equal(t, "not sampled", decided, dendro.SamplingResult{State: sc.State})
	sc.Deferred = true
	decided = sampler(dendro.SamplingParameters{Parent: sc, TraceID: sc.TraceID})
	testkit.Equal(t, "deferred", decided, dendro.SamplingResult{Sampled: true, State: traceState(t, "ot=th:8")})
}

// A service samples a quarter of its traces, and another follows it. All recorded spans
// tell that they stand for four.
func TestThresholdTravels(t *testing.T) {
	var recorder recorderOf
	first := dendro.New(dendro.Options{Collector: &recorder, Sampler: dendro.ParentSample(dendro.RatioSample(0.25))})
	second := dendro.New(dendro.Options{Collector: &recorder})
	recorded := 0
	for range 1000 {
		ctx, root := first.Start(background, "root")
		ctx, child := dendro.Start(ctx, "child")
		header := http.Header{}
		dendro.Inject(ctx, header)
		sc, _ := dendro.Extract(header)
		ctx, server := second.StartWith(context.Background(), "server", dendro.StartOptions{Parent: sc})
		_, query := dendro.Start(ctx, "query")
		want := http.Header{"Traceparent": {child.Context().Traceparent()}}
		if root.IsRecording() {
			recorded += 4
			want.Set("Tracestate", "ot=th:c")
		}
		testkit.Equal(t, "headers", header, want)
		for _, s := range []*dendro.Span{query, server, child, root} {
			s.End()
		}
		if t.Failed() {
			return
		}
	}
	testkit.Equal(t, "spans", len(recorder.spans), recorded)
	if recorded == 0 {
		t.Error("nothing was sampled")
	}
	for _, s := range recorder.spans {
		testkit.Equal(t, s.Name, s.State.String(), "ot=th:c")
		testkit.Equal(t, s.Name+" stands for", s.State.AdjustedCount(), 4.0)
	}
}

func TestAdjustedCount(t *testing.T) {
	for state, want := range map[string]float64{
		"":                      1,
		"a=1":                   1,
		"ot=rv:80000000000000":  1,
		"ot=th:0":               1,
		"ot=th:8":               2,
		"ot=th:80":              2,
		"ot=th:c":               4,
		"ot=th:e":               8,
		"ot=th:f":               16,
		"ot=th:0000000000000f":  1,
		"ot=th:80000000000000":  2,
		"ot=th:fffffffffffffe":  0x1p55,
		"ot=th:ffffffffffffff":  0x1p56,
		"a=1,ot=rv:8;th:c,b=2":  4,
		"ot=th:8;th:c":          2,
		"ot=th":                 1,
		"ot=th:":                1,
		"ot=th:;x:y":            1,
		"ot=th:C":               1,
		"ot=th:c ;x:y":          1,
		"ot=th:0xc":             1,
		"ot=th:-c":              1,
		"ot=th:c0000000000000":  4,
		"ot=th:c00000000000000": 1,
		"ot=xth:c":              1,
		"ot=x:th:c":             1,
		"ot=TH:c":               1,
		"other=th:c":            1,
		"t@ot=th:c":             1,
		// the table of the specification
		"ot=th:aaab":     3.00004577706569,
		"ot=th:cccd":     5.0000762951094835,
		"ot=th:e666":     9.99938968568813,
		"ot=th:fd70a":    99.99771123402633,
		"ot=th:ffffef39": 999992.38556461,
	} {
		if got := traceState(t, state).AdjustedCount(); math.Abs(got/want-1) > 1e-9 {
			t.Errorf("%q counts as %v, want %v", state, got, want)
		}
	}
}

func FuzzAdjustedCount(f *testing.F) {
	for _, s := range []string{"", "a=1", "ot=th:c;rv:80000000000000,a=1", "ot=th:fffffffffffffff", "ot=th:C", "ot=;x ;th:8; ,b=2", "ot=" + strings.Repeat("x", 256)} {
		f.Add(s)
	}
	half := dendro.RatioSample(0.5)
	tracer := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	f.Fuzz(func(t *testing.T, in string) {
		ts, err := dendro.ParseTraceState(in)
		if err != nil {
			return
		}
		if n := ts.AdjustedCount(); !(n >= 1 && n <= 0x1p56) {
			t.Fatalf("%q counts as %v", in, n)
		}
		parent := dendro.SpanContext{TraceID: dendro.TraceID{9: 0xff}, SpanID: dendro.SpanID{1}, State: ts}
		_, span := tracer.StartWith(background, "x", dendro.StartOptions{Parent: parent})
		without := span.Context().State
		testkit.Equal(t, "without a threshold", without.AdjustedCount(), 1.0)
		sampled := half(dendro.SamplingParameters{Parent: parent, TraceID: parent.TraceID})
		if n := sampled.State.AdjustedCount(); n != 2 && sampled.Sampled && len(without.Get("ot")) < 250 {
			t.Errorf("%q became %q, which counts as %v", in, sampled.State, n)
		}
		for _, changed := range []dendro.TraceState{without, sampled.State} {
			again, err := dendro.ParseTraceState(changed.String())
			if err != nil || again != changed {
				t.Errorf("%q became %q and then %q, %v", in, changed, again, err)
			}
			for member := range strings.SplitSeq(changed.String(), ",") {
				if key, value, _ := strings.Cut(member, "="); key != "ot" && ts.Get(key) != value {
					t.Errorf("%q became %q", in, changed)
				}
			}
		}
	})
}
