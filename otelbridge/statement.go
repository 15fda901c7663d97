package otelbridge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

// statements is what a provider knows about the SQL statements in attributes of its spans.
type statements struct {
	raw     atomic.Bool // literals are recorded
	repeats sqltext.Repeats

	mu       sync.RWMutex
	bySystem map[string]*sqltext.Cache[statement] // guarded by mu
}

// statement is a statement without literals.
type statement struct {
	text     string
	repeated sqltext.Statement
}

// maxSystems bounds the database systems that a provider remembers. There are some dozens.
const maxSystems = 64

// otherLanguages are the systems whose statements are not SQL, under their name in db.system.name or,
// before, db.system.
var otherLanguages = map[string]bool{
	"redis": true, "memcached": true, "mongodb": true, "elasticsearch": true, "opensearch": true, "couchdb": true,
}

// find returns the index of the attribute with a statement in SQL, or -1, and its system.
func find(attrs []slog.Attr) (text int, system string) {
	text = -1
	for i := range attrs {
		switch attrs[i].Key {
		case semconv.DBQueryText, semconv.OldDBStatement:
			text = i
		case semconv.DBSystemName, semconv.OldDBSystem:
			system = attrs[i].Value.String()
		}
	}
	if text >= 0 && (attrs[text].Value.Kind() != slog.KindString || otherLanguages[system]) {
		text = -1
	}
	return text, system
}

// redact replaces the literals of the statement in attrs, and returns it, or nil if there is none.
func (s *statements) redact(attrs []slog.Attr) *statement {
	i, system := find(attrs)
	if i < 0 {
		return nil
	}
	parsed := s.of(system).Get(attrs[i].Value.String())
	if !s.raw.Load() {
		attrs[i].Value = slog.StringValue(parsed.text)
	}
	return parsed
}

// of returns the cache for a system.
func (s *statements) of(system string) *sqltext.Cache[statement] {
	s.mu.RLock()
	c := s.bySystem[system]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.bySystem[system]; c != nil {
		return c
	}
	c = &sqltext.Cache[statement]{Parse: func(query string) *statement { return s.parse(system, query) }}
	if s.bySystem == nil {
		s.bySystem = map[string]*sqltext.Cache[statement]{}
	}
	if len(s.bySystem) < maxSystems {
		s.bySystem[system] = c
	}
	return c
}

func (s *statements) parse(system, query string) *statement {
	redacted, sum := sqltext.Redact(system, query)
	recorded := redacted
	if s.raw.Load() {
		recorded = query
	}
	summary := sum.String()
	return &statement{redacted, sqltext.NewStatement(redacted, summary, slog.String(semconv.DBQuerySummary, summary), slog.String(semconv.DBQueryText, recorded))}
}

// note counts an execution below the span in ctx, see [sqltext.Repeats]. It does not count what a library does below
// its own span for a call of the program, such as the statements of a batch.
func (s *statements) note(ctx context.Context, executed *statement) {
	parent := dendro.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	client := false
	bridge.Read(parent, func(data any, _ bridge.Work) { client = data.(*dendro.SpanData).Kind == dendro.KindClient })
	if !client {
		s.repeats.Note(parent, &executed.repeated)
	}
}

// message returns the message of an error of a span. Databases quote values of the statement in
// messages, which are replaced.
func (s *statements) message(of *dendro.Span, message string) string {
	if s.raw.Load() {
		return message
	}
	bridge.Read(of, func(data any, _ bridge.Work) {
		if i, _ := find(data.(*dendro.SpanData).Attributes); i >= 0 {
			message = sqltext.RedactMessage(message)
		}
	})
	return message
}
