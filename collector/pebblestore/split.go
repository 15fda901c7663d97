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

// splitBytes is about what a trace of two parts takes in splits.
const splitBytes = 160

// splits has the traces that are not only in one chunk of a run or only in one head, because they
// arrived over a long time or are large.
type splits struct {
	// parts has the parts of these traces in runs, oldest first. The slices are never modified,
	// but replaced.
	parts map[dendro.TraceID][]part
	// byRun has the traces whose first part is in a run.
	byRun map[uint64]map[dendro.TraceID]struct{}
}

func newSplits() splits {
	return splits{map[dendro.TraceID][]part{}, map[uint64]map[dendro.TraceID]struct{}{}}
}

func (s splits) has(id dendro.TraceID) bool {
	_, found := s.parts[id]
	return found
}

// set replaces the parts of a trace.
func (s splits) set(id dendro.TraceID, parts []part) {
	s.leave(id)
	s.parts[id] = parts
	if len(parts) > 0 {
		run := parts[0].run
		if s.byRun[run] == nil {
			s.byRun[run] = map[dendro.TraceID]struct{}{}
		}
		s.byRun[run][id] = struct{}{}
	}
}

// leave removes a trace from byRun.
func (s splits) leave(id dendro.TraceID) {
	if parts := s.parts[id]; len(parts) > 0 {
		run := parts[0].run
		if delete(s.byRun[run], id); len(s.byRun[run]) == 0 {
			delete(s.byRun, run)
		}
	}
}

func (s splits) delete(id dendro.TraceID) {
	s.leave(id)
	delete(s.parts, id)
}

// share notes that a trace is in several places. parts are all that runs have of it.
func (s splits) share(id dendro.TraceID, parts []part) {
	if !s.has(id) {
		s.set(id, parts)
	}
}

// add adds a part, unless it is there.
func (s splits) add(p splitPart) {
	parts := s.parts[p.id]
	same := func(o part) bool { return o.run == p.run && o.chunk == p.chunk }
	if !slices.ContainsFunc(parts, same) {
		s.set(p.id, append(slices.Clip(parts), p.part))
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
	for id, parts := range s.parts {
		left := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.run == run })
		if len(left) == len(parts) {
			continue
		}
		places := runsOf(left) + heads(id)
		if places > 0 {
			elsewhere++
		}
		if places == 0 || places == 1 && len(left) <= 1 {
			s.delete(id)
		} else {
			s.set(id, left)
		}
	}
	return elsewhere
}
