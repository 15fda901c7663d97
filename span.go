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

// Span is a piece of work with a beginning and an end. Its methods may be called by
// several goroutines at once. They do nothing on a nil *Span, and after End they only
// count, see [Stats].
//
// A span keeps at most 128 attributes, 128 events and 128 links; [SpanData] counts
// what was dropped. Names, keys, values and the message of the status are cut to 16
// KiB; [Stats] counts what was cut.
type Span struct {
	common *common
	slot   *slot  // nil if the span is not recorded
	use    uint64 // value of slot.use while slot belongs to this span
	id     SpanID
}

// common is what all spans of a local trace share. It is immutable but for the last two fields.
type common struct {
	tracer   *Tracer
	use      uint64 // value of localTrace.use while it belongs to this local trace
	clock    clock
	state    TraceState
	traceID  TraceID
	flags    TraceFlags
	deferred bool // the caller left the decision to us, and we have not decided either

	// These also hold for spans that are started after the end of the local trace.
	discarded, kept atomic.Bool
}

// edit locks the local trace of s and returns its slot for writing. If the span has
// ended, it returns nil and does not lock.
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

// Context returns the part of s that is propagated. For a nil span it is the zero
// value.
func (s *Span) Context() SpanContext {
	if s == nil {
		return SpanContext{}
	}
	c := s.common
	sc := SpanContext{TraceID: c.traceID, SpanID: s.id, Flags: c.flags, Deferred: c.deferred, State: c.state}
	if c.kept.Load() {
		sc.Flags |= FlagSampled
	}
	return sc
}

// Tracer returns the tracer that made s, or nil for a nil span.
func (s *Span) Tracer() *Tracer {
	if s == nil {
		return nil
	}
	return s.common.tracer
}

// IsRecording reports whether s records attributes and events: it is recorded and has
// not ended. It allows callers to skip work for attributes that would be discarded.
func (s *Span) IsRecording() bool {
	return s != nil && s.slot != nil && s.slot.use.Load() == s.use
}

// Snapshot returns a copy of what s has recorded so far, or nil if s is not recorded, has
// ended or was discarded. Its End is zero.
func (s *Span) Snapshot() *SpanData {
	if s == nil || s.slot == nil {
		return nil
	}
	s.slot.trace.mu.Lock()
	defer s.unlock()
	if s.slot.use.Load() != s.use || s.slot.trace.discarded {
		return nil
	}
	return s.slot.data.Clone()
}

// IsRecorded reports whether s is recorded, now or, unlike [Span.IsRecording], before it
// ended. A span below it will be recorded then.
func (s *Span) IsRecorded() bool { return s != nil && s.slot != nil }

// SetName replaces the name of the span.
func (s *Span) SetName(name string) {
	if s == nil || s.slot == nil {
		return
	}
	if slot := s.edit(); slot != nil {
		slot.setName(name)
		s.unlock()
	}
}

// SetAttributes adds attributes. If a key occurs more than once, its last value
// counts. Groups become dotted keys, and a [slog.LogValuer] is resolved at once.
// Strings, numbers, booleans, []string, []int, []int64, []float64, []bool, []byte,
// [KeyValues] and []slog.Value keep their type, the last two down to a depth of 8.
// Durations become nanoseconds, times RFC 3339 text. Any other value becomes text by its
// Error or String method or the format %+v.
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

// setSlow may call methods of the user's values, so it does that without the lock.
func (s *Span) setSlow(attrs []slog.Attr) {
	f := flatten(attrs)
	if slot := s.edit(); slot != nil {
		slot.data.DroppedAttributes += f.dropped
		slot.countTruncated(f.truncated)
		slot.setAttributes(f.attrs)
		s.unlock()
	}
}

// AddEvent records that something happened now.
func (s *Span) AddEvent(name string, attrs ...slog.Attr) {
	if s == nil || s.slot == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.common.clock.now()}, attrs)
}

// AddEventAt records an event with a time and a duration. A zero start means now. A
// zero duration means a point in time.
func (s *Span) AddEventAt(start time.Time, took time.Duration, name string, attrs ...slog.Attr) {
	if s == nil || s.slot == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.common.clock.nanos(start), Duration: max(0, took)}, attrs)
}

// Timespan is implemented by values that have a start and an end.
type Timespan interface {
	Timespan() (start, end time.Time)
}

// RecordEvent adds a typed event, whose attributes are what v resolves to. If v is a
// [Timespan] and its start is not zero, the event has that start and duration, so it
// can be recorded afterwards. Otherwise it happened now.
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

// timespan returns the zero times if v is not a Timespan or its method panics, as that
// of a nil pointer may.
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
	set := flatten(attrs).set() // outside the lock, because it may call methods of the user's values
	if slot := s.edit(); slot != nil {
		slot.addEvent(e, set)
		s.unlock()
	}
}

// AddLink adds a link to a span that is not the parent. It does nothing if to is not
// valid.
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
	slot.data.Links = append(slot.data.Links, Link{SpanContext: to, Attributes: set.attrs, DroppedAttributes: set.dropped})
}

// SetStatus sets the outcome of the work. As in OpenTelemetry, StatusOK is final,
// StatusUnset is ignored, and only StatusError has a message. An empty message does
// not replace the message of an earlier error.
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

// RecordError adds an "exception" event with the type and message of err. It sets the
// status to StatusError, unless [Span.SetStatus] was called. If [Options.ErrorStacks]
// is set, the event has the stack of the caller. If err is nil, RecordError does
// nothing.
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

// errorType returns the type of err, or of the error it wraps if err was made by
// fmt.Errorf.
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

// Discard discards the local trace of s: spans that were not delivered yet, and spans
// that end later. [Stats.Discarded] counts them. It is for requests without interest,
// such as health checks. It does not affect what other services record.
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

// KeepReason is the attribute that says why a trace was kept: [Span.Keep] sets it, and so does a
// [TailSampler].
const KeepReason = "dendro.keep.reason"

// Keep keeps the trace of s, for a reason that the page shows, such as "refund". A collector that
// is a [TailSampler] keeps the spans that the trace has made already. An empty reason is "program". Calls that are made from now on propagate that the
// trace is sampled. Keep has no effect if s is not recorded or has ended.
func (s *Span) Keep(reason string) {
	if s == nil || s.slot == nil {
		return
	}
	if reason == "" {
		reason = "program"
	}
	if slot := s.edit(); slot != nil {
		s.common.kept.Store(true)
		slot.keep(slot.cut(reason))
		s.unlock()
	}
}

// End ends the span. Another call only counts, see [Stats]. Spans below s may end
// later.
func (s *Span) End() {
	if s == nil || s.slot == nil {
		return
	}
	now := s.common.clock.now()
	s.slot.trace.end(s, now, now)
}

// EndAt is like [Span.End] with the time of the end. The zero time means now.
func (s *Span) EndAt(t time.Time) {
	if s == nil || s.slot == nil {
		return
	}
	c := s.common.clock
	s.slot.trace.end(s, c.nanos(t), c.now())
}
