package sqldriver

import (
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

// commentable reports whether a statement may get a comment. It must be a single
// statement, have no comment, as the specification asks, and be of a kind whose text
// the database does not store, unlike that of CREATE VIEW.
func commentable(operation, query string) bool {
	return slices.Contains(sqltext.RowOperations, operation) &&
		!strings.ContainsAny(strings.TrimRight(query, "; \t\r\n"), ";#") &&
		!strings.Contains(query, "/*") && !strings.Contains(query, "--")
}

// comment returns the query of s. If comments are enabled, it appends one that names
// span, in the format of sqlcommenter (https://google.github.io/sqlcommenter/spec/):
// key='value' with the value percent-encoded. A traceparent needs no encoding.
func (db *database) comment(s *statement, span *dendro.Span) string {
	if !db.options.Comments || !s.commentable {
		return s.query
	}
	end := len(strings.TrimRight(s.query, "; \t\r\n"))
	return s.query[:end] + " /*traceparent='" + span.Context().Traceparent() + "'*/" + s.query[end:]
}
