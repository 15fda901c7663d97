package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

const (
	// maxLinkedBy bounds how many spans are returned that link to a span.
	maxLinkedBy = 20
	// linkLag is by how much the clock of a span may be behind that of a span that it links to.
	linkLag = time.Minute
)

// linkedBy is a span that links to another one.
type linkedBy struct {
	TraceID dendro.TraceID `json:"traceId"`
	SpanID  dendro.SpanID  `json:"spanId"`
	Name    string         `json:"name"`
	Service string         `json:"service"`
	Start   int64          `json:"start,string"` // in nanoseconds since the Unix epoch
}

// links serves api/dendro/traces/{id}/spans/{id}/links: the spans that link to a span, those of its
// trace before others, and whether there are more. It is no part of the details because it may read
// all traces that ended after the span began.
func (h *handler) links(w http.ResponseWriter, r *http.Request, args []string) {
	t, spans := h.findSpans(w, r, args)
	if t == nil {
		return
	}
	to := spans[0].SpanContext
	found := []linkedBy{}
	add := func(t *collector.Trace) bool {
		for i := 0; i < len(t.Spans) && len(found) <= maxLinkedBy; i++ {
			s := &t.Spans[i]
			if slices.ContainsFunc(s.Links, func(l dendro.Link) bool { return l.SpanID == to.SpanID && l.TraceID == to.TraceID }) {
				found = append(found, linkedBy{t.ID, s.SpanID, strings.Clone(s.Name), strings.Clone(s.Resource.Service()), s.Start})
			}
		}
		return len(found) <= maxLinkedBy
	}
	if add(t) {
		scan := collector.Scan{Details: true}
		scan.Hints.Spans = []collector.SpanHints{{StartsAfter: time.Unix(0, spans[0].Start).Add(-linkLag)}}
		err := h.store.Scan(r.Context(), scan, func(other *collector.Trace) bool { return other.ID == t.ID || add(other) })
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
	}
	writeJSON(w, map[string]any{"linkedBy": found[:min(len(found), maxLinkedBy)], "more": len(found) > maxLinkedBy})
}
