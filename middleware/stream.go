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

// A response is a stream from the first flush, copy from a reader or hijack
// on, or when it is longer than this.
const streamBytes = 64 << 10

// While a stream is open a span tells of it after firstPart, then each time after
// twice as long, up to lastPart.
const (
	firstPart = 5 * time.Second
	lastPart  = time.Minute
)

// stream makes a response that takes long visible while it is open, as spans
// below that of the request, one after the other. The collector gets them as they
// end; the span of the request comes last.
type stream struct {
	x       *exchange
	route   string // when the stream began
	flushes atomic.Int64
	isOpen  func() bool // of a hijacked connection; nil: there is none, or it cannot be told

	mu    sync.Mutex // guards what follows
	since time.Time  // when the next part began
	wait  time.Duration
	timer *time.Timer // nil: the response has ended
}

// ended stands for the stream of a response that has ended, and of one that never
// was a stream: a goroutine that the handler left behind may still write to it.
var ended = new(stream)

// stream returns that of w, which it begins. first says that the first byte of the
// body goes now.
func (w *writer) stream(first bool) *stream {
	if s := w.open.Load(); s != nil {
		return s
	}
	s := &stream{x: w.x, route: w.x.route.pattern(w.x), since: monotonic.Now(), wait: w.x.h.firstPart}
	s.mu.Lock() // the part may come before its timer is known, and so may the end
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

// part tells of the time since the last part. It runs in a goroutine of its own,
// while the handler goes on.
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

// name returns that of the spans that tell of s.
func (s *stream) name() string {
	_, method := semconv.HTTPMethod(s.x.outer.Method)
	return nameOf(method, s.route) + " (open)"
}

// tell makes a span below the one in ctx, of the time from since to now.
func tell(ctx context.Context, name string, since, now time.Time, attrs ...slog.Attr) {
	_, span := dendro.StartWith(ctx, name, dendro.StartOptions{Time: since}, attrs...)
	span.EndAt(now)
}

// end ends the stream of w, which it returns if there was one. No part begins
// after it.
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
