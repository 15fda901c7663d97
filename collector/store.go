// Package collector defines [Store], the interface of a collector that keeps spans and
// finds them again. Package collector/memory has a store in the memory of the program.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dendrotrace/dendro"
)

// ErrInvalidQuery is returned for a [Query] that cannot be answered. It is wrapped
// with the reason.
var ErrInvalidQuery = errors.New("collector: invalid query")

// DropTooLarge is the reason of the [dendro.DropError] for a batch that a store can
// never hold. Sending the batch again does not help.
const DropTooLarge = "too_large"

// Store is a collector that answers queries. Its methods are safe for concurrent use.
type Store interface {
	dendro.Collector

	// Trace returns the spans of a trace that have arrived so far. If there are none,
	// it returns nil, nil. The caller owns the result.
	Trace(ctx context.Context, id dendro.TraceID) (*Trace, error)

	// Search returns summaries of the traces that match q, the most recent first. The
	// caller owns the slice.
	Search(ctx context.Context, q Query) ([]Summary, error)

	// Tags returns the attribute keys of all spans and resources, sorted.
	Tags(ctx context.Context) ([]string, error)

	// TagValues returns the values of an attribute key, formatted by
	// [slog.Value.String] and sorted. It returns at most MaxTagValues.
	TagValues(ctx context.Context, key string) ([]string, error)

	// Stats returns what the store holds and what it dropped.
	Stats() Stats
}

// Trace holds the spans of one trace that have arrived so far.
type Trace struct {
	ID    dendro.TraceID
	Spans []Span // ordered by Start, then by arrival
}

// Span is a stored span with its resource and scope. Within one [Trace], spans of the
// same resource or scope share the pointer. Neither pointer is nil.
type Span struct {
	dendro.SpanData
	Resource *dendro.Resource
	Scope    *dendro.Scope
}

// Summary describes a trace in a list.
type Summary struct {
	TraceID dendro.TraceID
	// RootService and RootName are the service and the name of the root span. If the
	// root span has not arrived, they describe the earliest span and RootMissing is
	// set.
	RootService, RootName string
	RootMissing           bool
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

// Query selects traces. The zero value selects all traces.
type Query struct {
	// Start and End bound the start of the trace: Start <= Summary.Start < End. A zero
	// time is no bound.
	Start, End time.Time
	// MinDuration and MaxDuration bound the duration of the trace, inclusive. Zero is
	// no bound.
	MinDuration, MaxDuration time.Duration
	// Service and Name select traces with a span of this service and with this name.
	// If both are set, one span must match both.
	Service, Name string
	// ErrorsOnly selects traces with at least one span whose status is an error.
	ErrorsOnly bool
	// Tags select traces with a span that has all of these attributes, either on the
	// span or on its resource. It need not be the span that matches Service and Name.
	// Values are compared as text, formatted by [slog.Value.String]: "200" matches the
	// number 200. At most 64 tags are allowed.
	Tags []slog.Attr
	// Limit is the largest number of results. If it is zero, the limit is 20. Values
	// above 1000 mean 1000.
	Limit int
}

// Bounds of the fields of [Query].
const (
	DefaultLimit = 20
	MaxLimit     = 1000
	MaxTags      = 64
)

// MaxTagValues bounds the number of results of [Store.TagValues].
const MaxTagValues = 1000

// Normalize returns q with Limit set to a value within its bounds. If q is invalid, it
// returns an error that wraps [ErrInvalidQuery]: too many tags, a negative limit or
// duration, or an upper bound below the lower one. Stores call Normalize first.
func (q Query) Normalize() (Query, error) {
	wrong := ""
	switch {
	case q.Limit < 0:
		wrong = "negative limit"
	case q.MinDuration < 0 || q.MaxDuration < 0:
		wrong = "negative duration"
	case q.MaxDuration > 0 && q.MaxDuration < q.MinDuration:
		wrong = "maximum duration is less than the minimum"
	case !q.Start.IsZero() && !q.End.IsZero() && q.End.Before(q.Start):
		wrong = "end before start"
	case len(q.Tags) > MaxTags:
		wrong = fmt.Sprintf("more than %d tags", MaxTags)
	}
	if wrong != "" {
		return Query{}, fmt.Errorf("%w: %s", ErrInvalidQuery, wrong)
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	return q, nil
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
	// Dropped counts accepted spans that are no longer held, by reason: "evicted" to
	// make room for newer spans, or "trace_too_large" because their trace had used its
	// share of the store.
	Dropped map[string]uint64
}
