package pebblestore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxDamaged bounds the number of damaged places that are told apart.
const maxDamaged = 1000

// damaged has the places that could not be read.
type damaged struct {
	mu     sync.Mutex
	places map[place]struct{}
}

// place is a part of a run, or a file if it has no number.
type place struct {
	what   string
	number uint64
	chunk  uint32
}

// add reports whether p is new. It forgets what is beyond maxDamaged.
func (d *damaged) add(p place) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.places[p]; known || len(d.places) == maxDamaged {
		return false
	}
	if d.places == nil {
		d.places = map[place]struct{}{}
	}
	d.places[p] = struct{}{}
	return true
}

func (d *damaged) count() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(len(d.places))
}

// damage counts and names something that cannot be read, once.
func (s *Store) damage(what string, number uint64, chunk uint32, err error) {
	if s.damaged.add(place{what, number, chunk}) {
		s.log.Error("dendro: the store is damaged: "+what+" is skipped", "number", number, "chunk", chunk, "err", err)
	}
}

// corrupt counts and names damage that Pebble has found, once for each file.
func (s *Store) corrupt(info pebble.DataCorruptionInfo) {
	if s.damaged.add(place{what: info.Path}) {
		s.log.Error("dendro: the store is damaged: what is in this file is skipped", "file", info.Path, "err", info.Details)
	}
}
