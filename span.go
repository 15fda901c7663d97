package dendro

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Span is a piece of work with a beginning and an end. Its methods may be
// called by several goroutines at once, and on a nil *Span, where they do
// nothing. After End they do nothing but count, see [Stats].
//
// Of one span at most 128 attributes, events and links are kept; [SpanData]
// counts what was dropped. Of a value and of the message of the status at most
// 16 KiB are kept; [Stats] counts what was cut.
type Span struct {
	tracer *Tracer
	sc     *SpanContext // never changes
	rec    *recording   // nil: not recorded
}

// recording is the part of a span that only recorded ones have.
type recording struct {
	trace *localTrace
	next  *recording // in the list of localTrace, guarded by its mutex

	mu     sync.Mutex
	ended  bool // guarded by mu; once true nothing below changes
	status bool // SetStatus was called; guarded by mu
	data   SpanData
	inline [inlineAttributes]slog.Attr // first memory of data.Attributes
}

// inlineAttributes is how many attributes need no allocation of their own.
const inlineAttributes = 6

// edit locks r for writing. It returns false, unlocked, when the span has
// ended.
func (r *recording) edit() bool {
	r.mu.Lock()
	if !r.ended {
		return true
	}
	r.mu.Unlock()
	r.trace.counters().afterEnd.Add(1)
	return false
}

// Context returns the part of s that travels, the zero value for a nil span.
func (s *Span) Context() SpanContext {
	if s == nil {
		return SpanContext{}
	}
	return *s.sc
}

// IsRecording reports whether what is set on s will be kept: s is sampled and
// has not ended. It lets callers skip the making of costly attributes.
func (s *Span) IsRecording() bool {
	if s == nil || s.rec == nil {
		return false
	}
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	return !s.rec.ended
}

// SetName replaces the name that was given at the start.
func (s *Span) SetName(name string) {
	if s == nil || s.rec == nil || !s.rec.edit() {
		return
	}
	s.rec.data.Name = name
	s.rec.mu.Unlock()
}

// SetAttributes adds attributes; of a key given twice the last value holds.
// Groups become dotted keys, a [slog.LogValuer] is resolved at once. Strings,
// numbers and booleans are kept, and []string, []int, []int64, []float64, []bool
// and []byte; durations as nanoseconds, times as RFC 3339 text. Any other value
// becomes text by Error, String or fmt's %+v.
func (s *Span) SetAttributes(attrs ...slog.Attr) {
	if s == nil || s.rec == nil {
		return
	}
	var set attrSet
	if !plain(attrs) { // may call the user's code: not under the lock
		set = plainAttrs(attrs)
		attrs = set.attrs
	}
	if !s.rec.edit() {
		return
	}
	s.rec.data.DroppedAttributes += set.dropped
	s.rec.countTruncated(set.truncated)
	s.rec.setAttributes(attrs)
	s.rec.mu.Unlock()
}

func (r *recording) setAttributes(attrs []slog.Attr) {
	set := attrSet{attrs: r.data.Attributes}
	if set.attrs == nil {
		set.attrs = r.inline[:0]
	}
	if need := len(set.attrs) + len(attrs); need > cap(set.attrs) {
		// Once, with room for what is known at the end.
		set.attrs = slices.Grow(set.attrs, min(need+4, maxAttributes)-len(set.attrs))
	}
	for _, a := range attrs {
		set.set(a)
	}
	r.data.Attributes = set.attrs
	r.data.DroppedAttributes += set.dropped
	r.countTruncated(set.truncated)
}

func (r *recording) countTruncated(n uint32) {
	if n > 0 {
		r.trace.counters().truncated.Add(uint64(n))
	}
}

// AddEvent notes that something happened now.
func (s *Span) AddEvent(name string, attrs ...slog.Attr) {
	if s == nil || s.rec == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.rec.trace.now()}, attrs)
}

// AddEventAt notes that something happened, or began, at start and took that
// long; zero stands for now, and for a point in time.
func (s *Span) AddEventAt(start time.Time, took time.Duration, name string, attrs ...slog.Attr) {
	if s == nil || s.rec == nil {
		return
	}
	s.addEvent(Event{Name: name, Time: s.rec.trace.nanos(start), Duration: max(0, took)}, attrs)
}

// Timespan is a value that knows when it began and ended.
type Timespan interface {
	Timespan() (start, end time.Time)
}

