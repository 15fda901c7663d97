package pebblestore

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
)

const (
	// retryInterval is the time between attempts to write a run.
	retryInterval = time.Second
	// retainInterval is the time between looks at the age of runs.
	retainInterval = time.Minute
)

// seals writes sealed heads as runs, and drops old runs, until the store is closed.
func (s *Store) seals() {
	tick := time.NewTicker(retainInterval)
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

// writeSealed writes the sealed head as a run. It tries again until it succeeds or the store is
// closed: the database still has what was received.
func (s *Store) writeSealed() {
	s.mu.Lock()
	h, upTo, number, snapshot := s.sealed, s.head.first-1, s.nextRun, s.snapshot
	s.nextRun++
	s.snapshot = nil
	s.mu.Unlock()
	began := time.Now()
	for {
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
	_ = s.write(func() error { return s.replaceReceived(h.first, upTo, snapshot) }) // an error is fatal
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot == nil {
		s.snapshot = snapshot // whose memory is used again
	}
}

// publish replaces the sealed head by a run.
func (s *Store) publish(w *runWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = append(slices.Clone(s.runs), w.run)
	for _, p := range w.run.split {
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
}

// retain drops the oldest runs until the store is within its bounds.
func (s *Store) retain() {
	for {
		s.mu.Lock()
		var bytes int64
		for _, r := range s.runs {
			bytes += r.bytes
		}
		reason := ""
		if len(s.runs) > 0 {
			switch oldest := s.runs[0]; {
			case bytes+2*int64(s.o.headBytes) > s.o.MaxBytes:
				reason = dropEvicted
			case s.o.MaxAge > 0 && s.o.now().Sub(time.Unix(0, oldest.until)) > s.o.MaxAge:
				reason = dropExpired
			}
		}
		if reason == "" {
			s.mu.Unlock()
			return
		}
		r := s.runs[0]
		s.runs = slices.Clone(s.runs[1:])
		s.counts.shared -= s.split.remove(r.number, s.headsOf)
		s.counts.dropped[reason] += uint64(r.spans)
		s.mu.Unlock()
		// Damaged runs that are older go with it.
		if err := s.write(func() error {
			return s.db.Excise(context.Background(), pebble.KeyRange{Start: runKey(0), End: runKey(r.number + 1)})
		}); err != nil {
			s.log.Error("dendro: the store cannot drop old traces", "err", err)
			return
		}
	}
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
