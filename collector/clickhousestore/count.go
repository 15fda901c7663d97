package clickhousestore

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

var (
	_ collector.SpanCounter  = (*Store)(nil)
	_ collector.TracesReader = (*Store)(nil)
)

// CountSpans implements [collector.SpanCounter]. ClickHouse counts. Spans that are in the table twice count twice.
func (s *Store) CountSpans(ctx context.Context, c collector.SpanCount, visit func(*collector.SpanGroup) bool) error {
	s.settle(ctx)
	var p params
	g := grouper{c: c, ours: s.t.ours, texts: make([]string, len(c.Attributes)), types: make([]string, len(c.Attributes)), has: make([]bool, len(c.Attributes))}
	g.prepare(&p)
	all := between(c.TimeRange, s.t.traces(), &p)
	if c.MinDuration > 0 {
		all = append(all, "Duration >= toUInt64("+p.int(int64(c.MinDuration))+")")
	}
	if text := s.t.where(&c.Hints, &p); text != "" {
		all = append(all, text)
	}
	text := "SELECT " + strings.Join(g.columns, ", ") + " FROM " + s.t.traces() + " WHERE " + strings.Join(all, " AND ") +
		" GROUP BY " + strings.Join(g.keys, ", ")
	err := s.each(ctx, text, p, func(rows driver.Rows) error {
		group, err := g.group(rows)
		if err == nil && !visit(group) {
			err = errStop
		}
		return err
	})
	return cmp.Or(err, ctx.Err())
}

// between returns the conditions for spans in a range of time. Without a start, they are about the last day
// before the newest span, or before now if that one is of the future.
func between(r collector.TimeRange, table string, p *params) []string {
	all := []string{"Timestamp >= (SELECT least(max(Timestamp), now64(9)) FROM " + table + ") - INTERVAL 1 DAY"}
	if !r.Start.IsZero() {
		all[0] = "Timestamp >= " + p.time(block.UnixNano(r.Start))
	}
	if !r.End.IsZero() {
		all = append(all, "Timestamp < "+p.time(block.UnixNano(r.End)))
	}
	return all
}

// keysOf has an expression for the keys of the attributes of each scope.
var keysOf = map[string]string{
	"span":     "mapKeys(SpanAttributes)",
	"resource": "mapKeys(ResourceAttributes)",
	"event":    "arrayFlatten(arrayMap(a -> mapKeys(a), Events.Attributes))",
	"link":     "arrayFlatten(arrayMap(a -> mapKeys(a), Links.Attributes))",
}

// AttributeKeys implements [collector.SpanCounter].
func (s *Store) AttributeKeys(ctx context.Context, when collector.TimeRange, scope string, visit func(key string) bool) error {
	s.settle(ctx)
	ofScope := scope == "instrumentation"
	column := "toString(arrayJoin(" + keysOf[scope] + "))"
	if ofScope {
		if !s.t.ours {
			return ctx.Err()
		}
		column = "DendroScope"
	}
	var p params
	text := "SELECT DISTINCT " + column + " FROM " + s.t.traces() + " WHERE " + strings.Join(between(when, s.t.traces(), &p), " AND ")
	err := s.each(ctx, text, p, func(rows driver.Rows) error {
		var got string
		if err := rows.Scan(&got); err != nil {
			return err
		}
		keys := []string{got}
		if ofScope {
			var err error
			if keys, err = scopeKeys(got); err != nil {
				return err
			}
		}
		for _, key := range keys {
			if key != eventDuration && !visit(key) {
				return errStop
			}
		}
		return nil
	})
	return cmp.Or(err, ctx.Err())
}

// scopeKeys returns the keys of the attributes of a scope as DendroScope has it.
func scopeKeys(exact string) ([]string, error) {
	if exact == "" {
		return nil, nil
	}
	s, err := decodeExact(exact)
	if err != nil {
		return nil, err
	}
	var m mapColumn
	m.add(s.Scope.Attributes, nil, true)
	return m.keys, nil
}

// grouper makes groups of rows.
type grouper struct {
	c       collector.SpanCount
	ours    bool
	keys    []string // of GROUP BY
	columns []string
	places  []any // where the columns go

	sample                      int64
	name, kind, status, service string
	hasService                  bool
	scopeName, scopeVersion     string
	resource                    resourceRow
	has                         []bool // of each attribute
	texts, types                []string
	exact                       string // a span with attributes that columns cannot say, or empty
	bucket                      int32
	duration                    int64
	traceID, spanID             string
	start, first                int64
	n                           uint64
	total, shortest, longest    int64
}

// key adds a column that the spans of a group have in common.
func (g *grouper) key(text string, place any) {
	name := "k" + strconv.Itoa(len(g.keys))
	g.keys = append(g.keys, name)
	g.columns = append(g.columns, text+" AS "+name)
	g.places = append(g.places, place)
}

