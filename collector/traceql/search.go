package traceql

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Bounds of [SearchOptions].
const (
	DefaultLimit = 20
	MaxLimit     = 1000
	DefaultSpans = 3
	MaxSpans     = 1000
	MaxSets      = 100 // of a trace
)

// SearchOptions bounds a search. The zero value is ready to use.
type SearchOptions struct {
	// Start and End bound the start of a trace: Start <= start < End. A zero time is no
	// bound.
	Start, End time.Time
	// Limit bounds the number of traces. If it is zero, the limit is DefaultLimit. Values
	// above MaxLimit mean MaxLimit.
	Limit int
	// Spans bounds the number of spans of each span set, in the same way by DefaultSpans
	// and MaxSpans.
	Spans int
}

// Result is a trace that a query found.
type Result struct {
	collector.Summary
	Sets []ResultSet
}

// ResultSet is a span set of a trace that a query found.
type ResultSet struct {
	Matched    int          // number of spans in the set
	Spans      []ResultSpan // the earliest of them
	Attributes []Attribute  // of the set: see Spanset
}

// ResultSpan is a span that a query found.
type ResultSpan struct {
	SpanID     dendro.SpanID
	Name       string
	Service    string
	Start      int64 // in nanoseconds since the Unix epoch
	Duration   time.Duration
	Attributes []Attribute // the fields that the query mentions
}

// Stats counts what a query has read.
type Stats struct {
	Traces, Spans int
	// Cut says which bound ended the query before it had read everything that may match. It
	// is empty if none did.
	Cut string
}

// Search returns the newest traces of r that match q, the newest first. They are the first
// that r visits: if spans come late, a trace that began earlier may be among them. It reads one
// trace at a time and stops at the limit. It returns the error of ctx if that is done.
func (q *Query) Search(ctx context.Context, r collector.Reader, o SearchOptions) ([]Result, Stats, error) {
	if q.metrics != nil {
		return nil, Stats{}, ErrMetrics
	}
	limit := bounded(o.Limit, DefaultLimit, MaxLimit)
	spans := bounded(o.Spans, DefaultSpans, MaxSpans)
	fields := q.Fields()
	var stats Stats
	out := []Result{}
	err := q.scan(ctx, r, o.Start, o.End, nil, &stats, func(t *Trace, sets []Spanset) bool {
		res := Result{Summary: t.Summary()}
		for _, set := range sets[:min(len(sets), MaxSets)] {
			res.Sets = append(res.Sets, t.result(set, fields, spans))
		}
		if out = append(out, res); len(out) < limit {
			return true
		}
		stats.Cut = fmt.Sprintf("stopped at the limit of %d traces; there may be more", limit)
		return false
	})
	if err != nil {
		return nil, stats, err
	}
	slices.SortStableFunc(out, func(a, b Result) int { return cmp.Compare(b.Start, a.Start) })
	return out, stats, nil
}

func bounded(n, otherwise, most int) int {
	if n <= 0 {
		return otherwise
	}
	return min(n, most)
}

// scan calls visit for the traces that match q and their span sets. want changes what is
// read, if it is not nil.
func (q *Query) scan(ctx context.Context, r collector.Reader, start, end time.Time, want func(*collector.Scan), stats *Stats, visit func(*Trace, []Spanset) bool) error {
	s := q.Scan()
	s.TimeRange = collector.TimeRange{Start: start, End: end}
	if want != nil {
		want(&s)
	}
	var t Trace
	var every []int
	err := r.Scan(ctx, s, func(got *collector.Trace) bool {
		stats.Traces++
		stats.Spans += len(got.Spans)
		if !s.Contains(got.Start()) {
			return true
		}
		t = Trace{Trace: got, done: ctx.Done()}
		for len(every) < len(got.Spans) {
			every = append(every, len(every))
		}
		sets := run(q.stages, &t, every[:len(got.Spans)])
		return !t.stopped && (len(sets) == 0 || visit(&t, sets))
	})
	if t.stopped {
		return ctx.Err()
	}
	return err
}

