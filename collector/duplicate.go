package collector

import (
	"slices"

	"github.com/dendrotrace/dendro"
)

// maxScanned is how many blocks of a trace are searched for the ids of new spans.
// A trace of more has an index.
const maxScanned = 32

// fresh returns the spans that are not yet in the trace. It changes the slice.
func (e *entry) fresh(enc *encoder, spans []*dendro.SpanData) []*dendro.SpanData {
	seen := e.index
	if seen == nil && e.last != nil {
		enc.number(spans)
		seen = known(enc, e.last)
	}
	if len(seen) == 0 {
		return spans
	}
	return slices.DeleteFunc(spans, func(s *dendro.SpanData) bool { return seen.has(s.SpanID, s.Start) })
}

// known returns the spans of the blocks that have one of the ids in e. That is
// none, unless a client has sent a batch again.
func known(e *encoder, last *block) spanSet {
	var seen spanSet
	for b := last; b != nil; b = b.next {
		if !e.hasOne(blockIDs(b.data)) {
			continue
		}
		if seen == nil {
			seen = spanSet{}
		}
		seen.addBlock(b)
	}
	return seen
}

// hasOne reports whether one of ids, each idSize bytes, is numbered.
func (e *encoder) hasOne(ids string) bool {
	for ; len(ids) >= idSize; ids = ids[idSize:] {
		var id dendro.SpanID
		copy(id[:], ids)
		if e.ids.find(id) >= 0 {
			return true
		}
	}
	return false
}

// indexed adds the newest block to the index. It returns the memory that this
// takes.
func (e *entry) indexed() int64 {
	before := len(e.index)
	switch {
	case e.index != nil:
		e.index.addBlock(e.last)
	case e.blocks > maxScanned:
		e.index = spanSet{}
		for b := e.last; b != nil; b = b.next {
			e.index.addBlock(b)
		}
	}
	return int64(len(e.index)-before) * indexBytes
}

// spanSet tells spans apart. The id alone does not: Zipkin's client and server
// share it.
type spanSet map[spanKey]struct{}

type spanKey struct {
	id    dendro.SpanID
	start int64
}

func (s spanSet) has(id dendro.SpanID, start int64) bool {
	_, ok := s[spanKey{id, start}]
	return ok
}

// add reports whether the span is a new one.
func (s spanSet) add(id dendro.SpanID, start int64) bool {
	n := len(s)
	s[spanKey{id, start}] = struct{}{}
	return len(s) > n
}

func (s spanSet) addBlock(b *block) {
	var d decoder
	d.open(b.data)
	var h head
	for i := range d.n {
		h = d.head(h.start)
		s.add(d.id(i), h.start)
	}
}
