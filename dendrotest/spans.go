package dendrotest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/goroutine"
)

// maxSpans bounds the spans of a test.
const maxSpans = 10_000

// patience bounds how long an assertion waits for open spans.
const patience = 5 * time.Second

// spans are the spans of a test. It is a [dendro.Collector] and the
// [dendro.Observer] of its tracers.
type spans struct {
	mu     sync.Mutex
	byID   map[spanID]*span // guarded by mu, like the fields below
	traces map[dendro.TraceID]bool
	// requests are those of Recorder.Client, by the parent that their headers name.
	requests map[spanID]request
	full     bool // there were more than maxSpans
	over     bool
}

// request is where a request came from.
type request struct {
	parent    dendro.SpanID
	goroutine uint64
}

type spanID struct {
	trace dendro.TraceID
	span  dendro.SpanID
}

// span is a span of a test. Its data is immutable.
type span struct {
	number int             // in the order of their starts
	data   *collector.Span // nil until it is delivered; guarded by spans.mu

	// How it began. It is the zero value if the tracer did not say.
	handle    *dendro.Span
	goroutine uint64
	stack     []uintptr
}

func newSpans() *spans {
	return &spans{byID: map[spanID]*span{}, traces: map[dendro.TraceID]bool{}, requests: map[spanID]request{}}
}

// add adds s. It reports whether there is room. c.mu is held.
func (c *spans) add(id spanID, s *span) bool {
	if c.full = c.full || len(c.byID) == maxSpans; c.full || c.over {
		return false
	}
	s.number = len(c.byID)
	c.byID[id] = s
	if !c.traces[id.trace] {
		c.traces[id.trace] = true
		owners.Store(id.trace, c)
	}
	return true
}

// SpanStarted implements [dendro.Observer].
func (c *spans) SpanStarted(ctx context.Context, handle *dendro.Span, d *dendro.SpanData, _ bool) (_ context.Context, ends bool) {
	if c.isFull() {
		return ctx, false
	}
	var stack [64]uintptr
	n := runtime.Callers(2, stack[:])
	s := &span{handle: handle, goroutine: goroutine.ID(), stack: slices.Clone(stack[:n])}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(spanID{d.TraceID, d.SpanID}, s)
	return ctx, false
}

// SpanEnded implements [dendro.Observer]. What is recorded arrives by Collect.
func (c *spans) SpanEnded(*dendro.Span, *dendro.SpanData, bool) {}

// request returns what the headers of a request below parent propagate. It has an id of its own,
// by which the tree knows the goroutine that made the request, and so the order of requests.
func (c *spans) request(parent *dendro.Span) dendro.SpanContext {
	sc := parent.Context()
	r := request{sc.SpanID, goroutine.ID()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.traces[sc.TraceID] && len(c.requests) < maxSpans {
		_, _ = rand.Read(sc.SpanID[:]) // never fails
		c.requests[spanID{sc.TraceID, sc.SpanID}] = r
	}
	return sc
}

var errFull = &dendro.DropError{Reason: "test_too_large", Err: errors.New("a test may have " + strconv.Itoa(maxSpans) + " spans")}

// Collect implements [dendro.Collector].
func (c *spans) Collect(b *dendro.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return errNoTest
	}
	kept := 0
	for _, data := range b.Spans {
		id := spanID{data.TraceID, data.SpanID}
		s := c.byID[id]
		if s == nil {
			s = &span{}
			if !c.add(id, s) {
				continue
			}
		}
		s.data = &collector.Span{SpanData: *data.Clone(), Resource: b.Resource}
		kept++
	}
	if kept == 0 && len(b.Spans) > 0 {
		return errFull
	}
	return nil
}

// isFull reports whether there were more spans than are recorded.
func (c *spans) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full
}

// close forgets the spans.
func (c *spans) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.traces {
		owners.Delete(id)
	}
	c.byID, c.traces, c.requests, c.over = nil, nil, nil, true
}

// wait waits until all spans but one have ended and are delivered. It returns the spans then,
// and whether all have ended in time.
func (c *spans) wait(except *dendro.Span) (found []*node, ended bool) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if c.quiet(except) {
			return c.snapshot(), true
		}
		if !time.Now().Before(deadline) {
			return c.snapshot(), false
		}
	}
}

// quiet reports whether all spans but one have ended and are delivered, or else discarded. It
// delivers those that wait for the root of their local trace.
func (c *spans) quiet(except *dendro.Span) bool {
	tracers := map[*dendro.Tracer]bool{}
	for _, s := range c.pending() {
		tracers[s.handle.Tracer()] = true
	}
	for t := range tracers {
		_ = t.Flush(context.Background()) // the collectors of this package do not buffer
	}
	return !slices.ContainsFunc(c.pending(), func(s *span) bool {
		return s.handle != except && (s.handle.Snapshot() != nil || s.handle.Tracer().Stats().Waiting > 0)
	})
}

// pending returns the spans that are not delivered.
func (c *spans) pending() []*span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*span
	for _, s := range c.byID {
		if s.data == nil {
			out = append(out, s)
		}
	}
	return out
}

// snapshot returns the spans as they are, in the order of their starts, without those that
// were discarded.
func (c *spans) snapshot() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*node
	for _, s := range c.byID {
		n := &node{span: s, data: s.data, by: s.goroutine}
		if n.data == nil {
			data := s.handle.Snapshot()
			if data == nil {
				continue
			}
			n.data, n.open = &collector.Span{SpanData: *data, Resource: s.handle.Tracer().Resource()}, true
		}
		if r, ok := c.requests[spanID{n.data.TraceID, n.data.ParentID}]; ok {
			data := *n.data
			data.ParentID = r.parent
			n.data, n.by = &data, r.goroutine
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.data.Start, b.data.Start), cmp.Compare(a.number, b.number))
	})
	return out
}
