package dendro

import (
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/dendrotrace/dendro/internal/bridge"
)

// slot is the memory in which a span is recorded. It always belongs to the same local
// trace and is used for one span after another. Each use has a number. A handle knows
// its number and compares it under the lock of the local trace, so a stale handle
// finds that its use is over.
type slot struct {
	trace *localTrace // immutable
	next  *slot       // next free or ended slot; guarded by trace.mu, like the fields below

	use        atomic.Uint64 // counts the spans that ended in this slot; set under the lock
	status     bool          // SetStatus was called
	work       bridge.Work   // what a wrapper made the span for, or 0
	observed   bool          // the observer has asked for the end
	keys       keySet        // keys of data.Attributes
	data       SpanData
	eventAttrs []slog.Attr // backing array for the attributes of the last events in data.Events
	inline     [inlineAttributes]slog.Attr
}

// inlineAttributes is the number of attributes that a slot has memory for.
const inlineAttributes = 8

// Bounds of the memory that a slot keeps for its next use.
const (
	maxIdleAttributes = 64
	maxIdleEvents     = 32
	maxIdleEventAttrs = 128
)

// release prepares s for another span.
func (s *slot) release() {
	s.status, s.observed, s.work, s.keys = false, false, 0, 0
	s.eventAttrs = idle(s.eventAttrs, maxIdleEventAttrs)
	s.data = SpanData{Attributes: idle(s.data.Attributes, maxIdleAttributes), Events: idle(s.data.Events, maxIdleEvents)}
}

// idle returns x without elements, or nil if its memory exceeds most.
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
			clear(before) // so that inline keeps nothing alive
		}
	}
	set.putAll(attrs)
	s.data.Attributes, s.keys = set.attrs, set.keys
	s.data.DroppedAttributes += set.dropped
}

// keep sets the attribute KeepReason, even if there are as many attributes as a span may have.
func (s *slot) keep(reason string) {
	for i := range s.data.Attributes {
		if a := &s.data.Attributes[i]; a.Key == KeepReason {
			a.Value = slog.StringValue(reason)
			return
		}
	}
	s.data.Attributes = append(s.data.Attributes, slog.String(KeepReason, reason))
	s.keys.add(KeepReason)
}

func (s *slot) countTruncated(n uint32) {
	if n > 0 {
		s.trace.counters().truncated.Add(uint64(n))
	}
}

// cut returns the part of a text that is kept.
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

// eventAttributes returns a copy of attrs, which must be plain, for addEvent.
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
