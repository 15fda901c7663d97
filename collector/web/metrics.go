package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro/collector/traceql"
)

// foundSeries is a series in the response of api/metrics/query_range, or with Value in that
// of api/metrics/query.
type foundSeries struct {
	Labels     []foundAttribute `json:"labels"`
	PromLabels string           `json:"promLabels"`
	Samples    []sample         `json:"samples,omitempty"`
	Value      *number          `json:"value,omitempty"`
	Exemplars  []exemplar       `json:"exemplars,omitempty"`
}

type sample struct {
	TimestampMs int64  `json:"timestampMs,string"`
	Value       number `json:"value"`
}

type exemplar struct {
	Labels      []foundAttribute `json:"labels"`
	Value       number           `json:"value"`
	TimestampMs int64            `json:"timestampMs,string"`
}

// Defaults of the parameters of metrics.
const (
	defaultSince     = time.Hour
	defaultSamples   = 120 // of a range without a step
	defaultExemplars = 100
	maxExemplars     = 1000
)

// parseRange parses the parameters of api/metrics: q, start, end or since, step and
// exemplars.
func parseRange(v url.Values, now time.Time) (*traceql.Query, traceql.Range, error) {
	r := traceql.Range{Exemplars: defaultExemplars}
	q, err := traceql.Parse(cmp.Or(v.Get("q"), v.Get("query")))
	if err != nil {
		return nil, r, fmt.Errorf("q: %w", err)
	}
	if r.Start, r.End, r.Step, err = parseTimes(v, now); err != nil {
		return nil, r, err
	}
	switch s := v.Get("exemplars"); s {
	case "":
	case "0":
		r.Exemplars = 0
	default:
		if r.Exemplars, err = parseCount(s, maxExemplars); err != nil {
			return nil, r, fmt.Errorf("exemplars: %w", err)
		}
	}
	if r.Step == 0 {
		r.Step = max((r.End.Sub(r.Start) / defaultSamples).Round(time.Second), time.Second)
	}
	return q, r, nil
}

// parseTimes parses start, end or since, and step, which is 0 if there is none. Times are
// Unix seconds or nanoseconds.
func parseTimes(v url.Values, now time.Time) (start, end time.Time, step time.Duration, err error) {
	end = now
	since := defaultSince
	for _, part := range []struct {
		name string
		set  func(string) error
	}{
		{"since", func(s string) (err error) { since, err = parseStep(s); return err }},
		{"start", func(s string) (err error) { start, err = parseInstant(s); return err }},
		{"end", func(s string) (err error) { end, err = parseInstant(s); return err }},
		{"step", func(s string) (err error) { step, err = parseStep(s); return err }},
	} {
		if s := v.Get(part.name); s != "" {
			if err := part.set(s); err != nil {
				return start, end, step, fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	if start.IsZero() {
		start = end.Add(-since)
	}
	if !start.Before(end) {
		return start, end, step, errors.New("start is not before end")
	}
	return start, end, step, nil
}

// parseInstant parses Unix seconds, which may have a fraction, or nanoseconds.
func parseInstant(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 1<<33 {
		return time.Unix(0, n), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1<<33 {
		return time.Time{}, fmt.Errorf("%q is not a time in Unix seconds or nanoseconds", s)
	}
	return time.Unix(0, int64(f*1e9)), nil
}

// parseStep parses a duration above zero, or its seconds.
func parseStep(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if f, floatErr := strconv.ParseFloat(s, 64); floatErr == nil && f > 0 && f < 1<<33 {
		d, err = time.Duration(f*1e9), nil
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration such as 30s or a number of seconds", s)
	}
	return d, nil
}

// queryRange serves api/metrics/query_range.
func (h *handler) queryRange(w http.ResponseWriter, r *http.Request, _ []string) {
	h.metrics(w, r, false)
}

// queryInstant serves api/metrics/query: one value for the whole range.
func (h *handler) queryInstant(w http.ResponseWriter, r *http.Request, _ []string) {
	h.metrics(w, r, true)
}

func (h *handler) metrics(w http.ResponseWriter, r *http.Request, instant bool) {
	q, o, err := parseRange(r.URL.Query(), h.now())
	if err == nil && !q.IsMetrics() {
		err = traceql.ErrNotMetrics
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if instant {
		o.Step, o.Exemplars = o.End.Sub(o.Start), 0
	}
	got, stats, err := q.Metrics(r.Context(), h.store, o)
	switch {
	case errors.Is(err, traceql.ErrRange), errors.Is(err, traceql.ErrTooManySeries):
		fail(w, http.StatusBadRequest, err)
		return
	case err != nil:
		fail(w, http.StatusInternalServerError, err)
		return
	}
	series := []foundSeries{}
	for _, s := range got.Series {
		found := foundSeries{Labels: keyValues(s.Labels), PromLabels: s.Name()}
		for i, v := range s.Values {
			if v != v { // no value at this time
				continue
			}
			if instant {
				value := number(v)
				found.Value = &value
				continue
			}
			found.Samples = append(found.Samples, sample{got.First.Add(time.Duration(i) * got.Step).UnixMilli(), number(v)})
		}
		for _, e := range s.Exemplars {
			labels := []foundAttribute{{"trace:id", map[string]any{"stringValue": e.TraceID.String()}}, {"span:id", map[string]any{"stringValue": e.SpanID.String()}}}
			found.Exemplars = append(found.Exemplars, exemplar{labels, number(e.Value), e.At.UnixMilli()})
		}
		series = append(series, found)
	}
	answer(w, map[string]any{"series": series}, stats)
}
