package traceql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Series is a time series.
type Series struct {
	Labels    []Attribute
	Values    []float64 // of each sample; NaN for none
	Exemplars []Exemplar
}

// Exemplar is a span that a series is about.
type Exemplar struct {
	TraceID dendro.TraceID
	SpanID  dendro.SpanID
	At      time.Time
	Value   float64
}

// Samples are the times of a result and its series.
type Samples struct {
	First  time.Time
	Step   time.Duration
	Series []Series
}

// ErrRange is returned by [Query.Metrics], wrapped with the reason, for a range that it cannot
// answer.
var ErrRange = errors.New("invalid range")

// MaxSeries bounds the number of series. Metrics returns [ErrTooManySeries] if there are
// more.
const MaxSeries = 10_000

// ErrTooManySeries is returned by [Query.Metrics].
var ErrTooManySeries = fmt.Errorf("the query makes more than %d series: group by fewer fields, or by fields with fewer values", MaxSeries)

// ErrNotMetrics is returned by [Query.Metrics] for a query without a metrics function, and
// ErrMetrics by [Query.Search] for one with it.
var (
	ErrNotMetrics = errors.New("this is not a metrics query: it ends with a function such as rate()")
	ErrMetrics    = errors.New("this is a metrics query, which finds no traces")
)

// Metrics returns the time series of a metrics query. It reads one trace at a time and holds
// the series.
func (q *Query) Metrics(ctx context.Context, r collector.Reader, o Range) (Samples, Stats, error) {
	var stats Stats
	if q.metrics == nil {
		return Samples{}, stats, ErrNotMetrics
	}
	if o.Step <= 0 || !o.Start.Before(o.End) {
		return Samples{}, stats, fmt.Errorf("%w: the start must be before the end, and the step above zero", ErrRange)
	}
	first, n := o.aligned()
	if n > MaxSamples {
		return Samples{}, stats, fmt.Errorf("%w: %d samples are more than %d, choose a longer step", ErrRange, n, MaxSamples)
	}
	from, to := time.Unix(0, first-int64(o.Step)+1), time.Unix(0, first+int64(n-1)*int64(o.Step)+1)
	if n == 1 && from.Before(o.Start) {
		from = o.Start
	}
	a := &aggregator{from: from, to: to, names: make([]string, len(q.metrics.by)), metrics: q.metrics, first: first, step: int64(o.Step), n: n, exemplars: o.Exemplars, series: map[string]*accumulator{}}
	a.ofResource = q.metrics.function != "histogram_over_time"
	for i, x := range q.metrics.by {
		f, ok := x.(Field)
		a.ofResource = a.ofResource && ok && f.Scope == ScopeResource && !f.Parent
		a.names[i] = labelOf(x)
	}
	if v, ok := q.hint("exemplars"); ok && v.typ == TypeInt {
		a.exemplars = int(v.n)
	} else if ok && !v.IsTrue() {
		a.exemplars = 0
	}
	err := q.aggregate(ctx, r, a, &stats)
	if err == nil && len(a.series) > MaxSeries {
		err = ErrTooManySeries
	}
	if err != nil {
		return Samples{}, stats, err
	}
	out := a.result()
	for _, s := range q.series {
		out = s.apply(out)
	}
	return Samples{time.Unix(0, first), o.Step, out}, stats, nil
}

// aggregate adds the spans of r to a. It reads them in groups, if both q and r can do that.
func (q *Query) aggregate(ctx context.Context, r collector.Reader, a *aggregator, stats *Stats) error {
	if counter, f, ok := q.counter(r); ok {
		if c, ok := q.metrics.counted(f); ok {
			return c.count(ctx, counter, a, stats)
		}
	}
	want := func(s *collector.Scan) {
		q.countedAfter(a.from, &s.Hints)
		s.AllAttributes = s.AllAttributes || q.metrics.compare != nil
	}
	return q.scan(ctx, r, time.Time{}, a.to, want, stats, func(t *Trace, sets []Spanset) bool {
		for _, set := range sets {
			for n, i := range set.Spans {
				if !t.goOn(n) {
					return false
				}
				a.add(t, i)
			}
		}
		return len(a.series) <= MaxSeries
	})
}

