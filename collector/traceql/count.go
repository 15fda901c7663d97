package traceql

import (
	"context"
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

// counted returns how to count the spans of q, if that is possible.
func (q *Query) counted() (c counted, ok bool) {
	m := q.metrics
	s, ok := q.stages[0].(spansetStage)
	if !ok || len(q.stages) > 1 || m.compare != nil {
		return c, false
	}
	f, ok := s.spansets.(filter)
	if !ok {
		return c, false
	}
	c.condition = f.condition
	hints{&collector.Hints{}}.expr(f.condition, &c.scan.Hints)
	var needed fields
	needed.expr(f.condition)
	for _, x := range m.by {
		needed.expr(x)
	}
	if d, isField := m.x.(Field); isField && d.Intrinsic == SpanDuration && !d.Parent && !slices.Contains(needed, d) {
		c.durations = true
		switch m.function {
		case "quantile_over_time":
			c.scan.DurationBuckets = fineScale
		case "histogram_over_time":
			c.scan.DurationBuckets = 1
		}
	} else {
		needed.expr(m.x)
	}
	for _, f := range needed {
		if f.Parent || !c.group(f) {
			return c, false
		}
	}
	slices.Sort(c.scan.Attributes)
	c.scan.Attributes = slices.Compact(c.scan.Attributes)
	return c, true
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
	return r.CountSpans(ctx, c.scan, func(g *collector.SpanGroup) bool {
		stats.Spans += g.Spans
		t := Trace{Trace: &collector.Trace{ID: g.TraceID, Spans: []collector.Span{g.Span}}}
		if c.condition == nil || t.eval(c.condition, 0).IsTrue() {
			a.addGroup(&t, g, c.durations)
		}
		return len(a.series) <= MaxSeries
	})
}
