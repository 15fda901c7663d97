package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
)

const (
	// retryInterval is the time between attempts to write a run.
	retryInterval = time.Second
	// defaultRetainInterval is the time between looks at the age of runs.
	defaultRetainInterval = time.Minute
)

// seals writes sealed heads as runs, and drops old runs, until the store is closed.
func (s *Store) seals() {
	tick := time.NewTicker(s.o.retainInterval)
	defer tick.Stop()
	for {
		s.retain()
		select {
		case <-s.seal:
			s.writeSealed()
		case <-tick.C:
		case <-s.failing:
			return
		case <-s.stop:
			return
		}
	}
}

// writeSealed writes the sealed head as a run, if it has spans, and saves the counts of operations. It tries
// again until it succeeds or the store is closed: the database still has what was received.
func (s *Store) writeSealed() {
	s.mu.Lock()
	h, upTo, number, snapshot, stored := s.sealed, s.head.first-1, s.nextRun, s.snapshot, s.stored
	s.nextRun++
	s.snapshot = nil
	s.mu.Unlock()
	began := time.Now()
	if h.spans == 0 { // and only counts were received
		s.publish(&runWriter{})
	}
	for h.spans > 0 {
		w, err := s.writeRun(context.Background(), h, number, upTo)
		if err == nil {
			s.metrics.run(time.Since(began))
			s.publish(w)
			break
		}
		s.log.Error("dendro: the store cannot write a run, and tries again", "err", err)
		select {
		case <-time.After(retryInterval):
		case <-s.failing:
			return
		case <-s.stop:
			return
		}
	}
	if stored != nil { // or a chunk could be written after it is deleted, and be there when the run is gone
		select {
		case <-stored.done: // at the latest when the store is closed
		case <-s.failing:
			return
		}
	}
	_ = s.write(func() error { return s.replaceReceived(h.first, upTo, snapshot) }) // an error is fatal
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot == nil {
		s.snapshot = snapshot // whose memory is used again
	}
}

// publish replaces the sealed head by a run, if there is one.
func (s *Store) publish(w *runWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.run != nil {
		s.runs = append(slices.Clone(s.runs), w.run)
	}
	for _, p := range w.split {
		s.split.add(p)
	}
	for i := range s.head.traces { // those that continue one of the run
		if t := &s.head.traces[i]; t.earlier {
			at, _ := slices.BinarySearchFunc(w.index, t.id, func(p splitPart, id dendro.TraceID) int { return bytes.Compare(p.id[:], id[:]) })
			for ; at < len(w.index) && w.index[at].id == t.id; at++ {
				s.split.add(w.index[at])
			}
		}
	}
	s.sealed = nil
	close(s.room)
	s.complete() // the head may be full
}

// retain drops the oldest runs until the store is within its bounds.
func (s *Store) retain() {
	for {
		r, reason := s.tooMuch()
		if r == nil {
			return
		}
		if err := s.drop(r, reason); err != nil {
			if !errors.Is(err, errClosed) {
				s.log.Error("dendro: the store cannot drop old traces", "err", err)
			}
			return
		}
		select {
		case <-s.seal: // by the traces that are kept
			s.writeSealed()
		default:
		}
	}
}

// tooMuch returns the oldest run and why it must be dropped, or nil.
func (s *Store) tooMuch() (r *run, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bytes int64
	for _, r := range s.runs {
		bytes += r.bytes
	}
	if len(s.runs) > 0 {
		switch oldest := s.runs[0]; {
		case bytes+2*int64(s.o.headBytes) > s.o.MaxBytes:
			return oldest, dropEvicted
		case s.o.MaxAge > 0 && s.o.now().Sub(time.Unix(0, oldest.until)) > s.o.MaxAge:
			return oldest, dropExpired
		}
	}
	return nil, ""
}

// drop drops the oldest run, except for the traces to keep.
func (s *Store) drop(r *run, reason string) error {
	var k keeper
	if s.o.KeepErrors > 0 {
		room := math.MaxInt
		if reason == dropEvicted {
			room = int(r.bytes / keptShare)
		}
		if err := s.keep(&k, r, room); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for len(k.chunks) > 0 && s.sealed != nil && !s.closed { // receiveKept needs its place
		s.mu.Unlock()
		select {
		case <-s.seal:
			s.writeSealed()
		case <-s.failing:
			return s.err()
		case <-s.stop:
			return errClosed
		}
		s.findOthers(&k, r)
		s.mu.Lock()
	}
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	var stored *commit // of the traces to keep
	spans := 0
	if len(k.chunks) > 0 {
		spans = s.receiveKept(&k)
		s.gone, stored = r.number, s.pending
	}
	s.runs = slices.Clone(s.runs[1:])
	s.counts.shared -= s.split.remove(r.number, s.headsOf)
	s.counts.dropped[reason] += uint64(r.spans - spans)
	s.mu.Unlock()
	if stored != nil {
		poke(s.wake)
		select {
		case <-stored.done:
			if stored.err != nil {
				return stored.err
			}
		case <-s.failing:
			return s.err()
		case <-s.stop:
			return errClosed
		}
	}
	return s.write(func() error { // damaged runs that are older go with it
		return s.db.Excise(context.Background(), pebble.KeyRange{Start: runKey(0), End: runKey(r.number + 1)})
	})
}

// headsOf returns how many heads have spans of a trace. s.mu is held.
func (s *Store) headsOf(id dendro.TraceID) (n int) {
	for _, h := range []*head{s.head, s.sealed} {
		if h.find(id) != nil {
			n++
		}
	}
	return n
}
