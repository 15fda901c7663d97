package keep

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
)

// state is what becomes of the spans of a trace that is kept.
type state uint8

const (
	unknown state = iota // the trace is not kept
	waiting              // what is in the ring will be sent
	sent                 // what was in the ring has been sent; later spans are sent at once
)

// known remembers the traces that are kept. It has two generations: when one is full, the other is
// forgotten.
type known struct {
	most int // of a generation

	filters [2]filter
	mu      sync.Mutex
	recent  map[dendro.TraceID]state // guarded by mu, like the fields below
	earlier map[dendro.TraceID]state
	newest  int // filter of recent
}

// filter has a bit for each trace of a generation, so that most requests need no lock.
type filter [1 << 12]atomic.Uint64

func (f *filter) bit(id *dendro.TraceID) (word *atomic.Uint64, bit uint64) {
	h := binary.LittleEndian.Uint64(id[8:]) * 0x9e3779b97f4a7c15
	return &f[h>>52], 1 << (h >> 46 & 63)
}

func (f *filter) has(id *dendro.TraceID) bool {
	word, bit := f.bit(id)
	return word.Load()&bit != 0
}

func (f *filter) add(id *dendro.TraceID) {
	word, bit := f.bit(id)
	word.Or(bit)
}

func newKnown(most int) *known {
	return &known{most: max(most/2, 1), recent: map[dendro.TraceID]state{}}
}

// get returns the state of a trace.
func (k *known) get(id dendro.TraceID) state {
	if !k.filters[0].has(&id) && !k.filters[1].has(&id) {
		return unknown
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.getLocked(id)
}

func (k *known) getLocked(id dendro.TraceID) state {
	if s, ok := k.recent[id]; ok {
		return s
	}
	return k.earlier[id]
}

// add makes a trace waiting unless it is known, and reports whether it was not.
func (k *known) add(id dendro.TraceID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.getLocked(id) != unknown {
		return false
	}
	k.setLocked(id, waiting)
	return true
}

func (k *known) set(id dendro.TraceID, s state) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setLocked(id, s)
}

func (k *known) setLocked(id dendro.TraceID, s state) {
	if len(k.recent) >= k.most {
		k.recent, k.earlier = make(map[dendro.TraceID]state), k.recent
		k.newest = 1 - k.newest
		for i := range k.filters[k.newest] {
			k.filters[k.newest][i].Store(0)
		}
	}
	k.recent[id] = s
	k.filters[k.newest].add(&id)
}

// size returns the number of traces that are remembered.
func (k *known) size() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.recent) + len(k.earlier)
}
