package web

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// skeleton is the data that the trace page draws. It has a column for each property,
// so that a hundred thousand spans are a few arrays in the browser. Times are in
// nanoseconds. In columns they are relative to Start.
type skeleton struct {
	TraceID  dendro.TraceID `json:"traceId"`
	Start    int64          `json:"start,string"` // relative to the Unix epoch
	Duration int64          `json:"duration"`
	Spans    int            `json:"spans"`
	Errors   int            `json:"errors"`
	Missing  int            `json:"missing"` // number of parents that have not arrived
	Services []service      `json:"services"`
	Names    []string       `json:"names"` // Name and EventName are indices of these

	ID       []dendro.SpanID `json:"id"`
	Parent   []int           `json:"parent"` // row of the parent, or -1 for a root
	Depth    []int           `json:"depth"`
	Size     []int           `json:"size"` // number of rows in the subtree
	Offset   []int64         `json:"offset"`
	Length   []int64         `json:"length"`
	Self     []int64         `json:"self"`
	Name     []int           `json:"name"`
	Service  []int           `json:"service"` // index of the service, or -1 for a missing parent
	Kind     []int           `json:"kind"`
	Status   []int           `json:"status"`
	Detached []int           `json:"detached"` // rows where a cycle of parents was cut

	// Folds.
	FoldRow    []int    `json:"foldRow"`
	FoldSpans  []int    `json:"foldSpans"`
	FoldErrors []int    `json:"foldErrors"`
	FoldTotal  []int64  `json:"foldTotal"`
	FoldCaller []string `json:"foldCaller"`

	// Events of all spans.
	EventRow    []int   `json:"eventRow"`
	EventName   []int   `json:"eventName"`
	EventOffset []int64 `json:"eventOffset"`
	EventLength []int64 `json:"eventLength"`

	// The critical path.
	CriticalRow    []int   `json:"criticalRow"`
	CriticalOffset []int64 `json:"criticalOffset"`
	CriticalLength []int64 `json:"criticalLength"`

	// Why explains the duration on the page. It is made by explain.
	Why why `json:"-"`

	rows []row
	top  int // row that the critical path explains
	path []segment
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

// missingParent is the name of a row without a span.
const missingParent = "parent span not received"

// newSkeleton returns the skeleton of t, which must have a span.
func newSkeleton(t *collector.Trace) *skeleton {
	s := &skeleton{TraceID: t.ID, Spans: len(t.Spans)}
	first, last := t.Spans[0].Start, t.Spans[0].End
	for i := range t.Spans {
		first = min(first, t.Spans[i].Start)
		last = max(last, t.Spans[i].Start, t.Spans[i].End)
	}
	s.Start, s.Duration = first, last-first

	names, services := map[string]int{}, map[string]int{}
	nameOf := func(name string) int {
		i, known := names[name]
		if !known {
			i = len(s.Names)
			names[name] = i
			s.Names = append(s.Names, strings.ToValidUTF8(name, "\uFFFD"))
		}
		return i
	}
	rows := foldRepeats(layOut(t.Spans))
	n := len(rows)
	s.ID = make([]dendro.SpanID, 0, n)
	for _, column := range []*[]int{&s.Parent, &s.Depth, &s.Size, &s.Name, &s.Service, &s.Kind, &s.Status} {
		*column = make([]int, 0, n)
	}
	for _, column := range []*[]int64{&s.Offset, &s.Length, &s.Self} {
		*column = make([]int64, 0, n)
	}
	serviceOf := func(name string) int {
		i, known := services[name]
		if !known {
			i = len(s.Services)
			services[name] = i
			s.Services = append(s.Services, service{Name: name, Colour: colourOf(name)})
		}
		return i
	}
	for i, r := range rows {
		of, kind, status := -1, 0, 0
		switch {
		case r.fold != nil:
			like := rows[i+1].span
			s.Name = append(s.Name, nameOf(like.Name))
			of, kind = serviceOf(like.Resource.Service()), int(like.Kind)
			s.FoldRow = append(s.FoldRow, i)
			s.FoldSpans = append(s.FoldSpans, r.fold.spans)
			s.FoldErrors = append(s.FoldErrors, r.fold.errors)
			s.FoldTotal = append(s.FoldTotal, r.fold.total)
			s.FoldCaller = append(s.FoldCaller, r.fold.caller)
		case r.span == nil:
			s.Missing++
			s.Name = append(s.Name, nameOf(missingParent))
		default:
			s.Name = append(s.Name, nameOf(r.span.Name))
			kind, status = int(r.span.Kind), int(r.span.Status.Code)
			of = serviceOf(r.span.Resource.Service())
			s.Services[of].Spans++
			s.Services[of].Errors += errorsOf(r.span)
			s.Errors += errorsOf(r.span)
			for _, e := range r.span.Events {
				s.EventRow = append(s.EventRow, i)
				s.EventName = append(s.EventName, nameOf(e.Name))
				s.EventOffset = append(s.EventOffset, e.Time-first)
				s.EventLength = append(s.EventLength, int64(e.Duration))
			}
		}
		if r.cycle {
			s.Detached = append(s.Detached, i)
		}
		s.ID = append(s.ID, r.id)
		s.Parent = append(s.Parent, r.parent)
		s.Depth = append(s.Depth, r.depth)
		s.Size = append(s.Size, r.size)
		s.Offset = append(s.Offset, r.start-first)
		s.Length = append(s.Length, r.end-r.start)
		s.Self = append(s.Self, r.self)
		s.Service = append(s.Service, of)
		s.Kind = append(s.Kind, kind)
		s.Status = append(s.Status, status)
	}
	s.rows = rows
	s.top, s.path = criticalPath(rows)
	for _, p := range s.path {
		s.CriticalRow = append(s.CriticalRow, p.row)
		s.CriticalOffset = append(s.CriticalOffset, p.from-first)
		s.CriticalLength = append(s.CriticalLength, p.to-p.from)
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

// root returns the name and service of the first span without a parent, or else of the
// first span.
func (s *skeleton) root() (name, service string) {
	row := max(0, slices.IndexFunc(s.Service, func(of int) bool { return of >= 0 }))
	for i, p := range s.Parent {
		if p < 0 && s.Service[i] >= 0 {
			row = i
			break
		}
	}
	return s.Names[s.Name[row]], s.Services[s.Service[row]].Name
}

// size serves api/dendro/traces/{id}/size, by which the page sees that a trace has grown.
func (h *handler) size(w http.ResponseWriter, r *http.Request, args []string) {
	if t := h.find(w, r, args[0]); t != nil {
		writeJSON(w, map[string]int{"spans": len(t.Spans)})
	}
}

// json returns the data for a script in the page: it has no "<".
func (s *skeleton) json() []byte {
	data, _ := json.Marshal(s) // marshaling numbers and strings cannot fail
	return data
}

// Took returns Duration for the page.
func (s *skeleton) Took() time.Duration { return time.Duration(s.Duration) }
