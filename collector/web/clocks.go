package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// skew has the spans that are recorded with another clock than their parent, and what to add to
// the times of each, and of all spans below it, so that it fits. The shifts of spans further
// below come on top.
//
// A clock differs if what is recorded cannot have happened. Only a span in another process than
// its parent, which has another resource or is Remote, has another clock. Such a span is skewed if
//
//   - it begins before its parent, by more than clockGrain, or
//   - it ends after its parent, by more than answerGrain, although the parent waited for it: a
//     client without an error for a server that did not take longer.
//
// Other spans may outlive their parent. Consumers, and what is below a producer, are never skewed:
// their time says nothing.
//
// If a skewed span does not take longer than its parent, it fits where it is in the middle, as
// if both ways took as long; otherwise where it begins with its parent. All calls from one process
// to another have the same two clocks, so that one shift moves them all: the middle of those with
// which each call fits. If there is none, the resource stands for several processes, and each
// skewed span is moved by itself.
//
// Jaeger moves spans in the same way, each by itself, and also those that only end too late
// (https://github.com/jaegertracing/jaeger, model/adjuster/clockskew.go). Zipkin only moves servers
// that begin before their client (https://github.com/openzipkin/zipkin, zipkin-lens/src/zipkin/clock-skew.js).
type skew map[*collector.Span]int64

const (
	// clockGrain is the unit of time in the formats of Jaeger and Zipkin, to which recorded times
	// may be rounded.
	clockGrain = int64(time.Microsecond)
	// answerGrain is how long a server may take to end its span when the client has the answer.
	answerGrain = int64(time.Millisecond)
)

// call is a span in another process than its parent.
type call struct {
	span        *collector.Span
	least, most int64 // the shifts with which it fits
	skewed      bool
}

// callOf returns the call of child, if its clock may be another than that of parent.
func callOf(parent, child *row) (c call, ok bool) {
	p, s := parent.span, child.span
	if p == nil || s == nil || p.Resource == s.Resource && !s.Remote || p.Kind == dendro.KindProducer || s.Kind == dendro.KindConsumer {
		return call{}, false
	}
	c = call{span: s, least: parent.start - child.start, most: math.MaxInt64}
	if child.end-child.start > parent.end-parent.start {
		c.skewed = c.least > clockGrain
		return c, true
	}
	end := parent.end - child.end
	waited := p.Kind == dendro.KindClient && s.Kind == dendro.KindServer && p.Status.Code != dendro.StatusError
	c.skewed = c.least > clockGrain || waited && end < -answerGrain
	if c.skewed || waited {
		c.most = end
	}
	return c, true
}

// shift returns the shift in the middle of those with which a call fits.
func (c call) shift() int64 {
	if c.most == math.MaxInt64 {
		return c.least
	}
	return c.least + (c.most-c.least)/2
}

// skewOf returns the skew of a trace, given its rows without folds.
func skewOf(rows []row) skew {
	type processes struct{ from, to *dendro.Resource }
	calls := map[processes][]call{}
	for i := range rows {
		if rows[i].parent < 0 {
			continue
		}
		parent := &rows[rows[i].parent]
		if c, ok := callOf(parent, &rows[i]); ok {
			p := processes{parent.span.Resource, c.span.Resource}
			calls[p] = append(calls[p], c)
		}
	}
	out := skew{}
	for _, calls := range calls {
		if !slices.ContainsFunc(calls, func(c call) bool { return c.skewed }) {
			continue
		}
		all := call{least: math.MinInt64, most: math.MaxInt64}
		for _, c := range calls {
			all.least, all.most = max(all.least, c.least), min(all.most, c.most)
		}
		for _, c := range calls {
			switch {
			case all.least <= all.most:
				out[c.span] = all.shift()
			case c.skewed:
				out[c.span] = c.shift()
			}
		}
	}
	return out
}

// most returns by how much two clocks differ at most.
func (s skew) most() (most time.Duration) {
	for _, shift := range s {
		most = max(most, time.Duration(shift).Abs())
	}
	return most
}

// straighten returns the trace with the spans of rows, shifted so that they fit, and the skew of
// these spans.
func (s skew) straighten(id dendro.TraceID, rows []row) (*collector.Trace, skew) {
	type shifted struct {
		collector.Span
		from *collector.Span
	}
	spans := make([]shifted, 0, len(rows))
	total := make([]int64, len(rows))
	for i := range rows {
		r := &rows[i]
		if r.span == nil {
			continue
		}
		if total[i] = s[r.span]; r.parent >= 0 {
			total[i] += total[r.parent]
		}
		to := shifted{*r.span, r.span}
		to.Start += total[i]
		to.End += total[i]
		to.Events = slices.Clone(to.Events)
		for e := range to.Events {
			to.Events[e].Time += total[i]
		}
		spans = append(spans, to)
	}
	slices.SortStableFunc(spans, func(a, b shifted) int { return cmp.Compare(a.Start, b.Start) })
	t := &collector.Trace{ID: id, Spans: make([]collector.Span, len(spans))}
	out := skew{}
	for i := range spans {
		t.Spans[i] = spans[i].Span
		if shift, ok := s[spans[i].from]; ok {
			out[&t.Spans[i]] = shift
		}
	}
	return t, out
}

// wantsStraight reports whether a request is for straightened clocks.
func wantsStraight(r *http.Request) (bool, error) {
	switch clocks := r.URL.Query().Get("clocks"); clocks {
	case "":
		return false, nil
	case "straight":
		return true, nil
	default:
		return false, fmt.Errorf("clocks: %q is unknown: use straight, or leave it out for times as recorded", clocks)
	}
}

// findFor is find, and says whether the request is for straightened clocks.
func (h *handler) findFor(w http.ResponseWriter, r *http.Request, id string) (t *collector.Trace, straight bool) {
	straight, err := wantsStraight(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return nil, false
	}
	return h.find(w, r, id), straight
}
