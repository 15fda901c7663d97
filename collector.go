package dendro

import (
	"context"
	"errors"
)

// Collector receives ended spans. The in-process store, the client that sends
// to another machine and whatever a user writes are all Collectors.
//
// Collect is called on the goroutines that trace, mostly where the first span of
// a request ends, so it must not block: no I/O, no waiting for room. It must not
// keep b, the spans or their attributes after it returns, because the tracer uses
// the memory for another request: it encodes what it wants to keep, or copies it
// with [SpanData.Clone]. Several goroutines call it at once.
//
// A Collector that hands b on to others and tries again, or may give one of them the
// same spans twice, clears b.Fresh.
//
// An error means that none of the spans were kept. It is counted in
// [Stats.Dropped], under the reason of a [DropError] or "collector", and goes
// no further: a request never fails because it is traced.
//
// A Collector that buffers also has the method of [Flusher].
type Collector interface {
	Collect(b *Batch) error
}

// Flusher is a [Collector] that buffers. Flush returns when everything
// collected before the call has been delivered or dropped, or ctx has ended.
// [Tracer.Flush] calls it.
type Flusher interface {
	Flush(ctx context.Context) error
}

// DropError is an error of [Collector.Collect] with a reason to count under,
// such as "queue_full".
type DropError struct {
	Reason string
	Err    error // may be nil
}

// Error returns the reason and what is behind it.
func (e *DropError) Error() string {
	if e.Err == nil {
		return "dendro: spans dropped: " + e.Reason
	}
	return "dendro: spans dropped: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *DropError) Unwrap() error { return e.Err }

// dropReason is what a Collect that returned err is counted under, "" if it took
// the spans.
func dropReason(err error) string {
	if err == nil {
		return ""
	}
	if drop := (*DropError)(nil); errors.As(err, &drop) && drop != nil && drop.Reason != "" {
		return drop.Reason
	}
	return "collector"
}
