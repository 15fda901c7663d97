// Package remote sends spans to a collector in another process, often on another
// machine. It speaks OTLP/HTTP in protobuf (OpenTelemetry Protocol 1.x, section
// "OTLP/HTTP"), which package collector/server understands, and so does any other
// OpenTelemetry receiver.
//
//	client, err := remote.Dial("http://traces:4318", remote.Options{})
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client})
//
// With [Options.Spool], spans survive a collector that is away for long, and a restart or
// crash of the program:
//
//	client, err := remote.Dial("http://traces:4318", remote.Options{Spool: "/var/lib/shop/spans"})
//
// # Environment
//
// [Dial] reads the variables of the OpenTelemetry specification, "OpenTelemetry Protocol
// Exporter". OTEL_EXPORTER_OTLP_TRACES_X takes precedence over OTEL_EXPORTER_OTLP_X, and
// Options and the endpoint in the program over both:
//
//	ENDPOINT                        see Dial
//	HEADERS                         see Options.Header
//	COMPRESSION                     see Options.Compression
//	TIMEOUT                         see Options.Timeout
//	PROTOCOL                        must be http/protobuf, unless the program has an endpoint
//	CERTIFICATE                     a PEM file: the authorities that may have signed the
//	                                certificate of the collector, instead of those of the system
//	CLIENT_CERTIFICATE, CLIENT_KEY  PEM files: the certificate of the client and its key
//	INSECURE                        has no effect: it is for gRPC, and the scheme of the
//	                                endpoint decides here
//
// Certificates are read once, and only if the endpoint is https and there is no
// [Options.HTTPClient].
//
// # Concurrency
//
// Collect encodes spans on the goroutine of the request and holds a lock only to copy
// the bytes into the queue. One goroutine of the client empties the queue, one request
// at a time, and writes to the spool. If the collector is slow or unreachable, the spool
// grows up to its bound, or else the queue, and no request of the program waits.
package remote

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Options configures a [Client] or a [Writer]. The zero value is ready to use. For numbers and
// durations, zero or less means the default.
type Options struct {
	// Header is sent with every request, for example Authorization. Each of its
	// headers takes precedence over the one in OTEL_EXPORTER_OTLP_TRACES_HEADERS or,
	// if that is not set, OTEL_EXPORTER_OTLP_HEADERS. Both are comma-separated lists
	// of key=value with percent-encoded values. Content-Type and, with gzip,
	// Content-Encoding cannot be changed.
	Header http.Header
	// Keep, if it is not nil, makes the client keep all spans in memory for some minutes, and send only those of traces
	// that matter: with errors, the slowest, and others, see [keep.Options]. A [dendro.Tracer] with this client records
	// everything. The collector must be dendro's for the traces to be whole across processes. The zero value of keep.Options is
	// ready to use. If Keep is nil and OTEL_TRACES_SAMPLER is dendro_retroactive, that has the same effect.
	Keep *keep.Options
	// Compression is "gzip" or "none". Without compression a span takes a few hundred
	// bytes. With gzip it takes a tenth of that, and four times as much CPU time. If
	// Compression is empty, OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is used, or else
	// OTEL_EXPORTER_OTLP_COMPRESSION, or else "gzip" with Keep and "none" without.
	Compression string
	// Timeout bounds a request until its response has been read. By default it is
	// OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, or else OTEL_EXPORTER_OTLP_TIMEOUT, both in
	// milliseconds, or else 10 s.
	Timeout time.Duration
	// Interval is how long the first span of a request of a Client waits for more. The
	// default is 1 s, and 50 ms with Keep.
	Interval time.Duration
	// BatchBytes bounds the spans of a request of a Client before compression, in bytes. A single
	// larger span is sent nevertheless. The default is 512 KiB.
	BatchBytes int
	// Spool is a directory for spans that the collector has not acknowledged. If it is
	// empty, they stay in memory, and are lost when the program ends.
	//
	// Spans are written to the spool one second after they were due, see Interval, or at
	// once if the collector is known to be away. They are sent when it is back, the
	// oldest first, before newer ones and whatever their age, by this process or by the
	// next one with this spool. While the collector is well, nothing is written.
	//
	// Each request is a file, which is synced before its spans leave the memory. If the
	// program crashes or is killed, or the power fails, spans that ended within the last
	// Interval and second are lost, about 2 s by default, and requests that were sent
	// shortly before may be sent again. Files are compressed with gzip unless Compression
	// is "none".
	//
	// With a spool, spans are also kept when the collector refuses a request for a reason that is not
	// in the spans, such as a wrong token (401, 403) or path (404). Only those that it rejects for their
	// content (400, 413) are dropped.
	//
	// Dial creates the directory, which only this user may read, and locks it. It returns
	// an error if another client, in this process or another, has the spool. It supports
	// Linux, macOS, Windows and the BSDs. An error of the disk is logged and counted, and
	// leaves spans in memory, where they are bounded as without a spool. A damaged file is
	// logged, counted and removed. Files that are not of the spool, and links, are logged and
	// left alone.
	Spool string
	// SpoolBytes bounds the spool on disk, in bytes. If it is full, the oldest spans are
	// dropped. It also bounds BatchBytes to a quarter of it. The default is 256 MiB.
	SpoolBytes int64
	// QueueBytes bounds the encoded spans that a Client holds, in bytes, including
	// those that are being sent. Each resource and scope in a request counts as 512
	// bytes more. Spans that do not fit are refused. The default is 16 MiB.
	QueueBytes int
	// MaxElapsed is the age at which a Client drops undelivered spans in memory, and how long
	// a Writer tries to deliver them. It also bounds the pause that a collector can ask for. The default
	// is 5 minutes.
	MaxElapsed time.Duration
	// HTTPClient makes the requests. Configure TLS here. Redirects are not followed,
	// even if it has a CheckRedirect that allows them, because they would lose the
	// spans. If it is nil, an HTTP client of its own is used, with the proxy
	// of the environment.
	HTTPClient *http.Client
}

