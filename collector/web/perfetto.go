package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// traceEvent is an event of the Trace Event Format, which Perfetto and Chrome read
// (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU). Times are
// microseconds.
type traceEvent struct {
	Phase    string            `json:"ph"`
	Name     string            `json:"name"`
	Category string            `json:"cat,omitempty"`
	Time     float64           `json:"ts"`
	Duration *float64          `json:"dur,omitempty"`
	Process  int               `json:"pid"`
	Thread   int               `json:"tid"`
	Scope    string            `json:"s,omitempty"` // of an instant event
	Args     map[string]string `json:"args,omitempty"`
}

// perfetto serves api/dendro/traces/{id}/perfetto: the trace for ui.perfetto.dev. A service is a
// process. Its spans are on as many threads as run at once, because those of one thread must be
// nested.
func (h *handler) perfetto(w http.ResponseWriter, r *http.Request, args []string) {
	t := h.find(w, r, args[0])
	if t == nil {
		return
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="trace-%s.perfetto.json"`, t.ID))
	writeJSON(w, map[string]any{"displayTimeUnit": "ns", "traceEvents": traceEvents(t)})
}

func traceEvents(t *collector.Trace) []traceEvent {
	const micro = 1e3
	first := t.Start()
	processes := map[string]int{}
	lanes := map[int][]lane{}
	out := []traceEvent{}
	for i := range t.Spans { // ordered by start
		s := &t.Spans[i]
		service := s.Resource.Service()
		process, known := processes[service]
		if !known {
			process = len(processes) + 1
			processes[service] = process
			out = append(out, traceEvent{Phase: "M", Name: "process_name", Process: process, Args: map[string]string{"name": strings.ToValidUTF8(service, "\uFFFD")}})
		}
		thread := -1
		for n := max(0, len(lanes[process])-maxLanes); n < len(lanes[process]); n++ {
			if lanes[process][n].fits(s.Start, s.End) {
				thread = n
				break
			}
		}
		if thread < 0 {
			thread = len(lanes[process])
			lanes[process] = append(lanes[process], lane{})
			lanes[process][thread].fits(s.Start, s.End)
		}
		took := float64(s.Duration()) / micro
		about := argsOf(s.Attributes)
		about["span_id"] = s.SpanID.String()
		if s.ParentID.IsValid() {
			about["parent_span_id"] = s.ParentID.String()
		}
		if s.Status.Code == dendro.StatusError {
			about["error"] = strings.ToValidUTF8(s.Status.Message, "\uFFFD")
		}
		out = append(out, traceEvent{
			Phase: "X", Name: strings.ToValidUTF8(nameOf(s), "\uFFFD"), Category: s.Kind.String(), Time: float64(s.Start-first) / micro, Duration: &took,
			Process: process, Thread: thread, Args: about,
		})
		for _, e := range s.Events {
			out = append(out, traceEvent{Phase: "i", Name: strings.ToValidUTF8(e.Name, "\uFFFD"), Time: float64(e.Time-first) / micro, Process: process, Thread: thread, Scope: "t", Args: argsOf(e.Attributes)})
		}
	}
	return out
}

func argsOf(attrs []slog.Attr) map[string]string {
	args := map[string]string{}
	for _, a := range attributesOf(attrs) {
		args[a.Key] = a.Value
	}
	return args
}

// maxLanes bounds how many threads of a service are looked through for one with room. There may
// be more threads.
const maxLanes = 64

// lane has the ends of the open spans of a thread, the innermost last.
type lane struct{ ends []int64 }

// fits adds a span to l, if it begins after those in l and is nested in those that are open. It
// reports whether it did.
func (l *lane) fits(start, end int64) bool {
	for len(l.ends) > 0 && l.ends[len(l.ends)-1] <= start {
		l.ends = l.ends[:len(l.ends)-1]
	}
	if n := len(l.ends); n > 0 && end > l.ends[n-1] {
		return false
	}
	l.ends = append(l.ends, end)
	return true
}
