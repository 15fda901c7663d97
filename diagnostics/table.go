package diagnostics

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/goroutine"
)

const (
	maxEntered = 1 << 16 // open spans with an entry
	maxDepth   = 64      // entries of a goroutine
)

// entry is what an open span has put on the goroutine that started it: labels, a region, or both.
type entry struct {
	goroutine uint64
	id        dendro.SpanID
	labels    *labels // nil if it has none

	// Guarded by the lock of the shard.
	task   *trace.Task   // nil if the span is no root, or there was no execution trace
	region *trace.Region // nil if it has ended, or there was no execution trace
	ended  bool          // the span has ended on another goroutine, and the region has not
}

// table has the entries of all goroutines, in shards by goroutine.
type table struct {
	n       atomic.Int64 // open spans with an entry
	refused atomic.Uint64
	shards  [16]shard
}

type shard struct {
	mu     sync.Mutex
	open   map[dendro.SpanID]*entry
	stacks map[uint64][]*entry // of a goroutine, the innermost last
}

func (t *table) shard(goroutine uint64) *shard { return &t.shards[goroutine%uint64(len(t.shards))] }

// Refused returns how many spans got no labels, task and region because there were too many: 65536 open spans with one
// of these, or 64 that the same goroutine had started.
func (d *Diagnostics) Refused() uint64 { return d.entered.refused.Load() }

// enter begins what d.mode asks for a span that starts in ctx, and returns the context for the program. It
// reports whether there is an entry, for leave to end: not if there are maxEntered, or maxDepth of the goroutine.
func (d *Diagnostics) enter(ctx context.Context, data *dendro.SpanData, root bool) (_ context.Context, entered bool) {
	traced := d.traced()
	labeled := root && d.mode.Load()&labeling != 0
	if !traced && !labeled {
		return ctx, false
	}
	e := &entry{goroutine: goroutine.ID(), id: data.SpanID}
	if e.goroutine == 0 {
		return ctx, false
	}
	s := d.entered.shard(e.goroutine)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(e.goroutine)
	stack := s.stacks[e.goroutine]
	if len(stack) >= maxDepth || d.entered.n.Load() >= maxEntered {
		d.entered.refused.Add(1)
		return ctx, false
	}
	if traced {
		ctx = e.trace(ctx, data, root)
	}
	if labeled {
		e.labels = newLabels(ctx, data, innermost(stack))
		ctx = e.labels.ctx
		pprof.SetGoroutineLabels(ctx)
	}
	if s.open == nil {
		s.open, s.stacks = map[dendro.SpanID]*entry{}, map[uint64][]*entry{}
	}
	s.open[e.id] = e
	s.stacks[e.goroutine] = append(stack, e)
	d.entered.n.Add(1)
	return ctx, true
}

// leave ends what enter has begun for a span that ends.
func (d *Diagnostics) leave(data *dendro.SpanData) {
	g := goroutine.ID()
	own := d.entered.shard(g)
	e := own.leave(data.SpanID, g)
	for i := 0; e == nil && i < len(d.entered.shards); i++ {
		if s := &d.entered.shards[i]; s != own {
			e = s.leave(data.SpanID, g)
		}
	}
	if e == nil {
		return
	}
	d.entered.n.Add(-1)
	if r := d.renamed.Load(); r != nil && e.labels != nil {
		r.add(e.labels, data.Name)
	}
}

// leave does that on goroutine g, if s has the entry, which it returns.
func (s *shard) leave(id dendro.SpanID, g uint64) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[id]
	if e == nil {
		return nil
	}
	delete(s.open, id)
	if e.task != nil {
		e.task.End()
	}
	here := e.goroutine == g
	stack := s.stacks[e.goroutine]
	i := slices.Index(stack, e)
	if e.labels != nil && !e.labels.leave(stack[i+1:]) && here {
		pprof.SetGoroutineLabels(e.labels.before)
	}
	if here {
		for _, open := range slices.Backward(stack[i:]) { // regions must be nested
			open.endRegion()
		}
	}
	if e.region == nil {
		stack = slices.Delete(stack, i, i+1)
		s.stacks[e.goroutine] = stack
	} else {
		e.ended = true // only the goroutine itself can end it
	}
	if here {
		s.settle(g)
	} else if !slices.ContainsFunc(stack, func(e *entry) bool { return !e.ended }) {
		delete(s.stacks, e.goroutine) // it may never start or end a span again
	}
	return e
}

// settle ends the innermost regions of the current goroutine, g, whose spans have ended on others. s.mu is
// held.
func (s *shard) settle(g uint64) {
	stack := s.stacks[g]
	n := len(stack)
	for n > 0 && stack[n-1].ended {
		n--
		stack[n].endRegion()
		stack[n] = nil
	}
	if n > 0 {
		s.stacks[g] = stack[:n]
	} else {
		delete(s.stacks, g)
	}
}
