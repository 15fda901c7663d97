// Package diagnostics joins the spans of a program with Go's own tools: profiles, the
// execution trace, its flight recorder and the stacks of goroutines.
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
	// Open remembers the spans that have started and not ended, for [Diagnostics.Open], and sets
	// labels, as [Diagnostics.SetLabels] does. A span that is never ended stays in memory then. At
	// most 8192 are remembered.
	Open bool
}

// Diagnostics is the [dendro.Observer] of one or more tracers of a program. Its methods may be called by several
// goroutines at once.
type Diagnostics struct {
	mode    atomic.Uint32 // what is done with spans that start: labeling, tracing; written under mu
	entered table         // what spans have put on goroutines
	renamed atomic.Pointer[renames]

	usual  usual
	open   *openSpans // nil without Options.Open
	stacks stacks
	flight atomic.Pointer[flight] // that runs; nil if none does

	mu        sync.Mutex
	labels    int     // how many want labels
	setLabels bool    // SetLabels is one of them
	last      *flight // that was started last; guarded by mu
}

// The bits of Diagnostics.mode.
const (
	labeling = 1 << iota // roots of local traces label their goroutine
	tracing              // an execution trace was running when a span started last
)

// New returns the observer for [dendro.Options.Observer].
func New(o Options) *Diagnostics {
	d := &Diagnostics{usual: usual{reader: o.Operations}}
	if o.Open {
		d.open = new(openSpans)
		d.wantLabels(true)
	}
	return d
}

// SpanStarted implements [dendro.Observer].
func (d *Diagnostics) SpanStarted(ctx context.Context, s *dendro.Span, data *dendro.SpanData, root bool) (_ context.Context, ends bool) {
	if d.open != nil {
		d.open.started(s, data, root)
		ends = true
	}
	if d.mode.Load() != 0 || trace.IsEnabled() {
		inner, entered := d.enter(ctx, data, root)
		return inner, ends || entered || root && d.flight.Load() != nil
	}
	return ctx, ends
}

// SpanEnded implements [dendro.Observer].
func (d *Diagnostics) SpanEnded(s *dendro.Span, data *dendro.SpanData, root bool) {
	if d.entered.n.Load() != 0 && (root || d.mode.Load()&tracing != 0) {
		d.leave(data)
	}
	if d.open != nil {
		d.open.ended(s, data)
	}
	if root {
		if f := d.flight.Load(); f != nil {
			f.ended(s, data)
		}
	}
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
