package collector

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
)

// MemoryOptions configures a [Memory]. The zero value works.
type MemoryOptions struct {
	// MaxBytes bounds the memory that the store keeps in use, in bytes: encoded spans,
	// the index and all other bookkeeping. If it is zero, the bound is 256 MiB; less
	// than 1 MiB counts as 1 MiB. It does not bound the process. The garbage collector
	// lets the heap grow to twice what is in use (GOGC=100), so a program may take
	// twice MaxBytes for a full store. To bound the process, set GOMEMLIMIT or call
	// [runtime/debug.SetMemoryLimit].
	MaxBytes int64
}

const (
	defaultMaxBytes = 256 << 20
	minMaxBytes     = 1 << 20
)

// The store is split into a power of two of partitions, about one for each processor
// that has at least that many bytes.
const (
	minPartitionBytes = 16 << 20
	maxPartitions     = 4
)

// A segment is one in so many parts of a partition, within these bounds.
const (
	segmentShare    = 32
	minSegmentBytes = 16 << 10
	maxSegmentBytes = 256 << 10
)

// traceShare is the share of the store that one trace may fill: one in so many.
const traceShare = 8

// Memory is the [Store] in the memory of the program. It is bounded by bytes: new
// spans push out whole traces, those first of which the first span came first. One
// trace gets an eighth of it: what arrives after that is dropped and counted as
// "trace_too_large", so that an endless trace does not push out everything else.
//
// Collect copies what it keeps. It takes some hundred nanoseconds for a span, and
// holds a lock that up to a quarter of the traces share. It returns a [dendro.DropError] with
// the reason [DropTooLarge] for a batch of which nothing can ever be held. Spans
// that a client sends again are kept and counted once, as long as their trace is
// held; for those of a batch that is Fresh it does not look.
//
// Queries read snapshots and hold up nobody. The garbage collector has nothing to
// look at in the spans that are held, however many.
type Memory struct {
	max        int64
	partitions []partition
	sorted     sync.Pool // of *[]*dendro.SpanData
	// readers is how many queries may read blocks without a lock. Meanwhile the
	// memory of a segment that is dropped is not used again.
	readers atomic.Int64
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory(o MemoryOptions) *Memory {
	m := &Memory{max: max(o.MaxBytes, minMaxBytes)}
	if o.MaxBytes == 0 {
		m.max = defaultMaxBytes
	}
	n := 1
	for n < min(maxPartitions, runtime.GOMAXPROCS(0)) && m.max/int64(2*n) >= minPartitionBytes {
		n *= 2
	}
	m.partitions = make([]partition, n)
	share := int(m.max) / n
	for i := range m.partitions {
		m.partitions[i].init(share, int(m.max)/traceShare, min(max(share/segmentShare, minSegmentBytes), maxSegmentBytes), &m.readers)
	}
	m.sorted.New = func() any { return new([]*dendro.SpanData) }
	return m
}

// partition returns that of the traces whose id has that hash.
func (m *Memory) partition(hash uint64) *partition {
	const shift = 48 // to bits that index and table do not use
	return &m.partitions[int(hash>>shift)&(len(m.partitions)-1)]
}

// Collect implements [dendro.Collector].
func (m *Memory) Collect(b *dendro.Batch) error {
	if len(b.Spans) == 0 {
		return nil
	}
	id := b.Spans[0].TraceID
	for _, s := range b.Spans[1:] {
		if s.TraceID != id {
			return m.collectTraces(b)
		}
	}
	hash := hashOf(id)
	if !m.partition(hash).add(b, hash, b.Spans) {
		return m.tooLarge(b)
	}
	return nil
}

func (m *Memory) tooLarge(b *dendro.Batch) error {
	return &dendro.DropError{Reason: DropTooLarge, Err: fmt.Errorf("%d spans with more than the %d bytes of a trace", len(b.Spans), m.max/traceShare)}
}

// collectTraces is Collect for spans of several traces.
func (m *Memory) collectTraces(b *dendro.Batch) error {
	sorted := m.sorted.Get().(*[]*dendro.SpanData)
	defer m.sorted.Put(sorted)
	spans := append((*sorted)[:0], b.Spans...)
	defer func() {
		clear(spans)
		*sorted = spans
	}()
	slices.SortStableFunc(spans, func(a, b *dendro.SpanData) int { return bytes.Compare(a.TraceID[:], b.TraceID[:]) })
	held := false
	var refused [][]*dendro.SpanData
	for rest := spans; len(rest) > 0; {
		id := rest[0].TraceID
		n := slices.IndexFunc(rest, func(s *dendro.SpanData) bool { return s.TraceID != id })
		if n < 0 {
			n = len(rest)
		}
		hash := hashOf(id)
		if m.partition(hash).add(b, hash, rest[:n:n]) {
			held = true
		} else {
			refused = append(refused, rest[:n])
		}
		rest = rest[n:]
	}
	if !held {
		return m.tooLarge(b)
	}
	for _, spans := range refused {
		p := m.partition(hashOf(spans[0].TraceID))
		p.mu.Lock()
		p.refuse(len(spans))
		p.mu.Unlock()
	}
	return nil
}

// Stats implements [Store].
func (m *Memory) Stats() Stats {
	s := Stats{MaxBytes: m.max}
	drop := func(reason string, n uint64) {
		if n > 0 {
			if s.Dropped == nil {
				s.Dropped = map[string]uint64{}
			}
			s.Dropped[reason] += n
		}
	}
	for i := range m.partitions {
		p := &m.partitions[i]
		p.mu.Lock()
		p.settle()
		s.Traces += p.stats.Traces
		s.Spans += p.stats.Spans
		s.Accepted += p.stats.Accepted
		s.Duplicates += p.stats.Duplicates
		s.Bytes += int64(p.bytes)
		drop("evicted", p.evicted)
		drop("trace_too_large", p.overlong)
		p.mu.Unlock()
	}
	return s
}

// Trace implements [Store].
func (m *Memory) Trace(ctx context.Context, id dendro.TraceID) (*Trace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	hash := hashOf(id)
	p := m.partition(hash)
	var t trace
	m.readers.Add(1)
	defer m.readers.Add(-1)
	p.mu.Lock()
	p.settle()
	table := p.index.table(hash)
	at, found := p.find(table, hash, &id)
	if found {
		p.snapshot(&t, table.entries[at].block, nil)
	}
	p.mu.Unlock()
	if !found {
		return nil, nil
	}
	return t.decode()
}

// each calls visit once with a snapshot of every trace, until it returns false. The
// blocks of a snapshot are only there until visit returns. It may leave out traces
// that begin before what since returns, and sets block.keys for keys of that
// hashes. each returns the error of ctx. Its caller is one of m.readers.
func (m *Memory) each(ctx context.Context, since func() int64, keys []uint64, visit func(t *trace) bool) error {
	traces := make([]trace, tracesPerLock)
	for i := range m.partitions {
		for w := m.partitions[i].walk(keys); w.next(traces, since()); {
			for i := range w.found {
				if err := ctx.Err(); err != nil {
					return err
				}
				if !visit(&traces[i]) {
					return nil
				}
			}
		}
	}
	return ctx.Err()
}

// always is a since of each.
func always() int64 { return math.MinInt64 }
