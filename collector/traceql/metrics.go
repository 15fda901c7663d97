package traceql

import (
	"slices"
	"strconv"
	"time"
)

// metrics is the stage that makes time series of the spans that a query selects.
type metrics struct {
	function  string // a key of metricsFunctions
	x         expr   // what is aggregated, or nil
	quantiles []float64
	by        []expr
	compare   *comparison // of compare
}

// comparison has the arguments of compare: the spans to compare with all others.
type comparison struct {
	selection  filter
	top        int // number of values for each attribute
	start, end int64
}

// metricsFunctions are the functions that make series. The value reports whether it has an
// argument.
var metricsFunctions = map[string]bool{
	"rate": false, "count_over_time": false, "min_over_time": true, "max_over_time": true, "avg_over_time": true, "sum_over_time": true,
	"quantile_over_time": true, "histogram_over_time": true, "compare": false,
}

// seriesStage selects some of the series.
type seriesStage interface {
	print(p *printer)
	apply(in []Series) []Series
}

type (
	// limit keeps the series with the largest or smallest values at each time.
	limit struct {
		largest bool
		n       int
	}
	// threshold keeps the values that satisfy a comparison.
	threshold struct {
		op    Op
		value Value
	}
)

// maxBy bounds the number of fields in by() of metrics.
const maxBy = 5

// IsMetrics reports whether q is for [Query.Metrics], and not for [Query.Search].
func (q *Query) IsMetrics() bool { return q.metrics != nil }

// metricsStage parses the rest of a metrics function and of the query after it.
func (p *parser) metricsStage() (*metrics, []seriesStage) {
	m := &metrics{function: p.token.text}
	p.advance()
	p.expect("(", m.function)
	switch {
	case m.function == "compare":
		m.compare = p.comparison()
	case metricsFunctions[m.function]:
		at := p.token.at
		m.x = p.expr(OpAdd.precedence())
		p.number(m.x, at)
		for m.function == "quantile_over_time" && p.take(",") {
			at, v := p.token.at, p.token.value
			if p.token.kind != number || v.float() < 0 || v.float() > 1 || v.typ == TypeDuration {
				p.fail(at, "expected a quantile from 0 to 1")
			}
			m.quantiles = append(m.quantiles, v.float())
			p.advance()
		}
		if m.function == "quantile_over_time" && len(m.quantiles) == 0 {
			p.unexpected("expected a comma and a quantile, as in quantile_over_time(duration, .9)")
		}
	}
	p.expect(")", "the arguments")
	if p.token.kind == word && p.token.text == "by" && m.compare == nil {
		at := p.token.at
		p.advance()
		if m.by = p.groupBy().(groupBy).by; len(m.by) > maxBy {
			p.fail(at, "by() of metrics has at most %d fields", maxBy)
		}
	}
	return m, p.seriesStages()
}

func (p *parser) seriesStages() (stages []seriesStage) {
	for {
		op, ok := binaryOps[p.token.text]
		switch {
		case p.token.kind == operator && ok && op.isComparison() && op != OpMatch && op != OpNotMatch:
			p.advance()
			at := p.token.at
			v, ok := p.operand().(literal)
			if !ok || !v.isNumber() {
				p.fail(at, "expected a number after %s", op)
			}
			stages = append(stages, threshold{op, v.Value})
		case p.take("|"):
			name := p.token
			if name.kind != word || name.text != "topk" && name.text != "bottomk" {
				p.unexpected("expected topk or bottomk after the metrics")
			}
			p.advance()
			p.expect("(", name.text)
			n := p.token.value
			if p.token.kind != number || n.typ != TypeInt || n.n < 1 || n.n > 1<<20 {
				p.unexpected("expected a number of series")
			}
			p.advance()
			p.expect(")", "the number")
			stages = append(stages, limit{name.text == "topk", int(n.n)})
		default:
			return stages
		}
	}
}

