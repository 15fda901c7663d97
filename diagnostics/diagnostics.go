// Package diagnostics joins the spans of a program with Go's own tools: profiles, the
// execution trace and the stacks of goroutines.
//
//	diag := diagnostics.New(diagnostics.Options{Operations: store})
//	tracer := dendro.New(dendro.Options{Collector: store, Observer: diag})
//
// Everything is off until it is asked for. Only spans that are recorded are known to this
// package: with a sampler that drops most traces, labels, profiles and execution traces show the others.
package diagnostics

import (
	"context"
	"runtime/trace"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/naming"
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

	mode    atomic.Uint32 // what is done with spans that start: labeling, tracing; written under mu
	entered table         // what spans have put on goroutines
	renamed atomic.Pointer[renames]

	mu        sync.Mutex
	labels    int  // how many want labels
	setLabels bool // SetLabels is one of them
}

// The bits of Diagnostics.mode.
const (
	labeling = 1 << iota // roots of local traces label their goroutine
	tracing              // an execution trace was running when a span started last
)

// New returns the observer for [dendro.Options.Observer].
func New(o Options) *Diagnostics {
	return &Diagnostics{options: o}
}

// SpanStarted implements [dendro.Observer].
func (d *Diagnostics) SpanStarted(ctx context.Context, s *dendro.Span, data *dendro.SpanData, root bool) (_ context.Context, ends bool) {
	if d.mode.Load() != 0 || trace.IsEnabled() {
		return d.enter(ctx, data, root)
	}
	return ctx, false
}

// SpanEnded implements [dendro.Observer].
func (d *Diagnostics) SpanEnded(s *dendro.Span, data *dendro.SpanData, root bool) {
	d.leave(data)
}

// setMode sets or clears a bit of d.mode. d.mu is held.
func (d *Diagnostics) setMode(bit uint32, on bool) {
	was := d.mode.Load()
	now := was &^ bit
	if on {
		now |= bit
	}
	d.mode.Store(now)
	switch {
	case was == 0 && now != 0:
		naming.Early(1)
	case was != 0 && now == 0:
		naming.Early(-1)
	}
}
