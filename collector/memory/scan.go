package memory

import (
	"context"
	"math"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Scan implements [collector.Reader]. It visits traces by descending start and then by ascending
// id, and none that begin outside of the range. It reads a snapshot of each trace and blocks nobody.
// Besides the trace that is visited it holds the position of the traces that it has found
// but not visited yet: about those of a segment, more if the clocks of senders disagree.
func (m *Store) Scan(ctx context.Context, s collector.Scan, visit func(*collector.Trace) bool) error {
	m.readers.Add(1)
	defer m.readers.Add(-1)
	want := block.WantedOf(&s.Hints)
	sc := m.newScanner(s, want)
	v := &block.View{Scan: s, Want: want, Ctx: ctx}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, more := sc.next()
		switch {
		case t != nil:
			if v.Agrees(t) {
				got, err := v.Decode(t)
				if err != nil {
					return err
				}
				if !visit(got) {
					return nil
				}
			}
			sc.release(t)
		case !more:
			return nil
		}
	}
}

// scanner returns the traces of a store by descending start. It merges the walks of the
// partitions.
type scanner struct {
	walks      []*walk
	current    block.Trace   // the one that next returned
	traces     []block.Trace // of a step of a walk
	found      block.Heap    // not returned yet
	free       [][]block.Block
	start, end int64 // bounds of the start of a trace
}

func (m *Store) newScanner(s collector.Scan, want *block.Wanted) *scanner {
	sc := &scanner{traces: make([]block.Trace, tracesPerLock), start: math.MinInt64, end: math.MaxInt64}
	if !s.Start.IsZero() {
		sc.start = block.UnixNano(s.Start)
	}
	if !s.End.IsZero() {
		sc.end = block.UnixNano(s.End)
	}
	for i := range m.partitions {
		sc.walks = append(sc.walks, m.partitions[i].walk(want))
	}
	return sc
}

// next returns the next trace, or nil after a step that found none. more reports whether
// there may be others. The trace must be released.
func (sc *scanner) next() (t *block.Trace, more bool) {
	var w *walk // the one with the latest traces
	var latest int64
	for _, other := range sc.walks {
		if bound, ok := other.bound(); ok && bound >= sc.start && (w == nil || bound > latest) {
			w, latest = other, bound
		}
	}
	if len(sc.found) > 0 && (w == nil || sc.found[0].First > latest) {
		sc.current = sc.found.Pop()
		return &sc.current, true
	}
	if w == nil {
		return nil, false
	}
	w.next(sc.traces, sc.start)
	for i := range w.found {
		t := &sc.traces[i]
		if t.First < sc.start || t.First >= sc.end {
			continue
		}
		sc.found.Push(*t)
		t.Blocks = nil // now of the heap
		if n := len(sc.free); n > 0 {
			t.Blocks, sc.free = sc.free[n-1], sc.free[:n-1]
		}
	}
	return nil, true
}

// release takes the memory of t back.
func (sc *scanner) release(t *block.Trace) { sc.free = append(sc.free, t.Blocks[:0]) }
