package memory

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// maxScanned bounds the number of blocks that are searched for duplicates. A longer
// trace gets a set of its spans, which bounds the cost of adding to it.
const maxScanned = 32

// fresh returns the spans that the trace does not hold yet. newest is the newest block
// of the trace, or the zero block.Ref if the trace is not held. There are at most
// block.MaxSpans spans. fresh does not modify the slice.
func (p *partition) fresh(newest block.Ref, spans []*dendro.SpanData) []*dendro.SpanData {
	ids := make(block.Filter, 8)
	twice := false
	for i, s := range spans {
		if ids.Add(hashSpanID(s.SpanID)) {
			twice = twice || slices.ContainsFunc(spans[:i], func(o *dendro.SpanData) bool { return o.SpanID == s.SpanID })
		}
	}
	var held, given spanSet
	if newest != (block.Ref{}) {
		held = p.suspects(newest, ids, spans)
	}
	isHeld := func(s *dendro.SpanData) bool { return held.has(s.SpanID, s.Start) }
	switch {
	case twice:
		given = spanSet{}
	case len(held) == 0:
		return spans
	}
	return slices.DeleteFunc(slices.Clone(spans), func(s *dendro.SpanData) bool {
		return isHeld(s) || given != nil && !given.add(s.SpanID, s.Start)
	})
}

// suspects returns the spans of all blocks that contain one of the span ids in spans.
// It finds no block unless a client sent a batch again.
func (p *partition) suspects(newest block.Ref, ids block.Filter, spans []*dendro.SpanData) (found spanSet) {
	d := &p.decoder
	add := func(b block.Block) {
		if found == nil {
			found = spanSet{}
		}
		eachSpan(d, b, func(k spanID) { found[k] = struct{}{} })
	}
	if t := p.sets[spans[0].TraceID]; t != nil {
		last := block.Ref{} // usually all of them come again, in the same order
		for _, s := range spans {
			hash := hashSpan(spanID{s.SpanID, s.Start})
			for at := t.start(hash); !t.entries[at].free(); at = t.after(at) {
				if e := t.entries[at]; e.hash == hash && e.block != last {
					add(p.block(e.block))
					last = e.block
				}
			}
		}
		return found
	}
	for at := newest; at != (block.Ref{}); {
		b := p.block(at)
		f := d.Open(b)
		for i := range d.Spans {
			id := d.ID(i)
			if ids.Has(hashSpanID(id)) && slices.ContainsFunc(spans, func(s *dendro.SpanData) bool { return s.SpanID == id }) {
				add(b)
				break
			}
		}
		at = f.Previous
	}
	return found
}

// note adds the spans of the newest block of a trace to the trace's set, if the trace
// is long enough to have one. f is the footer of that block, which was encoded from b.
// Spans of a Fresh batch are left out, as they cannot arrive again.
func (p *partition) note(b *dendro.Batch, newest block.Ref, f *block.Footer, spans []*dendro.SpanData) {
	if f.Blocks <= maxScanned {
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
		t.add(entry{hashSpan(spanID{s.SpanID, s.Start}), newest})
	}
	if isNew {
		for at := f.Previous; at != (block.Ref{}); {
			at = eachSpan(&p.decoder, p.block(at), func(k spanID) { t.add(entry{hashSpan(k), at}) }).Previous
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

// Random numbers of the process that keep the hashes unpredictable.
var (
	idFactor  = maphash.String(idSeed, "") | 1
	idMask    = maphash.String(idSeed, "id")
	startMask = maphash.String(idSeed, "start")
)

// hashSpanID and hashSpan differ from process to process, so that no sender can choose
// spans whose hashes collide. Multiplying into 128 bits and folding is what wyhash
// does (https://github.com/wangyi-fudan/wyhash). Package maphash would take longer
// than the rest of a lookup.
func hashSpanID(id dendro.SpanID) uint64 {
	return fold(binary.LittleEndian.Uint64(id[:]), idFactor)
}

func hashSpan(k spanID) uint32 {
	return uint32(fold(binary.LittleEndian.Uint64(k.id[:])^idMask, uint64(k.start)^startMask))
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// spanSet is a set of spans. A span is identified by its id and its start, because the
// client and the server span of Zipkin share an id.
type spanSet map[spanID]struct{}

type spanID struct {
	id    dendro.SpanID
	start int64
}

func (s spanSet) has(id dendro.SpanID, start int64) bool {
	_, ok := s[spanID{id, start}]
	return ok
}

// add adds a span and reports whether it is new.
func (s spanSet) add(id dendro.SpanID, start int64) bool {
	n := len(s)
	s[spanID{id, start}] = struct{}{}
	return len(s) > n
}

// eachSpan calls visit for each span of b and returns the footer of b.
func eachSpan(d *block.Decoder, b block.Block, visit func(spanID)) block.Footer {
	f := d.Open(b)
	d.SkipOrigin()
	h := d.First()
	for i := range d.Spans {
		d.Next(&h)
		d.Skip(&h)
		if d.Failed {
			break
		}
		visit(spanID{d.ID(i), h.Start})
	}
	return f
}
