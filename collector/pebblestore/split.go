package pebblestore

import (
	"slices"

	"github.com/dendrotrace/dendro"
)

// part is where a part of a trace is: at consecutive blocks of a chunk of a run.
type part struct {
	run        uint64
	chunk, at  uint32
	first, end int64 // of the trace, as far as its run has it
}

// splits has the traces that are not only in one chunk of a run or only in one head, because they
// arrived over a long time or are large. It has their parts in runs, oldest first. The slices are
// never modified, but replaced.
type splits map[dendro.TraceID][]part

func (s splits) has(id dendro.TraceID) bool {
	_, found := s[id]
	return found
}

// share notes that a trace is in several places. parts are all that runs have of it.
func (s splits) share(id dendro.TraceID, parts []part) {
	if _, found := s[id]; !found {
		s[id] = parts
	}
}

// add adds a part, unless it is there.
func (s splits) add(p splitPart) {
	parts := s[p.id]
	same := func(o part) bool { return o.run == p.run && o.chunk == p.chunk }
	if !slices.ContainsFunc(parts, same) {
		s[p.id] = append(slices.Clip(parts), p.part)
	}
}

// runsOf returns in how many runs there are parts.
func runsOf(parts []part) (n int) {
	for i, p := range parts {
		if i == 0 || parts[i-1].run != p.run {
			n++
		}
	}
	return n
}

// remove removes the parts in a run. heads returns how many heads have spans of a trace. The
// result is the number of traces that are still somewhere else.
func (s splits) remove(run uint64, heads func(dendro.TraceID) int) (elsewhere int) {
	for id, parts := range s {
		left := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.run == run })
		if len(left) == len(parts) {
			continue
		}
		s[id] = left
		places := runsOf(left) + heads(id)
		if places > 0 {
			elsewhere++
		}
		if places == 0 || places == 1 && len(left) <= 1 {
			delete(s, id)
		}
	}
	return elsewhere
}
