package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// counted is the response of api/dendro/operations and api/dendro/graph. Times are Unix
// seconds, durations nanoseconds.
type counted struct {
	Start  int64 `json:"start"` // of the first point
	Step   int64 `json:"step"`
	Points int   `json:"points"`
	// Operations, or Edges for the graph.
	Operations *[]operation `json:"operations,omitempty"`
	Edges      *[]edge      `json:"edges,omitempty"`
	// Heatmap has the durations of all operations, if they are asked for: for each point,
	// numbers of buckets and their counts in turn. Bucket i holds durations of up to 2^(i/8)
	// nanoseconds.
	Heatmap [][]float64 `json:"heatmap,omitempty"`
	Kept    kept        `json:"kept"`
}

// kept says what the counts miss.
type kept struct {
	Complete   int64  `json:"complete,omitempty"` // earlier counts were dropped to make room
	ByMinute   int64  `json:"byMinute,omitempty"` // earlier counts are by five minutes
	OtherSpans uint64 `json:"otherSpans"`
	Late       uint64 `json:"late"`
}

type operation struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Kind    string `json:"kind,omitempty"`
	Other   bool   `json:"other,omitempty"`
	counts
	Over points `json:"over"`
}

type edge struct {
	Client node `json:"client"`
	Server node `json:"server"`
	Other  bool `json:"other,omitempty"`
	counts
	Over points `json:"over"`
}

type node struct {
	Kind   collector.NodeKind `json:"kind"`
	Name   string             `json:"name"`
	System string             `json:"system,omitempty"`
}

// counts are those of the whole range.
type counts struct {
	Count  float64       `json:"count"`
	Errors float64       `json:"errors"`
	P50    time.Duration `json:"p50"`
	P90    time.Duration `json:"p90"`
	P99    time.Duration `json:"p99"`
}

// points have a value for each step.
type points struct {
	Count  []float64       `json:"count"`
	Errors []float64       `json:"errors"`
	P50    []time.Duration `json:"p50"`
	P99    []time.Duration `json:"p99"`
}

func countsOf(c *collector.Counts) counts {
	return counts{c.Spans, c.Errors, c.Durations.Quantile(.5), c.Durations.Quantile(.9), c.Durations.Quantile(.99)}
}

func pointsOf(cs []collector.Counts) points {
	p := points{[]float64{}, []float64{}, []time.Duration{}, []time.Duration{}}
	for i := range cs {
		c := &cs[i]
		p.Count, p.Errors = append(p.Count, c.Spans), append(p.Errors, c.Errors)
		p.P50, p.P99 = append(p.P50, c.Durations.Quantile(.5)), append(p.P99, c.Durations.Quantile(.99))
	}
	return p
}

const (
	defaultPoints = 60
	maxPoints     = 1500 // a day and more by the minute
)

// parseOperations parses the parameters of api/dendro/operations and api/dendro/graph: start,
// end or since, step, service, name and heatmap.
func (h *handler) parseOperations(r *http.Request) (s collector.OperationScan, c counted, err error) {
	v := r.URL.Query()
	if s.Start, s.End, s.Step, err = parseTimes(v, h.now()); err != nil {
		return s, c, err
	}
	s.Step = cmp.Or(s.Step, s.End.Sub(s.Start)/defaultPoints)
	s.Service, s.Name = v.Get("service"), v.Get("name")
	first, step, n := s.Points()
	if n > maxPoints {
		return s, c, fmt.Errorf("step: %d points are more than %d", n, maxPoints)
	}
	if text := v.Get("heatmap"); text != "" {
		yes, err := strconv.ParseBool(text)
		if err != nil {
			return s, c, fmt.Errorf("heatmap: %q is not true or false", text)
		}
		if yes {
			c.Heatmap = make([][]float64, n)
		}
	}
	all, err := h.store.Stats(r.Context())
	st := all.Operations
	c.Start, c.Step, c.Points = first.Unix(), int64(step/time.Second), n
	c.Kept = kept{OtherSpans: st.OtherSpans, Late: st.Late}
	if err == nil && !st.Complete.IsZero() {
		c.Kept.Complete = st.Complete.Unix()
	}
	if !st.ByMinute.IsZero() {
		c.Kept.ByMinute = st.ByMinute.Unix()
	}
	return s, c, nil
}

// operations serves api/dendro/operations.
func (h *handler) operations(w http.ResponseWriter, r *http.Request, _ []string) {
	s, out, err := h.parseOperations(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	all := make([]collector.Histogram, len(out.Heatmap))
	found := []operation{}
	err = h.store.Operations(r.Context(), s, func(o *collector.Operation) bool {
		op := operation{Service: o.Service, Name: o.Name, Other: o.Other, counts: countsOf(&o.Total), Over: pointsOf(o.Points)}
		if !o.Other {
			op.Kind = o.Kind.String()
		}
		found = append(found, op)
		for i := range all {
			all[i].Merge(&o.Points[i].Durations)
		}
		return true
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	for i := range all {
		out.Heatmap[i] = []float64{}
		for bucket, n := range all[i].Buckets() {
			out.Heatmap[i] = append(out.Heatmap[i], float64(bucket), n)
		}
	}
	out.Operations = &found
	writeJSON(w, out)
}

// graph serves api/dendro/graph.
func (h *handler) graph(w http.ResponseWriter, r *http.Request, _ []string) {
	s, out, err := h.parseOperations(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	found := []edge{}
	err = h.store.Edges(r.Context(), s, func(e *collector.Edge) bool {
		found = append(found, edge{node(e.Client), node(e.Server), e.Other, countsOf(&e.Total), pointsOf(e.Points)})
		return true
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	out.Edges = &found
	writeJSON(w, out)
}
