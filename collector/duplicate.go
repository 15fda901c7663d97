package collector

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/dendrotrace/dendro"
)

// maxScanned is how many blocks of a trace are searched for new spans. A trace of
// more has a set of those that may come again, so that what one costs has a bound.
const maxScanned = 32

// fresh returns those of spans, at most maxBlockSpans, that are not yet in the
// trace whose newest block is given, or nowhere. It does not change the slice.
func (p *partition) fresh(newest ref, spans []*dendro.SpanData) []*dendro.SpanData {
	var ids filter
	twice := false
	for i, s := range spans {
		if ids.add(hashSpanID(s.SpanID)) {
			twice = twice || slices.ContainsFunc(spans[:i], func(o *dendro.SpanData) bool { return o.SpanID == s.SpanID })
		}
	}
	var held, given spanSet
	if newest != (ref{}) {
		held = p.suspects(newest, &ids, spans)
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

// suspects returns the spans of the blocks that have one of the ids of spans. That
// is none, unless a client has sent a batch again.
func (p *partition) suspects(newest ref, ids *filter, spans []*dendro.SpanData) (found spanSet) {
	d := &p.decoder
	add := func(b block) {
		if found == nil {
			found = spanSet{}
		}
		eachSpan(d, b, func(k spanID) { found[k] = struct{}{} })
	}
	if t := p.sets[spans[0].TraceID]; t != nil {
		last := ref{} // usually all of them come again, in their order
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
	for at := newest; at != (ref{}); {
		b := p.block(at)
		f := d.open(b)
		for i := range d.spans {
			id := d.id(i)
			if ids.has(hashSpanID(id)) && slices.ContainsFunc(spans, func(s *dendro.SpanData) bool { return s.SpanID == id }) {
				add(b)
				break
			}
		}
		at = f.previous
	}
	return found
}

// note adds the newest block of a trace, which f is of and has spans of b in it, to the
// set of the trace, unless the spans are fresh: these cannot come again.
func (p *partition) note(b *dendro.Batch, newest ref, f *footer, spans []*dendro.SpanData) {
	if f.blocks <= maxScanned {
		return
	}
	id := spans[0].TraceID
	t := p.sets[id]
	isNew := t == nil
	switch {
	case isNew: // some of those before may come again
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
		for at := f.previous; at != (ref{}); {
			at = eachSpan(&p.decoder, p.block(at), func(k spanID) { t.add(entry{hashSpan(k), at}) }).previous
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

// Secrets of the process.
var (
	idFactor  = maphash.String(idSeed, "") | 1
	idMask    = maphash.String(idSeed, "id")
	startMask = maphash.String(idSeed, "start")
)

// hashSpanID and hashSpan depend on the process, so that no sender can choose spans
// that all have the same. To multiply into 128 bits and fold them is what wyhash does
// (https://github.com/wangyi-fudan/wyhash); maphash takes longer than all the rest of
// a look-up.
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

// spanSet tells spans apart. The id alone does not: Zipkin's client and server
// share it.
type spanSet map[spanID]struct{}

type spanID struct {
	id    dendro.SpanID
	start int64
}

func (s spanSet) has(id dendro.SpanID, start int64) bool {
	_, ok := s[spanID{id, start}]
	return ok
}

// add reports whether the span is a new one.
func (s spanSet) add(id dendro.SpanID, start int64) bool {
	n := len(s)
	s[spanID{id, start}] = struct{}{}
	return len(s) > n
}

// eachSpan calls visit for the spans of b, whose footer it returns.
func eachSpan(d *decoder, b block, visit func(spanID)) footer {
	f := d.open(b)
	d.raw()
	d.raw()
	h := head{start: d.base}
	for i := range d.spans {
		d.next(&h)
		d.skip(&h)
		if d.failed {
			break
		}
		visit(spanID{d.id(i), h.start})
	}
	return f
}
