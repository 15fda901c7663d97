package memory

import (
	"math"

	"github.com/dendrotrace/dendro/collector/internal/block"
)

// tracesPerLock bounds how many traces are looked up while the lock is held, for some
// microseconds.
const tracesPerLock = 128

// segmentsPerLock bounds how many segments are looked through meanwhile.
const segmentsPerLock = 16

// walk iterates over the traces of a partition, from the newest segment to the oldest.
// It goes by their first blocks: every held trace has exactly one, which stays in its
// place whatever is added to the trace.
type walk struct {
	p     *partition
	want  *block.Wanted
	at    block.Ref // the next block
	end   int       // length of its segment when the walk reached it
	found int       // number of traces that next found
	first uint32    // number of the oldest segment when the walk began
	// latest has for each segment, beginning with the oldest, the latest start of a trace
	// in it and the segments before it.
	latest []int64
}

func (p *partition) walk(want *block.Wanted) *walk {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	w := &walk{p: p, want: want, first: p.first, latest: make([]int64, len(p.segments))}
	latest := int64(math.MinInt64)
	for i := range p.segments {
		latest = max(latest, p.segments[i].latest)
		w.latest[i] = latest
	}
	if n := len(p.segments); n > 0 {
		w.at.Segment, w.end = p.first+uint32(n)-1, len(p.segments[n-1].data)
	}
	return w
}

// bound returns the latest start of the traces that next has not found yet. It returns
// false if there are none.
func (w *walk) bound() (latest int64, ok bool) {
	if w.at.Segment < w.first || w.at.Segment == 0 {
		return 0, false
	}
	return w.latest[w.at.Segment-w.first], true
}

// next sets traces[:w.found] to the next traces, of which there may be none. It skips
// segments in which all traces begin before since.
func (w *walk) next(traces []block.Trace, since int64) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	w.found = 0
	for step := 0; step < segmentsPerLock && w.found == 0 && w.at.Segment >= p.first && w.at.Segment > 0; step++ {
		if w.at.Segment == p.first {
			w.at.Offset = max(w.at.Offset, p.drained)
		}
		if s := &p.segments[w.at.Segment-p.first]; s.latest >= since {
			w.scan(traces)
		} else {
			w.at.Offset = uint32(w.end)
		}
		if int(w.at.Offset) >= w.end {
			w.at = block.Ref{Segment: w.at.Segment - 1}
			if w.at.Segment >= p.first {
				w.end = len(p.segments[w.at.Segment-p.first].data)
			}
		}
	}
	if w.at.Segment < p.first { // the rest was dropped
		w.at = block.Ref{}
	}
}

// scan appends traces of the current segment. p.mu must be held.
func (w *walk) scan(traces []block.Trace) {
	b := w.p.block(w.at)
	s := &w.p.segments[w.at.Segment-w.p.first]
	agrees := s.agrees(w.want)
	if !agrees && !s.continued {
		w.at.Offset = uint32(w.end)
	}
	for w.found < len(traces) && int(w.at.Offset) < w.end {
		b.At = int(w.at.Offset)
		if mark := b.Mark(); !b.Continues() && mark != block.MarkVoid && (agrees || mark == block.MarkContinued) {
			t := &traces[w.found]
			t.Blocks = t.Blocks[:0]
			newest := w.at
			if mark == block.MarkContinued {
				table, at := w.p.held(b.TraceID())
				newest = table.entries[at].block
			}
			w.p.snapshot(t, newest, w.want)
			w.found++
		}
		w.at.Offset += b.Size()
	}
}
