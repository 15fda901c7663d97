// Package bridge is where another tracing API, which package dendro does not import, tells
// how its spans and its baggage are found in a context. Package otelbridge does that for
// OpenTelemetry's.
package bridge

import (
	"context"
	"sync/atomic"
)

// API is another tracing API. Its functions must be safe for concurrent use. All of the
// values that they exchange are of package dendro or of the other API, so they are any.
type API struct {
	// SpanKey and BaggageKey are the keys of its values in contexts.
	SpanKey, BaggageKey any
	// Span returns its value for one of package dendro: a *dendro.Span, or a value that
	// Current must return as it is.
	Span func(value any) any
	// Current returns the *dendro.Span or the value that Span was called with, or the
	// dendro.SpanContext of a span that is not one of ours, or nil.
	Current func(value any) any
	// Baggage returns its value for a dendro.Baggage, and CurrentBaggage the dendro.Baggage
	// for its value.
	Baggage        func(baggage any) any
	CurrentBaggage func(value any) any
	// Made reports whether the span in ctx is one of tracer, a *dendro.Tracer or nil for any,
	// that a library instrumented with the other API has made for work. Nobody needs a second
	// span for it.
	Made func(ctx context.Context, work Work, tracer any) bool
}

// Work is a kind of work, or 0.
type Work int

// What wrappers of both APIs make spans for.
const (
	HTTPServer Work = iota + 1 // handling a request
	HTTPClient                 // a request
	Database                   // a statement, or another call of a driver
)

// Made is that of the other API, or reports false if there is none.
func Made(ctx context.Context, work Work, tracer any) bool {
	api := Registered()
	return api != nil && api.Made(ctx, work, tracer)
}

// Mark notes what a wrapper has made a *dendro.Span for, so that a library makes no second one.
func Mark(span any, work Work) {
	if Registered() != nil {
		SetWork(span, work)
	}
}

// Foreign reports whether the span in ctx is one of the other API that is not a *dendro.Span.
func Foreign(ctx context.Context) bool { return Registered() != nil && IsForeign(ctx) }

// Package dendro sets these functions.
var (
	// Read calls f with the *dendro.SpanData of a *dendro.Span and what that was made for, unless
	// it has ended. f must not call methods of spans, retain the data or modify it.
	Read func(span any, f func(data any, work Work))
	// SetWork and IsForeign are Mark and Foreign if there is another API.
	SetWork   func(span any, work Work)
	IsForeign func(ctx context.Context) bool
	// Attached returns what the other API keeps with a *dendro.Tracer, which at first is value(tracer).
	Attached func(tracer any, value func(tracer any) any) any
)

var registered atomic.Pointer[API]

// Register makes api the other API of this process. It replaces an earlier one.
func Register(api *API) { registered.Store(api) }

// Registered returns the other API, or nil if there is none.
func Registered() *API { return registered.Load() }
