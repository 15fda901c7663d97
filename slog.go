package dendro

import (
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
)

// LogOptions configures [NewLogHandler]. The zero value adds ids to log records
// and nothing to spans.
type LogOptions struct {
	// Events also adds each record to its span: an event named by the message,
	// with the level as log.severity, the attributes of the record and those
	// of the logger, and groups as dotted keys. What is logged then leaves the
	// process with the span.
	//
	// The status of the span does not change, whatever the level. The name
	// log.severity is common, but no convention of OpenTelemetry.
	Events bool
	// Level is the lowest level that becomes an event. Default: slog.LevelInfo.
	// What next writes is up to next: a record can be an event and not be
	// written.
	Level slog.Leveler
}

// NewLogHandler returns a handler that adds the attributes trace_id and span_id,
// in lower-case hexadecimal, to records whose context has a span, and gives all
// records to next. The names are those of OpenTelemetry for logs that are not
// OTLP ("Trace Context in non-OTLP Log Formats"); they stand at the top level,
// whatever groups the logger has. Records without a span pass unchanged.
//
// A logger without groups pays one allocation for the ids. One with groups hands
// its groups, and the attributes in them, to next again for each record that has a
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

// logHandler is what [NewLogHandler] returns. It never changes.
type logHandler struct {
	next slog.Handler // has all groups and attributes
	top  slog.Handler // has the attributes from before the first group
	// inside is what came since: it makes next from top.
	inside []func(slog.Handler) slog.Handler
	prefix string // the names of the groups, joined by dots

	events slog.Leveler // nil: no events
	attrs  []slog.Attr  // all of them again, for events
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
		return next.WithAttrs(slices.Clone(attrs)) // which may change them
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

// then returns h with one more group, or with more attributes. prefix is that of
// what follows.
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

// grouped returns attrs in the group that prefix names.
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

// withIDs returns h.next with the ids of s before the first group.
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
