package collector

import "hash/maphash"

// table numbers distinct values in the order in which they were added. Against
// a map it costs a third, which counts on the goroutine of a request.
type table[K comparable] struct {
	items []K
	slots []uint32 // open addressing: position in items plus one, 0 is free
}

var tableSeed = maphash.MakeSeed()

// maxIdleSlots is how much room a table keeps when it is reset.
const maxIdleSlots = 1 << 13

// add returns the number of k, and whether it is a new one.
func (t *table[K]) add(k K) (n int, added bool) {
	if 4*len(t.items) >= 3*len(t.slots) {
		t.grow()
	}
	slot := t.slot(k)
	if n := t.slots[slot]; n > 0 {
		return int(n - 1), false
	}
	t.items = append(t.items, k)
	t.slots[slot] = uint32(len(t.items))
	return len(t.items) - 1, true
}

// find returns the number of k, -1 if it was not added.
func (t *table[K]) find(k K) int {
	if len(t.items) == 0 {
		return -1
	}
	return int(t.slots[t.slot(k)]) - 1
}

// slot returns where k is, or has to go.
func (t *table[K]) slot(k K) uint64 {
	mask := uint64(len(t.slots) - 1)
	i := maphash.Comparable(tableSeed, k) & mask
	for t.slots[i] > 0 && t.items[t.slots[i]-1] != k {
		i = (i + 1) & mask
	}
	return i
}

func (t *table[K]) grow() {
	t.slots = make([]uint32, max(64, 2*len(t.slots)))
	for i, k := range t.items {
		t.slots[t.slot(k)] = uint32(i + 1)
	}
}

// reset empties t. It keeps no value alive, and some of the room.
func (t *table[K]) reset() {
	if len(t.slots) > maxIdleSlots {
		*t = table[K]{}
		return
	}
	clear(t.items)
	clear(t.slots)
	t.items = t.items[:0]
}