// aggregator makes series of spans.
type aggregator struct {
	*metrics
	from, to    time.Time // bounds of the start of a span
	names       []string  // of by
	first, step int64
	n           int
	exemplars   int // that may still be added
	series      map[string]*accumulator
	labels      []Attribute // of the span that is being added
	ofResource  bool        // the labels depend on the resource only
	resource    *dendro.Resource
	last        *accumulator // of resource
	key         []byte
}

// accumulator gathers what one series is made of.
type accumulator struct {
	labels    []Attribute
	count     []float64
	values    []float64 // sums, minima or maxima
	buckets   []map[int]float64
	exemplars []Exemplar
	total     float64 // of compare, for the order
}

func (a *aggregator) add(t *Trace, i int) {
	s := &t.Spans[i]
	at := index(s.Start, a.first, a.step, a.n)
	if at < 0 || s.Start < a.from.UnixNano() {
		return
	}
	if a.compare != nil {
		a.compareSpan(t, i, at)
		return
	}
	if value, ok := a.valueOf(t, i); ok {
		a.addValues(t, i, at, values{1, value, value, value, value})
	}
}

// addGroup adds a group of spans, of which t has one. durations reports whether a makes series of their durations.
func (a *aggregator) addGroup(t *Trace, g *collector.SpanGroup, durations bool) {
	value, ok := a.valueOf(t, 0)
	if !ok || g.Sample < 0 || g.Sample >= a.n {
		return
	}
	n := float64(g.Spans)
	v := values{n, value, value * n, value, value}
	if durations {
		v.sum, v.least, v.most = g.Total.Seconds(), g.Shortest.Seconds(), g.Longest.Seconds()
	}
	a.addValues(t, 0, g.Sample, v)
}

// values are the values of some spans that belong to the same series.
type values struct {
	n                float64
	value            float64 // of one of them, which is in the same bucket as the others
	sum, least, most float64
}

// valueOf returns what is aggregated of span i, if it has that.
func (a *aggregator) valueOf(t *Trace, i int) (value float64, ok bool) {
	if a.x == nil {
		return 1, true
	}
	v := t.eval(a.x, i)
	return seconds(v), v.isNumber()
}

// addValues adds values to the series of span i.
func (a *aggregator) addValues(t *Trace, i, at int, v values) {
	s := &t.Spans[i]
	acc := a.last
	if !a.ofResource || acc == nil || a.resource != s.Resource {
		a.labels = a.labels[:0]
		for n, x := range a.by {
			a.labels = append(a.labels, Attribute{a.names[n], t.eval(x, i)})
		}
		if a.function == "histogram_over_time" {
			a.labels = append(a.labels, Attribute{"__bucket", Float(bucketOf(v.value))})
		}
		acc = a.of(a.labels)
		a.resource, a.last = s.Resource, acc
	}
	first := acc.count[at] == 0
	acc.add(a.function, at, v)
	if a.exemplars > 0 && len(acc.exemplars) < a.n && (len(acc.exemplars) == 0 || acc.exemplars[len(acc.exemplars)-1].At.UnixNano() != s.Start) && first {
		a.exemplars--
		acc.exemplars = append(acc.exemplars, Exemplar{t.ID, s.SpanID, time.Unix(0, s.Start), v.value})
	}
}

// seconds returns a number, and a duration in seconds.
func seconds(v Value) float64 {
	if v.typ == TypeDuration {
		return float64(v.n) / 1e9
	}
	return v.float()
}

// labelOf returns the name of a label for an expression: a field as it is in the query.
func labelOf(x expr) string {
	var p printer
	x.print(&p, 1)
	return p.Builder.String()
}