// Defaults of [Options].
const (
	defaultTimeout    = 10 * time.Second
	defaultInterval   = time.Second
	defaultBatchBytes = 512 << 10
	defaultQueueBytes = 16 << 20
	defaultMaxElapsed = 5 * time.Minute
	defaultSpoolBytes = 256 << 20
)

// Client is a [dendro.Collector] that sends spans to another collector. Its methods
// are safe for concurrent use. Call [Client.Shutdown] when it is no longer needed.
type Client struct {
	queue  queue
	sender *sender
	spool  *spool.Spool // nil without one
	keeper *keeper      // nil without Options.Keep

	stop    context.CancelFunc // stops the goroutine
	stopped chan struct{}      // closed when it has returned
}

var (
	_ dendro.TailSampler = (*Client)(nil)
	_ dendro.Flusher     = (*Client)(nil)
)

// Dial returns a client that sends spans to endpoint, an http or https URL. It appends
// /v1/traces to the path, unless the path already ends in it. If endpoint is empty, it
// uses OTEL_EXPORTER_OTLP_TRACES_ENDPOINT unchanged, or else
// OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318.
//
// Dial does not connect, so the collector may start later than its clients. It returns
// an error if the endpoint, an option or an environment variable is not valid, and if the
// spool cannot be opened.
func Dial(endpoint string, o Options) (*Client, error) {
	s, err := newSender(endpoint, o, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	interval := defaultInterval
	if o.Keep, err = keepFromEnv(o.Keep, os.Getenv); err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	if o.Keep != nil {
		interval = keepInterval
		s.compression = cmp.Or(s.compression, "gzip")
	}
	queueBytes := positive(o.QueueBytes, defaultQueueBytes)
	batchBytes := min(positive(o.BatchBytes, defaultBatchBytes), queueBytes)
	var sp *spool.Spool
	if o.Spool != "" {
		spoolBytes := positive(o.SpoolBytes, defaultSpoolBytes)
		batchBytes = int(min(int64(batchBytes), spoolBytes/4))
		sp, err = spool.Open(o.Spool, spool.Options{MaxBytes: spoolBytes, DropOldest: true, Lost: s.drop, Otherwise: "spans stay in memory"})
		if err != nil {
			return nil, fmt.Errorf("remote: Options.Spool: %w", err)
		}
		s.whileAway = "spans are kept in " + sp.Dir()
	}
	ctx, stop := context.WithCancel(dendro.Untraced(context.Background()))
	c := &Client{
		queue: queue{
			maxBytes:   queueBytes,
			batchBytes: batchBytes,
			interval:   positive(o.Interval, interval),
			wake:       make(chan struct{}, 1),
		},
		sender:  s,
		spool:   sp,
		stop:    stop,
		stopped: make(chan struct{}),
	}
	if o.Keep != nil {
		if c.keeper, err = newKeeper(c, *o.Keep); err != nil {
			stop()
			if sp != nil {
				sp.Close()
			}
			return nil, fmt.Errorf("remote: %w", err)
		}
		c.keeper.start()
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

// minSpanBytes is less than the size of any encoded span: two ids and two times.
const minSpanBytes = 48

// Sampler implements [dendro.TailSampler]. With [Options.Keep], the sampler records everything. Without, it
// is head.
func (c *Client) Sampler(head dendro.Sampler) dendro.Sampler {
	if c.keeper == nil {
		return head
	}
	return c.keeper.Sampler(head)
}

// Collect implements [dendro.Collector]. It encodes the spans of b and adds them to
// the queue, all or none. If it refuses them, the reason is "queue_full", "too_large"
// if the queue can never hold them, or "shutdown". With [Options.Keep], it copies them to memory, and adds to the queue only those of traces that are kept.
func (c *Client) Collect(b *dendro.Batch) error {
	if c.keeper != nil {
		return c.keeper.Collect(b)
	}
	return c.enqueue(b)
}

// enqueue adds the spans of b to the queue.
func (c *Client) enqueue(b *dendro.Batch) error {
	if err := c.queue.refuses(len(b.Spans) * minSpanBytes); err != nil {
		return err
	}
	e := encodings.Get().(*encoding)
	defer e.release()
	for _, s := range b.Spans {
		start := len(e.bytes)
		e.bytes = otlp.AppendSpan(e.bytes, s)
		if len(e.bytes) > c.queue.maxBytes {
			return errTooLarge
		}
		e.ended(s.Scope, start, c.queue.batchBytes)
	}
	return c.queue.add(b.Resource, e)
}

// Flush waits until everything collected before the call has been delivered, dropped or
// written to the spool, or ctx is done. If ctx has no deadline, it waits for at most
// [Options.Timeout], so that a program can exit while its collector is unreachable.
// Flush makes the client try again at once, unless the collector has asked for a
// pause. It returns an error if not everything was finished: the error of ctx, joined
// with the last error of a request.
func (c *Client) Flush(ctx context.Context) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if c.keeper != nil {
		return c.keeper.Flush(ctx)
	}
	return c.flush(ctx)
}

// bounded returns ctx with a deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.sender.timeout)
}

// flush is Flush for the queue.
func (c *Client) flush(ctx context.Context) error {
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

// Shutdown calls [Client.Flush] and then ends the client. Without a spool, it drops spans
// that could not be delivered, with the reason "shutdown". With one, it writes them to the
// spool, even if ctx is done, and returns an error only if that failed; the next client
// with this spool delivers them. Collect refuses later spans, with the reason
// "shutdown". No goroutine is left behind, the spool is unlocked, and the default HTTP
// client keeps no connection. Shutdown may be called more than once.
func (c *Client) Shutdown(ctx context.Context) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	announced := make(chan struct{})
	if c.keeper != nil {
		c.keeper.end()
		go func() {
			defer close(announced)
			c.keeper.sayLast(ctx)
		}()
		_ = c.Flush(ctx) // waits for room in the queue
		c.keeper.Close() // whatever the time
		defer func() { <-announced }()
	}
	c.queue.close()
	err := c.flush(ctx)
	c.stop()
	<-c.stopped
	c.sender.closeIdle()
	if c.spool != nil && c.Stats().Dropped[dropShutdown] == 0 {
		return nil
	}
	return err
}

// poke puts a token into c, which has room for one, unless it has one already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
