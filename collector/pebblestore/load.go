package pebblestore

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

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
	inRuns := s.next - 1
	s.counted = s.loadCounts()
	s.next = max(s.next, s.counted+1) // the runs that have them may be gone
	if s.counted < inRuns {           // what a crash between a run and its counts leaves
		if err := s.countBetween(s.counted, s.next); err != nil {
			return err
		}
		s.counted = inRuns
		if err := s.replaceReceived(0, inRuns, s.operations.AppendSnapshot(nil)); err != nil {
			return err
		}
	} else if err := s.db.DeleteRange(receivedKey(0), receivedKey(s.next), pebble.NoSync); err != nil {
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

// loadRuns reads what is known about the runs. One that is damaged is skipped.
func (s *Store) loadRuns() error {
	ranges, err := s.numbers(kindRun)
	if err != nil {
		return err
	}
	gone, err := s.loadGone()
	if isDamage(err) {
		s.damage("the number of the last run that is gone", 0, 0, err)
	} else if err != nil {
		return err
	}
	known, splits := map[uint64]*run{}, map[uint64][]splitPart{}
	s.nextRun = gone + 1
	for _, n := range ranges {
		for number := max(n.first, gone+1); number <= n.last; number++ {
			r, split, err := s.loadRun(number)
			switch {
			case errors.Is(err, pebble.ErrNotFound):
				continue
			case isDamage(err):
				s.damage("a run", number, 0, err)
			case err != nil:
				return err
			default:
				s.runs = append(s.runs, r)
				known[number], splits[number] = r, split
			}
			s.nextRun = max(s.nextRun, number+1)
		}
	}
	slices.SortFunc(s.runs, func(a, b *run) int { return cmp.Compare(a.number, b.number) })
	s.next = 1
	for _, r := range s.runs {
		s.next = max(s.next, r.upTo+1)
		for _, p := range splits[r.number] {
			if in := known[p.run]; in != nil && int64(p.chunk) < int64(len(in.chunks)) {
				s.split.add(p)
			}
		}
	}
	for id, parts := range s.split.parts {
		if len(parts) < 2 { // the others were dropped
			s.split.delete(id)
			continue
		}
		s.counts.shared += runsOf(parts) - 1
	}
	return nil
}

// isDamage reports whether err says that what was read is not what was written. Other errors may not
// be there the next time.
func isDamage(err error) bool {
	return errors.Is(err, block.ErrBroken) || pebble.IsCorruptionError(err) || errors.As(err, new(block.VersionError))
}

// numbers is a range of numbers of runs or of received chunks.
type numbers struct{ first, last uint64 }

// numbers returns in which ranges there are keys of a kind in the tables of the database, whose
// content may be damaged. There are none for what is only in its log.
func (s *Store) numbers(kind byte) (out []numbers, err error) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, err
	}
	for _, tables := range levels {
		for _, t := range tables {
			first, last := t.Smallest.UserKey, t.Largest.UserKey
			if len(first) >= 9 && len(last) >= 9 && first[0] == kind && last[0] == kind {
				out = append(out, numbers{binary.BigEndian.Uint64(first[1:]), binary.BigEndian.Uint64(last[1:])})
			}
		}
	}
	return out, nil
}

func (s *Store) loadRun(number uint64) (*run, []splitPart, error) {
	value, closer, err := s.db.Get(runPartKey(number, ofMeta))
	if err != nil {
		return nil, nil, err
	}
	defer closer.Close()
	r, split, err := readRun(number, value)
	if err != nil {
		return nil, nil, err
	}
	size, err := s.db.EstimateDiskUsage(keysOf(number).Start, keysOf(number).End)
	r.bytes = int64(size)
	return r, split, err
}

// loadReceived makes a head of the chunks that are in no run. What is damaged is skipped.
func (s *Store) loadReceived() error {
	s.head = newHead(s.next, s.o.now())
	ranges, err := s.numbers(kindReceived)
	if err != nil {
		return err
	}
	last := uint64(0)
	for _, n := range ranges {
		last = max(last, n.last)
	}
	for {
		err := s.loadChunks()
		if !isDamage(err) || s.next > last {
			return err
		}
		s.damage("a chunk that was received", s.next, 0, err)
		s.next++
	}
}

// loadChunks adds the chunks from s.next on to the head. After an error, s.next is one that cannot be
// read.
func (s *Store) loadChunks() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: receivedKey(s.next), UpperBound: []byte{kindReceived + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		number := binary.BigEndian.Uint64(it.Key()[1:])
		s.next = number + 1
		of := ofReceived(it.Key())
		if of == ofOperations {
			if number > s.counted {
				s.head.bytes += len(it.Value())
				if err := s.operations.Merge(it.Value()); err != nil {
					s.damage("counts of operations that were received", number, 0, err)
				}
			}
			continue
		}
		c, err := block.ReadChunk(bytes.Clone(it.Value()))
		if err == nil {
			s.head.segments = append(s.head.segments, segment{c.Blocks, c.Filter})
			s.head.bytes += len(c.Blocks)
			for b := range c.All() {
				err = errors.Join(err, s.loadBlock(b, of == ofKept))
			}
		}
		if err != nil {
			s.damage("a chunk that was received", number, 0, err)
		}
	}
	return it.Close()
}

// loadBlock adds a block of the last segment to the head, unless it is broken. kept says whether its spans were
// in a run before.
func (s *Store) loadBlock(b block.Block, kept bool) error {
	id := b.TraceID()
	r, spans, err := s.spansOf(b)
	if err != nil {
		return err
	}
	f := s.decoder.Open(b)
	t := s.head.find(id)
	if t == nil {
		var k *known
		if s.mayHave(id) {
			k = s.know(id, s.split.parts[id], s.runs)
		}
		t = s.head.begin(id, &f)
		if k != nil && len(k.parts) > 0 {
			s.continues(t, k.held, k.parts)
		}
	}
	s.head.add(t, b.At, &f)
	if t.blocks > block.MaxScanned {
		s.remember(t, spans)
	}
	if s.next > s.counted+1 && !kept {
		s.operations.Shard(0).Count(r, spans)
	}
	return nil
}
