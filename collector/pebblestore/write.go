package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

const (
	// minSegmentBytes is about the least memory for a segment.
	minSegmentBytes = 16 << 10
	// maxSegmentBytes is the size at which a segment is complete.
	maxSegmentBytes = 256 << 10
	// maxBlockBytes bounds the size of a block, and so of a span.
	maxBlockBytes = 8 << 20
	// syncInterval is that of SyncInterval.
	syncInterval = time.Second
)

// commit is the next write of chunks to the database. Who waits for it knows that what was added
// to the head before is stored.
type commit struct {
	done chan struct{} // closed after err is set
	err  error
}

func newCommit() *commit { return &commit{done: make(chan struct{})} }

// received is a chunk that the database does not have yet, or counts of operations.
type received struct {
	number uint64
	of     byte // 0, ofKept or ofOperations
	segment
}

// group is some spans of a trace.
type group struct {
	batch *dendro.Batch
	spans []*dendro.SpanData
}

// Collect implements [dendro.Collector]. It does not wait for the disk. It returns a
// [dendro.DropError] if the spans are too large, come faster than they can be written, or the
// disk is full.
func (s *Store) Collect(b *dendro.Batch) error {
	_, rejected, err := s.put(context.Background(), []*dendro.Batch{b}, false)
	if err != nil {
		return err
	}
	if rejected > 0 && rejected == len(b.Spans) {
		return &dendro.DropError{Reason: collector.DropTooLarge, Err: errTooLarge(rejected)}
	}
	return nil
}

// Write implements [collector.Writer]. When it returns, spans are stored as [Options.Sync] says. It
// waits while spans come faster than they can be written. It returns [ErrDiskFull] while the disk is
// full.
func (s *Store) Write(ctx context.Context, batches []*dendro.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, rejected, err := s.put(ctx, batches, true)
	if err == nil {
		err = s.await(ctx, c)
	}
	if err == nil && rejected > 0 {
		return &collector.RejectedError{Spans: rejected, Reason: errTooLarge(rejected).Error()}
	}
	return err
}

