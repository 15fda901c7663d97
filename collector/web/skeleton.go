package web

import (
	"hash/fnv"
	"net/http"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// skeleton is what the page of a trace shows: the facts above, and the rows, which a script
// draws from the columns that encode makes. Times are in nanoseconds.
type skeleton struct {
	TraceID  dendro.TraceID
	Start    int64 // relative to the Unix epoch
	Duration int64
	Spans    int
	Errors   int
	Missing  int // number of parents that have not arrived
	Services []service
	// Straight is set if the times are not as recorded, but straightened.
	Straight bool
	// Why explains the duration. It is made by explain.
	Why why

	rows []row
	top  int // row that the critical path explains
	path []segment
	skew skew
}

// explain sets Why.
func (s *skeleton) explain(of median) { s.Why = whySlow(s.rows, s.top, s.path, of) }

// service counts the spans of one service in a trace.
type service struct {
	Name   string `json:"name"`
	Colour int    `json:"colour"`
	Spans  int    `json:"spans"`
	Errors int    `json:"errors"`
}

// colours is the number of colors for services in app.css.
const colours = 12

// colourOf returns the color of a service, which is the same on all pages.
func colourOf(service string) int {
	h := fnv.New32a()
	h.Write([]byte(service))
	return int(h.Sum32() % colours)
}

// newSkeleton returns the skeleton of t, which must have a span.
func newSkeleton(t *collector.Trace, straight bool) *skeleton {
	s := &skeleton{TraceID: t.ID, Spans: len(t.Spans), Straight: straight}
	rows := layOut(t.Spans)
	s.skew = skewOf(rows)
	if straight && len(s.skew) > 0 {
		t, s.skew = s.skew.straighten(t.ID, rows)
		rows = layOut(t.Spans)
	}
	s.rows = foldRepeats(rows)
	s.top, s.path = criticalPath(s.rows)
	first, last := t.Spans[0].Start, t.Spans[0].End
	for i := range t.Spans {
		first = min(first, t.Spans[i].Start)
		last = max(last, t.Spans[i].Start, t.Spans[i].End)
	}
	s.Start, s.Duration = first, last-first
	var services indices
	for i := range s.rows {
		switch r := &s.rows[i]; {
		case r.span != nil:
			name := r.span.Resource.Service()
			of := services.index(name)
			if of == len(s.Services) {
				s.Services = append(s.Services, service{Name: name, Colour: colourOf(name)})
			}
			s.Services[of].Spans++
			s.Services[of].Errors += errorsOf(r.span)
			s.Errors += errorsOf(r.span)
		case r.fold == nil:
			s.Missing++
		}
	}
	return s
}

// errorsOf returns 1 for a span with an error, and 0 otherwise.
func errorsOf(s *collector.Span) int {
	if s.Status.Code == dendro.StatusError {
		return 1
	}
	return 0
}

// root returns the first span without a parent, or else the first span.
func (s *skeleton) root() *collector.Span {
	isSpan := func(r row) bool { return r.span != nil }
	at := slices.IndexFunc(s.rows, func(r row) bool { return isSpan(r) && r.parent < 0 })
	if at < 0 {
		at = slices.IndexFunc(s.rows, isSpan)
	}
	return s.rows[at].span
}

// Skew returns by how much two clocks differ at most.
func (s *skeleton) Skew() time.Duration { return s.skew.most() }

// Took returns Duration for the page.
func (s *skeleton) Took() time.Duration { return time.Duration(s.Duration) }

// Busiest returns the services, ordered by their number of spans, largest first.
func (s *skeleton) Busiest() []service {
	return slices.SortedStableFunc(slices.Values(s.Services), func(a, b service) int { return b.Spans - a.Spans })
}

// size serves api/dendro/traces/{id}/size, by which the page sees that a trace has grown.
func (h *handler) size(w http.ResponseWriter, r *http.Request, args []string) {
	if t := h.find(w, r, args[0]); t != nil {
		writeJSON(w, map[string]int{"spans": len(t.Spans)})
	}
}
