package pebblestore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// formatVersion is that of the directory. It counts changes that an older program would misread.
const formatVersion = 1

// format describes a directory. It is stored as JSON.
type format struct {
	Version int
	Seed    [2]uint64 // of the hashes of trace ids
}

// load reads what the directory has, or makes it a new store.
func (s *Store) load() error {
	if err := s.disk.fs.RemoveAll(s.newDir()); err != nil { // a run that was not complete
		return err
	}
	if err := s.loadFormat(); err != nil {
		return err
	}
	if err := s.loadRuns(); err != nil {
		return err
	}
	s.next, s.nextRun = 1, 1
	for _, r := range s.runs {
		s.next, s.nextRun = max(s.next, r.upTo+1), r.number+1
	}
	if err := s.db.DeleteRange(receivedKey(0), receivedKey(s.next), pebble.NoSync); err != nil {
		return err
	}
	return s.loadReceived()
}

func (s *Store) loadFormat() error {
	value, closer, err := s.db.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		s.format = format{formatVersion, [2]uint64{binary.LittleEndian.Uint64(random[:8]), binary.LittleEndian.Uint64(random[8:])}}
		value, err := json.Marshal(s.format)
		if err != nil {
			return err
		}
		return s.db.Set(formatKey, value, pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if err := json.Unmarshal(value, &s.format); err != nil {
		return fmt.Errorf("the record of the format: %w", err)
	}
	if s.format.Version > formatVersion {
		return fmt.Errorf("the directory has format %d and this program reads formats up to %d: use a newer dendro", s.format.Version, formatVersion)
	}
	return nil
}

// loadRuns reads what is known about the runs. One that cannot be read is skipped.
func (s *Store) loadRuns() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindRun}, UpperBound: []byte{kindRun + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	known := map[uint64]bool{}
	for ok := it.First(); ok; {
		number := binary.BigEndian.Uint64(it.Key()[1:])
		r, err := s.loadRun(number)
		if err != nil {
			s.damage("a run", number, 0, err)
		} else {
			s.runs = append(s.runs, r)
			known[number] = true
		}
		ok = it.SeekGE(runKey(number + 1))
	}
	if err := it.Error(); err != nil {
		return err
	}
	for _, r := range s.runs {
		for _, p := range r.split {
			if known[p.run] {
				s.split.add(p)
			}
		}
	}
	for id, parts := range s.split {
		if len(parts) < 2 { // the others were dropped
			delete(s.split, id)
			continue
		}
		s.counts.shared += runsOf(parts) - 1
	}
	return nil
}

func (s *Store) loadRun(number uint64) (*run, error) {
	value, closer, err := s.db.Get(runPartKey(number, ofMeta))
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	r, err := readRun(number, value)
	if err != nil {
		return nil, err
	}
	size, err := s.db.EstimateDiskUsage(keysOf(number).Start, keysOf(number).End)
	r.bytes = int64(size)
	return r, err
}

// loadReceived makes a head of the chunks that are in no run.
func (s *Store) loadReceived() error {
	s.head = newHead(s.next, s.o.now())
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: receivedKey(s.next), UpperBound: []byte{kindReceived + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	view := block.View{Scan: collector.Scan{AllAttributes: true, Details: true}, Ctx: context.Background()}
	for ok := it.First(); ok; ok = it.Next() {
		number := binary.BigEndian.Uint64(it.Key()[1:])
		s.next = number + 1
		c, err := block.ReadChunk(bytes.Clone(it.Value()))
		if err != nil {
			s.damage("a chunk that was received", number, 0, err)
			continue
		}
		s.head.segments = append(s.head.segments, segment{c.Blocks, c.Filter})
		s.head.bytes += len(c.Blocks)
		for b := range c.All() {
			if err := s.loadBlock(b, &view); err != nil {
				s.damage("a chunk that was received", number, 0, err)
				break
			}
		}
	}
	return it.Error()
}

// loadBlock adds a block of the last segment to the head.
func (s *Store) loadBlock(b block.Block, view *block.View) error {
	id := b.TraceID()
	f := s.decoder.Open(b)
	if s.decoder.Failed {
		return block.ErrBroken
	}
	t := s.head.find(id)
	if t == nil {
		var k *known
		if s.mayHave(id) {
			k = s.know(id, s.split[id], s.runs)
		}
		t = s.head.begin(id, &f)
		if k != nil && len(k.parts) > 0 {
			s.continues(t, k.held, k.parts)
		}
	}
	s.head.add(t, b.At, &f)
	if t.blocks > maxScanned {
		t.held = s.head.set(t, &s.decoder)
	}
	bt := block.Trace{ID: id}
	bt.Add(b, &f)
	got, err := view.Decode(&bt)
	if err != nil {
		return err
	}
	spans := make([]*dendro.SpanData, len(got.Spans))
	for i := range got.Spans {
		spans[i] = &got.Spans[i].SpanData
	}
	s.operations.Shard(0).Count(got.Spans[0].Resource, spans)
	return nil
}
