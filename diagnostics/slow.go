package diagnostics

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

const (
	// usualTime is the time before now whose spans say how long an operation usually takes.
	usualTime = time.Hour
	// usualPeriod is the shortest time between two looks at the counts of operations.
	usualPeriod = 10 * time.Second
	// leastSpans is the number of spans from which on an operation has a 99th percentile, as in
	// package collector/keep: two of them are longer.
	leastSpans = 200
	// maxOperations bounds the operations that are known. The first of them are, ordered by
	// service, name and kind.
	maxOperations = 4096
)

// operation is what a service does under one name.
type operation struct {
	service, name string
	kind          dendro.Kind
}

// usual knows how long operations usually take.
type usual struct {
	reader collector.OperationReader // if nil, nothing is known
	p99s   atomic.Pointer[map[operation]time.Duration]

	mu   sync.Mutex
	read time.Time // when reader was read last; guarded by mu
}

// p99 returns the duration that 99 % of the spans of an operation do not exceed, or 0 if that is
// not known.
func (u *usual) p99(op operation) time.Duration {
	if known := u.p99s.Load(); known != nil {
		return (*known)[op]
	}
	return 0
}

// refresh reads the counts of operations, unless they were read just now.
func (u *usual) refresh(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if u.reader == nil || now.Sub(u.read) < usualPeriod {
		return nil
	}
	p99s := map[operation]time.Duration{}
	err := u.reader.Operations(ctx, collector.OperationScan{Start: now.Add(-usualTime), End: now}, func(o *collector.Operation) bool {
		if d := p99(&o.Total.Durations); d > 0 && !o.Other {
			p99s[operation{strings.Clone(o.Service), strings.Clone(o.Name), o.Kind}] = d
		}
		return len(p99s) < maxOperations
	})
	if err != nil {
		return err
	}
	u.read = now
	u.p99s.Store(&p99s)
	return nil
}

// p99 returns the 99th percentile, or 0 if there are too few durations. It is the longest duration
// of the bucket, so that it is not less than what is usual.
func p99(h *collector.Histogram) time.Duration {
	if h.Count() < leastSpans {
		return 0
	}
	return collector.BucketBound(collector.BucketOf(h.Quantile(0.99)))
}
