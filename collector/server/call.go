package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// call is a request that is being received, whatever protocol has brought it.
type call struct {
	*Handler
	*counters
	format *format

	held       int64        // bytes in flight
	raw, plain bytes.Buffer // the body before and after decompression
	compressed bytes.Reader // reads raw
}

var calls = sync.Pool{New: func() any { return new(call) }}

// maxPooledBytes bounds the size of a buffer that is kept for another request.
const maxPooledBytes = 1 << 20

// begin returns a call, which must be ended.
func (h *Handler) begin(f *format) *call {
	c := calls.Get().(*call)
	c.Handler, c.counters, c.format = h, &h.counters[f.index], f
	c.requests.Add(1)
	return c
}

func (c *call) end() {
	c.inFlight.Add(-c.held)
	for _, b := range []*bytes.Buffer{&c.raw, &c.plain} {
		if b.Reset(); b.Cap() > maxPooledBytes {
			*b = bytes.Buffer{}
		}
	}
	c.Handler, c.counters, c.format, c.held = nil, nil, nil, 0
	calls.Put(c)
}

// largeBytes is the size above which bodies are decoded one at a time. Decoding may
// allocate about a hundred times the size of the body.
const largeBytes = 1 << 20

// write decodes body and writes its spans.
func (c *call) write(ctx context.Context, body []byte) (otlp.Result, *refusal) {
	if len(body) > largeBytes {
		select {
		case c.large <- struct{}{}:
			defer func() { <-c.large }()
		case <-ctx.Done():
			return otlp.Result{}, writeError(ctx, ctx.Err())
		}
	}
	batches, err := c.format.decode(body)
	if err != nil {
		return otlp.Result{}, &refusal{invalid, "decoding " + c.format.contentType + ": " + err.Error()}
	}
	spans := 0
	for _, b := range batches {
		spans += len(b.Spans)
	}
	if spans == 0 {
		return otlp.Result{Message: c.format.emptyMessage(body)}, nil
	}
	c.received.Add(uint64(spans))
	if spans > c.options.MaxSpans {
		c.rejected[tooManySpans].Add(uint64(spans))
		return otlp.Result{}, &refusal{tooManySpans, fmt.Sprintf("%d spans in one request: send at most %d", spans, c.options.MaxSpans)}
	}
	c.limit(batches)
	err = c.writer.Write(ctx, batches)
	if some := (*collector.RejectedError)(nil); errors.As(err, &some) {
		n := min(max(some.Spans, 0), spans)
		c.rejected[rejected].Add(uint64(n))
		c.stored.Add(uint64(spans - n))
		return otlp.Result{Rejected: int64(n), Message: some.Reason}, nil
	}
	if err != nil {
		bad := writeError(ctx, err)
		c.rejected[bad.reason].Add(uint64(spans))
		return otlp.Result{}, bad
	}
	c.stored.Add(uint64(spans))
	return otlp.Result{}, nil
}

// writeError returns why a request is refused whose spans could not be written.
func writeError(ctx context.Context, err error) *refusal {
	drop := (*dendro.DropError)(nil)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &refusal{tooSlow, "the deadline has passed: " + err.Error()}
	case ctx.Err() != nil:
		return &refusal{canceled, err.Error()}
	case errors.As(err, &drop):
		return &refusal{full, err.Error()}
	}
	return &refusal{unavailable, err.Error()}
}
