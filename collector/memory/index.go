package memory

import (
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// index maps the hash of a trace id to the newest block of the trace. Its entries
// contain no pointers. It consists of many tables that grow one at a time, so that no
// growth takes long.
type index [indexTables]table

const (
	indexTables  = 64
	tableShift   = 64 - 6 // from a hash to the number of a table
	firstEntries = 16
	entryBytes   = 12
)

func (x *index) table(hash uint64) *table { return &x[hash>>tableShift] }

// table is a hash table with linear probing. Its length is zero or a power of two.
type table struct {
	entries []entry
	used    int
}

// entry is a part of a hash and a block. An entry with the zero block.Ref is free.
type entry struct {
	hash  uint32
	block block.Ref
}

func (e *entry) free() bool { return e.block == block.Ref{} }

// put stores e at the position where a search for its hash ended.
func (t *table) put(at int, e entry) {
	if t.entries[at].free() {
		t.used++
	}
	t.entries[at] = e
}

// add stores e and grows the table if necessary.
func (t *table) add(e entry) {
	if t.full() {
		t.grow()
	}
	at := t.start(e.hash)
	for ; !t.entries[at].free(); at = t.after(at) {
	}
	t.put(at, e)
}

// start returns the position where a search begins. after returns the next one.
func (t *table) start(hash uint32) int { return int(hash) & (len(t.entries) - 1) }
func (t *table) after(at int) int      { return (at + 1) & (len(t.entries) - 1) }

// full reports whether the table must be cleaned up or grown before another entry is
// added.
func (t *table) full() bool { return 4*(t.used+1) > 3*len(t.entries) }

// crowded reports whether a full table must grow although some of its entries were
// freed.
func (t *table) crowded() bool { return 2*(t.used+1) > len(t.entries) }

func (t *table) bytes() int { return entryBytes * len(t.entries) }

func (t *table) grow() {
	old := t.entries
	*t = table{entries: make([]entry, max(firstEntries, 2*len(old)))}
	for _, e := range old {
		if !e.free() {
			t.add(e)
		}
	}
}

// remove frees an entry and moves the entries after it that a search would no longer
// find.
func (t *table) remove(at int) {
	mask := len(t.entries) - 1
	for next := t.after(at); !t.entries[next].free(); next = t.after(next) {
		home := t.start(t.entries[next].hash)
		if (next-home)&mask >= (next-at)&mask {
			t.entries[at] = t.entries[next]
			at = next
		}
	}
	t.entries[at] = entry{}
	t.used--
}
