package web

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// maxMatchText bounds what is looked for in a trace, in characters.
const maxMatchText = 1000

// match serves api/dendro/traces/{id}/match?q=: the ids of the spans that q selects, in the order
// of the trace. If q begins with a brace it is TraceQL. Otherwise it is a text that a span contains.
func (h *handler) match(w http.ResponseWriter, r *http.Request, args []string) {
	selects, err := parseMatch(r.URL.Query().Get("q"))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("q: %w", err))
		return
	}
	t := h.find(w, r, args[0])
	if t == nil {
		return
	}
	found := []dendro.SpanID{}
	for i, selected := range selects(t) {
		if selected {
			found = append(found, t.Spans[i].SpanID)
		}
	}
	writeJSON(w, map[string]any{"spans": found})
}

// parseMatch returns a function that tells for each span of a trace whether q selects it.
func parseMatch(q string) (func(*collector.Trace) []bool, error) {
	q = strings.TrimSpace(q)
	switch n := utf8.RuneCountInString(q); {
	case n == 0:
		return nil, fmt.Errorf("give a text, or a query such as { duration > 10ms }")
	case n > maxMatchText:
		return nil, fmt.Errorf("%d characters are too many: at most %d", n, maxMatchText)
	case q[0] == '{':
		query, err := traceql.Parse(q)
		if err == nil && query.IsMetrics() {
			err = traceql.ErrMetrics
		}
		return func(t *collector.Trace) []bool {
			out := make([]bool, len(t.Spans))
			for _, set := range query.Evaluate(&traceql.Trace{Trace: t}) {
				for _, i := range set.Spans {
					out[i] = true
				}
			}
			return out
		}, err
	}
	want := bytes.ToLower([]byte(q))
	return func(t *collector.Trace) []bool {
		out := make([]bool, len(t.Spans))
		var text []byte
		for i := range t.Spans {
			text = appendTexts(text[:0], &t.Spans[i])
			out[i] = bytes.Contains(bytes.ToLower(text), want)
		}
		return out
	}, nil
}

// appendTexts appends the texts of a span, each with a zero byte after it.
func appendTexts(b []byte, s *collector.Span) []byte {
	add := func(texts ...string) {
		for _, text := range texts {
			b = append(append(b, text...), 0)
		}
	}
	attributes := func(attrs []slog.Attr) {
		for _, a := range attrs {
			_, text := textOf(a.Value)
			add(a.Key, text)
		}
	}
	add(s.SpanID.String(), s.Name, s.Resource.Service(), s.Status.Message)
	attributes(s.Attributes)
	for i := range s.Events {
		add(s.Events[i].Name)
		attributes(s.Events[i].Attributes)
	}
	for i := range s.Links {
		add(s.Links[i].TraceID.String(), s.Links[i].SpanID.String())
	}
	if s.Scope != nil {
		add(s.Scope.Name)
	}
	return b
}
