// Package collector keeps spans and finds them again: the contract of a store,
// and the store that lives in the memory of the program.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dendrotrace/dendro"
)

// ErrInvalidQuery is returned, wrapped with what is wrong, for a [Query] that
// cannot be answered.
var ErrInvalidQuery = errors.New("collector: invalid query")

// DropTooLarge is the reason of a [dendro.DropError] for a batch that a store can
// never take: giving it again is of no use.
const DropTooLarge = "too_large"

// Store is a collector that can be asked. Its methods may be called by many
// goroutines at once.
type Store interface {
	dendro.Collector

	// Trace returns what is known of a trace. Absence is not an error: it
	// returns nil, nil. The caller owns what is returned.
	Trace(ctx context.Context, id dendro.TraceID) (*Trace, error)

	// Search returns summaries of the traces that match q, the most recent
	// first. The caller owns the slice.
	Search(ctx context.Context, q Query) ([]Summary, error)

	// Tags returns the attribute keys of spans and resources, sorted.
	Tags(ctx context.Context) ([]string, error)

	// TagValues returns values of one attribute key as the text of
	// [slog.Value.String], sorted, at most MaxTagValues.
	TagValues(ctx context.Context, key string) ([]string, error)

	// Stats returns what the store holds and what it has lost.
	Stats() Stats
}

// Trace is the spans of one trace id that have arrived so far.
type Trace struct {
	ID    dendro.TraceID
	Spans []Span // ordered by Start, then by arrival
}

// Span is a stored span with the origin that it shares with others: equal
// pointers within one [Trace] mean the same resource or scope. Neither is nil.
type Span struct {
	dendro.SpanData
	Resource *dendro.Resource
	Scope    *dendro.Scope
}

// Summary is what a list shows of a trace.
type Summary struct {
	TraceID dendro.TraceID
	// RootService and RootName are those of the span without a parent. If it
	// has not arrived, they are those of the earliest span, and RootMissing
	// is set.
	RootService, RootName string
	RootMissing           bool
	// Start is the earliest start of a span, in nanoseconds since the Unix
	// epoch; Duration reaches from there to the latest end.
	Start    int64
	Duration time.Duration
	Spans    int
	Errors   int // spans with dendro.StatusError
	// Services has the number of spans and errors of each service, sorted by
	// name.
	Services []ServiceSummary
}

// ServiceSummary is the share of one service in a trace.
type ServiceSummary struct {
	Service       string
	Spans, Errors int
}

// Query selects traces. The zero value selects all.
type Query struct {
	// Start and End bound the time in which a trace may have begun:
	// Start <= Summary.Start < End. A zero time is no bound.
	Start, End time.Time
	// MinDuration and MaxDuration bound the duration of the trace; zero is no
	// bound.
	MinDuration, MaxDuration time.Duration
	// Service and Name select traces with a span of that service and that
	// name; both given, the same span has to match.
	Service, Name string
	// ErrorsOnly selects traces with at least one error.
	ErrorsOnly bool
	// Tags select traces with one span that has all of them, as an attribute
	// of the span or of its resource; it need not be the span of Service and
	// Name. Values are compared as the text of [slog.Value.String]: "200"
	// finds the number 200. At most 64.
	Tags []slog.Attr
	// Limit is the largest number of results. Default: 20; more than 1000
	// means 1000.
	Limit int
}

// The bounds of [Query].
const (
	DefaultLimit = 20
	MaxLimit     = 1000
	MaxTags      = 64
)

// MaxTagValues is the largest number of results of [Store.TagValues].
const MaxTagValues = 1000

// Normalize returns q with its Limit set, or [ErrInvalidQuery], wrapped, when
// q is outside its bounds or an upper bound is below the lower one. Stores call
// it first.
func (q Query) Normalize() (Query, error) {
	wrong := ""
	switch {
	case q.Limit < 0:
		wrong = "negative limit"
	case q.MinDuration < 0 || q.MaxDuration < 0:
		wrong = "negative duration"
	case q.MaxDuration > 0 && q.MaxDuration < q.MinDuration:
		wrong = "maximal duration below the minimal one"
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

// Stats counts what a store holds and what it has lost. The page shows it.
type Stats struct {
	Traces, Spans int
	// Bytes is the memory or disk in use, MaxBytes its bound, 0 for none.
	Bytes, MaxBytes int64
	// Accepted counts spans ever taken: Spans and the sum of Dropped.
	Accepted uint64
	// Duplicates counts spans that came again, with the id and the start of
	// one that is held, and were not taken twice.
	Duplicates uint64
	// Dropped counts spans that were taken and are lost, by reason: "evicted"
	// made room for newer ones, "trace_too_large" came for a trace that had its
	// share.
	Dropped map[string]uint64
}
