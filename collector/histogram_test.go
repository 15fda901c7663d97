package collector_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

func TestBuckets(t *testing.T) {
	for i := range collector.MaxBucket + 1 {
		bound := collector.BucketBound(i)
		if got := collector.BucketOf(bound); bound > 64 && got != i {
			t.Fatalf("BucketOf(%d) is %d, want %d", bound, got, i)
		}
		if got := collector.BucketOf(bound + 1); bound > 64 && i < collector.MaxBucket && got != i+1 {
			t.Fatalf("BucketOf(%d) is %d, want %d", bound+1, got, i+1)
		}
	}
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1} {
		if got := collector.BucketOf(d); got != 0 {
			t.Errorf("BucketOf(%d) is %d", d, got)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		d := time.Duration(rng.Uint64()>>(1+rng.IntN(60))) + 2
		if got, want := collector.BucketOf(d), int(math.Ceil(math.Log2(float64(d))*collector.BucketsPerOctave-1e-9)); got != want {
			t.Fatalf("BucketOf(%d) is %d, want %d", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h, low, high collector.Histogram
	if h.Quantile(.5) != 0 || !math.IsNaN(h.Below(1)) {
		t.Error("an empty histogram has a quantile")
	}
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(1e6 * math.Exp(2*rng.NormFloat64()))
		all = append(all, d)
		if i%2 == 0 {
			low.Add(d, 1)
		} else {
			high.Add(d, 1)
		}
	}
	h.Merge(&low)
	h.Merge(&high)
	slices.Sort(all)
	for _, q := range []float64{0, .01, .5, .9, .99, .999, 1} {
		want := float64(all[max(0, int(math.Ceil(q*float64(len(all))))-1)])
		if got := float64(h.Quantile(q)); math.Abs(got-want) > .05*want {
			t.Errorf("quantile %v is %v, want %v", q, time.Duration(got), time.Duration(want))
		}
		if got := h.Below(time.Duration(want)); math.Abs(got-q) > .03 {
			t.Errorf("%v of the durations are below quantile %v", got, q)
		}
	}
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	if got := h.Sum(); math.Abs(float64(got-sum)) > .05*float64(sum) {
		t.Errorf("the sum is %v, want %v", got, sum)
	}
	if h.Count() != float64(len(all)) {
		t.Errorf("%v durations", h.Count())
	}
	h.Reset()
	h.Add(time.Second, 2)
	if h.Count() != 2 || (h.Quantile(.5)-time.Second).Abs() > 44*time.Millisecond {
		t.Errorf("%v durations of %v after Reset", h.Count(), h.Quantile(.5))
	}
}
