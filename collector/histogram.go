package collector

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"time"
)

// Histogram counts durations. It is OpenTelemetry's base-2 exponential histogram with scale 3
// (OpenTelemetry Metrics Data Model, "ExponentialHistogram"): eight buckets for each power of
// two nanoseconds. Counts may be fractions. The zero value is empty.
type Histogram struct {
	first  int // number of the first bucket in counts
	counts []float64
}

// BucketsPerOctave is the number of buckets for each power of two, 2^3.
const BucketsPerOctave = 8

// MaxBucket is the largest number of a bucket: that of the largest duration.
const MaxBucket = 63 * BucketsPerOctave

// within[i] is the largest mantissa, a number from 2^63 to 2^64-1, in bucket i of a power of two.
var within = func() (w [BucketsPerOctave + 1]uint64) {
	for i := range BucketsPerOctave {
		w[i] = uint64(math.Ldexp(math.Exp2(float64(i)/BucketsPerOctave), 63))
	}
	w[BucketsPerOctave] = math.MaxUint64
	return w
}()

// BucketOf returns the number of the bucket that d belongs to. Bucket i has the durations above
// 2^((i-1)/8) and up to 2^(i/8) nanoseconds, and bucket 0 also all that are shorter.
// OpenTelemetry's index of the bucket is i-1.
func BucketOf(d time.Duration) int {
	if d <= 1 {
		return 0
	}
	octave := bits.Len64(uint64(d)) - 1
	mantissa := uint64(d) << (63 - octave)
	i := int(mantissa >> 60 & 7) // the bounds lie at most this far to the right, as 2^x <= 1+x
	for mantissa > within[i] {
		i++
	}
	return octave*BucketsPerOctave + i
}

// BucketBound returns the longest duration in bucket i, rounded down to nanoseconds.
func BucketBound(i int) time.Duration {
	if i >= MaxBucket {
		return math.MaxInt64
	}
	return time.Duration(math.Exp2(float64(i) / BucketsPerOctave))
}

// bucketMiddle returns the duration that stands for those in bucket i. The relative error is at
// most 2^(1/16) - 1, which is 4.4 %.
func bucketMiddle(i int) time.Duration {
	return time.Duration(math.Round(math.Exp2((float64(i) - 0.5) / BucketsPerOctave)))
}

// Add adds n durations d.
func (h *Histogram) Add(d time.Duration, n float64) { h.AddBucket(BucketOf(d), n) }

// AddBucket adds n durations to bucket i, which is from 0 to MaxBucket.
func (h *Histogram) AddBucket(i int, n float64) {
	if uint(i-h.first) >= uint(len(h.counts)) {
		h.grow(i)
	}
	h.counts[i-h.first] += n
}

// grow makes room for bucket i. It grows by whole powers of two, so that few calls have to.
func (h *Histogram) grow(i int) {
	from, to := i/BucketsPerOctave*BucketsPerOctave, (i/BucketsPerOctave+1)*BucketsPerOctave
	if len(h.counts) == 0 {
		h.first = from
		h.counts = slices.Grow(h.counts[:0], to-from)[:to-from]
		clear(h.counts)
		return
	}
	if n := h.first - from; n > 0 {
		h.counts = slices.Insert(h.counts, 0, make([]float64, n)...)
		h.first = from
	}
	if n := to - h.first - len(h.counts); n > 0 {
		h.counts = append(h.counts, make([]float64, n)...)
	}
}

// Merge adds the durations of other.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.Buckets() {
		h.AddBucket(i, n)
	}
}

// Reset makes h empty, and keeps its memory.
func (h *Histogram) Reset() { h.counts = h.counts[:0] }

// Clone returns a copy of h.
func (h *Histogram) Clone() Histogram { return Histogram{h.first, slices.Clone(h.counts)} }

// Bytes returns the memory that h refers to.
func (h *Histogram) Bytes() int { return 8 * cap(h.counts) }

// Buckets returns the numbers and counts of the buckets that are not empty, in order.
func (h *Histogram) Buckets() iter.Seq2[int, float64] {
	return func(yield func(int, float64) bool) {
		for i, n := range h.counts {
			if n != 0 && !yield(h.first+i, n) {
				return
			}
		}
	}
}

// Count returns the number of durations.
func (h *Histogram) Count() (n float64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Sum returns about the sum of all durations, with a relative error of at most 4.4 %, or the
// largest duration if that is less.
func (h *Histogram) Sum() time.Duration {
	sum := 0.0
	for i, n := range h.Buckets() {
		sum += n * float64(bucketMiddle(i))
	}
	if sum >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(sum)
}

// Quantile returns the duration that the share q of all durations does not exceed, from 0 to 1,
// with a relative error of at most 4.4 %. If h is empty, it returns 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := q * h.Count()
	seen, last := 0.0, time.Duration(0)
	for i, n := range h.Buckets() {
		last = bucketMiddle(i)
		if seen += n; seen >= rank {
			break
		}
	}
	return last
}

// Below returns the share of all durations that are shorter than d, from 0 to 1. Half of those
// in the bucket of d are counted as shorter. If h is empty, it returns NaN.
func (h *Histogram) Below(d time.Duration) float64 {
	bucket := BucketOf(d)
	below := 0.0
	for i, n := range h.Buckets() {
		switch {
		case i < bucket:
			below += n
		case i == bucket:
			below += n / 2
		}
	}
	return below / h.Count()
}
