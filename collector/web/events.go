package web

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/dendrotrace/dendro"
)

// maxEvents bounds how many events of a trace are returned.
const maxEvents = 5000

// spanEvent is an event with its span. The offset is relative to the start of the trace.
type spanEvent struct {
	SpanID dendro.SpanID `json:"spanId"`
	event
}

// events serves api/dendro/traces/{id}/events: the first events of all spans, ordered by time, and
// how many more there are. Times are straightened with clocks=straight.
func (h *handler) events(w http.ResponseWriter, r *http.Request, args []string) {
	t, straight := h.findFor(w, r, args[0])
	if t == nil {
		return
	}
	if straight {
		rows := layOut(t.Spans)
		t, _ = skewOf(rows).straighten(t.ID, rows)
	}
	type found struct {
		id dendro.SpanID
		*dendro.Event
	}
	var all []found
	for i := range t.Spans {
		for e := range t.Spans[i].Events {
			all = append(all, found{t.Spans[i].SpanID, &t.Spans[i].Events[e]})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.Time, b.Time) })
	out := make([]spanEvent, min(len(all), maxEvents))
	for i := range out {
		out[i] = spanEvent{all[i].id, eventOf(all[i].Event, t.Start())}
	}
	writeJSON(w, map[string]any{"events": out, "more": len(all) - len(out)})
}
