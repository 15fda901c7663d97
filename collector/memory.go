package collector

import (
	"context"
	"fmt"
	"sync"

	"github.com/dendrotrace/dendro"
)

// MemoryOptions configures a [Memory]. The zero value works.
type MemoryOptions struct {
	// MaxBytes bounds the memory that spans and their bookkeeping take.
	// Default: 256 MiB. At least 1 MiB: less counts as that.
	MaxBytes int64
}

const (
	defaultMaxBytes = 256 << 20
	minMaxBytes     = 1 << 20
)

// What Go's allocator takes for the bookkeeping, on 64-bit machines. A test
// compares the sum with the heap.
const (
	blockBytes    = 48  // block
	entryBytes    = 128 // entry
	internedBytes = 48  // interned
	indexBytes    = 40  // a span in the index of its trace
	placeBytes    = 48  // a place in a map half full, which never shrinks
	slotBytes     = 16  // a slot, which is used again
)

// Memory is the [Store] in the memory of the program. It is bounded by bytes:
// new spans push out whole traces, the one first to which nothing has been added
// for longest. One trace gets a quarter of it: what arrives after that is dropped
// and counted as "trace_too_large", so that an endless trace does not push out
// everything else.
//
// Collect copies what it keeps. It takes about a microsecond for a span, holds
// a lock for a fraction of that, and returns a [dendro.DropError] with the
// reason [DropTooLarge] for a batch that can never fit. Spans that a client sends
// again are kept and counted once, as long as their trace is held.
//
// Queries read snapshots and hold up nobody.
type Memory struct {
	max        int64
	workspaces sync.Pool

	mu             sync.Mutex // guards what follows, and the entries but for their blocks
	traces         map[dendro.TraceID]*entry
	slots          []*entry // all entries, each in the same place as long as it is held
	free           []uint32 // unused slots
	newest, oldest *entry   // by the last arrival
	resources      interner
	scopes         interner
	stats          Stats // but for Dropped
	evicted        uint64
	overlong       uint64 // spans over the bound of their trace
}

var _ Store = (*Memory)(nil)

// entry is a trace that is held.
type entry struct {
	trace
	bytes        int64
	index        spanSet // of all spans; nil for few blocks
	blocks, slot uint32
	newer, older *entry
}

// traceShare is the share of the store that one trace may fill: one in so many.
const traceShare = 4

// NewMemory returns an empty store.
func NewMemory(o MemoryOptions) *Memory {
	m := &Memory{
		max:       max(o.MaxBytes, minMaxBytes),
		traces:    map[dendro.TraceID]*entry{},
		resources: interner{held: map[string]*interned{}},
		scopes:    interner{held: map[string]*interned{}},
	}
	if o.MaxBytes == 0 {
		m.max = defaultMaxBytes
	}
	m.stats.MaxBytes = m.max
	m.workspaces.New = func() any { return new(workspace) }
	return m
}

// Collect implements [dendro.Collector].
func (m *Memory) Collect(b *dendro.Batch) error {
	if len(b.Spans) == 0 {
		return nil
	}
	w := m.workspaces.Get().(*workspace)
	defer m.workspaces.Put(w)
	defer w.clear()

	w.origin(b)
	w.split(b.Spans)
	total := int64(len(w.resource) + len(w.scope) + 2*(internedBytes+placeBytes))
	for i := range w.parts {
		total += w.parts[i].bytes + entryBytes + placeBytes + slotBytes
	}
	if total > m.max {
		return &dendro.DropError{Reason: DropTooLarge, Err: fmt.Errorf("%d spans in %d bytes, of at most %d", len(b.Spans), total, m.max)}
	}
	service := b.Resource.Service()
	for i := range w.parts {
		m.add(w, &w.parts[i], service)
	}
	return nil
}

