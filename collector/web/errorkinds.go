package web

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// errorKind is a number of errors of the same type and message.
type errorKind struct {
	Type, Message string
	Service, Name string // of the newest span
	Count         int
	Traces        int
	TraceID       dendro.TraceID // the newest
	SpanID        dendro.SpanID
	At            int64
}

const (
	// inspectedErrors bounds how many traces with errors are read, the newest first, and
	// inspectedErrorSpans how many spans they have.
	inspectedErrors     = 300
	inspectedErrorSpans = 100_000
	maxErrorKinds       = 8
	maxErrorText        = 160
)

// errorKinds returns the kinds of the newest errors since start, the newest first. Of the spans
// with an error in a trace, those count that have no child with one: there it began.
func (h *handler) errorKinds(ctx context.Context, start time.Time) ([]errorKind, error) {
	type key struct{ service, typ, message string }
	kinds := map[key]*errorKind{}
	scan := collector.Scan{TimeRange: collector.TimeRange{Start: start}, Hints: collector.Hints{Spans: []collector.SpanHints{{Errors: true}}}, Attributes: []string{semconv.ErrorType}, Details: true}
	_, err := newest(ctx, h.store, scan, inspectedErrors, inspectedErrorSpans, func(t *collector.Trace) {
		passedOn := map[dendro.SpanID]bool{}
		for i := range t.Spans {
			if s := &t.Spans[i]; s.Status.Code == dendro.StatusError {
				passedOn[s.ParentID] = true
			}
		}
		seen := map[key]bool{}
		for i := range t.Spans {
			s := &t.Spans[i]
			if s.Status.Code != dendro.StatusError || passedOn[s.SpanID] {
				continue
			}
			typ, message := errorOf(s)
			k := key{s.Resource.Service(), typ, withoutNumbers(message)}
			kind := kinds[k]
			if kind == nil {
				kind = &errorKind{
					Type: strings.Clone(typ), Message: strings.Clone(message), Service: strings.Clone(k.service), Name: strings.Clone(short(s.Name)),
					TraceID: t.ID, SpanID: s.SpanID, At: s.End,
				}
				kinds[key{kind.Service, kind.Type, k.message}] = kind
			}
			kind.Count++
			if !seen[k] {
				seen[k] = true
				kind.Traces++
			}
		}
	})
	out := make([]errorKind, 0, len(kinds))
	for _, kind := range kinds {
		out = append(out, *kind)
	}
	slices.SortFunc(out, func(a, b errorKind) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Message, b.Message)) })
	return out[:min(len(out), maxErrorKinds)], err
}

// errorOf returns the type and the message of the error of s: of its last exception, or else of
// its attribute and status.
func errorOf(s *collector.Span) (typ, message string) {
	typ, message = textAttribute(s.Attributes, semconv.ErrorType), s.Status.Message
	for i := range slices.Backward(s.Events) {
		if e := &s.Events[i]; e.Name == semconv.ExceptionEvent {
			typ = cmp.Or(textAttribute(e.Attributes, semconv.ExceptionType), typ)
			message = cmp.Or(textAttribute(e.Attributes, semconv.ExceptionMessage), message)
			break
		}
	}
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	return beginning(typ), beginning(message)
}

func beginning(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxErrorText)], "")
}

// withoutNumbers replaces the digits of s, so that messages with ids are of one kind.
func withoutNumbers(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return '0'
		}
		return r
	}, s)
}
