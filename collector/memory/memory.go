// Package memory has a [collector.Store] in the memory of the program.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/collector/operations"
)

// Options configures a [Store]. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the memory that the store keeps in use, in bytes: encoded spans,
	// the index, the counts of operations and all other bookkeeping. If it is zero, the bound is 256 MiB. Less
	// than 1 MiB means 1 MiB. MaxBytes does not bound the process: by default
	// (GOGC=100) the garbage collector lets the heap grow to twice what is in use, so
	// a program may need twice MaxBytes for a full store. To bound the process, set
	// GOMEMLIMIT or call [runtime/debug.SetMemoryLimit].
	MaxBytes int64
	// Uncounted says that the spans are counted elsewhere, so that the store need not count its operations. It then has
	// the memory for spans.
	Uncounted bool
}

const (
	defaultMaxBytes = 256 << 20
	minMaxBytes     = 1 << 20
)

// The store is split into partitions, a power of two of them: about one for each
// processor, if each partition has at least minPartitionBytes.
const (
	minPartitionBytes = 16 << 20
	maxPartitions     = 4
)

// The size of a segment is the size of a partition divided by segmentShare, within
// these bounds.
const (
	segmentShare    = 32
	minSegmentBytes = 16 << 10
	maxSegmentBytes = 256 << 10
)

// The counts of operations take the size of the store divided by operationShare, within these
// bounds.
const (
	operationShare    = 16
	minOperationBytes = 256 << 10
	maxOperationBytes = 16 << 20
)

// traceShare bounds the size of one trace to the size of the store divided by
// traceShare.
const traceShare = 8

// Store is a [collector.Store] in the memory of the program. Its size in bytes is bounded. When
// it is full, new spans evict whole traces, the oldest first: the age of a trace is
// when its first span arrived. One trace may use an eighth of the store. Further spans
// of that trace are dropped and counted as "trace_too_large", so that an endless trace
// does not evict everything else.
//
// Collect copies what it keeps. It takes a few hundred nanoseconds per span and holds
// a lock that it shares with up to a quarter of the traces. It returns a
// [dendro.DropError] with the reason [collector.DropTooLarge] if no span of a batch can ever be
// held. A span that a client sends again is stored and counted once, as long as its
// trace is held. Collect does not look for duplicates in batches that are Fresh.
//
// Queries read snapshots and block nobody. The garbage collector does not scan the
// stored spans, however many there are.
type Store struct {
	max        int64
	operations *operations.Table
	partitions []partition
	sorted     sync.Pool // of *[]*dendro.SpanData
	// readers counts the queries that may be reading blocks without a lock. While it
	// is not zero, the memory of a dropped segment is not reused.
	readers atomic.Int64
}

var (
	_ collector.Store           = (*Store)(nil)
	_ collector.OperationWriter = (*Store)(nil)
)

// New returns an empty store.
func New(o Options) *Store {
	m := &Store{max: max(o.MaxBytes, minMaxBytes)}
	if o.MaxBytes == 0 {
		m.max = defaultMaxBytes
	}
	n := 1
	for n < min(maxPartitions, runtime.GOMAXPROCS(0)) && m.max/int64(2*n) >= minPartitionBytes {
		n *= 2
	}
	counts := min(max(m.max/operationShare, minOperationBytes), maxOperationBytes)
	if o.Uncounted {
		counts = minOperationBytes
	}
	m.operations = operations.New(operations.Options{MaxBytes: counts, Shards: n})
	m.partitions = make([]partition, n)
	share := int(m.max-counts) / n
	for i := range m.partitions {
		if !o.Uncounted {
			m.partitions[i].operations = m.operations.Shard(i)
		}
		m.partitions[i].init(share, int(m.max)/traceShare, min(max(share/segmentShare, minSegmentBytes), maxSegmentBytes), &m.readers)
	}
	m.sorted.New = func() any { return new([]*dendro.SpanData) }
	return m
}

// partition returns the partition of the traces whose id has this hash.
func (m *Store) partition(hash uint64) *partition {
	const shift = 48 // to bits that neither index nor table uses
	return &m.partitions[int(hash>>shift)&(len(m.partitions)-1)]
}

// Collect implements [dendro.Collector].
func (m *Store) Collect(b *dendro.Batch) error {
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

// Write implements [collector.Writer]. It does not wait.
func (m *Store) Write(ctx context.Context, batches []*dendro.Batch) error {
	return collector.WriterOf(m).Write(ctx, batches)
}

// WriteOperations implements [collector.OperationWriter]. It does not wait.
func (m *Store) WriteOperations(ctx context.Context, snapshot []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.operations.Merge(snapshot)
}

func (m *Store) tooLarge(b *dendro.Batch) error {
	return &dendro.DropError{Reason: collector.DropTooLarge, Err: fmt.Errorf("%d spans exceed the %d bytes of a trace", len(b.Spans), m.max/traceShare)}
}

// collectTraces is Collect for batches with spans of several traces.
func (m *Store) collectTraces(b *dendro.Batch) error {
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

// Stats implements [collector.Reader].
func (m *Store) Stats(ctx context.Context) (collector.Stats, error) {
	if err := ctx.Err(); err != nil {
		return collector.Stats{}, err
	}
	s := collector.Stats{MaxBytes: m.max, Operations: m.operations.Stats()}
	s.Bytes = s.Operations.Bytes
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
	return s, nil
}

// Operations implements [collector.OperationReader].
func (m *Store) Operations(ctx context.Context, w collector.OperationScan, visit func(*collector.Operation) bool) error {
	return m.operations.Operations(ctx, w, visit)
}

// Edges implements [collector.OperationReader].
func (m *Store) Edges(ctx context.Context, w collector.OperationScan, visit func(*collector.Edge) bool) error {
	return m.operations.Edges(ctx, w, visit)
}

// Oldest returns when the oldest trace began that is held, or the zero time if there is none. In a store
// that is full, most traces since then are held.
func (m *Store) Oldest() (oldest time.Time) {
	for i := range m.partitions {
		p := &m.partitions[i]
		p.mu.Lock()
		if len(p.segments) > 0 && int(p.drained) < len(p.segments[0].data) {
			f := p.decoder.Open(p.block(block.Ref{Segment: p.first, Offset: p.drained}))
			if first := time.Unix(0, f.First); first.After(oldest) {
				oldest = first
			}
		}
		p.mu.Unlock()
	}
	return oldest
}

// Trace implements [collector.Reader]. It needs no time.
func (m *Store) Trace(ctx context.Context, id dendro.TraceID, _ collector.TimeRange) (*collector.Trace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	hash := hashOf(id)
	p := m.partition(hash)
	var t block.Trace
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
	return t.Decode(ctx)
}