// RecordEvent adds a typed event: what v resolves to becomes the attributes.
// If v is a [Timespan] whose start is not zero, the event has that time, so that
// it can be recorded after the fact; otherwise it happened now.
func (s *Span) RecordEvent(name string, v slog.LogValuer) {
	if s == nil || s.rec == nil || v == nil {
		return
	}
	e := Event{Name: name, Time: s.rec.trace.now()}
	if start, end := timespan(v); !start.IsZero() {
		e.Time, e.Duration = s.rec.trace.nanos(start), max(0, end.Sub(start))
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
	set := plainAttrs(attrs) // may call the user's code: not under the lock
	if s.rec.edit() {
		s.rec.addEvent(e, set)
		s.rec.mu.Unlock()
	}
}

// addEvent adds e with the attributes in set. r.mu is held.
func (r *recording) addEvent(e Event, set attrSet) {
	r.countTruncated(set.truncated)
	if len(r.data.Events) >= maxEvents {
		r.data.DroppedEvents++
		return
	}
	e.Attributes, e.DroppedAttributes = set.attrs, set.dropped
	r.data.Events = append(r.data.Events, e)
}

// AddLink points to a span that is not the parent. It does nothing when to is
// not valid.
func (s *Span) AddLink(to SpanContext, attrs ...slog.Attr) {
	if s == nil || s.rec == nil || !to.IsValid() {
		return
	}
	set := plainAttrs(attrs)
	if !s.rec.edit() {
		return
	}
	defer s.rec.mu.Unlock()
	s.rec.countTruncated(set.truncated)
	if len(s.rec.data.Links) >= maxLinks {
		s.rec.data.DroppedLinks++
		return
	}
	s.rec.data.Links = append(s.rec.data.Links, Link{to, set.attrs, set.dropped})
}

// SetStatus says how the work ended. As in OpenTelemetry, StatusOK is final,
// StatusUnset is ignored, and only StatusError keeps the message. An empty
// message leaves the one of an earlier error.
func (s *Span) SetStatus(code StatusCode, message string) {
	if s == nil || s.rec == nil || code == StatusUnset || code > StatusError || !s.rec.edit() {
		return
	}
	defer s.rec.mu.Unlock()
	s.rec.status = true
	s.rec.setStatus(code, message)
}

func (r *recording) setStatus(code StatusCode, message string) {
	switch {
	case r.data.Status.Code == StatusOK:
		return
	case code != StatusError:
		message = ""
	case message == "":
		message = r.data.Status.Message
	}
	value, cut := cutString(message)
	if cut {
		r.countTruncated(1)
	}
	r.data.Status = Status{code, value.String()}
}

// RecordError adds an "exception" event for err with its type and message, and
// sets the status to StatusError unless [Span.SetStatus] has set one. The stack
// of the caller comes along if [Options.ErrorStacks] asks for it. A nil err
// does nothing.
func (s *Span) RecordError(err error, attrs ...slog.Attr) {
	if s == nil || s.rec == nil || err == nil {
		return
	}
	message := textOf(err, err.Error)
	all := append(make([]slog.Attr, 0, len(attrs)+3),
		slog.String("exception.type", errorType(err)),
		slog.String("exception.message", message))
	if s.tracer.errorStacks {
		all = append(all, slog.String("exception.stacktrace", string(debug.Stack())))
	}
	e := Event{Name: "exception", Time: s.rec.trace.now()}
	set := plainAttrs(append(all, attrs...))
	if !s.rec.edit() {
		return
	}
	defer s.rec.mu.Unlock()
	s.rec.addEvent(e, set)
	if !s.rec.status {
		s.rec.setStatus(StatusError, message)
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
	if s == nil || s.rec == nil {
		return
	}
	t := s.rec.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	t.discarded = true
}

// End ends the span. A second call does nothing but count, see [Stats]. Spans
// that began below s may end later.
func (s *Span) End() {
	if s == nil || s.rec == nil {
		return
	}
	now := s.rec.trace.now()
	s.rec.end(now, now)
}

// EndAt is [Span.End] at a time that has passed; the zero time is now.
func (s *Span) EndAt(t time.Time) {
	if s == nil || s.rec == nil {
		return
	}
	s.rec.end(s.rec.trace.nanos(t), s.rec.trace.now())
}

func (r *recording) end(at, now int64) {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		r.trace.counters().endedTwice.Add(1)
		return
	}
	r.ended = true
	r.data.End = max(at, r.data.Start)
	r.mu.Unlock()
	r.trace.ended(r, now)
}
