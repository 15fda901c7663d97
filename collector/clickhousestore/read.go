package clickhousestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Trace implements [collector.Reader].
func (s *Store) Trace(ctx context.Context, id dendro.TraceID, when collector.TimeRange) (out *collector.Trace, err error) {
	err = s.Traces(ctx, []dendro.TraceID{id}, when, func(t *collector.Trace) bool {
		out = t
		return true
	})
	return out, err
}

// Traces implements [collector.TracesReader].
func (s *Store) Traces(ctx context.Context, ids []dendro.TraceID, _ collector.TimeRange, visit func(*collector.Trace) bool) error {
	s.settle(ctx)
	if len(ids) == 0 {
		return ctx.Err()
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	times, err := s.times(ctx, texts)
	if err != nil || len(times) == 0 {
		return err
	}
	return s.fetch(ctx, texts, times, collector.Scan{AllAttributes: true, Details: true}, visit)
}

// seconds is the time from the second of start to that of end, since the Unix epoch.
type seconds struct{ start, end int64 }

// inDateTime reports whether ClickHouse's DateTime has both times: it is from 1970 to 2106.
func (s seconds) inDateTime() bool { return s.start > 0 && s.end < math.MaxUint32 }

// times returns when the spans of traces start. Those that the table of times does not have, or of which it cannot say
// it, are looked up in the table of spans. Traces without spans are not in the result.
func (s *Store) times(ctx context.Context, ids []string) (map[string]seconds, error) {
	out := map[string]seconds{}
	add := func(rows driver.Rows) error {
		var id string
		var of seconds
		err := rows.Scan(&id, &of.start, &of.end)
		out[id] = of
		return err
	}
	if s.t.hasIDs {
		var p params
		err := s.each(ctx, "SELECT TraceId, toInt64(toUnixTimestamp(min(Start))), toInt64(toUnixTimestamp(max(End))) FROM "+s.t.traceIDs()+
			" WHERE TraceId IN "+p.texts(ids)+" GROUP BY TraceId", p, add)
		if err != nil {
			return nil, err
		}
	}
	var others []string
	for _, id := range ids {
		if of, ok := out[id]; !ok || !of.inDateTime() {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return out, nil
	}
	var p params
	err := s.each(ctx, "SELECT TraceId, intDiv(toUnixTimestamp64Nano(min(Timestamp)), 1000000000) - (toUnixTimestamp64Nano(min(Timestamp)) < 0), intDiv(toUnixTimestamp64Nano(max(Timestamp)), 1000000000) FROM "+
		s.t.traces()+" WHERE TraceId IN "+p.texts(others)+" GROUP BY TraceId", p, add)
	return out, err
}

// fetch calls visit with traces, by descending start and then by ascending id, until it returns false. The traces are not
// used again. times says when they are.
func (s *Store) fetch(ctx context.Context, ids []string, times map[string]seconds, q collector.Scan, visit func(*collector.Trace) bool) error {
	var p params
	f := fetcher{wanted: q, ours: s.t.ours, origins: map[string]*dendro.Resource{}, scopes: map[string]*dendro.Scope{}}
	f.prepare()
	where := "TraceId IN " + p.texts(ids)
	if len(times) > 0 {
		all := seconds{math.MaxInt64, 0}
		for _, t := range times {
			all.start, all.end = min(all.start, t.start), max(all.end, t.end)
		}
		if all.inDateTime() { // the index has these
			where += " AND Timestamp >= " + p.time(nanos(all.start)) + " AND Timestamp < " + p.time(nanos(all.end+1))
		}
	}
	text := "SELECT " + strings.Join(f.columns, ", ") + " FROM " + s.t.traces() + " WHERE " + where +
		" ORDER BY min(Timestamp) OVER (PARTITION BY TraceId) DESC, TraceId, Timestamp"
	var t *collector.Trace
	err := s.each(ctx, text, p, func(rows driver.Rows) error {
		span, err := f.span(rows)
		if err != nil {
			return err
		}
		if t == nil || t.ID != span.TraceID {
			if t != nil && !visit(distinct(t)) {
				t = nil
				return errStop
			}
			t = &collector.Trace{ID: span.TraceID}
		}
		t.Spans = append(t.Spans, span)
		return nil
	})
	if err == nil && t != nil {
		visit(distinct(t))
	}
	return cmp.Or(err, ctx.Err())
}

// fetcher makes spans of rows.
type fetcher struct {
	wanted  collector.Scan
	ours    bool
	columns []string
	places  []any                       // where the columns go
	origins map[string]*dendro.Resource // of the rows so far
	scopes  map[string]*dendro.Scope

	// A row.
	time, duration                         int64
	traceID, spanID, parentID, state, name string
	kind, scopeName, scopeVersion          string
	status, message                        string
	keys, values                           []string
	eventTime                              []int64
	eventName                              []string
	eventKeys, eventValues                 [][]string
	linkTrace, linkSpan, linkState         []string
	linkKeys, linkValues                   [][]string
	flags                                  uint32
	types, scopeExact, wholeExact          string
	resource                               resourceRow
}

// prepare sets the columns that are read, each with where it goes.
func (f *fetcher) prepare() {
	add := func(column string, place any) {
		f.columns, f.places = append(f.columns, column), append(f.places, place)
	}
	add("toUnixTimestamp64Nano(Timestamp)", &f.time)
	add("toInt64(Duration)", &f.duration)
	add("TraceId", &f.traceID)
	add("SpanId", &f.spanID)
	add("ParentSpanId", &f.parentID)
	add("SpanName", &f.name)
	add("SpanKind", &f.kind)
	add("ScopeName", &f.scopeName)
	add("ScopeVersion", &f.scopeVersion)
	add("StatusCode", &f.status)
	if f.ours {
		add("DendroFlags", &f.flags)
		add("DendroScope", &f.scopeExact)
		add("DendroSpan", &f.wholeExact)
	}
	f.resource.columns(f.ours, add)
	attributes := f.wanted.AllAttributes || len(f.wanted.Attributes) > 0
	if attributes {
		add("mapKeys(SpanAttributes)", &f.keys)
		add("mapValues(SpanAttributes)", &f.values)
	}
	if f.ours && (attributes || f.wanted.Details) {
		add("DendroTypes", &f.types)
	}
	if f.wanted.Details {
		add("TraceState", &f.state)
		add("StatusMessage", &f.message)
		add("arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp)", &f.eventTime)
		add("Events.Name", &f.eventName)
		add("arrayMap(a -> mapKeys(a), Events.Attributes)", &f.eventKeys)
		add("arrayMap(a -> mapValues(a), Events.Attributes)", &f.eventValues)
		add("Links.TraceId", &f.linkTrace)
		add("Links.SpanId", &f.linkSpan)
		add("Links.TraceState", &f.linkState)
		add("arrayMap(a -> mapKeys(a), Links.Attributes)", &f.linkKeys)
		add("arrayMap(a -> mapValues(a), Links.Attributes)", &f.linkValues)
	}
}

// span returns the span of a row.
func (f *fetcher) span(rows driver.Rows) (out collector.Span, err error) {
	if err := rows.Scan(f.places...); err != nil {
		return out, err
	}
	if f.wholeExact != "" {
		if out, err = decodeExact(f.wholeExact); err != nil {
			return out, err
		}
	} else {
		f.plain(&out.SpanData)
	}
	if out.Resource, err = f.sharedResource(); err == nil {
		out.Scope, err = f.scope()
	}
	return out, err
}

// plain fills in what the columns of the schema and DendroTypes say.
func (f *fetcher) plain(s *dendro.SpanData) {
	decodeID(s.TraceID[:], f.traceID)
	decodeID(s.SpanID[:], f.spanID)
	decodeID(s.ParentID[:], f.parentID)
	s.State, _ = dendro.ParseTraceState(f.state)
	s.Name, s.Start, s.End = f.name, f.time, f.time+f.duration
	s.Kind = kindOf(f.kind)
	s.Status = dendro.Status{Code: statusOf(f.status), Message: f.message}
	s.Flags = dendro.TraceFlags(f.flags)
	s.RemoteUnknown, s.Remote = f.flags&flagHasRemote == 0, f.flags&flagRemote != 0
	types := f.types
	if i := strings.IndexAny(types, string(typesEvent)+string(typesLink)); i >= 0 {
		types = types[:i]
	}
	s.Attributes = attributes(f.keys, f.values, types)
	rest := f.types[len(types):]
	next := func() (types string) { // of the next event or link
		if rest == "" {
			return ""
		}
		i := strings.IndexAny(rest[1:], string(typesEvent)+string(typesLink)) + 1
		if i == 0 {
			i = len(rest)
		}
		types, rest = rest[1:i], rest[i:]
		return types
	}
	for i := range f.eventName {
		s.Events = append(s.Events, f.event(i, next()))
	}
	for i := range f.linkTrace {
		l := dendro.Link{Attributes: attributes(f.linkKeys[i], f.linkValues[i], next())}
		decodeID(l.TraceID[:], f.linkTrace[i])
		decodeID(l.SpanID[:], f.linkSpan[i])
		l.State, _ = dendro.ParseTraceState(f.linkState[i])
		s.Links = append(s.Links, l)
	}
}

func (f *fetcher) event(i int, types string) dendro.Event {
	e := dendro.Event{Name: f.eventName[i], Time: f.eventTime[i]}
	keys, values := f.eventKeys[i], f.eventValues[i]
	if last := len(keys) - 1; last >= 0 && strings.HasSuffix(types, string(typeDuration)) {
		e.Duration = time.Duration(parseValue(values[last], string(typeInt), 0).Int64())
		keys, values = keys[:last], values[:last]
	}
	e.Attributes = attributes(keys, values, types)
	return e
}

// decodeID decodes the hexadecimal digits of an id. Others leave it zero.
func decodeID(id []byte, text string) {
	if len(text) == 2*len(id) {
		_, _ = hex.Decode(id, []byte(text))
	}
}

// kindOf returns a kind by its name, also as old versions of the exporter wrote it: SPAN_KIND_SERVER is Server.
func kindOf(name string) dendro.Kind {
	name = strings.TrimPrefix(name, "SPAN_KIND_")
	return dendro.Kind(max(0, slices.IndexFunc(kindNames[:], func(kind string) bool { return strings.EqualFold(kind, name) })))
}

// statusOf returns a status by its name, also as versions of the exporter before v0.106 wrote it.
func statusOf(name string) dendro.StatusCode {
	switch name {
	case "Ok", "STATUS_CODE_OK":
		return dendro.StatusOK
	case "Error", "STATUS_CODE_ERROR":
		return dendro.StatusError
	}
	return dendro.StatusUnset
}

// resourceRow is the resource of a row.
type resourceRow struct {
	service, exact string
	keys, values   []string // if exact is empty
}

// columns calls add with each column that is read, and where it goes.
func (r *resourceRow) columns(ours bool, add func(column string, place any)) {
	add("ServiceName", &r.service)
	if !ours {
		add("mapKeys(ResourceAttributes)", &r.keys)
		add("mapValues(ResourceAttributes)", &r.values)
		return
	}
	add("DendroResource", &r.exact)
	add("if(DendroResource = '', mapKeys(ResourceAttributes), [])", &r.keys)
	add("if(DendroResource = '', mapValues(ResourceAttributes), [])", &r.values)
}

func (r *resourceRow) decode() (*dendro.Resource, error) {
	if r.exact != "" {
		s, err := decodeExact(r.exact)
		return s.Resource, err
	}
	out := &dendro.Resource{Attributes: attributes(r.keys, r.values, "")}
	if r.service != "" && out.Service() == "" {
		out.Attributes = append(out.Attributes, slog.String("service.name", r.service))
	}
	return out, nil
}

// sharedResource returns the resource of a row. Rows with the same one share it.
func (f *fetcher) sharedResource() (*dendro.Resource, error) {
	key := f.resource.exact
	if key == "" {
		key = strings.Join(append(append([]string{f.resource.service}, f.resource.keys...), f.resource.values...), "\x00")
	}
	if r := f.origins[key]; r != nil {
		return r, nil
	}
	r, err := f.resource.decode()
	if err == nil {
		f.origins[key] = r
	}
	return r, err
}

// scope returns the scope of a row. Rows with the same one share it.
func (f *fetcher) scope() (*dendro.Scope, error) {
	key := cmp.Or(f.scopeExact, f.scopeName+"\x00"+f.scopeVersion)
	if s := f.scopes[key]; s != nil {
		return s, nil
	}
	scope := &dendro.Scope{Name: f.scopeName, Version: f.scopeVersion}
	if f.scopeExact != "" {
		s, err := decodeExact(f.scopeExact)
		if err != nil {
			return nil, err
		}
		scope = s.Scope
	}
	f.scopes[key] = scope
	return scope, nil
}

// distinct returns a trace without duplicates, which can be there if a client wrote spans again while they were being written.
func distinct(t *collector.Trace) *collector.Trace {
	sameSpan := func(a, b collector.Span) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), bytes.Compare(a.SpanID[:], b.SpanID[:]))
	}
	slices.SortStableFunc(t.Spans, sameSpan)
	t.Spans = slices.CompactFunc(t.Spans, func(a, b collector.Span) bool { return sameSpan(a, b) == 0 })
	return t
}
