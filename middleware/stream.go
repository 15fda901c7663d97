package middleware

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// A response is a stream once it is flushed, copied from a reader or hijacked, or when
// it exceeds this size.
const streamBytes = 64 << 10

// The first span for an open stream is made after firstPart. The interval then doubles
// each time, up to lastPart.
const (
	firstPart = 5 * time.Second
	lastPart  = time.Minute
)

// stream makes a slow response visible while it is open, by consecutive spans below
// that of the request. The collector gets each of them when it ends, before the span
// of the request.
type stream struct {
	x       *exchange
	route   string // the pattern when the stream began
	flushes atomic.Int64
	isOpen  func() bool // reports whether a hijacked connection is open; nil if there is none or that is not known

	mu    sync.Mutex // guards what follows
	since time.Time  // when the next part began
	wait  time.Duration
	timer *time.Timer // nil once the response has ended
}

// ended is the stream of a response that has ended. A goroutine that the handler left
// behind may still write to it.
var ended = new(stream)

// stream returns the stream of w and begins it if necessary. first reports whether the
// first byte of the body is being sent now.
func (w *writer) stream(first bool) *stream {
	if s := w.open.Load(); s != nil {
		return s
	}
	s := &stream{x: w.x, route: w.x.route.pattern(w.x), since: monotonic.Now(), wait: w.x.h.firstPart}
	s.mu.Lock() // part and end wait until timer is set
	defer s.mu.Unlock()
	if !w.open.CompareAndSwap(nil, s) {
		return w.open.Load()
	}
	if first {
		w.x.span.AddEventAt(s.since, 0, semconv.FirstByteEvent)
	}
	s.timer = time.AfterFunc(s.wait, s.part)
	return s
}

// part makes a span for the time since the last part. It runs in its own goroutine,
// while the handler runs.
func (s *stream) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil {
		return
	}
	x := s.x
	attrs := append(make([]slog.Attr, 0, 4), slog.Int64(semconv.HTTPResponseFlushes, s.flushes.Load()))
	if status := x.writer.status.Load(); status != 0 {
		attrs = append(attrs, slog.Int(semconv.HTTPResponseStatusCode, int(status)))
		if !x.writer.hijacked.Load() {
			attrs = append(attrs, slog.Int64(semconv.HTTPResponseBodySize, x.writer.bytes.Load()))
		}
	}
	if s.route != "" {
		attrs = append(attrs, slog.String(semconv.HTTPRoute, s.route))
	}
	now := monotonic.Now()
	tell(x, s.name(), s.since, now, attrs...)
	s.since = now
	s.wait = min(2*s.wait, lastPart)
	s.timer.Reset(s.wait)
}

// name returns the name of the spans for s.
func (s *stream) name() string {
	_, method := semconv.HTTPMethod(s.x.outer.Method)
	return nameOf(method, s.route) + " (open)"
}

// tell makes a span below the one in ctx, for the time from since to now.
func tell(ctx context.Context, name string, since, now time.Time, attrs ...slog.Attr) {
	_, span := dendro.StartWith(ctx, name, dendro.StartOptions{Time: since}, attrs...)
	span.EndAt(now)
}

// end ends the stream of w and returns it, or nil if there was none. No part begins
// after that.
func (w *writer) end() *stream {
	s := w.open.Swap(ended)
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.timer.Stop()
		s.timer = nil
	}
	return s
}
