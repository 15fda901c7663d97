package remote

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Writer is a [collector.Writer] that sends spans and waits for the answer. It is for programs
// that keep the spans until then, for example because they are in a file. Its methods are safe
// for concurrent use: each call makes its own requests.
type Writer struct{ sender *sender }

// NewWriter returns a Writer for endpoint, which is that of [Dial]. It does not connect. It
// returns an error if the endpoint, an option or an environment variable is not valid.
func NewWriter(endpoint string, o Options) (*Writer, error) {
	s, err := newSender(endpoint, o, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	return &Writer{s}, nil
}

// Write implements [collector.Writer] with [Writer.Send].
func (w *Writer) Write(ctx context.Context, batches []*dendro.Batch) error {
	spans := 0
	for _, b := range batches {
		spans += len(b.Spans)
	}
	return w.Send(ctx, spans, otlp.AppendTraces(nil, batches...))
}

// Send sends a request that is encoded already: the parts of a protobuf
// ExportTraceServiceRequest with a number of spans. The parts must not be modified, not even
// after Send has returned.
//
// While the collector cannot be reached, or asks to try again later, Send does so at growing
// intervals, until ctx is done or for [Options.MaxElapsed]. It returns nil if the collector has
// accepted all spans, a [*collector.RejectedError] if it never accepts some of them, and any
// other error if it has not accepted the request.
func (w *Writer) Send(ctx context.Context, spans int, parts ...[]byte) error {
	ctx = dendro.Untraced(ctx)
	c := encode(&content{Body: spool.Body{Parts: parts}}, w.sender.compression == "gzip")
	expiry := time.Now().Add(w.sender.maxElapsed)
	for failures := 0; ; failures++ {
		a := w.sender.post(ctx, c)
		switch {
		case a.err == nil && a.rejected > 0:
			return &collector.RejectedError{Spans: int(min(a.rejected, int64(spans))), Reason: a.message}
		case a.err == nil:
			return nil
		case a.content:
			return &collector.RejectedError{Spans: spans, Reason: a.err.Error()}
		case !a.retry:
			return fmt.Errorf("remote: %s: %w", w.sender.url, a.err)
		}
		next := time.Now().Add(max(spool.Backoff(failures), a.after))
		if next.After(expiry) {
			return fmt.Errorf("remote: %s: %w", w.sender.url, a.err)
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return fmt.Errorf("remote: %w (%w)", ctx.Err(), a.err)
		}
	}
}
