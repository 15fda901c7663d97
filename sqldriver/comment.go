package sqldriver

import (
	"strings"

	"github.com/dendrotrace/dendro"
)

// comment returns query with a comment that names span, if that is asked for, in
// the format of sqlcommenter (https://google.github.io/sqlcommenter/spec/):
// key='value', the value percent-encoded, which a traceparent does not need. As the
// specification asks, a statement that has a comment is left as it is.
func (db *database) comment(query string, span *dendro.Span) string {
	if !db.options.Comments || strings.Contains(query, "/*") || strings.Contains(query, "--") || strings.Contains(query, "#") {
		return query
	}
	end := len(strings.TrimRight(query, "; \t\r\n"))
	if end == 0 {
		return query
	}
	return query[:end] + " /*traceparent='" + span.Context().Traceparent() + "'*/" + query[end:]
}