// await waits for a commit, which may be nil, if [Options.Sync] says so.
func (s *Store) await(ctx context.Context, c *commit) error {
	if s.o.Sync != SyncAlways || c == nil {
		return nil
	}
	select {
	case <-c.done:
		return c.err
	case <-s.disk.becameFull():
		return ErrDiskFull
	case <-s.failing:
		return s.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func errTooLarge(n int) error {
	return fmt.Errorf("%d spans have more than %d bytes", n, maxBlockBytes)
}

// put adds spans to the head, and returns the commit that stores them, or nil if they are stored,
// and the number of spans that are too large.
func (s *Store) put(ctx context.Context, batches []*dendro.Batch, wait bool) (c *commit, rejected int, err error) {
	groups := groupsOf(batches)
	if len(groups) == 0 {
		return nil, 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(ctx, wait); err != nil {
		return nil, 0, err
	}
	s.writing.Add(1)
	defer s.writing.Done()
	var unsure []group // which the runs may have spans of
	for _, g := range groups {
		n, sure := s.add(g, nil)
		if !sure {
			unsure = append(unsure, g)
		}
		rejected += n
	}
	for _, g := range unsure {
		rejected += s.addKnown(g)
	}
	if len(s.encoder.Data) > 0 || len(s.ready) > 0 {
		poke(s.wake)
		return s.pending, rejected, nil
	}
	return s.last, rejected, nil // all of them were there, but perhaps not stored yet
}

// admit returns an error if spans cannot be accepted now. If wait is set, it waits for a run to be
// written. s.mu is held.
func (s *Store) admit(ctx context.Context, wait bool) error {
	refuse := func(reason string, err error) error {
		if wait {
			return err
		}
		return &dendro.DropError{Reason: reason, Err: err}
	}
	for {
		switch err := s.err(); {
		case s.closed:
			return refuse(dropClosed, errClosed)
		case err != nil:
			return refuse(dropFailed, err)
		case s.disk.full.Load():
			return refuse(dropDiskFull, ErrDiskFull)
		case s.sealed == nil || s.head.bytes < max(2*s.o.headBytes, maxHeadBytes):
			return nil
		case !wait:
			return refuse(dropBusy, nil)
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.disk.becameFull():
		case <-s.failing:
		case <-s.stop:
		case <-ctx.Done():
			s.mu.Lock()
			return ctx.Err()
		}
		s.mu.Lock()
	}
}

// groupsOf returns the spans of batches by trace. Each has at most block.MaxSpans spans.
func groupsOf(batches []*dendro.Batch) (groups []group) {
	for _, b := range batches {
		spans := b.Spans
		for i := 1; i < len(spans); i++ {
			if spans[i].TraceID != spans[0].TraceID {
				spans = byTrace(spans)
				break
			}
		}
		for len(spans) > 0 {
			n := 1
			for n < min(len(spans), block.MaxSpans) && spans[n].TraceID == spans[0].TraceID {
				n++
			}
			groups = append(groups, group{b, spans[:n:n]})
			spans = spans[n:]
		}
	}
	return groups
}

// byTrace returns spans with those of a trace next to each other, in their order.
func byTrace(spans []*dendro.SpanData) []*dendro.SpanData {
	type key struct {
		trace uint64 // the first bytes of the id, in which most differ
		n     int
	}
	keys := make([]key, len(spans))
	for i, s := range spans {
		keys[i] = key{binary.BigEndian.Uint64(s.TraceID[:]), i}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.trace != b.trace {
			return cmp.Compare(a.trace, b.trace)
		}
		return cmp.Or(bytes.Compare(spans[a.n].TraceID[:], spans[b.n].TraceID[:]), cmp.Compare(a.n, b.n))
	})
	out := make([]*dendro.SpanData, len(spans))
	for i, k := range keys {
		out[i] = spans[k.n]
	}
	return out
}

// add adds spans to the head and counts them. If the runs may have spans of the trace and known is
// nil, it does nothing and returns false. s.mu is held.
func (s *Store) add(g group, known *known) (rejected int, sure bool) {
	if len(s.encoder.Data) >= maxSegmentBytes {
		s.complete()
	}
	id := g.spans[0].TraceID
	t := s.head.find(id)
	var held block.SpanSet
	earlier := false
	switch {
	case t != nil:
		held = t.held
	case known != nil:
		held, earlier = known.held, len(known.parts) > 0
	case s.mayHave(id):
		return 0, false
	}
	if before := s.sealed.find(id); t == nil && before != nil {
		earlier = true
		held = s.sealed.set(before, &s.decoder)
	}
	fresh := g.spans
	if !g.batch.Fresh {
		fresh = held.Without(fresh)
		var blocks func(func(block.Block) bool)
		if t != nil && t.blocks <= block.MaxScanned {
			blocks = s.head.each(t)
		}
		fresh = s.decoder.Fresh(fresh, blocks)
	}
	s.counts.duplicates += uint64(len(g.spans) - len(fresh))
	for left := fresh; len(left) > 0; {
		s.begin()
		at := len(s.encoder.Data)
		s.encoder.Limit = at + maxBlockBytes
		var f block.Footer
		n := len(left)
		if i := s.encoder.Append(&f, g.batch.Resource, left); i == 0 {
			rejected++
			left = left[1:]
			continue
		} else if i > 0 {
			n = i
			s.encoder.Append(&f, g.batch.Resource, left[:n])
		}
		s.grown(at)
		if t == nil {
			t = s.head.begin(id, &f)
			if earlier {
				var parts []part
				if known != nil {
					parts = known.parts
				}
				s.continues(t, held, parts)
			}
		}
		s.head.add(t, at, &f)
		if t.blocks > block.MaxScanned && !g.batch.Fresh {
			s.remember(t, left[:n])
		}
		left = left[n:]
	}
	s.operations.Shard(0).Count(g.batch.Resource, fresh)
	return rejected, true
}

// continues notes that t is elsewhere, too, with some spans. parts are those in runs.
func (s *Store) continues(t *trace, held block.SpanSet, parts []part) {
	t.earlier, t.held = true, held
	s.counts.shared++
	s.split.share(t.id, parts)
}

// remember adds spans, those of the newest block of a trace of many, to the set of the trace.
func (s *Store) remember(t *trace, spans []*dendro.SpanData) {
	if t.blocks == block.MaxScanned+1 {
		t.held = s.head.set(t, &s.decoder)
		return
	}
	if t.held == nil {
		t.held = block.SpanSet{}
	}
	for _, d := range spans {
		t.held.Add(block.SpanKey{ID: d.SpanID, Start: d.Start})
	}
}

// begin begins a segment if there is none.
func (s *Store) begin() {
	if s.encoder.Data != nil {
		return
	}
	s.segment++
	clear(s.filter)
	s.encoder.Begin(make([]byte, 0, s.usual+s.usual/8), s.segment, s.filter)
	s.head.segments = append(s.head.segments, segment{})
}

// grown notes that a block was appended to the segment.
func (s *Store) grown(from int) {
	last := len(s.head.segments) - 1
	s.head.segments[last].data = s.encoder.Data
	s.head.bytes += len(s.encoder.Data) - from
}

// complete makes the segment a chunk that is ready to be written, and the head a sealed one if it
// is full. s.mu is held.
func (s *Store) complete() {
	if len(s.encoder.Data) > 0 {
		last := &s.head.segments[len(s.head.segments)-1]
		last.filter = slices.Clone(s.filter.Fold())
		if n := len(last.data); cap(last.data) > n+n/4 { // a small request
			last.data = bytes.Clone(last.data)
		}
		s.ready = append(s.ready, received{s.next, 0, *last})
		s.next++
		s.usual = max(len(s.encoder.Data), minSegmentBytes)
		s.encoder.Data = nil
	}
	h := s.head
	if h.bytes == 0 {
		h.since = s.o.now()
	}
	if s.sealed == nil && h.bytes > 0 && (h.bytes >= s.o.headBytes || s.o.now().Sub(h.since) >= maxHeadAge) {
		s.sealHead()
	}
}

// sealHead makes the head, whose segments are complete, the sealed one, of which there is none. s.mu is held.
func (s *Store) sealHead() {
	s.sealed, s.head = s.head, newHead(s.next, s.o.now())
	if s.stored = s.last; len(s.ready) > 0 {
		s.stored = s.pending
	}
	s.encoder.Data = nil
	s.room = make(chan struct{})
	s.snapshot = s.operations.AppendSnapshot(s.snapshot[:0])
	poke(s.seal)
}

// commits writes what is ready until the store is closed.
func (s *Store) commits() {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.wake:
			runtime.Gosched() // who is about to write shares the commit
			s.commit()
		case <-tick.C:
			s.mu.Lock()
			s.complete() // the head may be old
			waiting := len(s.ready) > 0
			s.mu.Unlock()
			if waiting {
				s.commit()
			}
			if s.o.Sync == SyncInterval {
				_ = s.write(func() error { return s.db.LogData(nil, pebble.Sync) }) // an error is fatal
			}
		case <-s.failing:
			return
		case <-s.stop:
			s.writing.Wait()
			s.commit()
			return
		}
	}
}

