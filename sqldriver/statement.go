package sqldriver

import (
	"log/slog"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

// statement is what spans record about a statement.
type statement struct {
	query       string
	summary     string // "SELECT orders", also the name of the span
	prepare     string // name of the span of its preparation
	repeated    sqltext.Statement
	attrs       []slog.Attr
	commentable bool
	explainable bool
	explained   time.Time // time of its last EXPLAIN, guarded by explains.mu
}

func newStatement(system, query string, raw bool, base []slog.Attr) *statement {
	redacted, sum := sqltext.Redact(system, query)
	text := redacted
	if raw {
		text = sqltext.Shorten(query, sqltext.MaxText)
	}
	s := &statement{query: query, summary: sum.String(), attrs: slices.Clip(base)}
	var repeated []slog.Attr
	if s.summary == "" {
		s.summary = system // as OpenTelemetry's conventions ask
	} else {
		repeated = append(repeated, slog.String(semconv.DBQuerySummary, s.summary))
	}
	s.attrs = append(s.attrs, repeated...)
	s.commentable = commentable(sum.Operation, query)
	s.prepare = "PREPARE " + s.summary
	if !sum.Several {
		if sum.Operation != "" {
			s.attrs = append(s.attrs, slog.String(semconv.DBOperationName, sum.Operation))
		}
		if len(sum.Targets) == 1 {
			s.attrs = append(s.attrs, slog.String(semconv.DBCollectionName, sum.Targets[0]))
		}
	}
	if text != "" {
		s.attrs = append(s.attrs, slog.String(semconv.DBQueryText, text))
		repeated = append(repeated, slog.String(semconv.DBQueryText, text))
	}
	s.repeated = sqltext.NewStatement(redacted, s.summary, repeated...)
	return s
}