func (g *grouper) prepare(p *params) {
	c := &g.c
	sample := "toInt64(0)"
	if c.Step > 0 {
		step := p.int(int64(c.Step))
		sample = "intDiv(toUnixTimestamp64Nano(Timestamp) - " + p.int(c.First.UnixNano()) + " + " + step + " - 1, " + step + ")"
	}
	g.key(sample, &g.sample)
	for _, column := range []struct {
		wanted bool
		name   string
		place  any
	}{
		{c.Name, "SpanName", &g.name}, {c.Kind, "SpanKind", &g.kind}, {c.Status, "StatusCode", &g.status},
		{c.Service, "ServiceName", &g.service}, {c.Service, "mapContains(ResourceAttributes, 'service.name')", &g.hasService},
		{c.Service && !c.Resource && g.ours, oddService, &g.resource.exact},
		{c.Scope, "ScopeName", &g.scopeName}, {c.Scope, "ScopeVersion", &g.scopeVersion},
		{c.Durations, "toInt64(Duration)", &g.duration},
		{!c.Durations && c.DurationBuckets > 0, "if(Duration = 0, -2147483648, toInt32(ceil(log2(Duration / 1e9) * " + p.int(int64(c.DurationBuckets)) + ")))", &g.bucket},
	} {
		if column.wanted {
			g.key(column.name, column.place)
		}
	}
	if c.Resource {
		g.resource.columns(g.ours, g.key)
	}
	var exact []string
	for i, key := range c.Attributes {
		place := p.text(key)
		g.key("mapContains(SpanAttributes, "+place+")", &g.has[i])
		g.key("SpanAttributes["+place+"]", &g.texts[i])
		if g.ours {
			g.key(typeOf(place), &g.types[i])
			for end := range key {
				if key[end] == '.' {
					exact = append(exact, typeOf(p.text(key[:end]))+" = 'x'")
				}
			}
			exact = append(exact, typeOf(place)+" = 'x'")
		}
	}
	if len(exact) > 0 {
		g.key("if(DendroSpan != '' AND ("+strings.Join(exact, " OR ")+"), DendroSpan, '')", &g.exact)
	}
	for _, column := range []struct {
		text  string
		place any
	}{
		{"argMin(TraceId, Timestamp)", &g.traceID}, {"argMin(SpanId, Timestamp)", &g.spanID}, {"toInt64(argMin(Duration, Timestamp))", &g.first},
		{"toUnixTimestamp64Nano(min(Timestamp))", &g.start}, {"count()", &g.n},
		{"toInt64(sum(Duration))", &g.total}, {"toInt64(min(Duration))", &g.shortest}, {"toInt64(max(Duration))", &g.longest},
	} {
		g.columns, g.places = append(g.columns, column.text), append(g.places, column.place)
	}
}

// oddService is an expression for the resource if its service.name may not be a string, or else an empty text.
const oddService = "if(ServiceName != ResourceAttributes['service.name'] OR match(ServiceName, '^([-+[0-9]|true$|false$|NaN$|$)'), DendroResource, '')"

// typeOf returns the type of a span's attribute as DendroTypes has it, or an empty text.
func typeOf(key string) string {
	return "if(mapContains(SpanAttributes, " + key + "), substring(DendroTypes, indexOf(mapKeys(SpanAttributes), " + key + "), 1), '')"
}

// group returns the group of a row.
func (g *grouper) group(rows driver.Rows) (*collector.SpanGroup, error) {
	if err := rows.Scan(g.places...); err != nil {
		return nil, err
	}
	out := &collector.SpanGroup{
		Sample: int(min(max(g.sample, math.MinInt32), math.MaxInt32)), Spans: int(g.n),
		Total: time.Duration(g.total), Shortest: time.Duration(g.shortest), Longest: time.Duration(g.longest),
	}
	s := &out.SpanData
	if g.exact != "" {
		whole, err := decodeExact(g.exact)
		if err != nil {
			return nil, err
		}
		*s = whole.SpanData
	} else {
		for i, key := range g.c.Attributes {
			if g.has[i] && g.types[i] != string(typeDerived) {
				s.Attributes = append(s.Attributes, slog.Attr{Key: key, Value: parseValue(g.texts[i], g.types[i], 0)})
			}
		}
	}
	decodeID(s.TraceID[:], g.traceID)
	decodeID(s.SpanID[:], g.spanID)
	s.Name, s.Kind, s.Status.Code = g.name, kindOf(g.kind), statusOf(g.status)
	s.Start, s.End = g.start, g.start+g.first
	s.Scope = &dendro.Scope{Name: g.scopeName, Version: g.scopeVersion}
	switch {
	case g.c.Resource || g.resource.exact != "":
		var err error
		out.Resource, err = g.resource.decode()
		return out, err
	case g.hasService || g.service != "":
		out.Resource = &dendro.Resource{Attributes: attributes([]string{"service.name"}, []string{g.service}, "")}
	default:
		out.Resource = &dendro.Resource{}
	}
	return out, nil
}