// of returns the accumulator of the series with these labels.
func (a *aggregator) of(labels []Attribute) *accumulator {
	a.key = a.key[:0]
	for i := range labels {
		l := &labels[i]
		if a.compare != nil { // otherwise all series have the same labels
			a.key = append(a.key, l.Name...)
		}
		a.key = append(a.key, 0, byte(l.Value.typ))
		if l.Value.typ == TypeString {
			a.key = append(a.key, l.Value.s...)
		} else {
			a.key = append(a.key, l.Value.Text()...)
		}
		a.key = append(a.key, 0)
	}
	acc := a.series[string(a.key)]
	if acc == nil {
		acc = &accumulator{labels: slices.Clone(labels), count: make([]float64, a.n)}
		switch a.function {
		case "quantile_over_time":
			acc.buckets = make([]map[int]float64, a.n)
		case "min_over_time", "max_over_time", "sum_over_time", "avg_over_time":
			acc.values = make([]float64, a.n)
		}
		a.series[string(a.key)] = acc
	}
	return acc
}

func (acc *accumulator) add(function string, at int, v values) {
	first := acc.count[at] == 0
	acc.count[at] += v.n
	acc.total += v.n
	switch {
	case acc.buckets != nil:
		if acc.buckets[at] == nil {
			acc.buckets[at] = map[int]float64{}
		}
		acc.buckets[at][fine(v.value)] += v.n
	case acc.values == nil:
	case function == "min_over_time" && (first || v.least < acc.values[at]):
		acc.values[at] = v.least
	case function == "max_over_time" && (first || v.most > acc.values[at]):
		acc.values[at] = v.most
	case function == "sum_over_time" || function == "avg_over_time":
		acc.values[at] += v.sum
	}
}

// bucketOf returns the bucket of a value in a histogram, the power of two that it does not
// exceed.
func bucketOf(value float64) float64 {
	if value <= 0 {
		return 0
	}
	return math.Exp2(math.Ceil(math.Log2(value)))
}

// fineScale is the number of buckets for each power of two for quantiles: the relative error
// is at most 2^(1/16) - 1, 4.4 %, and 2.2 % on average. It is OpenTelemetry's exponential
// histogram with scale 4.
const fineScale = 16

// fine returns the number of the bucket of a value. Values that are not positive are in one.
func fine(value float64) int {
	if value <= 0 {
		return math.MinInt32
	}
	return int(math.Ceil(math.Log2(value) * fineScale))
}

// quantile returns the value below which the share q of the values lies.
func quantile(buckets map[int]float64, count, q float64) float64 {
	rank := q * count
	seen := 0.0
	last := math.NaN()
	for _, b := range slices.Sorted(maps.Keys(buckets)) {
		last = 0
		if b != math.MinInt32 {
			last = math.Exp2((float64(b) - 0.5) / fineScale) // the middle of the bucket
		}
		if seen += buckets[b]; seen >= rank {
			return last
		}
	}
	return last
}

func (a *aggregator) result() (out []Series) {
	if a.compare != nil {
		return a.compared()
	}
	perSecond := 1e9 / float64(a.step)
	for _, key := range slices.Sorted(maps.Keys(a.series)) {
		acc := a.series[key]
		quantiles := a.quantiles
		if quantiles == nil {
			quantiles = []float64{0} // once
		}
		for _, q := range quantiles {
			s := Series{Labels: acc.labels, Values: make([]float64, a.n), Exemplars: acc.exemplars}
			if acc.buckets != nil {
				s.Labels = append(slices.Clone(acc.labels), Attribute{"p", Float(q)})
			}
			for i, n := range acc.count {
				s.Values[i] = a.value(acc, i, n, q, perSecond)
			}
			out = append(out, s)
		}
	}
	return out
}

