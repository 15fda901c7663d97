package dendro

import (
	"log/slog"
	"slices"
	"sync/atomic"
)

// slot is where a span is recorded. It belongs to one local trace for good and is
// used for one span after the other. A handle knows which use of the slot is its
// own, and compares the two, under the lock of the local trace before it looks
// further: a stale handle finds that its use is over, whoever has the slot now.
type slot struct {
	trace *localTrace // never changes
	next  *slot       // free, or ended; guarded by the mutex of trace, as what follows is

	use        atomic.Uint64 // counts the spans that have ended here; set with the lock
	status     bool          // SetStatus was called
	keys       keySet        // of data.Attributes
	data       SpanData
	eventAttrs []slog.Attr // of the last events in data.Events, one after the other
	inline     [inlineAttributes]slog.Attr
}

// inlineAttributes is how many attributes of a span need no memory of their own.
const inlineAttributes = 8

// What a slot keeps for its next use at most. Larger ones are left to the garbage
// collector.
const (
	maxIdleAttributes = 64
	maxIdleEvents     = 32
	maxIdleEventAttrs = 128
)

// release makes s ready for another span.
func (s *slot) release() {
	s.status, s.keys = false, 0
	s.eventAttrs = idle(s.eventAttrs, maxIdleEventAttrs)
	s.data = SpanData{Attributes: idle(s.data.Attributes, maxIdleAttributes), Events: idle(s.data.Events, maxIdleEvents)}
}

// idle returns the memory of x without its content, nil if it is more than most.
func idle[T any](x []T, most int) []T {
	if cap(x) > most {
		return nil
	}
	clear(x)
	return x[:0]
}

// setAttributes adds plain attributes.
func (s *slot) setAttributes(attrs []slog.Attr) {
	set := attrSet{attrs: s.data.Attributes, keys: s.keys}
	if set.attrs == nil {
		set.attrs = s.inline[:0]
	}
	if need := len(set.attrs) + len(attrs); need > cap(set.attrs) {
		// Once, with room for what is known at the end.
		before := set.attrs
		set.attrs = slices.Grow(before, max(0, min(need+4, maxAttributes)-len(before)))
		if cap(set.attrs) > cap(before) {
			clear(before) // inline holds on to nothing
		}
	}
	set.putAll(attrs)
	s.data.Attributes, s.keys = set.attrs, set.keys
	s.data.DroppedAttributes += set.dropped
}

func (s *slot) countTruncated(n uint32) {
	if n > 0 {
		s.trace.counters().truncated.Add(uint64(n))
	}
}

// cut returns what is kept of a text.
func (s *slot) cut(text string) string {
	out, cut := cutString(text)
	if cut {
		s.countTruncated(1)
	}
	return out
}

func (s *slot) setName(name string) { s.data.Name = s.cut(name) }

// addEvent adds e with the attributes in set.
func (s *slot) addEvent(e Event, set attrSet) {
	s.countTruncated(set.truncated)
	if len(s.data.Events) >= maxEvents {
		s.data.DroppedEvents++
		return
	}
	e.Name = s.cut(e.Name)
	e.Attributes, e.DroppedAttributes = set.attrs, set.dropped
	s.data.Events = append(s.data.Events, e)
}

// eventAttributes returns a copy of attrs, all of them plain, for addEvent.
func (s *slot) eventAttributes(attrs []slog.Attr) attrSet {
	if len(attrs) == 0 || len(s.data.Events) >= maxEvents {
		return attrSet{}
	}
	if n := min(len(attrs), maxAttributes); cap(s.eventAttrs)-len(s.eventAttrs) < n {
		s.eventAttrs = make([]slog.Attr, 0, max(2*cap(s.eventAttrs), 2*n))
	}
	start := len(s.eventAttrs)
	set := attrSet{attrs: s.eventAttrs[start:]}
	set.putAll(attrs)
	end := start + len(set.attrs)
	s.eventAttrs = s.eventAttrs[:end]
	set.attrs = s.eventAttrs[start:end:end]
	return set
}

func (s *slot) setStatus(code StatusCode, message string) {
	switch {
	case s.data.Status.Code == StatusOK:
		return
	case code != StatusError:
		message = ""
	case message == "":
		message = s.data.Status.Message
	}
	s.data.Status = Status{code, s.cut(message)}
}
