package traceql

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// counted is a metrics query whose spans can be counted in groups: it is about single spans, and about properties that
// a group has in common.
type counted struct {
	condition expr // nil for all spans
	scan      collector.SpanCount
	durations bool // the values are the durations of spans, which a group does not have in common
}

// counter returns r as what can count the spans of q, if that is possible, and the only filter of q.
func (q *Query) counter(r collector.Reader) (collector.SpanCounter, filter, bool) {
	counter, ok := r.(collector.SpanCounter)
	if !ok || len(q.stages) > 1 {
		return nil, filter{}, false
	}
	s, ok := q.stages[0].(spansetStage)
	if !ok {
		return nil, filter{}, false
	}
	f, ok := s.spansets.(filter)
	return counter, f, ok
}

// counted returns how to count the spans that f selects, which have some fields in common, if that is possible.
func (f filter) counted(needed fields) (c counted, ok bool) {
	c.condition, c.scan.MinDuration = atLeast(f.condition)
	hints{&collector.Hints{}}.expr(c.condition, &c.scan.Hints)
	needed.expr(c.condition)
	for _, f := range needed {
		if f.Parent || !c.group(f) {
			return c, false
		}
	}
	slices.Sort(c.scan.Attributes)
	c.scan.Attributes = slices.Compact(c.scan.Attributes)
	return c, true
}

// atLeast returns the shortest duration of spans for which a condition can hold, and the rest of the condition without the
// conjuncts that say no more than that. The rest is nil if that is all.
func atLeast(condition expr) (rest expr, d time.Duration) {
	if b, ok := condition.(binary); ok && b.op == OpAnd {
		x, least := atLeast(b.x)
		y, other := atLeast(b.y)
		d = max(least, other)
		switch {
		case x == nil:
			return y, d
		case y == nil:
			return x, d
		}
		b.x, b.y = x, y
		return b, d
	}
	f, op, v, ok := fieldComparison(condition)
	exact := v.typ == TypeDuration || v.typ == TypeInt
	switch {
	case !ok || !exact || f != Field{Intrinsic: SpanDuration}:
	case op == OpGreaterEqual:
		return nil, max(0, time.Duration(v.n))
	case op == OpGreater && v.n < math.MaxInt64:
		return nil, max(0, time.Duration(v.n)+1)
	}
	return condition, 0
}

// counted returns how to count the spans that f selects for m, if that is possible.
func (m *metrics) counted(f filter) (c counted, ok bool) {
	if m.compare != nil {
		return c, false
	}
	var needed fields
	condition, _ := atLeast(f.condition)
	needed.expr(condition)
	for _, x := range m.by {
		needed.expr(x)
	}
	if d, isField := m.x.(Field); isField && d.Intrinsic == SpanDuration && !d.Parent && !slices.Contains(needed, d) {
		c, ok = f.counted(needed)
		c.durations = true
		switch m.function {
		case "quantile_over_time":
			c.scan.DurationBuckets = fineScale
		case "histogram_over_time":
			c.scan.DurationBuckets = 1
		}
		return c, ok
	}
	needed.expr(m.x)
	return f.counted(needed)
}

// group makes the spans of a group have a field in common, and reports whether that is possible.
func (c *counted) group(f Field) bool {
	switch f.Intrinsic {
	case SpanName:
		c.scan.Name = true
	case SpanKind:
		c.scan.Kind = true
	case SpanStatus:
		c.scan.Status = true
	case SpanDuration:
		c.scan.Durations = true
	case InstrumentationName, InstrumentationVersion:
		c.scan.Scope = true
	case noIntrinsic:
		switch f.Scope {
		case ScopeResource:
			c.scan.Service = c.scan.Service || f.Key == "service.name"
			c.scan.Resource = c.scan.Resource || f.Key != "service.name"
		case ScopeSpan, scopeAny:
			c.scan.Attributes = append(c.scan.Attributes, f.Key)
			c.scan.Resource = c.scan.Resource || f.Scope == scopeAny
		default:
			return false
		}
	default:
		return false
	}
	return true
}

// count adds the groups of spans that match c to a.
func (c *counted) count(ctx context.Context, r collector.SpanCounter, a *aggregator, stats *Stats) error {
	c.scan.TimeRange = collector.TimeRange{Start: a.from, End: a.to}
	c.scan.First, c.scan.Step = time.Unix(0, a.first), time.Duration(a.step)
	a.ofResource = false // the resources of groups are not shared
	return c.groups(ctx, r, stats, func(t *Trace, g *collector.SpanGroup) bool {
		a.addGroup(t, g, c.durations)
		return len(a.series) <= MaxSeries
	})
}

// groups calls visit with the groups of spans that match c, and with a span of each.
func (c *counted) groups(ctx context.Context, r collector.SpanCounter, stats *Stats, visit func(*Trace, *collector.SpanGroup) bool) error {
	return r.CountSpans(ctx, c.scan, func(g *collector.SpanGroup) bool {
		stats.Spans += g.Spans
		t := Trace{Trace: &collector.Trace{ID: g.TraceID, Spans: []collector.Span{g.Span}}}
		return c.condition != nil && !t.eval(c.condition, 0).IsTrue() || visit(&t, g)
	})
}
