package memory

import (
	"iter"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// suspects returns the blocks of a trace that may have one of the spans: those that its set
// says, or else all of them. newest is the newest block of the trace. If it is the zero block.Ref,
// because the trace is not held, there is nil.
func (p *partition) suspects(newest block.Ref, spans []*dendro.SpanData) iter.Seq[block.Block] {
	if newest == (block.Ref{}) {
		return nil
	}
	return func(yield func(block.Block) bool) {
		t := p.sets[spans[0].TraceID]
		if t == nil {
			for at := newest; at != (block.Ref{}); {
				b := p.block(at)
				at = p.decoder.Open(b).Previous
				if !yield(b) {
					return
				}
			}
			return
		}
		last := block.Ref{} // usually all of them come again, in the same order
		for _, s := range spans {
			hash := block.SpanKey{ID: s.SpanID, Start: s.Start}.Hash()
			for at := t.start(hash); !t.entries[at].free(); at = t.after(at) {
				if e := t.entries[at]; e.hash == hash && e.block != last {
					last = e.block
					if !yield(p.block(e.block)) {
						return
					}
				}
			}
		}
	}
}

// note adds the spans of the newest block of a trace to the trace's set, if the trace
// is long enough to have one. f is the footer of that block, which was encoded from b.
// Spans of a Fresh batch are left out, as they cannot arrive again.
func (p *partition) note(b *dendro.Batch, newest block.Ref, f *block.Footer, spans []*dendro.SpanData) {
	if f.Blocks <= block.MaxScanned {
		return
	}
	id := spans[0].TraceID
	t := p.sets[id]
	isNew := t == nil
	switch {
	case isNew: // earlier spans may come again, too
		t = new(table)
		if p.sets == nil {
			p.sets = map[dendro.TraceID]*table{}
		}
		p.sets[id] = t
	case b.Fresh:
		return
	}
	p.bytes -= t.bytes()
	for _, s := range spans {
		t.add(entry{block.SpanKey{ID: s.SpanID, Start: s.Start}.Hash(), newest})
	}
	if isNew {
		for at := f.Previous; at != (block.Ref{}); {
			at = p.decoder.EachSpan(p.block(at), func(k block.SpanKey) { t.add(entry{k.Hash(), at}) }).Previous
		}
	}
	p.bytes += t.bytes()
}

// forget drops the set of the spans of a trace.
func (p *partition) forget(id dendro.TraceID) {
	if t := p.sets[id]; t != nil {
		delete(p.sets, id)
		p.bytes -= t.bytes()
	}
}
