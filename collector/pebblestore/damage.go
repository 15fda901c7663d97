package pebblestore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxPlaces bounds the number of places that are told apart.
const maxPlaces = 1000

// places is a set of places that could not be read.
type places struct {
	mu  sync.Mutex
	set map[place]struct{}
}

// place is a part of a run, or what Pebble says if it has no number.
type place struct {
	what   string
	number uint64
	chunk  uint32
}

// add reports whether a place is new. It forgets what is beyond maxPlaces.
func (p *places) add(one place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.set[one]; known || len(p.set) == maxPlaces {
		return false
	}
	if p.set == nil {
		p.set = map[place]struct{}{}
	}
	p.set[one] = struct{}{}
	return true
}

func (p *places) has(one place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.set[one]
	return known
}

func (p *places) count() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(len(p.set))
}

// Damage is something in a store that cannot be read.
type Damage struct {
	What  string // "a run", "a chunk" and so on
	Run   uint64 // its number, or that of a chunk that was received
	Chunk uint32 // its number in the run, or that of a page of the filter
	Err   error
}

// aChunk is what damage calls a chunk of a run.
const aChunk = "a chunk"

// damage counts and names something that cannot be read, once.
func (s *Store) damage(what string, number uint64, chunk uint32, err error) {
	if s.damaged.add(place{what, number, chunk}) {
		s.found(Damage{what, number, chunk, err})
	}
}

func (s *Store) logDamage(d Damage) {
	s.log.Error("dendro: the store is damaged: "+d.What+" is skipped", "number", d.Run, "chunk", d.Chunk, "err", d.Err)
}

// corrupt counts and names damage that Pebble has found, once for each file.
func (s *Store) corrupt(info pebble.DataCorruptionInfo) {
	s.damage("what is in the file "+info.Path, 0, 0, info.Details)
}
