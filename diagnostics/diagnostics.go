// Package diagnostics joins the spans of a program with Go's own tools: profiles, the
// execution trace and the stacks of goroutines.
//
//	diag := diagnostics.New(diagnostics.Options{Operations: store})
//	tracer := dendro.New(dendro.Options{Collector: store, Observer: diag})
//
// Everything is off until it is asked for.
package diagnostics

import (
	"context"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Options configures [New]. The zero value is ready to use.
type Options struct {
	// Operations tells how long the operations of the service usually take. It is the store that
	// gets the spans. If it is nil, nothing is slow.
	Operations collector.OperationReader
}

// Diagnostics is the [dendro.Observer] of one or more tracers of a program. Its methods may be called by several
// goroutines at once.
type Diagnostics struct {
	options Options
}

// New returns the observer for [dendro.Options.Observer].
func New(o Options) *Diagnostics {
	return &Diagnostics{options: o}
}

// SpanStarted implements [dendro.Observer].
func (d *Diagnostics) SpanStarted(ctx context.Context, s *dendro.Span, data *dendro.SpanData, root bool) context.Context {
	return ctx
}

// SpanEnded implements [dendro.Observer].
func (d *Diagnostics) SpanEnded(s *dendro.Span, data *dendro.SpanData, root bool) {
}
