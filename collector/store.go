// Package collector defines [Store], the interface of a collector that keeps spans and
// finds them again. Package collector/memory has a store in the memory of the program, and
// package collector/traceql a query language for every store.
package collector

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
)

// DropTooLarge is the reason of the [dendro.DropError] for a batch that a store can never
// hold. Sending the batch again does not help.
const DropTooLarge = "too_large"

// Store is a collector whose spans can be read. Its methods are safe for concurrent use.
type Store interface {
	dendro.Collector
	Writer
	Reader
	OperationReader
}

// Reader reads the spans of a store. Package collector/traceql answers queries with it. A
// store only decides what it can skip: it need not know what a query means.
type Reader interface {
	// Trace returns the spans of a trace that have arrived so far. If there are none,
	// it returns nil, nil. The caller owns the result. when says when the trace has spans,
	// as far as the caller knows. A store may skip what it has of other times, and need not.
	Trace(ctx context.Context, id dendro.TraceID, when TimeRange) (*Trace, error)

	// Scan calls visit for the traces that s selects, newer ones before older ones, until
	// visit returns false. The trace, with everything in it, is valid only until visit
	// returns, and must not be modified. Scan returns the error of ctx if that is done. A
	// trace that arrives, grows or is evicted during a scan is visited once or not at all.
	//
	// The order is that in which traces began, if they arrived whole and in that order. A
	// store need not know when a trace began whose spans came late.
	Scan(ctx context.Context, s Scan, visit func(*Trace) bool) error

	// Stats returns what the store holds and what it dropped.
	Stats(ctx context.Context) (Stats, error)
}

// TracesReader is a [Reader] that reads several traces together, in less time than one after the other.
type TracesReader interface {
	// Traces calls visit for those of some traces that have spans, in no order, until visit
	// returns false. when is that of Trace, for all of them. Visit owns the traces.
	Traces(ctx context.Context, ids []dendro.TraceID, when TimeRange, visit func(*Trace) bool) error
}

// Traces reads several traces of r: together, if r is a [TracesReader], or else one after the other.
func Traces(ctx context.Context, r Reader, ids []dendro.TraceID, when TimeRange, visit func(*Trace) bool) error {
	if r, ok := r.(TracesReader); ok {
		return r.Traces(ctx, ids, when, visit)
	}
	for _, id := range ids {
		t, err := r.Trace(ctx, id, when)
		if err != nil {
			return err
		}
		if t != nil && !visit(t) { // there may be none: it made room for newer ones
			return nil
		}
	}
	return nil
}

// TimeRange is the time from Start to before End. A zero time is no bound.
type TimeRange struct{ Start, End time.Time }

// Contains reports whether t, in nanoseconds since the Unix epoch, is in r.
func (r TimeRange) Contains(t int64) bool {
	return (r.Start.IsZero() || !time.Unix(0, t).Before(r.Start)) && (r.End.IsZero() || time.Unix(0, t).Before(r.End))
}

// Scan selects what a [Reader] reads. The zero value selects all traces, without
// attributes and details.
type Scan struct {
	// TimeRange has the start of a wanted trace. Like Hints it lets a store skip traces: it
	// may visit others as well.
	TimeRange

	// Hints describe the wanted traces. A store may skip traces that do not agree with
	// them, and need not.
	Hints Hints

	// Attributes are the keys of the wanted attributes of spans. AllAttributes wants them
	// all. A store may leave out others. Resources always have all attributes.
	Attributes    []string
	AllAttributes bool
	// Details wants events, links, messages of the status, tracestates and the counts of
	// what was dropped. A store may leave them out otherwise.
	Details bool
}

// Hints are properties of the wanted traces. The zero value is no hint.
type Hints struct {
	// Spans: for each of these, a wanted trace has a span with all the properties. It may be
	// the same span for several.
	Spans []SpanHints
	// A wanted trace takes at least MinDuration, and if MaxDuration is not zero at most
	// that long.
	MinDuration, MaxDuration time.Duration
}

// SpanHints are properties of one span. The zero value is no hint.
type SpanHints struct {
	// The span is of each of these services, has each of these names, and has each of these
	// attribute keys, on itself or on its resource.
	Services, Names, Keys []string
	// Values: the span has each of these attributes, on itself or on its resource. Values are
	// strings, integers, floats or booleans. Numbers are the same if their values are, and an
	// array has the values of its elements.
	Values []slog.Attr
	// Texts is like Values for strings that are the text of any value: "200" is also the
	// number 200, and "true" the boolean.
	Texts []slog.Attr
	// Errors: the span has an error.
	Errors bool
	// The span takes at least MinDuration.
	MinDuration time.Duration
	// The span starts at StartsAfter or later, if that is not zero.
	StartsAfter time.Time
}

