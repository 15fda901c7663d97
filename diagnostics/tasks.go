package diagnostics

import (
	"context"
	"runtime/trace"

	"github.com/dendrotrace/dendro"
)

// traced reports whether an execution trace is running. When one has stopped, it releases the regions and
// tasks that are open.
func (d *Diagnostics) traced() bool {
	on := trace.IsEnabled()
	if on == (d.mode.Load()&tracing != 0) {
		return on
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setMode(tracing, on)
	if !on {
		d.entered.dropRegions()
	}
	return on
}

// trace begins a region for a span that starts in ctx, and if it is a root, a task before. It returns the context
// with the task.
func (e *entry) trace(ctx context.Context, data *dendro.SpanData, root bool) context.Context {
	if root {
		ctx, e.task = trace.NewTask(ctx, data.Name)
		trace.Log(ctx, traceIDLabel, data.TraceID.String())
	}
	e.region = trace.StartRegion(ctx, data.Name)
	return ctx
}

// endRegion ends the region of e, if it is open. It must be the innermost of the current goroutine.
func (e *entry) endRegion() {
	if e.region != nil {
		e.region.End()
		e.region = nil
	}
}

// dropRegions forgets all regions and tasks.
func (t *table) dropRegions() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for g, stack := range s.stacks {
			kept := stack[:0]
			for _, e := range stack {
				e.region, e.task = nil, nil
				switch {
				case e.ended:
				case e.labels != nil:
					kept = append(kept, e)
				default:
					delete(s.open, e.id)
					t.n.Add(-1)
				}
			}
			clear(stack[len(kept):])
			if s.stacks[g] = kept; len(kept) == 0 {
				delete(s.stacks, g)
			}
		}
		s.mu.Unlock()
	}
}
