package diagnostics

import (
	"context"
	"runtime/pprof"
	"slices"

	"github.com/dendrotrace/dendro"
)

// The labels of a goroutine.
const (
	traceIDLabel   = "trace_id"
	spanIDLabel    = "span_id"
	operationLabel = "operation"
)

// SetLabels sets whether requests label their goroutines, for CPU and goroutine profiles. At first they do
// not.
//
// The first span of each local trace then labels the goroutine that starts it: trace_id and span_id are those of the
// span, operation is the name that it has at its start. Goroutines that are started meanwhile inherit the labels,
// and the context of the span has them, too, next to those that it had before. If the span ends on the goroutine that
// started it, that gets the labels of the context in which the span started, as [pprof.Do] does it. If another such span has
// started there and is still open, the labels of that stay. A goroutine that ends a span of
// another one keeps its labels.
//
// While labels are on, package middleware gives the span of a request the name of its route at its start, if the
// routers tell.
//
// There may be 65536 open spans with labels, and 64 that one goroutine has started. Others have none, and
// [Diagnostics.Refused] counts them.
func (d *Diagnostics) SetLabels(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if on != d.setLabels {
		d.setLabels = on
		d.wantLabels(on)
	}
}

// wantLabels tells that somebody wants labels, or no longer. d.mu is held.
func (d *Diagnostics) wantLabels(on bool) {
	if on {
		d.labels++
	} else {
		d.labels--
	}
	d.setMode(labeling, d.labels > 0)
}

// labels are those of an open span.
type labels struct {
	span, operation string
	before          context.Context // with the former labels of the goroutine
	ctx             context.Context // with these
}

// newLabels returns the labels for a span that starts in ctx on a goroutine with the labels of outer, if these are
// not nil.
func newLabels(ctx context.Context, data *dendro.SpanData, outer *labels) *labels {
	l := &labels{span: data.SpanID.String(), operation: data.Name, before: ctx}
	l.ctx = pprof.WithLabels(ctx, pprof.Labels(operationLabel, l.operation, spanIDLabel, l.span, traceIDLabel, data.TraceID.String()))
	if outer != nil && !outer.in(ctx) {
		l.before = outer.ctx
	}
	return l
}

// in reports whether ctx has the labels l.
func (l *labels) in(ctx context.Context) bool {
	span, _ := pprof.Label(ctx, spanIDLabel)
	return span == l.span
}

// leave makes the labels of the entries above not give back l, whose span has ended. It reports whether there are
// labels above.
func (l *labels) leave(above []*entry) (covered bool) {
	for _, e := range above {
		if e.labels == nil || e.ended {
			continue
		}
		covered = true
		if l.in(e.labels.before) {
			e.labels.before = l.before
		}
	}
	return covered
}

// innermost returns the innermost labels of a stack, or nil.
func innermost(stack []*entry) *labels {
	for _, e := range slices.Backward(stack) {
		if e.labels != nil && !e.ended {
			return e.labels
		}
	}
	return nil
}
