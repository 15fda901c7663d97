package dendro

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// Span is a piece of work with a beginning and an end. Its methods may be
// called by several goroutines at once, and on a nil *Span, where they do
// nothing. After End they do nothing but count, see [Stats].
//
// Of one span at most 128 attributes, events and links are kept; [SpanData]
// counts what was dropped. Of a name, a key, a value and the message of the status
// at most 16 KiB are kept; [Stats] counts what was cut.
type Span struct {
	common *common
	slot   *slot  // nil: not recorded
	use    uint64 // of slot, that is this span
	id     SpanID
}

// common is what all spans of a local trace have in common. It does not change.
type common struct {
	tracer   *Tracer
	use      uint64 // of the local trace, that is this one
	clock    clock
	state    TraceState
	traceID  TraceID
	flags    TraceFlags
	deferred bool // by the caller; we have not decided either

	discarded atomic.Bool // the exception: also for what begins below when the local trace is over
}

// edit locks the local trace of s for writing to its slot. It returns nil,
// unlocked, when the span has ended.
func (s *Span) edit() *slot {
	t := s.slot.trace
	t.mu.Lock()
	if s.slot.use.Load() == s.use {
		return s.slot
	}
	t.mu.Unlock()
	t.counters().afterEnd.Add(1)
	return nil
}

func (s *Span) unlock() { s.slot.trace.mu.Unlock() }

// Context returns the part of s that travels, the zero value for a nil span.
func (s *Span) Context() SpanContext {
	if s == nil {
		return SpanContext{}
	}
	c := s.common
	return SpanContext{TraceID: c.traceID, SpanID: s.id, Flags: c.flags, Deferred: c.deferred, State: c.state}
}

// Tracer returns the one that made s, nil for a nil span.
func (s *Span) Tracer() *Tracer {
	if s == nil {
		return nil
	}
	return s.common.tracer
}

// IsRecording reports whether what is set on s will be kept: s is sampled and
// has not ended. It lets callers skip the making of costly attributes.
func (s *Span) IsRecording() bool {
	return s != nil && s.slot != nil && s.slot.use.Load() == s.use
}

// SetName replaces the name that was given at the start.
func (s *Span) SetName(name string) {
	if s == nil || s.slot == nil {
		return
	}
	if slot := s.edit(); slot != nil {
		slot.setName(name)
		s.unlock()
	}
}

// SetAttributes adds attributes; of a key given twice the last value holds.
// Groups become dotted keys, a [slog.LogValuer] is resolved at once. Strings,
// numbers and booleans are kept, and []string, []int, []int64, []float64, []bool
// and []byte; durations as nanoseconds, times as RFC 3339 text. Any other value
// becomes text by Error, String or fmt's %+v.
func (s *Span) SetAttributes(attrs ...slog.Attr) {
	if s == nil || s.slot == nil {
		return
	}
	if !plain(attrs) {
		s.setSlow(attrs)
		return
	}
	if slot := s.edit(); slot != nil {
		slot.setAttributes(attrs)
		s.unlock()
	}
}

// setSlow may call the user's code: not under the lock.
func (s *Span) setSlow(attrs []slog.Attr) {
	f := flatten(attrs)
	if slot := s.edit(); slot != nil {
		slot.data.DroppedAttributes += f.dropped
		slot.countTruncated(f.truncated)
		slot.setAttributes(f.attrs)
		s.unlock()
	}
}

// AddEvent notes that something happened now.
func (s *Span) AddEvent(name string, attrs ...slog.Attr) {
	if s == nil || s.slot == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.common.clock.now()}, attrs)
}

// AddEventAt notes that something happened, or began, at start and took that
// long; zero stands for now, and for a point in time.
func (s *Span) AddEventAt(start time.Time, took time.Duration, name string, attrs ...slog.Attr) {
	if s == nil || s.slot == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.common.clock.nanos(start), Duration: max(0, took)}, attrs)
}

// Timespan is a value that knows when it began and ended.
type Timespan interface {
	Timespan() (start, end time.Time)
}

// RecordEvent adds a typed event: what v resolves to becomes the attributes.
// If v is a [Timespan] whose start is not zero, the event has that time, so that
// it can be recorded after the fact; otherwise it happened now.
func (s *Span) RecordEvent(name string, v slog.LogValuer) {
	if s == nil || s.slot == nil || v == nil {
		return
	}
	e := Event{Name: name, Time: s.common.clock.now()}
	if start, end := timespan(v); !start.IsZero() {
		e.Time, e.Duration = s.common.clock.nanos(start), max(0, end.Sub(start))
	}
	value := slog.AnyValue(v).Resolve()
	attrs := []slog.Attr{{Key: "value", Value: value}}
	if value.Kind() == slog.KindGroup {
		attrs = value.Group()
	}
	s.addEvent(e, attrs)
}

