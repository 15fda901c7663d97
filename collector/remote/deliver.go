package remote

import (
	"context"
	"time"

	"github.com/dendrotrace/dendro/collector/internal/spool"
)

// spoolAfter is how long spans that are due may stay only in memory. If the collector does
// not acknowledge them until then, they are late.
const spoolAfter = time.Second

// delivery is a request that is being delivered.
type delivery struct {
	spans   int
	batch   *batch        // in memory; nil if the request is in the spool
	expiry  time.Time     // when batch is too old to be delivered
	late    time.Time     // when batch must be in the spool
	record  *spool.Record // in the spool, if batch is nil
	content *content      // nil until it is needed
}

// run delivers one request after the other. Once ctx is done, it puts what is left into
// the spool or drops it.
func (c *Client) run(ctx context.Context) {
	defer close(c.stopped)
	for d := c.next(ctx); d != nil; d = c.next(ctx) {
		c.deliver(ctx, d)
	}
	if c.spool != nil {
		c.spool.Close()
	}
}

// next returns the oldest request, and waits for one if there is none. Once ctx is done,
// it returns those that are only in memory, and then nil.
func (c *Client) next(ctx context.Context) *delivery {
	if c.spool != nil && ctx.Err() == nil {
		if r := c.spool.Take(); r != nil {
			return &delivery{spans: r.Spans, record: r}
		}
	}
	b := c.queue.next(ctx)
	if b == nil {
		return nil
	}
	return &delivery{
		spans:  b.spans,
		batch:  b,
		expiry: b.since.Add(c.sender.maxElapsed),
		late:   b.since.Add(c.queue.interval + spoolAfter),
	}
}

// deliver sends d until the collector accepts or rejects it, d is too old or cannot be
// read, or ctx is done.
func (c *Client) deliver(ctx context.Context, d *delivery) {
	s := c.sender
	for {
		if s.failures > 0 {
			if d.batch != nil && !time.Now().Before(d.expiry) {
				s.drop(dropUnreachable, d.spans)
				c.done(d)
				return
			}
			if !c.pause(ctx, d) {
				continue
			}
		}
		if ctx.Err() != nil {
			c.leave(d)
			return
		}
		if !c.load(d) {
			return
		}
		a, size := c.post(ctx, d)
		switch {
		case a.err == nil:
			s.reached()
			s.delivered(d.spans, size, a)
			c.done(d)
			return
		case ctx.Err() != nil: // left at the top of the loop
		case !a.retry && (a.content || c.spool == nil): // with a spool, a wrong token costs nothing
			s.reached()
			s.note(stateRejecting, a.err)
			s.drop(dropRejected, d.spans)
			c.done(d)
			return
		default:
			s.note(stateUnreachable, a.err)
			s.backOff(a.after)
		}
	}
}

// load makes the content of d. It reports false if d cannot be read from the spool.
func (c *Client) load(d *delivery) bool {
	switch {
	case d.content != nil:
	case d.batch != nil:
		d.content = encode(d.batch.content(), c.sender.compression == "gzip")
	default:
		body, err := c.spool.Load(d.record)
		if err != nil {
			c.sender.backOff(0) // the others may be as hard to read
			return false
		}
		d.content = &content{Body: body}
	}
	return true
}

// post makes a request.
func (c *Client) post(ctx context.Context, d *delivery) (a answer, size int) {
	content := d.content
	if b := content.batch; b != nil { // keep may finish it before the request has ended
		b.readers.Add(1)
		defer b.readers.Add(-1)
	}
	c.meanwhile(d, func() { a = c.sender.post(ctx, content) })
	return a, content.Size()
}

// pause waits until the next attempt is due, and reports whether it is.
func (c *Client) pause(ctx context.Context, d *delivery) (due bool) {
	expiry := d.expiry
	c.meanwhile(d, func() { due = c.sender.pause(ctx, expiry) })
	return due
}

// meanwhile runs f, a request of d or the pause before one. It moves d and what is due in
// the queue to the spool as soon as the collector is away or d is late.
func (c *Client) meanwhile(d *delivery, f func()) {
	if c.spool == nil {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	if d.batch == nil || c.sender.failures > 0 {
		c.keep(d)
	}
	for {
		wait, wake := spoolAfter, c.queue.wake
		if d.batch != nil {
			wait, wake = time.Until(d.late), nil
		}
		select {
		case <-done:
			return
		case <-time.After(wait):
		case <-wake:
		}
		c.keep(d)
	}
}

// keep moves d to the spool, and then what is due in the queue. If that fails, d is late
// again in a second.
func (c *Client) keep(d *delivery) {
	if d.batch != nil {
		if !c.spoolBatch(d.batch) {
			d.late = time.Now().Add(spoolAfter)
			return
		}
		*d = delivery{spans: d.spans, record: c.spool.Take()} // the spool was empty
	}
	for b, _ := c.queue.take(false); b != nil; b, _ = c.queue.take(false) {
		if !c.spoolBatch(b) {
			c.queue.putBack(b)
			return
		}
	}
}

// spoolBatch moves b from the queue to the spool. It reports false if that fails.
func (c *Client) spoolBatch(b *batch) bool {
	if c.spool.Append(encode(b.content(), c.sender.compression != "none").Body, b.spans) != nil {
		return false
	}
	c.queue.finish(b)
	return true
}

// done forgets d, which was delivered or dropped.
func (c *Client) done(d *delivery) {
	if d.batch != nil {
		c.queue.finish(d.batch)
	} else {
		c.spool.Done(d.record)
	}
}

// leave leaves d to the next process, or drops it if that is impossible.
func (c *Client) leave(d *delivery) {
	switch {
	case d.batch == nil:
		c.spool.Release(d.record)
	case c.spool == nil || !c.spoolBatch(d.batch):
		c.sender.drop(dropShutdown, d.spans)
		c.done(d)
	}
}