// add puts a part into its trace, and evicts what then is too much.
func (m *Memory) add(w *workspace, p *part, service string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := p.spans[0].TraceID
	e := m.traces[id]
	if e == nil {
		e = &entry{trace: trace{id: id}}
		m.hold(e)
	} else {
		m.unlist(e)
	}
	m.list(e)

	fresh := e.fresh(&w.encoder, p.spans)
	m.stats.Duplicates += uint64(p.received - len(fresh))
	if len(fresh) == 0 {
		return
	}
	m.stats.Accepted += uint64(len(fresh))
	if e.blocks > 0 && e.bytes+p.bytes > m.max/traceShare {
		m.overlong += uint64(len(fresh))
		return
	}
	if len(fresh) < len(p.spans) {
		*p = newPart(&w.encoder, fresh)
	}
	resource, resourceBytes := m.resources.use(w.resource, service)
	scope, scopeBytes := m.scopes.use(w.scope, "")
	p.block.resource, p.block.scope = resource, scope
	e.add(p)
	e.blocks++
	bytes := p.bytes + e.indexed()
	e.bytes += bytes
	m.stats.Bytes += bytes + resourceBytes + scopeBytes
	m.stats.Spans += len(fresh)
	for m.stats.Bytes > m.max {
		m.evict(m.oldest)
	}
}

// hold gives e its place.
func (m *Memory) hold(e *entry) {
	if n := len(m.free); n > 0 {
		e.slot = m.free[n-1]
		m.free = m.free[:n-1]
		m.slots[e.slot] = e
	} else {
		e.slot = uint32(len(m.slots))
		m.slots = append(m.slots, e)
		m.stats.Bytes += placeBytes + slotBytes
	}
	m.traces[e.id] = e
	e.bytes = entryBytes
	m.stats.Bytes += entryBytes
	m.stats.Traces++
}

func (m *Memory) evict(e *entry) {
	m.unlist(e)
	delete(m.traces, e.id)
	m.slots[e.slot] = nil
	m.free = append(m.free, e.slot)
	m.stats.Bytes -= e.bytes
	for b := e.last; b != nil; b = b.next {
		m.stats.Bytes -= m.resources.release(b.resource) + m.scopes.release(b.scope)
	}
	m.stats.Traces--
	m.stats.Spans -= e.spans
	m.evicted += uint64(e.spans)
}

// list makes e the newest.
func (m *Memory) list(e *entry) {
	e.newer, e.older = nil, m.newest
	if m.newest != nil {
		m.newest.newer = e
	} else {
		m.oldest = e
	}
	m.newest = e
}

func (m *Memory) unlist(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		m.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		m.oldest = e.newer
	}
}

// Stats implements [Store].
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	for reason, n := range map[string]uint64{"evicted": m.evicted, "trace_too_large": m.overlong} {
		if n > 0 {
			if s.Dropped == nil {
				s.Dropped = map[string]uint64{}
			}
			s.Dropped[reason] = n
		}
	}
	return s
}

// Trace implements [Store].
func (m *Memory) Trace(ctx context.Context, id dendro.TraceID) (*Trace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	e := m.traces[id]
	if e == nil {
		m.mu.Unlock()
		return nil, nil
	}
	t := e.trace
	m.mu.Unlock()
	return t.decode()
}

// slotsPerLock is how many traces are copied while m.mu is held: some
// microseconds.
const slotsPerLock = 128

// each calls visit with a snapshot of every trace, roughly the newest first,
// until it returns false. It returns the error of ctx.
func (m *Memory) each(ctx context.Context, visit func(t *trace) bool) error {
	traces := make([]trace, 0, slotsPerLock)
	m.mu.Lock()
	top := len(m.slots) // which are never fewer
	m.mu.Unlock()
	for top > 0 {
		traces = traces[:0]
		m.mu.Lock()
		for ; top > 0 && len(traces) < slotsPerLock; top-- {
			if e := m.slots[top-1]; e != nil {
				traces = append(traces, e.trace)
			}
		}
		m.mu.Unlock()
		for i := range traces {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !visit(&traces[i]) {
				return nil
			}
		}
	}
	return ctx.Err()
}
