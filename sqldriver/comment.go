package sqldriver

import (
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// commentable reports whether a statement may get a comment: if it is a single one of
// those that the database does not keep as they are, as it does with the text of a
// view, and, as the specification asks, has none.
func commentable(operation, query string) bool {
	return slices.Contains(rowOperations, operation) &&
		!strings.ContainsAny(strings.TrimRight(query, "; \t\r\n"), ";#") &&
		!strings.Contains(query, "/*") && !strings.Contains(query, "--")
}

// comment returns the query of s with a comment that names span, if that is asked for,
// in the format of sqlcommenter (https://google.github.io/sqlcommenter/spec/):
// key='value', the value percent-encoded, which a traceparent does not need.
func (db *database) comment(s *statement, span *dendro.Span) string {
	if !db.options.Comments || !s.commentable {
		return s.query
	}
	end := len(strings.TrimRight(s.query, "; \t\r\n"))
	return s.query[:end] + " /*traceparent='" + span.Context().Traceparent() + "'*/" + s.query[end:]
}
