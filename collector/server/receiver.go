package server

import (
	"context"
	"errors"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// receiver takes requests, whatever protocol has brought them.
type receiver struct {
	writer collector.Writer
	large  chan struct{} // holds a token while a large body is decoded
}

// largeBytes is the size above which bodies are decoded one at a time. Decoding may
// allocate about a hundred times the size of the body.
const largeBytes = 1 << 20

// invalidError is an error about the content of a request. The client must not send it again.
type invalidError struct{ error }

// receive decodes body and writes its spans. An error that is not an invalidError means that
// the client should send the request again later.
func (rc *receiver) receive(ctx context.Context, f *format, body []byte) (otlp.Result, error) {
	if len(body) > largeBytes {
		select {
		case rc.large <- struct{}{}:
			defer func() { <-rc.large }()
		case <-ctx.Done():
			return otlp.Result{}, ctx.Err()
		}
	}
	batches, err := f.decode(body)
	if err != nil {
		return otlp.Result{}, invalidError{err}
	}
	if len(batches) == 0 {
		return otlp.Result{Message: f.emptyMessage(body)}, nil
	}
	err = rc.writer.Write(ctx, batches)
	if rejected := (*collector.RejectedError)(nil); errors.As(err, &rejected) {
		return otlp.Result{Rejected: int64(rejected.Spans), Message: rejected.Reason}, nil
	}
	return otlp.Result{}, err
}
