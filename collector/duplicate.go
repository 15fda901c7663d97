package collector

import "github.com/dendrotrace/dendro"

// count sets the counts of p's block to what older blocks, of which last is the
// newest, do not have.
func (p *part) count(e *encoder, last *block) {
	var seen spanSet
	if last != nil {
		e.number(p.spans)
		seen = known(e, last)
	}
	for _, s := range p.spans {
		if seen.has(s.SpanID, s.Start) {
			continue
		}
		p.block.spans++
		if s.Status.Code == dendro.StatusError {
			p.block.errors++
		}
	}
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
		var d decoder
		d.open(b.data)
		var h head
		for i := range d.n {
			h = d.head(h.start)
			seen.add(d.id(i), h.start)
		}
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