// timespan returns the zero times if v is no Timespan. As slog does for
// LogValue, it survives a panic, of a nil pointer for example.
func timespan(v slog.LogValuer) (start, end time.Time) {
	defer func() { _ = recover() }()
	if t, ok := v.(Timespan); ok {
		start, end = t.Timespan()
	}
	return start, end
}

func (s *Span) addEvent(e Event, attrs []slog.Attr) {
	if plain(attrs) {
		if slot := s.edit(); slot != nil {
			slot.addEvent(e, slot.eventAttributes(attrs))
			s.unlock()
		}
		return
	}
	set := flatten(attrs).set() // may call the user's code: not under the lock
	if slot := s.edit(); slot != nil {
		slot.addEvent(e, set)
		s.unlock()
	}
}

// AddLink points to a span that is not the parent. It does nothing when to is
// not valid.
func (s *Span) AddLink(to SpanContext, attrs ...slog.Attr) {
	if s == nil || s.slot == nil || !to.IsValid() {
		return
	}
	set := flatten(attrs).set()
	slot := s.edit()
	if slot == nil {
		return
	}
	defer s.unlock()
	slot.countTruncated(set.truncated)
	if len(slot.data.Links) >= maxLinks {
		slot.data.DroppedLinks++
		return
	}
	slot.data.Links = append(slot.data.Links, Link{to, set.attrs, set.dropped})
}

// SetStatus says how the work ended. As in OpenTelemetry, StatusOK is final,
// StatusUnset is ignored, and only StatusError keeps the message. An empty
// message leaves the one of an earlier error.
func (s *Span) SetStatus(code StatusCode, message string) {
	if s == nil || s.slot == nil || code == StatusUnset || code > StatusError {
		return
	}
	if slot := s.edit(); slot != nil {
		slot.status = true
		slot.setStatus(code, message)
		s.unlock()
	}
}

// RecordError adds an "exception" event for err with its type and message, and
// sets the status to StatusError unless [Span.SetStatus] has set one. The stack
// of the caller comes along if [Options.ErrorStacks] asks for it. A nil err
// does nothing.
func (s *Span) RecordError(err error, attrs ...slog.Attr) {
	if s == nil || s.slot == nil || err == nil {
		return
	}
	message := textOf(err, err.Error)
	all := append(make([]slog.Attr, 0, len(attrs)+3),
		slog.String("exception.type", errorType(err)),
		slog.String("exception.message", message))
	if s.common.tracer.errorStacks {
		all = append(all, slog.String("exception.stacktrace", string(debug.Stack())))
	}
	e := Event{Name: "exception", Time: s.common.clock.now()}
	set := flatten(append(all, attrs...)).set()
	if slot := s.edit(); slot != nil {
		slot.addEvent(e, set)
		if !slot.status {
			slot.setStatus(StatusError, message)
		}
		s.unlock()
	}
}

// errorType returns the type of err, or of what it wraps if its own type says
// nothing.
func errorType(err error) string {
	for {
		name := fmt.Sprintf("%T", err)
		if !strings.HasPrefix(name, "*fmt.wrapError") {
			return name
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			return name
		}
		err = inner
	}
}

// Discard gives up the local trace of s: spans that it has not handed over yet,
// and those that end later, do not reach the collector. [Stats.Discarded] counts
// them. It is for requests that nobody wants to see, such as health checks; what
// other services record of them is not affected.
func (s *Span) Discard() {
	if s == nil || s.slot == nil {
		return
	}
	s.common.discarded.Store(true)
	t := s.slot.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.use == s.common.use {
		t.discarded = true
	}
}

// End ends the span. A second call does nothing but count, see [Stats]. Spans
// that began below s may end later.
func (s *Span) End() {
	if s == nil || s.slot == nil {
		return
	}
	now := s.common.clock.now()
	s.slot.trace.end(s.slot, s.use, now, now)
}

// EndAt is [Span.End] at a time that has passed; the zero time is now.
func (s *Span) EndAt(t time.Time) {
	if s == nil || s.slot == nil {
		return
	}
	c := s.common.clock
	s.slot.trace.end(s.slot, s.use, c.nanos(t), c.now())
}