func (t *Trace) result(set Spanset, fields []Field, most int) ResultSet {
	out := ResultSet{Matched: len(set.Spans), Attributes: set.Attributes}
	for _, i := range set.Spans[:min(most, len(set.Spans))] {
		s := &t.Spans[i]
		span := ResultSpan{
			SpanID: s.SpanID, Name: strings.Clone(s.Name), Service: s.Resource.Service(),
			Start: s.Start, Duration: s.Duration(),
		}
		for _, f := range fields {
			named := func(a Attribute) bool { return a.Name == f.Name() }
			if v := t.value(f, i); !v.IsNil() && !slices.ContainsFunc(span.Attributes, named) {
				span.Attributes = append(span.Attributes, Attribute{f.Name(), v})
			}
		}
		out.Spans = append(out.Spans, span)
	}
	return out
}

// Name returns the name of f in results: the key of an attribute.
func (f Field) Name() string {
	if f.Intrinsic == noIntrinsic && !f.Parent {
		return f.Key
	}
	return f.String()
}

// MaxValues bounds the number of results of [Query.Values] and, for each scope, of
// [Query.Keys].
const MaxValues = 2000

// TagOptions bounds what [Query.Keys] and [Query.Values] return. The zero value is ready to
// use.
type TagOptions struct {
	// Start and End bound the start of a trace, as in [SearchOptions]. With a
	// [collector.SpanCounter] they bound the start of a span, and a zero Start may
	// mean the newest day.
	Start, End time.Time
	// Scope selects the keys of one scope: span, event, link, resource or instrumentation.
	// Values ignores it.
	Scope string
	// Limit bounds the number of results as MaxValues does. If it is zero, or above
	// MaxValues, that is the bound.
	Limit int
}

// MaxInspected bounds how many traces [Query.Keys] and [Query.Values] read, the newest first.
const MaxInspected = 20_000

// inspected reports whether Keys or Values has read enough traces.
func (s *Stats) inspected() bool {
	if s.Traces < MaxInspected {
		return false
	}
	s.Cut = fmt.Sprintf("only the newest %d traces were read", MaxInspected)
	return true
}

// Keys returns the keys of the attributes of the spans that q selects, by the name of their
// scope, sorted. They are those of the newest MaxInspected traces that the store has to read.
func (q *Query) Keys(ctx context.Context, r collector.Reader, o TagOptions) (map[string][]string, Stats, error) {
	limit := bounded(o.Limit, MaxValues, MaxValues)
	keys := map[string]map[string]struct{}{}
	var stats Stats
	adder := func(scope string) func(string, slog.Value) {
		set := map[string]struct{}{}
		keys[scope] = set
		return func(key string, _ slog.Value) {
			if _, ok := set[key]; ok || o.Scope != "" && o.Scope != scope {
				return
			}
			if len(set) == limit {
				stats.Cut = fmt.Sprintf("stopped at %d keys of a scope; there may be more", limit)
				return
			}
			set[strings.Clone(key)] = struct{}{}
		}
	}
	span, event, link, resource, scope := adder("span"), adder("event"), adder("link"), adder("resource"), adder("instrumentation")
	if counter, f, ok := q.counter(r); ok && f.condition == nil {
		for name, add := range map[string]func(string, slog.Value){"span": span, "event": event, "link": link, "resource": resource, "instrumentation": scope} {
			if o.Scope != "" && o.Scope != name {
				continue
			}
			err := counter.AttributeKeys(ctx, collector.TimeRange{Start: o.Start, End: o.End}, name, func(key string) bool {
				add(key, slog.Value{})
				return stats.Cut == ""
			})
			if err != nil {
				return nil, stats, err
			}
		}
		return sortedKeys(keys), stats, nil
	}
	origins := map[any]bool{}
	want := func(s *collector.Scan) {
		s.AllAttributes = s.AllAttributes || o.Scope == "" || o.Scope == "span"
		s.Details = s.Details || o.Scope == "" || o.Scope == "event" || o.Scope == "link"
	}
	err := q.scan(ctx, r, o.Start, o.End, want, &stats, func(t *Trace, sets []Spanset) bool {
		for _, set := range sets {
			for _, i := range set.Spans {
				s := &t.Spans[i]
				leaves(s.Attributes, span)
				for i := range s.Events {
					leaves(s.Events[i].Attributes, event)
				}
				for i := range s.Links {
					leaves(s.Links[i].Attributes, link)
				}
				if !origins[s.Resource] {
					origins[s.Resource] = true
					leaves(s.Resource.Attributes, resource)
				}
				if !origins[s.Scope] {
					origins[s.Scope] = true
					leaves(s.Scope.Attributes, scope)
				}
			}
		}
		return !stats.inspected()
	})
	return sortedKeys(keys), stats, err
}

