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
	key  operationKey
	long atomic.Int64 // durations from here on are among the slowest; 0 while that is not known

	mu              sync.Mutex // guards the fields below
	recent, earlier durations
	began           time.Time // when recent began
	most            int       // number of durations in recent after which it becomes earlier
	next            int       // number of durations in recent at which long is determined again
	limits          [maxLimits]limiter
	errorKinds      map[string]struct{}
	ordinary        time.Time // when an ordinary trace was kept
	since           float64   // number of traces since then
}

// Limits of an operation, by reason.
const (
	limitError = iota
	limitSlow
	limitOther
	maxLimits
)

// seen counts a trace that took d, and reports whether it is among the share of the slowest, whether it is the
// ordinary one of this minute, and then for how many it stands.
func (op *operation) seen(d time.Duration, share float64) (slow, ordinary bool, weight float64) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.since++
	long := op.long.Load()
	op.recent.add(d)
	if op.recent.n >= op.next {
		ordinary, weight = op.learn(share)
	}
	return long > 0 && int64(d) >= long, ordinary, weight
}

// learn determines op.long, and whether it is time for an ordinary trace.
func (op *operation) learn(share float64) (ordinary bool, weight float64) {
	now := time.Now()
	if op.began.IsZero() {
		op.began, op.ordinary = now, now
	}
	most := max(op.most, leastLearned)
	if op.recent.n >= most && (most < learnRequests || now.Sub(op.began) >= learnTime) {
		op.began, op.most = now, min(2*most, learnRequests)
		op.recent, op.earlier = durations{}, op.recent
	}
	n := op.recent.n + op.earlier.n
	op.next = op.recent.n + min(max(n/16, 1), 1024)
	if share > 0 && n >= leastLearned {
		expected := share * float64(n)
		op.long.Store(longest(&op.recent, &op.earlier, expected+2*math.Sqrt(expected)))
	}
	if now.Sub(op.ordinary) < time.Minute {
		return false, 0
	}
	weight, op.since, op.ordinary = op.since, 0, now
	return true, weight
}

// admit applies the limit of a reason, a number of traces a second.
func (op *operation) admit(reason int, p, limit float64) (weight float64, ok bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.limits[reason].admit(time.Now().Unix(), p, limit)
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

// longest returns the lower bound of a bucket: about n of the durations in a and b are in it or above it, and not
// less.
func longest(a, b *durations, n float64) int64 {
	above := 0.0
	for octave := len(a.octaves) - 1; octave >= 0; octave-- {
		x, y := a.octaves[octave], b.octaves[octave]
		if x == nil && y == nil {
			continue
		}
		for i := bucketsPerOctave - 1; i >= 0; i-- {
			if x != nil {
				above += float64(x[i])
			}
			if y != nil {
				above += float64(y[i])
			}
			if above >= n {
				return int64(1)<<octave + int64(uint64(i)<<octave>>bucketBits)
			}
		}
	}
	return 1
}