func (a *aggregator) value(acc *accumulator, i int, n, q, perSecond float64) float64 {
	switch a.function {
	case "rate":
		return n * perSecond
	case "count_over_time", "histogram_over_time":
		return n
	}
	switch {
	case n == 0:
		return math.NaN()
	case a.function == "avg_over_time":
		return acc.values[i] / n
	case acc.buckets != nil:
		return quantile(acc.buckets[i], n, q)
	}
	return acc.values[i]
}

// metaType is the label that says to which side a series of compare belongs.
const metaType = "__meta_type"

// compareSpan counts the values of all fields of a span, for the selection or for the
// baseline.
func (a *aggregator) compareSpan(t *Trace, i, at int) {
	s := &t.Spans[i]
	c := a.compare
	side := "baseline"
	if (c.start == 0 || s.Start >= c.start && s.Start < c.end) && len(c.selection.evaluate(t, []int{i})) > 0 {
		side = "selection"
	}
	count := func(name string, v Value) {
		if v.IsNil() || v.typ == TypeArray {
			return
		}
		a.of([]Attribute{{metaType, String(side)}, {name, v}}).add("", at, values{n: 1})
		a.of([]Attribute{{metaType, String(side + "_total")}, {name, Value{}}}).add("", at, values{n: 1})
	}
	for _, f := range []Intrinsic{SpanName, SpanStatus, SpanKind, TraceRootName, TraceRootService} {
		count(intrinsicNames[f], t.value(Field{Intrinsic: f}, i))
	}
	leaves(s.Attributes, func(key string, v slog.Value) { count("span."+key, ValueOf(v)) })
	leaves(s.Resource.Attributes, func(key string, v slog.Value) { count("resource."+key, ValueOf(v)) })
}

// compared returns the most frequent values of each field, and the totals.
func (a *aggregator) compared() (out []Series) {
	kept := map[string]int{}
	keys := slices.SortedFunc(maps.Keys(a.series), func(x, y string) int {
		if d := a.series[y].total - a.series[x].total; d != 0 {
			return int(math.Copysign(1, d))
		}
		return strings.Compare(x, y)
	})
	for _, key := range keys {
		acc := a.series[key]
		of := acc.labels[0].Value.s + " " + acc.labels[1].Name
		if kept[of]++; kept[of] <= a.compare.top {
			out = append(out, Series{Labels: acc.labels, Values: acc.count})
		}
	}
	return out
}

func (l limit) apply(in []Series) []Series {
	if len(in) == 0 {
		return in
	}
	keep := make([][]bool, len(in))
	for i := range in {
		keep[i] = make([]bool, len(in[i].Values))
	}
	order := make([]int, len(in))
	for at := range in[0].Values {
		order = order[:0]
		for i := range in {
			if v := in[i].Values[at]; v == v { // not NaN
				order = append(order, i)
			}
		}
		slices.SortStableFunc(order, func(a, b int) int {
			x, y := in[a].Values[at], in[b].Values[at]
			if l.largest {
				x, y = y, x
			}
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
		for _, i := range order[:min(l.n, len(order))] {
			keep[i][at] = true
		}
	}
	return masked(in, func(i, at int) bool { return keep[i][at] })
}

func (t threshold) apply(in []Series) []Series {
	limit := Float(seconds(t.value))
	return masked(in, func(i, at int) bool { return satisfies(Float(in[i].Values[at]), t.op, limit, nil) })
}

// masked returns the series of which samples are kept. The others of them become NaN.
func masked(in []Series, keep func(i, at int) bool) (out []Series) {
	for i := range in {
		some := false
		for at, v := range in[i].Values {
			if v == v && keep(i, at) {
				some = true
			} else {
				in[i].Values[at] = math.NaN()
			}
		}
		if some {
			out = append(out, in[i])
		}
	}
	return out
}

// Name returns the labels of s in the form of Prometheus: {service="shop", p="0.9"}.
func (s *Series) Name() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range s.Labels {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.Name + "=" + strconv.Quote(l.Value.Text()))
	}
	b.WriteByte('}')
	return b.String()
}