// IsZero reports whether h is no hint.
func (h *SpanHints) IsZero() bool {
	return len(h.Services)+len(h.Names)+len(h.Keys)+len(h.Values)+len(h.Texts) == 0 && !h.Errors && h.MinDuration == 0 && h.StartsAfter.IsZero()
}

// Trace holds the spans of one trace that have arrived so far.
type Trace struct {
	ID dendro.TraceID
	// Spans are ordered by Start. Those of the same resource that start at the same time are in
	// the order of arrival, if the store knows that. There is at least one.
	Spans []Span
}

// Start returns the earliest start of a span, in nanoseconds since the Unix epoch.
func (t *Trace) Start() int64 { return t.Spans[0].Start }

// Batches groups the spans of t by resource and scope. It returns one batch for each pair, in the
// order of their first spans. The batches refer to the spans of t.
func (t *Trace) Batches() []*dendro.Batch {
	type origin struct {
		resource *dendro.Resource
		scope    *dendro.Scope
	}
	var out []*dendro.Batch
	byOrigin := map[origin]*dendro.Batch{}
	for i := range t.Spans {
		s := &t.Spans[i]
		b := byOrigin[origin{s.Resource, s.Scope}]
		if b == nil {
			b = &dendro.Batch{Resource: s.Resource}
			byOrigin[origin{s.Resource, s.Scope}] = b
			out = append(out, b)
		}
		b.Spans = append(b.Spans, &s.SpanData)
	}
	return out
}

// Span is a stored span with its resource. Within one [Trace], spans of the same resource or
// scope share the pointer. Neither pointer is nil.
type Span struct {
	dendro.SpanData
	Resource *dendro.Resource
}

// Summary describes a trace in a list.
type Summary struct {
	TraceID dendro.TraceID
	// RootService and RootName are the service and the name of the root span. If the root
	// span has not arrived, they describe the earliest span and RootMissing is set.
	RootService string
	RootName    string
	RootMissing bool
	// Start is the earliest start of a span, in nanoseconds since the Unix epoch.
	// Duration is the time from Start to the latest end of a span.
	Start    int64
	Duration time.Duration
	Spans    int
	Errors   int // spans with dendro.StatusError
	// Services counts the spans and errors of each service, sorted by name.
	Services []ServiceSummary
}

// ServiceSummary counts the spans of one service in a trace.
type ServiceSummary struct {
	Service       string
	Spans, Errors int
}

// Summary describes t. The caller owns the result.
func (t *Trace) Summary() Summary {
	sum := Summary{TraceID: t.ID, Start: t.Start(), Spans: len(t.Spans)}
	root, end := &t.Spans[0], t.Start()
	for i := range t.Spans {
		s := &t.Spans[i]
		end = max(end, s.End)
		if root.ParentID.IsValid() && !s.ParentID.IsValid() {
			root = s
		}
		service := s.Resource.Service()
		if last := len(sum.Services) - 1; last < 0 || sum.Services[last].Service != service {
			sum.Services = append(sum.Services, ServiceSummary{Service: service})
		}
		last := &sum.Services[len(sum.Services)-1]
		last.Spans++
		if s.Status.Code == dendro.StatusError {
			last.Errors++
			sum.Errors++
		}
	}
	sum.Services = mergeServices(sum.Services)
	sum.Duration = time.Duration(end - sum.Start)
	sum.RootService, sum.RootName, sum.RootMissing = strings.Clone(root.Resource.Service()), strings.Clone(root.Name), root.ParentID.IsValid()
	return sum
}

// mergeServices sorts services and adds up those of the same name. It copies the names.
func mergeServices(services []ServiceSummary) []ServiceSummary {
	slices.SortFunc(services, func(a, b ServiceSummary) int { return strings.Compare(a.Service, b.Service) })
	merged := services[:0]
	for _, s := range services {
		if last := len(merged) - 1; last >= 0 && merged[last].Service == s.Service {
			merged[last].Spans += s.Spans
			merged[last].Errors += s.Errors
		} else {
			merged = append(merged, s)
		}
	}
	for i := range merged {
		merged[i].Service = strings.Clone(merged[i].Service)
	}
	return merged
}

// Stats counts what a store holds and what it dropped. The page shows it.
type Stats struct {
	Traces, Spans int
	// Bytes is the memory or disk space in use. MaxBytes is its bound, or 0 for none.
	Bytes, MaxBytes int64
	// Accepted counts all spans ever accepted: Spans plus the sum of Dropped.
	Accepted uint64
	// Duplicates counts spans that arrived again while a span with the same trace id,
	// span id and start was held. They are not stored twice.
	Duplicates uint64
	// Dropped counts accepted spans that are no longer held, by reason: "evicted" to make
	// room for newer spans, or "trace_too_large" because their trace had used its share of
	// the store.
	Dropped map[string]uint64
	// Operations is about the counts that [OperationReader] reads. Their size is part of
	// Bytes.
	Operations OperationStats
}
