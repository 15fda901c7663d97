package pebblestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Before a run is dropped, what it has of the traces that [Options.KeepErrors] keeps is received
// again, to become a part of the next run. One write to the database has these chunks and the number of
// the run, which is gone from then on.

const (
	// keptShare bounds what is kept of a run that is dropped to make room: the size of the blocks, before
	// they are compressed, is at most one in keptShare bytes of the run.
	keptShare = 2
	// keptSlowest is the number of traces of an operation that are kept because they are slow.
	keptSlowest = 5
)

// goneKey is the key of the number of the last run that is gone, though its table may be there.
var goneKey = append([]byte{kindFormat}, "gone"...)

func (s *Store) loadGone() (run uint64, err error) {
	value, closer, err := s.db.Get(goneKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close() //nolint:errcheck // nothing is written
	if len(value) != 8 {
		return 0, block.ErrBroken
	}
	return binary.BigEndian.Uint64(value), nil
}

// pick returns the traces of the oldest run that are worth keeping, the most important one first: those
// with errors, the latest first, and then the slowest of each operation.
func (s *Store) pick(ctx context.Context, r *run) (ids []dendro.TraceID, err error) {
	type operation struct{ service, name string }
	type slow struct {
		id   dendro.TraceID
		took time.Duration
	}
	now, seed := s.o.now(), maphash.MakeSeed()
	slowest := map[uint64][]slow{} // by hashes of operations, because a name may be long and there may be many
	sc := s.newScanner(collector.Scan{})
	defer sc.release()
	src := sc.runs[r.number]
	sc.sources = []source{&splitSource{run: src}, src}
	err = sc.visit(ctx, func(t *collector.Trace) bool {
		sum := t.Summary()
		switch age := now.Sub(time.Unix(0, sum.Start).Add(sum.Duration)); {
		case age < 0 || age > s.o.KeepErrors: // nobody knows how old a trace of the future is
		case sum.Errors > 0:
			ids = append(ids, sum.TraceID)
		case !sum.RootMissing:
			op := maphash.Comparable(seed, operation{sum.RootService, sum.RootName})
			of := append(slowest[op], slow{sum.TraceID, sum.Duration})
			slices.SortFunc(of, func(a, b slow) int { return cmp.Compare(b.took, a.took) })
			slowest[op] = of[:min(len(of), keptSlowest)]
		}
		return true
	})
	for n := range keptSlowest {
		for _, of := range slowest {
			if n < len(of) {
				ids = append(ids, of[n].id)
			}
		}
	}
	return ids, err
}

// keeper writes chunks with traces to keep.
type keeper struct {
	encoder block.Encoder
	filter  block.Filter
	open    []keptBlock // of the chunk that is written
	chunks  []kept
	bytes   int                       // of chunks
	others  map[dendro.TraceID]*known // what other runs have of the traces
}

// kept is a chunk with traces to keep.
type kept struct {
	segment
	blocks []keptBlock
}

type keptBlock struct {
	id     dendro.TraceID
	at     int
	footer block.Footer
}

// keep makes chunks of what r, the oldest run, has of traces to keep, of about room bytes.
func (s *Store) keep(k *keeper, r *run, room int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	ids, err := s.pick(ctx, r)
	*k = keeper{encoder: block.NewEncoder(), filter: make(block.Filter, filterWords)}
	k.begin()
	for _, id := range ids {
		var size int
		if size, err = s.keepTrace(ctx, k, r, id, room); err != nil {
			break
		}
		room -= size
	}
	k.seal()
	s.findOthers(k, r)
	if ctx.Err() != nil {
		return errClosed
	}
	return err
}

// findOthers reads what runs other than r have of the traces that are kept.
func (s *Store) findOthers(k *keeper, r *run) {
	k.others = map[dendro.TraceID]*known{}
	for _, c := range k.chunks {
		for _, b := range c.blocks {
			if k.others[b.id] != nil {
				continue
			}
			if _, others := s.partsIn(r, b.id); len(others) > 0 {
				k.others[b.id] = s.know(b.id, others, nil)
			}
		}
	}
}

// partsIn returns the parts of a trace in r, the oldest run, and in others, if it has several.
func (s *Store) partsIn(r *run, id dendro.TraceID) (in, others []part) {
	s.mu.Lock()
	parts := s.split.parts[id]
	s.mu.Unlock()
	n := 0
	for n < len(parts) && parts[n].run == r.number {
		n++
	}
	return parts[:n], parts[n:]
}

// keepTrace adds what a run has of a trace, if that takes at most room bytes. It returns the size.
func (s *Store) keepTrace(ctx context.Context, k *keeper, r *run, id dendro.TraceID, room int) (size int, err error) {
	parts, others := s.partsIn(r, id)
	if len(parts)+len(others) == 0 {
		parts = s.lookUp(id, collector.TimeRange{}, []*run{r})
	}
	t := block.Trace{ID: id}
	var open closers
	defer open.close()
	s.addParts(&t, parts, &open)
	for _, b := range t.Blocks {
		size += int(b.Size())
	}
	if len(t.Blocks) == 0 || size > room {
		return 0, nil
	}
	trace, err := t.Decode(ctx)
	if errors.Is(err, block.ErrBroken) {
		s.damage("a trace", r.number, 0, err)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	start, blocks := len(k.encoder.Data), len(k.open)
	_ = eachSource(trace.Spans, func(r *dendro.Resource, spans []*dendro.SpanData) error {
		b := keptBlock{id: id, at: len(k.encoder.Data)}
		k.encoder.Append(&b.footer, r, spans)
		k.open = append(k.open, b)
		return nil
	})
	size = len(k.encoder.Data) - start
	if size > room { // it has texts to which it could only refer in its run
		k.encoder.Data, k.open = k.encoder.Data[:start], k.open[:blocks]
		k.seal()
		return 0, nil
	}
	if len(k.encoder.Data) >= maxSegmentBytes {
		k.seal()
	}
	return size, nil
}

// begin begins a chunk.
func (k *keeper) begin() {
	clear(k.filter)
	k.encoder.Begin(make([]byte, 0, 32<<10), uint32(len(k.chunks)+1), k.filter)
	k.encoder.Limit = math.MaxInt
}

// seal completes a chunk and begins the next.
func (k *keeper) seal() {
	if len(k.open) > 0 {
		k.chunks = append(k.chunks, kept{segment{k.encoder.Data, slices.Clone(k.filter.Fold())}, k.open})
		k.bytes += len(k.encoder.Data)
		k.open = nil
	}
	k.begin()
}

// receiveKept adds what is kept of a run to the head, and returns the number of spans. If both are more than a
// head has, the head is sealed before, or runs of traces that are kept would become larger each time. There is
// no sealed head, and s.mu is held.
func (s *Store) receiveKept(k *keeper) (spans int) {
	s.complete()
	if s.sealed == nil && s.head.spans > 0 && s.head.bytes+k.bytes > s.o.headBytes {
		s.sealHead()
	}
	s.encoder.Data = nil // it may be an empty segment
	for _, c := range k.chunks {
		s.head.segments = append(s.head.segments, c.segment)
		s.head.bytes += len(c.data)
		s.ready = append(s.ready, received{s.next, ofKept, c.segment})
		s.next++
		for n, b := range c.blocks {
			t := s.head.find(b.id)
			if t == nil {
				t = s.head.begin(b.id, &b.footer)
				if s.split.has(b.id) {
					s.counts.shared++
				}
				if before := s.sealed.find(b.id); before != nil {
					t.earlier, t.held = true, s.sealed.set(before, &s.decoder)
				} else if other := k.others[b.id]; other != nil {
					t.earlier, t.held = true, other.held
				}
			}
			s.head.add(t, b.at, &b.footer)
			if last := n+1 == len(c.blocks) || c.blocks[n+1].id != b.id; last && t.blocks > block.MaxScanned {
				t.held = s.head.set(t, &s.decoder)
			}
			spans += b.footer.Spans
		}
	}
	return spans
}
