// Package remote sends spans to a collector on another machine, or in another
// process, by OTLP/HTTP: protobuf in POST requests (OpenTelemetry Protocol 1.x,
// section "OTLP/HTTP"). It is understood by package collector/server and by
// whatever else receives OpenTelemetry. OTEL_EXPORTER_OTLP_PROTOCOL is not read:
// there is one.
//
//	client, err := remote.Dial("http://traces:4318", remote.Options{})
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client})
//
// # Concurrency
//
// Collect encodes on the goroutine of the request and holds a lock to copy the
// bytes into the queue; nothing else. One goroutine of the client empties the
// queue, one request at a time. A collector that is slow or away makes the queue
// grow to its bound, and no request wait.
package remote

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Options configures a [Client]. The zero value works. Numbers and durations of
// zero or less stand for the default.
type Options struct {
	// Header is sent with every request; Authorization, for example. It wins
	// over OTEL_EXPORTER_OTLP_TRACES_HEADERS, or if that is not set
	// OTEL_EXPORTER_OTLP_HEADERS: key=value pairs, separated by commas, with
	// percent-encoded values.
	Header http.Header
	// Compression is "gzip" or "none". A span takes some hundred bytes without,
	// a tenth with it, and four times as long. Default:
	// OTEL_EXPORTER_OTLP_TRACES_COMPRESSION, else
	// OTEL_EXPORTER_OTLP_COMPRESSION, else "none".
	Compression string
	// Timeout bounds one request, until its answer has been read. Default:
	// OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, else OTEL_EXPORTER_OTLP_TIMEOUT, both
	// in milliseconds, else 10 s.
	Timeout time.Duration
	// Interval is how long the first span of a request waits for others.
	// Default: 1 s.
	Interval time.Duration
	// BatchBytes bounds the spans of a request before compression, in bytes.
	// Only a single span that is larger exceeds it. Default: 512 KiB.
	BatchBytes int
	// QueueBytes bounds the encoded spans that the client holds, in bytes,
	// those on their way included; for each resource and scope of a request
	// 512 more count. What does not fit is refused. Default: 16 MiB.
	QueueBytes int
	// MaxElapsed is the age at which spans that could not be delivered are
	// dropped, and the longest pause that a collector can ask for. Default: 5
	// minutes.
	MaxElapsed time.Duration
	// HTTPClient makes the requests; it is where TLS is configured. Redirects
	// are not followed, whatever it says: they would lose the spans. Default:
	// a client of its own, which uses the proxy of the environment.
	HTTPClient *http.Client
}

// The defaults of [Options].
const (
	defaultTimeout    = 10 * time.Second
	defaultInterval   = time.Second
	defaultBatchBytes = 512 << 10
	defaultQueueBytes = 16 << 20
	defaultMaxElapsed = 5 * time.Minute
)

// Client is a [dendro.Collector] that sends spans on. Its methods may be called
// by several goroutines at once. It must be ended with [Client.Shutdown].
type Client struct {
	queue  queue
	sender *sender

	stop    context.CancelFunc // ends the goroutine
	stopped chan struct{}      // closed when it has ended
}

var (
	_ dendro.Collector = (*Client)(nil)
	_ dendro.Flusher   = (*Client)(nil)
)

// Dial returns a client that sends to endpoint, an http or https URL. Unless its
// path ends in /v1/traces, that is appended. If endpoint is "", it is
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, used as it stands, else
// OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4318.
//
// Dial does not connect: a collector may come later than its clients. It returns
// an error for an endpoint, an option or an environment variable that cannot be
// used.
func Dial(endpoint string, o Options) (*Client, error) {
	s, err := newSender(endpoint, o, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	queueBytes := positive(o.QueueBytes, defaultQueueBytes)
	ctx, stop := context.WithCancel(dendro.Untraced(context.Background()))
	c := &Client{
		queue: queue{
			maxBytes:   queueBytes,
			batchBytes: min(positive(o.BatchBytes, defaultBatchBytes), queueBytes),
			interval:   positive(o.Interval, defaultInterval),
			wake:       make(chan struct{}, 1),
		},
		sender:  s,
		stop:    stop,
		stopped: make(chan struct{}),
	}
	go c.run(ctx)
	return c, nil
}

func positive[T cmp.Ordered](v, otherwise T) T {
	var zero T
	if v > zero {
		return v
	}
	return otherwise
}

// run delivers batch after batch, and when ctx has ended drops what is left.
func (c *Client) run(ctx context.Context) {
	defer close(c.stopped)
	for b := c.queue.next(ctx); b != nil; b = c.queue.next(ctx) {
		c.sender.deliver(ctx, b)
		c.queue.finish(b)
	}
}

// minSpanBytes is less than any encoded span: two ids and two times.
const minSpanBytes = 48

// Collect implements [dendro.Collector]: it encodes the spans of b and queues
// them, all or none. The reasons for which it refuses them are "queue_full" and
// "shutdown".
func (c *Client) Collect(b *dendro.Batch) error {
	if err := c.queue.refuses(len(b.Spans) * minSpanBytes); err != nil {
		return err
	}
	e := encodings.Get().(*encoding)
	defer e.release()
	for _, s := range b.Spans {
		start := len(e.bytes)
		e.bytes = otlp.AppendSpan(e.bytes, s)
		if len(e.bytes) > c.queue.maxBytes {
			return errQueueFull
		}
		e.ended(start, c.queue.batchBytes)
	}
	return c.queue.add(b.Resource, b.Scope, e)
}

// Flush returns when everything that was collected before the call has been
// delivered or dropped, or ctx has ended; without a deadline in ctx, after
// [Options.Timeout] at the latest, so that a program can end while its collector
// is away. It does not wait for the next attempt to reach the collector but
// causes it, unless the collector itself asked for a pause. The error, if any, is
// that of ctx and the last one of the connection.
func (c *Client) Flush(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.sender.timeout)
		defer cancel()
	}
	done := c.queue.flush()
	if done == nil {
		return nil
	}
	poke(c.sender.hurry)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	if err := c.Stats().LastError; err != nil {
		return fmt.Errorf("remote: flush: %w (%w)", ctx.Err(), err)
	}
	return fmt.Errorf("remote: flush: %w", ctx.Err())
}

// Shutdown is [Client.Flush] and ends the client: later spans are refused, those
// that could not be delivered dropped, with the reason "shutdown" for both. No
// goroutine is left behind, nor a connection of the default HTTP client.
// Shutdown may be called again.
func (c *Client) Shutdown(ctx context.Context) error {
	c.queue.close()
	err := c.Flush(ctx)
	c.stop()
	<-c.stopped
	c.sender.closeIdle()
	return err
}

// poke leaves a token in c, which has room for one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
