package collector

import (
	"context"
	"time"
)

// SpanCounter is a [Reader] that counts spans without reading them one by one. Package
// collector/traceql makes metrics, and lists of keys and values, with it where it can, because
// that takes less time. Without a start of the range of time, a SpanCounter may look at the newest day only.
type SpanCounter interface {
	// CountSpans calls visit for groups of spans that are alike in what c names, in no order,
	// until visit returns false. The group is valid only until visit returns. CountSpans
	// returns the error of ctx if that is done.
	CountSpans(ctx context.Context, c SpanCount, visit func(*SpanGroup) bool) error

	// AttributeKeys calls visit for the keys of attributes of spans that start in a range of
	// time, each at least once, until visit returns false. scope is span, resource, event, link or
	// instrumentation. The dotted keys of members may come with the key that has them.
	AttributeKeys(ctx context.Context, when TimeRange, scope string, visit func(key string) bool) error
}

// SpanCount selects what a [SpanCounter] counts: the spans that start in a range of time, by sample.
// A sample is about the spans that start in the Step before it, the time of the sample included. If
// Step is zero, there is one.
type SpanCount struct {
	TimeRange
	First time.Time // of the first sample
	Step  time.Duration
	// MinDuration leaves out spans that take less time.
	MinDuration time.Duration

	// Hints let a SpanCounter leave out spans that do not agree. It need not.
	Hints SpanHints

	// The spans of a group have the same of these: name, kind, code of the status, service, name and
	// version of the scope, whole resource, and attributes with these keys.
	Name, Kind, Status, Service, Scope, Resource bool
	Attributes                                   []string
	// Durations: they take the same time. If it is not set and DurationBuckets is not zero,
	// their durations are in the same bucket, of that many for each power of two nanoseconds
	// from a second up and down.
	Durations       bool
	DurationBuckets int
}

// SpanGroup is a number of spans.
type SpanGroup struct {
	Span                  // the one of them that started first, with what the others have in common
	Sample            int // number of the sample, from zero
	Spans             int
	Total             time.Duration // sum of the durations
	Shortest, Longest time.Duration
}
