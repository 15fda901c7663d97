package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Trace implements [collector.Reader]. It looks into runs that may have spans of the given time.
func (s *Store) Trace(ctx context.Context, id dendro.TraceID, when collector.TimeRange) (*collector.Trace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !s.reading.enter() {
		return nil, errClosed
	}
	defer s.reading.leave()
	t := block.Trace{ID: id}
	s.mu.Lock()
	held := s.addHeads(&t, s.head, s.sealed)
	parts, split := s.split.parts[id]
	runs := s.runs
	s.mu.Unlock()
	if !held && !split {
		parts = s.lookUp(id, when, runs)
	}
	var open closers
	defer open.close()
	s.addParts(&t, parts, &open)
	if len(t.Blocks) == 0 {
		return nil, nil
	}
	return t.Decode(ctx)
}

// addHeads adds the blocks that heads have of a trace, newest first, and reports whether there are
// any. s.mu is held, unless the heads are snapshots.
func (s *Store) addHeads(t *block.Trace, heads ...*head) (held bool) {
	for _, h := range heads {
		if in := h.find(t.ID); in != nil {
			h.addTo(t, in)
			held = true
		}
	}
	return held
}

// addTo adds the blocks of a trace of h to t.
func (h *head) addTo(t *block.Trace, in *trace) {
	if len(t.Blocks) == 0 {
		t.First, t.End = in.first, in.end
	}
	for b := range h.each(in) {
		t.Blocks = append(t.Blocks, b)
	}
	t.First, t.End = min(t.First, in.first), max(t.End, in.end)
	t.Spans += int(in.spans)
	t.Errors += int(in.errors)
}

// addParts adds the blocks of parts of a trace, which are oldest first. It skips what is damaged
// or gone. They can be read until open is closed.
func (s *Store) addParts(t *block.Trace, parts []part, open *closers) {
	for _, p := range slices.Backward(parts) {
		if c, closer := s.chunk(p.run, p.chunk); closer != nil {
			*open = append(*open, closer)
			addTo(t, c, p.at)
		}
	}
}

// addTo adds the blocks of t that are in c from an offset on.
func addTo(t *block.Trace, c block.Chunk, at uint32) {
	var d block.Decoder
	blocks := slices.Collect(c.TraceAt(int(at), t.ID))
	for _, b := range slices.Backward(blocks) {
		f := d.Open(b)
		t.Add(b, &f)
	}
}

// closers give the memory of chunks back.
type closers []io.Closer

func (c *closers) close() {
	for _, one := range *c {
		_ = one.Close() // nothing is written
	}
	*c = nil
}

// lookUp returns where the runs have a trace of which they have one part, or which is large. The
// trace has spans at the given time.
func (s *Store) lookUp(id dendro.TraceID, when collector.TimeRange, runs []*run) (parts []part) {
	hash := s.hash(id)
	for _, r := range slices.Backward(runs) {
		if !r.ids.has(hash) || !r.overlaps(when) {
			continue
		}
		value, closer, err := s.db.Get(traceKey(r.number, id))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			s.damage("the index of a run", r.number, 0, err)
			continue
		}
		for len(value) > 0 {
			chunk, n := binary.Uvarint(value)
			at, m := binary.Uvarint(value[max(n, 0):])
			if n <= 0 || m <= 0 {
				break
			}
			value = value[n+m:]
			parts = append(parts, part{run: r.number, chunk: uint32(chunk), at: uint32(at)})
		}
		_ = closer.Close() // nothing is written
		return parts
	}
	return nil
}

// overlaps reports whether r may have spans of a time.
func (r *run) overlaps(when collector.TimeRange) bool {
	for i := range r.chunks {
		c := &r.chunks[i]
		if (when.End.IsZero() || c.earliest < block.UnixNano(when.End)) && (when.Start.IsZero() || c.end >= block.UnixNano(when.Start)) {
			return true
		}
	}
	return false
}

// chunk returns a chunk of a run. It can be read until the result is closed. If the run is gone or
// the chunk is damaged, there is no result to close.
func (s *Store) chunk(run uint64, number uint32) (c block.Chunk, open io.Closer) {
	if s.damaged.has(place{aChunk, run, number}) { // reading it again takes long
		return c, nil
	}
	value, open, err := s.db.Get(numberedKey(run, ofChunk, number))
	if errors.Is(err, pebble.ErrNotFound) {
		return c, nil
	}
	if err == nil {
		if c, err = block.ReadChunk(value); err == nil {
			return c, open
		}
		_ = open.Close() // nothing is written
	}
	s.damage(aChunk, run, number, err)
	return c, nil
}
