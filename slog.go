package dendro

import (
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
)

// LogOptions configures [NewLogHandler]. With the zero value, ids are added to log
// records and nothing is added to spans.
type LogOptions struct {
	// Events adds each record to the span as an event, too. The name of the event is
	// the message. Its attributes are the level as log.severity, and the attributes of
	// the record and of the logger, with groups as dotted keys. What is logged then
	// leaves the process with the span.
	//
	// The level does not change the status of the span. The name log.severity is
	// common, but not part of OpenTelemetry's conventions.
	Events bool
	// Level is the lowest level that becomes an event. If it is nil, it is
	// slog.LevelInfo. It does not affect next: a record may become an event and not be
	// logged.
	Level slog.Leveler
}

// NewLogHandler returns a handler that passes all records to next. To records whose
// context has a span it adds the attributes trace_id and span_id in lower-case
// hexadecimal. These names are OpenTelemetry's ("Trace Context in non-OTLP Log
// Formats"). The attributes are at the top level, even if the logger has groups.
//
// For a logger without groups, the ids cost one allocation. A logger with groups
// passes its groups, and the attributes in them, to next again for each record with a
// span.
func NewLogHandler(next slog.Handler, o LogOptions) slog.Handler {
	h := &logHandler{next: next, top: next}
	if o.Events {
		h.events = o.Level
		if h.events == nil {
			h.events = slog.LevelInfo
		}
	}
	return h
}

// logHandler is the result of [NewLogHandler]. It is immutable.
type logHandler struct {
	next slog.Handler // with all groups and attributes
	top  slog.Handler // with the attributes added before the first group
	// inside is what was added to the logger after top. Applied to top it gives next.
	inside []func(slog.Handler) slog.Handler
	prefix string // names of the open groups, joined by dots

	events slog.Leveler // if nil, records are not added as events
	attrs  []slog.Attr  // all attributes again, for events
}

// Enabled implements [slog.Handler].
func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level) ||
		h.events != nil && level >= h.events.Level() && SpanFromContext(ctx).IsRecording()
}

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	w := h.then(h.prefix, func(next slog.Handler) slog.Handler {
		return next.WithAttrs(slices.Clone(attrs)) // the handler may modify the slice
	})
	if h.events != nil {
		w.attrs = append(slices.Clip(h.attrs), grouped(h.prefix, attrs)...)
	}
	return w
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	prefix := name
	if h.prefix != "" {
		prefix = h.prefix + "." + name
	}
	return h.then(prefix, func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

// then returns h with another group or more attributes. prefix is the prefix of keys
// that are added later.
func (h *logHandler) then(prefix string, do func(slog.Handler) slog.Handler) *logHandler {
	w := *h
	w.prefix, w.next = prefix, do(h.next)
	if prefix == "" {
		w.top = w.next
	} else {
		w.inside = append(slices.Clip(h.inside), do)
	}
	return &w
}

// grouped returns attrs inside of the group that prefix names.
func grouped(prefix string, attrs []slog.Attr) []slog.Attr {
	if prefix == "" {
		return attrs
	}
	return []slog.Attr{{Key: prefix, Value: slog.GroupValue(attrs...)}}
}

// Handle implements [slog.Handler].
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	s := SpanFromContext(ctx)
	if h.events != nil {
		if r.Level >= h.events.Level() {
			h.addEvent(s, r)
		}
		if !h.next.Enabled(ctx, r.Level) {
			return nil
		}
	}
	if s == nil {
		return h.next.Handle(ctx, r)
	}
	if len(h.inside) > 0 {
		return h.withIDs(s).Handle(ctx, r)
	}
	r = r.Clone()
	ids := idAttrs(s.Context())
	r.AddAttrs(ids[:]...)
	return h.next.Handle(ctx, r)
}

// withIDs returns h.next with the ids of s before its first group.
func (h *logHandler) withIDs(s *Span) slog.Handler {
	ids := idAttrs(s.Context())
	next := h.top.WithAttrs(ids[:])
	for _, do := range h.inside {
		next = do(next)
	}
	return next
}

// addEvent adds r to s.
func (h *logHandler) addEvent(s *Span, r slog.Record) {
	if s == nil || s.slot == nil {
		return
	}
	var room [inlineAttributes]slog.Attr
	attrs := append(room[:0], slog.String("log.severity", r.Level.String()))
	attrs = append(attrs, h.attrs...)
	if h.prefix == "" {
		r.Attrs(func(a slog.Attr) bool {
			attrs = append(attrs, a)
			return true
		})
	} else {
		attrs = append(attrs, grouped(h.prefix, recordAttrs(r))...)
	}
	s.AddEventAt(r.Time, 0, r.Message, attrs...)
}

func recordAttrs(r slog.Record) []slog.Attr {
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	return attrs
}

func idAttrs(sc SpanContext) [2]slog.Attr {
	b := make([]byte, 0, 2*len(sc.TraceID)+2*len(sc.SpanID))
	b = hex.AppendEncode(b, sc.TraceID[:])
	text := string(hex.AppendEncode(b, sc.SpanID[:]))
	return [...]slog.Attr{slog.String("trace_id", text[:2*len(sc.TraceID)]), slog.String("span_id", text[2*len(sc.TraceID):])}
}
