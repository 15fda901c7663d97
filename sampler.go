package dendro

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// Sampler decides whether the spans of a local trace are recorded. It is called when
// the local trace begins, and its decision holds for all its spans and is propagated
// in the sampled flag. It must be safe for concurrent use and should take only
// nanoseconds.
type Sampler func(SamplingParameters) bool

// SamplingParameters is the input of a [Sampler].
type SamplingParameters struct {
	// Parent is the span of the caller. It is the zero value for a new trace.
	Parent  SpanContext
	TraceID TraceID
	Name    string
	Kind    Kind
}

// AlwaysSample is a [Sampler] that records everything.
func AlwaysSample(SamplingParameters) bool { return true }

// NeverSample is a [Sampler] that records nothing.
func NeverSample(SamplingParameters) bool { return false }

// RatioSample returns a [Sampler] that records a share of all traces, from 0 to 1.
// Values outside of that range are set to the nearest bound. It looks only at the last
// 56 bits of the trace id, so services with the same ratio record the same traces, and
// a service with a higher ratio records every trace that one with a lower ratio
// records (OpenTelemetry, consistent probability sampling: recorded if randomness ≥
// threshold).
func RatioSample(ratio float64) Sampler {
	const randomBits = 56
	if !(ratio > 0) { // also if it is NaN
		return NeverSample
	}
	if ratio >= 1 {
		return AlwaysSample
	}
	threshold := uint64(math.Round((1 - ratio) * (1 << randomBits)))
	return func(p SamplingParameters) bool {
		return binary.BigEndian.Uint64(p.TraceID[8:])&(1<<randomBits-1) >= threshold
	}
}

// ParentSample returns a [Sampler] that follows the decision of the caller. For new
// traces, and if the caller has deferred the decision, it calls root. If root is nil,
// it uses [AlwaysSample].
func ParentSample(root Sampler) Sampler {
	if root == nil {
		root = AlwaysSample
	}
	return func(p SamplingParameters) bool {
		if p.Parent.IsValid() && !p.Parent.Deferred {
			return p.Parent.Flags.Sampled()
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
	case "", "parentbased_always_on":
		return nil, nil
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
		"always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio", name)
}