// defaultTop is how many values of each attribute compare returns.
const defaultTop = 10

func (p *parser) comparison() *comparison {
	at := p.token.at
	f, ok := p.spanset().(filter)
	if !ok {
		p.fail(at, "expected a span set in braces")
	}
	c := &comparison{selection: f, top: defaultTop}
	for i, to := range []func(n int64){
		func(n int64) { c.top = int(n) },
		func(n int64) { c.start = n },
		func(n int64) { c.end = n },
	} {
		if !p.take(",") {
			if i == 2 {
				p.unexpected("expected a comma and the end of the selection")
			}
			break
		}
		v := p.token.value
		if p.token.kind != number || v.typ != TypeInt || v.n < 1 || i == 0 && v.n > 1000 {
			p.unexpected("expected " + []string{"a number of values from 1 to 1000", "the start of the selection in Unix nanoseconds", "the end of the selection in Unix nanoseconds"}[i])
		}
		to(v.n)
		p.advance()
	}
	return c
}

func (m *metrics) print(p *printer) {
	p.WriteString(m.function + "(")
	switch {
	case m.compare != nil:
		m.compare.selection.print(p, 0)
		if c := m.compare; c.start > 0 {
			p.WriteString(", " + strconv.Itoa(c.top) + ", " + strconv.FormatInt(c.start, 10) + ", " + strconv.FormatInt(c.end, 10))
		} else if c.top != defaultTop {
			p.WriteString(", " + strconv.Itoa(c.top))
		}
	case m.x != nil:
		m.x.print(p, OpAdd.precedence())
		for _, q := range m.quantiles {
			p.WriteString(", " + strconv.FormatFloat(q, 'g', -1, 64))
		}
	}
	p.WriteString(")")
	if len(m.by) > 0 {
		p.WriteString(" ")
		groupBy{m.by}.print(p)
	}
}

func (l limit) print(p *printer) {
	name := "bottomk"
	if l.largest {
		name = "topk"
	}
	p.WriteString(" | " + name + "(" + strconv.Itoa(l.n) + ")")
}

func (t threshold) print(p *printer) { p.WriteString(" " + t.op.String() + " " + t.value.String()) }

// fields adds the fields that m mentions.
func (m *metrics) fields(f *fields) {
	f.expr(m.x)
	for _, x := range m.by {
		f.expr(x)
	}
	if m.compare != nil {
		f.expr(m.compare.selection.condition)
	}
}

// Range is the time of metrics. Samples are Step apart, and the sample at a time is about
// the spans that began in the Step before it, the time included. Times are multiples of Step,
// unless Step is as long as the range: then there is one sample, at End.
type Range struct {
	Start, End time.Time
	Step       time.Duration
	// Exemplars bounds the number of exemplars of all series.
	Exemplars int
}

// MaxSamples bounds the number of samples of a series.
const MaxSamples = 11_000

// aligned returns the first time and the number of samples.
func (r Range) aligned() (first int64, n int) {
	if r.Step >= r.End.Sub(r.Start) {
		return r.End.UnixNano(), 1
	}
	step := int64(r.Step)
	up := func(t int64) int64 { return (t + step - 1) / step * step }
	first = up(r.Start.UnixNano())
	if first == r.Start.UnixNano() { // the interval before it is not in the range
		first += step
	}
	last := up(r.End.UnixNano())
	return first, int((last-first)/step) + 1
}

// index returns the number of the sample about a time, or -1.
func index(at, first, step int64, n int) int {
	if at <= first-step {
		return -1
	}
	i := 0
	if at > first {
		i = int((at - first + step - 1) / step)
	}
	if i >= n {
		return -1
	}
	return i
}

// hint returns the value of a hint.
func (q *Query) hint(name string) (Value, bool) {
	i := slices.IndexFunc(q.hints, func(h Hint) bool { return h.Name == name })
	if i < 0 {
		return Value{}, false
	}
	return q.hints[i].Value, true
}
