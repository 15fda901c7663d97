package block

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"

	"github.com/dendrotrace/dendro"
)

// SpanKey identifies a span of a trace, by its id and its start, because the client and the
// server span of Zipkin share an id.
type SpanKey struct {
	ID    dendro.SpanID
	Start int64
}

// SpanSet is a set of spans of one trace.
type SpanSet map[SpanKey]struct{}

func (s SpanSet) has(k SpanKey) bool {
	_, ok := s[k]
	return ok
}

// Add adds a span and reports whether it is new.
func (s SpanSet) Add(k SpanKey) bool {
	n := len(s)
	s[k] = struct{}{}
	return len(s) > n
}

// Without returns the spans that are not in s. It does not modify the slice.
func (s SpanSet) Without(spans []*dendro.SpanData) []*dendro.SpanData {
	held := func(d *dendro.SpanData) bool { return s.has(SpanKey{d.SpanID, d.Start}) }
	if len(s) == 0 || !slices.ContainsFunc(spans, held) {
		return spans
	}
	return slices.DeleteFunc(slices.Clone(spans), held)
}

// MaxScanned bounds the number of blocks of a trace that a store searches for duplicates. A longer
// trace gets a set of its spans, which bounds the cost of adding to it.
const MaxScanned = 32

// idFilter is the memory of a filter of the ids of a block.
type idFilter [8]uint64

// Fresh returns the spans that are neither in the given blocks of their trace, if held is not
// nil, nor twice among them. There are at most MaxSpans spans. Fresh does not modify the slice.
func (d *Decoder) Fresh(spans []*dendro.SpanData, held iter.Seq[Block]) []*dendro.SpanData {
	var ids idFilter
	twice := false
	for i, s := range spans {
		if Filter(ids[:]).Add(hashSpanID(s.SpanID)) {
			twice = twice || slices.ContainsFunc(spans[:i], func(o *dendro.SpanData) bool { return o.SpanID == s.SpanID })
		}
	}
	var found, given SpanSet
	if held != nil {
		found = d.suspects(spans, ids, held)
	}
	switch {
	case twice:
		given = SpanSet{}
	case len(found) == 0:
		return spans
	}
	return slices.DeleteFunc(slices.Clone(spans), func(s *dendro.SpanData) bool {
		k := SpanKey{s.SpanID, s.Start}
		return found.has(k) || given != nil && !given.Add(k)
	})
}

// suspects returns the spans of all blocks that contain one of the ids of spans. There is no
// such block unless a client sent a batch again.
func (d *Decoder) suspects(spans []*dendro.SpanData, ids idFilter, held iter.Seq[Block]) (found SpanSet) {
	for b := range held {
		if b.hasAny(ids[:], spans) {
			if found == nil {
				found = SpanSet{}
			}
			d.EachSpan(b, func(k SpanKey) { found[k] = struct{}{} })
		}
	}
	return found
}

// hasAny reports whether b has the id of one of spans. ids is a filter of them.
func (b Block) hasAny(ids Filter, spans []*dendro.SpanData) bool {
	footer := b.At + int(binary.LittleEndian.Uint32(b.Segment[b.At+atFooter:]))
	n, size := binary.Uvarint(b.Segment[footer:])
	held := b.Segment[footer+size:]
	for range n {
		id := dendro.SpanID(held)
		held = held[idSize:]
		if ids.Has(hashSpanID(id)) && slices.ContainsFunc(spans, func(s *dendro.SpanData) bool { return s.SpanID == id }) {
			return true
		}
	}
	return false
}

// EachSpan calls visit for each span of b and returns the footer of b.
func (d *Decoder) EachSpan(b Block, visit func(SpanKey)) Footer {
	f := d.Open(b)
	d.SkipOrigin()
	h := d.First()
	for i := range d.Spans {
		d.Next(&h)
		d.Skip(&h)
		if d.Failed {
			break
		}
		visit(SpanKey{d.ID(i), h.Start})
	}
	return f
}

// Random numbers of the process that keep the hashes unpredictable.
var (
	seed      = maphash.MakeSeed()
	idFactor  = maphash.String(seed, "") | 1
	idMask    = maphash.String(seed, "id")
	startMask = maphash.String(seed, "start")
)

// hashSpanID and Hash differ from process to process, so that no sender can choose
// spans whose hashes collide. Package maphash would take longer than the rest of a lookup.
func hashSpanID(id dendro.SpanID) uint64 {
	return fold(binary.LittleEndian.Uint64(id[:]), idFactor)
}

// Hash returns a hash of k, which is another one in each process.
func (k SpanKey) Hash() uint32 {
	return uint32(fold(binary.LittleEndian.Uint64(k.ID[:])^idMask, uint64(k.Start)^startMask))
}

// fold multiplies into 128 bits and folds them, as wyhash does
// (https://github.com/wangyi-fudan/wyhash).
func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