// commit writes what is ready.
func (s *Store) commit() {
	s.mu.Lock()
	s.complete()
	ready, gone, c := s.ready, s.gone, s.pending
	s.ready, s.gone, s.last, s.pending = nil, 0, c, newCommit()
	s.mu.Unlock()
	defer close(c.done)
	if len(ready) == 0 {
		return
	}
	c.err = errClosed // unless it succeeds: after a fatal error, Pebble ends this goroutine
	defer func() {
		if err := s.err(); err != nil {
			c.err = err
		}
	}()
	began := time.Now()
	b := s.db.NewBatch()
	defer b.Close() //nolint:errcheck // it is applied before
	for _, r := range ready {
		key := receivedKey(r.number)
		if r.of != 0 {
			key = append(key, r.of)
		}
		if r.of == ofOperations {
			if c.err = b.Set(key, r.data, nil); c.err != nil {
				return
			}
			continue
		}
		op := b.SetDeferred(len(key), block.ChunkSize(r.data, r.filter))
		copy(op.Key, key)
		block.AppendChunk(op.Value[:0], r.data, r.filter)
		if err := op.Finish(); err != nil {
			c.err = err
			return
		}
	}
	how := pebble.NoSync
	if s.o.Sync == SyncAlways || gone > 0 {
		how = pebble.Sync
	}
	if gone > 0 {
		if c.err = b.Set(goneKey, binary.BigEndian.AppendUint64(nil, gone), nil); c.err != nil {
			return
		}
	}
	c.err = s.write(func() error { return s.db.Apply(b, how) })
	s.metrics.commit(time.Since(began), b.Len())
}

// known is what the runs have of a trace.
type known struct {
	parts []part
	held  block.SpanSet
}

// addKnown adds spans of a trace that runs may have. It gives up s.mu while it reads them.
func (s *Store) addKnown(g group) (rejected int) {
	id := g.spans[0].TraceID
	for {
		parts, runs := s.split.parts[id], s.runs
		s.mu.Unlock()
		k := s.know(id, parts, runs)
		s.mu.Lock()
		if slices.EqualFunc(runs, s.runs, func(a, b *run) bool { return a == b }) {
			rejected, _ = s.add(g, k)
			return rejected
		}
	}
}

// know reads what runs have of a trace. parts are those in s.split, if there are any.
func (s *Store) know(id dendro.TraceID, parts []part, runs []*run) *known {
	k := &known{held: block.SpanSet{}}
	if len(parts) == 0 {
		parts = s.lookUp(id, collector.TimeRange{}, runs)
	}
	var d block.Decoder
	for _, p := range parts {
		c, closer := s.chunk(p.run, p.chunk)
		if closer == nil {
			continue
		}
		p.first, p.end = math.MaxInt64, math.MinInt64
		for b := range c.TraceAt(int(p.at), id) {
			f := d.EachSpan(b, func(key block.SpanKey) { k.held.Add(key) })
			p.first, p.end = min(p.first, f.First), max(p.end, f.End)
		}
		k.parts = append(k.parts, p)
		_ = closer.Close() // nothing is written
	}
	return k
}

// mayHave reports whether the runs may have spans of a trace. s.mu is held.
func (s *Store) mayHave(id dendro.TraceID) bool {
	if s.split.has(id) {
		return true
	}
	hash := s.hash(id)
	return slices.ContainsFunc(s.runs, func(r *run) bool { return r.ids.has(hash) })
}

// poke puts a token into c, which has room for one, unless it has one already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
