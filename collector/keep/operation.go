package keep

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
)

const (
	// maxOperations bounds the number of operations whose traces are judged by themselves.
	maxOperations = 1024
	// recentOperations is the number of operations that are found without a lock, a power of two.
	recentOperations = 256
	// maxErrorKinds bounds the kinds of errors that an operation remembers.
	maxErrorKinds = 64
	// leastLearned is the number of durations from which on an operation knows which are long.
	leastLearned = 200
	// learnTime is the time, and learnRequests the number of requests, after which those before them are
	// forgotten. A process that begins is often slow: the first 200 are forgotten after 600, and from then on the number doubles.
	learnTime     = time.Minute
	learnRequests = 5000
)

// operations are what the local roots of a process do: name and kind.
type operations struct {
	recent [recentOperations]atomic.Pointer[operation]

	mu    sync.Mutex
	byKey map[operationKey]*operation // guarded by mu
	other operation
}

type operationKey struct {
	name string
	kind dendro.Kind
}

var seed = maphash.MakeSeed()

// of returns the operation of a local root, and whether it is new. If there are too many, it is the one for all
// others.
func (o *operations) of(root *dendro.SpanData) (op *operation, isNew bool) {
	recent := &o.recent[(maphash.String(seed, root.Name)+uint64(root.Kind))%recentOperations]
	if op = recent.Load(); op != nil && op.key.name == root.Name && op.key.kind == root.Kind {
		return op, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	key := operationKey{root.Name, root.Kind}
	op = o.byKey[key]
	if op == nil {
		if len(o.byKey) >= maxOperations {
			return &o.other, false
		}
		op, isNew = &operation{key: key}, true
		if o.byKey == nil {
			o.byKey = map[operationKey]*operation{}
		}
		o.byKey[key] = op
	}
	recent.Store(op)
	return op, isNew
}

// operation is what is known of one operation.
type operation struct {
	key operationKey

	mu              sync.Mutex // guards the fields below
	recent, earlier durations
	began           time.Time // when recent began
	most            int       // number of durations in recent after which it becomes earlier
	next            int       // number of durations in recent at which slow is determined again
	slow            threshold
	limits          [maxLimits]limiter
	errorKinds      map[string]struct{}
	ordinary        int64   // when an ordinary trace was kept, in nanoseconds since the Unix epoch
	since           float64 // number of traces since then
}

// Limits of an operation, by reason.
const (
	limitError = iota
	limitSlow
	limitInner // slow, and called by another service
	limitAttribute
	limitRepeats
	limitPoolWait
	maxLimits
)

// seen counts a trace that took d and ended at end. It returns for how many it stands if it is one of the slowest, and if it is the ordinary one
// of this minute, or 0 if it is not.
func (op *operation) seen(d time.Duration, end int64, p, share float64) (slow, ordinary float64) {
	op.mu.Lock()
	defer op.mu.Unlock()
	slow = op.slow.admit(d, p)
	op.recent.add(d)
	if op.recent.n >= op.next {
		op.learn(share)
	}
	op.since++
	switch {
	case op.ordinary == 0:
		op.ordinary = end
	case end-op.ordinary >= int64(time.Minute):
		ordinary, op.since, op.ordinary = op.since, 0, end
	}
	return slow, ordinary
}

// learn determines which durations are slow.
func (op *operation) learn(share float64) {
	now := time.Now()
	most := max(op.most, leastLearned)
	if op.began.IsZero() {
		op.began = now
	}
	if op.recent.n >= most && (most < learnRequests || now.Sub(op.began) >= learnTime) {
		op.began, op.most = now, min(2*most, learnRequests)
		op.recent, op.earlier = durations{}, op.recent
	}
	n := op.recent.n + op.earlier.n
	op.next = op.recent.n + min(max(n/16, 1), 1024)
	if share > 0 && n >= leastLearned {
		expected := share * float64(n)
		op.slow = slowest(&op.recent, &op.earlier, expected+2*math.Sqrt(expected))
	}
}

// admit applies the limit of a reason, a number of traces a second.
func (op *operation) admit(reason int, p, limit float64) (weight float64, ok bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.limits[reason].admit(time.Now(), p, limit)
}

// newError reports whether this kind of error is new.
func (op *operation) newError(kind string) bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	if _, ok := op.errorKinds[kind]; ok || len(op.errorKinds) >= maxErrorKinds {
		return false
	}
	if op.errorKinds == nil {
		op.errorKinds = map[string]struct{}{}
	}
	op.errorKinds[kind] = struct{}{}
	return true
}

// durations counts durations in buckets, of which each power of two nanoseconds has bucketsPerOctave. Their
// bounds are at most 3 % apart.
type durations struct {
	n       int
	octaves [64]*[bucketsPerOctave]uint32
}

const bucketBits = 5

const bucketsPerOctave = 1 << bucketBits

func (c *durations) add(d time.Duration) {
	octave := bits.Len64(uint64(max(d, 1))) - 1
	if c.octaves[octave] == nil {
		c.octaves[octave] = new([bucketsPerOctave]uint32)
	}
	c.octaves[octave][uint64(max(d, 1))<<(63-octave)>>(63-bucketBits)&(bucketsPerOctave-1)]++
	c.n++
}

// threshold separates the slowest: durations of more than above, and of those of more than from a share.
type threshold struct {
	from, above time.Duration
	share       float64 // 0 if nothing is known
}

// admit returns for how many traces one stands that takes d, or 0 if it is not one of the slowest. Of traces that take about as
// long, it takes those with the highest priority.
func (t *threshold) admit(d time.Duration, p float64) (weight float64) {
	switch {
	case t.share == 0 || d < t.from:
		return 0
	case d >= t.above:
		return 1
	case p >= 1-t.share:
		return 1 / t.share
	}
	return 0
}

// slowest returns the threshold that n of the durations in a and b exceed.
func slowest(a, b *durations, n float64) threshold {
	above := 0.0
	for octave := len(a.octaves) - 1; octave >= 0; octave-- {
		x, y := a.octaves[octave], b.octaves[octave]
		if x == nil && y == nil {
			continue
		}
		for i := bucketsPerOctave - 1; i >= 0; i-- {
			in := 0.0
			if x != nil {
				in += float64(x[i])
			}
			if y != nil {
				in += float64(y[i])
			}
			if in > 0 && above+in >= n {
				return threshold{bucketStart(octave, i), bucketStart(octave, i+1), (n - above) / in}
			}
			above += in
		}
	}
	return threshold{}
}

// bucketStart returns the shortest duration in a bucket.
func bucketStart(octave, i int) time.Duration {
	return time.Duration(min(uint64(1)<<octave+uint64(i)<<octave>>bucketBits, math.MaxInt64))
}
