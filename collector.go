package dendro

import (
	"context"
	"errors"
)

// Collector receives ended spans. The in-process store and the client that sends to
// another machine are Collectors.
//
// Collect is called on the goroutines that are traced, usually when the root span of a
// request ends. It must not block: no I/O, no waiting for room. It must not retain b,
// the spans or their attributes, whose memory the tracer reuses for another request.
// It must encode what it wants to keep, or copy it with [SpanData.Clone]. It must be
// safe for concurrent use.
//
// A Collector that passes b on and retries, or may pass the same spans on twice, must
// clear b.Fresh.
//
// An error means that none of the spans were kept. It is counted in [Stats.Dropped],
// under the reason of a [DropError] or as "collector", and is not returned to the
// program: a request never fails because it is traced.
//
// A Collector that buffers should also implement [Flusher].
type Collector interface {
	Collect(b *Batch) error
}

// Flusher is a [Collector] that buffers. Flush returns when everything that was
// collected before the call has been delivered or dropped, or when ctx is done. It is
// called by [Tracer.Flush].
type Flusher interface {
	Flush(ctx context.Context) error
}

// TailSampler is a [Collector] that decides which traces to keep when they have ended, and
// therefore wants to record more than are sampled.
type TailSampler interface {
	Collector
	// Sampler returns the sampler of a new Tracer with this collector. head is the one
	// that Options or the environment asks for, or nil if neither does.
	Sampler(head Sampler) Sampler
}

// DropError is an error of [Collector.Collect] with a reason to count the spans under,
// such as "queue_full".
type DropError struct {
	Reason string
	Err    error // may be nil
}

// Error returns the reason and the text of e.Err.
func (e *DropError) Error() string {
	if e.Err == nil {
		return "dendro: spans dropped: " + e.Reason
	}
	return "dendro: spans dropped: " + e.Reason + ": " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *DropError) Unwrap() error { return e.Err }

// dropReason returns the reason to count spans under when Collect returned err, or ""
// if err is nil.
func dropReason(err error) string {
	if err == nil {
		return ""
	}
	if drop := (*DropError)(nil); errors.As(err, &drop) && drop != nil && drop.Reason != "" {
		return drop.Reason
	}
	return "collector"
}