func sortedKeys(keys map[string]map[string]struct{}) map[string][]string {
	out := map[string][]string{}
	for scope, set := range keys {
		if len(set) > 0 {
			out[scope] = slices.Sorted(maps.Keys(set))
		}
	}
	return out
}

// Values returns different values that f has for the spans that q selects, sorted by type and
// value, of the newest MaxInspected traces that the store has to
// read. The elements of arrays are values of their own.
func (q *Query) Values(ctx context.Context, r collector.Reader, f Field, o TagOptions) ([]Value, Stats, error) {
	limit := bounded(o.Limit, MaxValues, MaxValues)
	type key struct {
		typ  Type
		text string
	}
	seen := map[key]Value{}
	var stats Stats
	add := func(t *Trace, i int) bool {
		v := t.value(f, i)
		list := []Value{v}
		if v.typ == TypeArray {
			list = v.list
		}
		for _, v := range list {
			if v.IsNil() || v.typ == TypeArray {
				continue
			}
			k := key{v.typ, v.Text()}
			if _, ok := seen[k]; !ok && len(seen) == limit {
				stats.Cut = fmt.Sprintf("stopped at %d values; there are more", limit)
				return false
			}
			seen[k] = v
		}
		return true
	}
	err := q.eachWith(ctx, r, f, o, &stats, add)
	return slices.SortedFunc(maps.Values(seen), func(a, b Value) int {
		if order, ok := compare(a, b); ok {
			return order
		}
		return int(a.typ) - int(b.typ)
	}), stats, err
}

// eachWith calls visit with the spans that q selects and that have a value of f, or with one for each value.
func (q *Query) eachWith(ctx context.Context, r collector.Reader, f Field, o TagOptions, stats *Stats, visit func(t *Trace, i int) bool) error {
	exists := binary{OpNotEqual, f, literal{}, nil}
	if counter, filter, ok := q.counter(r); ok {
		if filter.condition == nil {
			filter.condition = exists // a hint
		} else {
			filter.condition = binary{OpAnd, filter.condition, exists, nil}
		}
		if c, ok := filter.counted(nil); ok {
			c.scan.TimeRange = collector.TimeRange{Start: o.Start, End: o.End}
			return c.groups(ctx, counter, stats, func(t *Trace, _ *collector.SpanGroup) bool { return visit(t, 0) })
		}
	}
	of := Query{stages: append(slices.Clone(q.stages), spansetStage{filter{exists}})}
	return of.scan(ctx, r, o.Start, o.End, nil, stats, func(t *Trace, sets []Spanset) bool {
		for _, set := range sets {
			for _, i := range set.Spans {
				if !visit(t, i) {
					return false
				}
			}
		}
		return !stats.inspected()
	})
}

// KnownValues returns the values of fields that always have the same, such as status, and
// none for intrinsics that are numbers or ids, which are different for each span. ok reports
// whether f is one of these.
func KnownValues(f Field) (values []Value, ok bool) {
	switch f.Intrinsic {
	case SpanStatus:
		return []Value{Status(dendro.StatusError), Status(dendro.StatusOK), Status(dendro.StatusUnset)}, true
	case SpanKind:
		for k := range dendro.KindUnspecified + 1 {
			values = append(values, Kind(k))
		}
		return values, true
	case SpanDuration, TraceDuration, EventTimeSinceStart, SpanID, SpanParentID, TraceID, LinkTraceID, LinkSpanID,
		SpanChildCount, NestedSetLeft, NestedSetRight, NestedSetParent:
		return nil, true
	}
	return nil, false
}

// ParseField parses a field, such as span.http.route, .http.route or span:duration.
func ParseField(s string) (Field, error) {
	l := lexer{query: s}
	t, err := l.next()
	if err != nil {
		return Field{}, err
	}
	end, err := l.next()
	if i, ok := intrinsics[t.text]; ok && t.kind == word {
		t.kind, t.field = field, Field{Intrinsic: i}
	}
	if err != nil || t.kind != field || end.kind != eof {
		return Field{}, errorAt(s, 0, "%q is not a field, such as span.http.route or name", s)
	}
	return t.field, nil
}
