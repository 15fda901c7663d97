package collector

import (
	"context"
	"errors"
	"fmt"

	"github.com/dendrotrace/dendro"
)

// Writer stores spans for somebody who waits for the answer, such as a client that sends them
// and keeps them until then. [dendro.Collector] is for the goroutines that are traced, which do
// not wait.
type Writer interface {
	// Write stores the spans of batches. It may wait, until ctx is done. It does not retain
	// batches.
	//
	// If Write returns nil, all spans are stored, as durably as the store can: a store on disk
	// has synced them. After a [*RejectedError], all are stored but those that it counts,
	// which never can be. After any other error, some of them may be stored and some may not.
	// The client should write all of them again later, and the store recognizes what it has.
	Write(ctx context.Context, batches []*dendro.Batch) error
}

// RejectedError is an error of [Writer.Write]: some spans can never be stored, for example
// because they are too large. The others are stored.
type RejectedError struct {
	Spans  int // number of spans that are not stored
	Reason string
}

// Error returns the number of spans and the reason.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("collector: %d spans rejected: %s", e.Spans, e.Reason)
}

// WriterOf returns a Writer that gives each batch to c. A batch that c refuses with the reason
// [DropTooLarge] is rejected. If c refuses all batches and one of them for another reason, that
// is the error of Write. If c has taken some, the others are rejected, because c may not
// recognize what it has.
func WriterOf(c dendro.Collector) Writer { return writerOf{c} }

type writerOf struct{ dendro.Collector }

func (w writerOf) Write(ctx context.Context, batches []*dendro.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var rejected RejectedError
	var refused error // for a reason that may pass
	taken := false
	for _, b := range batches {
		err := w.Collect(b)
		if err == nil {
			taken = true
			continue
		}
		rejected.Spans += len(b.Spans)
		rejected.Reason = err.Error()
		if drop := (*dendro.DropError)(nil); !errors.As(err, &drop) || drop.Reason != DropTooLarge {
			refused = err
		}
	}
	switch {
	case refused != nil && !taken:
		return refused
	case rejected.Spans > 0:
		return &rejected
	}
	return nil
}
