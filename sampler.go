package dendro

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Sampler decides whether the spans of a local trace are recorded, and whether it is
// sampled. It is called when the local trace begins, and its decision holds for all its
// spans. The sampled flag is propagated. It must be safe for concurrent use and should
// take only nanoseconds.
type Sampler func(SamplingParameters) SamplingResult

// SamplingParameters is the input of a [Sampler].
type SamplingParameters struct {
	// Context is that of the caller of Start, with its baggage.
	Context context.Context
	// Parent is the span of the caller. It is the zero value for a new trace.
	Parent  SpanContext
	TraceID TraceID
	Name    string
	Kind    Kind
}

// SamplingResult is the decision of a [Sampler].
type SamplingResult struct {
	// Sampled is the sampled flag of the spans, which is propagated. Sampled spans are
	// recorded.
	Sampled bool
	// State is the tracestate of the spans, which is also propagated. If it is empty,
	// it is that of the parent without the sampling threshold, as OpenTelemetry asks of
	// a sampler that knows no probability.
	State TraceState
	// Record records the spans even if they are not sampled (RECORD_ONLY in the
	// OpenTelemetry specification, "Sampling"). It is for a [TailSampler].
	Record bool
}

// AlwaysSample is a [Sampler] that records everything. It does not write the threshold
// 0, as OpenTelemetry's would, because a span without a threshold counts as one anyway
// and would take more room in headers and stores.
func AlwaysSample(SamplingParameters) SamplingResult { return SamplingResult{Sampled: true} }

// NeverSample is a [Sampler] that records nothing.
func NeverSample(SamplingParameters) SamplingResult { return SamplingResult{} }

// RatioSample returns a [Sampler] that records a share of all traces, from 0 to 1.
// Values outside of that range are set to the nearest bound. A trace is recorded if its
// randomness is at least the threshold, (1 - ratio) * 2^56, so services with the same
// ratio record the same traces, and a service with a higher ratio records every trace
// that one with a lower ratio records. The randomness is the last 56 bits of the trace
// id, or sub-key rv in member "ot" of the tracestate of the parent.
//
// Recorded spans have the threshold as sub-key th, from which
// [TraceState.AdjustedCount] computes how many spans each of them stands for. It is
// rounded to four significant digits, which changes a ratio above 1e-12 by at most
// 0.013 % (OpenTelemetry specification, "TraceState: Probability Sampling").
func RatioSample(ratio float64) Sampler {
	if !(ratio > 0) { // also if it is NaN
		ratio = 0
	}
	ratio = min(ratio, 1)
	_, exp := math.Frexp(ratio)
	digits := min(4-exp/4, thresholdDigits) // four after those that are f
	count := uint64(math.Round(math.Ldexp(ratio, 4*digits))) << (4 * (thresholdDigits - digits))
	switch count { // recorded traces of 2^56
	case 0:
		return NeverSample
	case maxAdjustedCount:
		return AlwaysSample
	}
	threshold := maxAdjustedCount - count
	th := strings.TrimRight(fmt.Sprintf("%0*x", thresholdDigits, threshold), "0")
	root := TraceState{}.withThreshold(th)
	return func(p SamplingParameters) SamplingResult {
		switch {
		case p.randomness() < threshold:
			return SamplingResult{}
		case p.Parent.State == TraceState{}:
			return SamplingResult{Sampled: true, State: root}
		}
		return SamplingResult{Sampled: true, State: p.Parent.State.withThreshold(th)}
	}
}

// randomness returns the 56 bits that are compared with a threshold.
func (p *SamplingParameters) randomness() uint64 {
	if rv := p.Parent.State.subValue("rv"); len(rv) == thresholdDigits {
		if n, ok := parseThreshold(rv); ok {
			return n
		}
	}
	return binary.BigEndian.Uint64(p.TraceID[8:]) % maxAdjustedCount
}

// ParentSample returns a [Sampler] that follows the decision of the caller and keeps
// its tracestate, with the threshold of whoever has decided. For new traces, and if the
// caller has deferred the decision, it calls root. If root is nil, it uses
// [AlwaysSample].
func ParentSample(root Sampler) Sampler {
	if root == nil {
		root = AlwaysSample
	}
	return func(p SamplingParameters) SamplingResult {
		if p.Parent.IsValid() && !p.Parent.Deferred {
			return SamplingResult{Sampled: p.Parent.Flags.Sampled(), State: p.Parent.State}
		}
		return root(p)
	}
}

// samplerFromEnv reads OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. As the
// OpenTelemetry specification asks, it reports values that it cannot use and replaces
// them by the default, ParentSample(AlwaysSample), or by the ratio 1. It returns nil
// for the default.
func samplerFromEnv(getenv func(string) string) (Sampler, error) {
	name, arg := getenv("OTEL_TRACES_SAMPLER"), getenv("OTEL_TRACES_SAMPLER_ARG")
	ratio := func() (Sampler, error) {
		if arg == "" {
			return AlwaysSample, nil
		}
		r, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(r >= 0 && r <= 1) {
			return AlwaysSample, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%q: want a number from 0 to 1; sampling everything", arg)
		}
		return RatioSample(r), nil
	}
	switch name {
	case "", "dendro_retroactive": // which package collector/remote reads
		return nil, nil
	case "parentbased_always_on":
		return ParentSample(AlwaysSample), nil
	case "parentbased_always_off":
		return ParentSample(NeverSample), nil
	case "parentbased_traceidratio":
		s, err := ratio()
		return ParentSample(s), err
	case "always_on":
		return AlwaysSample, nil
	case "always_off":
		return NeverSample, nil
	case "traceidratio":
		return ratio()
	}
	return nil, fmt.Errorf("OTEL_TRACES_SAMPLER=%q: unknown, using parentbased_always_on; want one of "+
		"always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio, dendro_retroactive", name)
}
