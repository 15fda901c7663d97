package collector

// index finds the newest block of a trace by a hash of its id. It has no pointers,
// and is made of tables that grow one by one, so that none takes long.
type index [indexTables]table

const (
	indexTables  = 64
	tableShift   = 64 - 6 // of a hash, to the number of a table
	firstEntries = 16
	entryBytes   = 12
)

func (x *index) table(hash uint64) *table { return &x[hash>>tableShift] }

// table is a hash table with linear probing. Its length is zero or a power of two.
type table struct {
	entries []entry
	used    int
}

// entry is a part of a hash and a block. It is free if that is nowhere.
type entry struct {
	hash  uint32
	block ref
}

func (e *entry) free() bool { return e.block == ref{} }

// put puts e where a search for its hash has ended.
func (t *table) put(at int, e entry) {
	if t.entries[at].free() {
		t.used++
	}
	t.entries[at] = e
}

// add puts e in, and makes room if need be.
func (t *table) add(e entry) {
	if t.full() {
		t.grow()
	}
	at := t.start(e.hash)
	for ; !t.entries[at].free(); at = t.after(at) {
	}
	t.put(at, e)
}

// start is where a search begins, and after where it goes on.
func (t *table) start(hash uint32) int { return int(hash) & (len(t.entries) - 1) }
func (t *table) after(at int) int      { return (at + 1) & (len(t.entries) - 1) }

// full reports whether there is no room for one more.
func (t *table) full() bool { return 4*(t.used+1) > 3*len(t.entries) }

// crowded reports whether a table that is full needs to grow even if a part of it
// could be freed.
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

// remove frees a place, and moves the entries behind it that would not be found
// any more.
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
