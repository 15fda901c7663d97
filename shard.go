package dendro

import "sync"

// shardCount is the number of shards of open local traces, so that requests seldom
// wait for each other.
const shardCount = 16

// shardTraces is the number of open local traces that a shard lists. It is bounded
// because some spans are never ended. If there is one more, the oldest delivers the
// spans that have ended and is removed. It continues as before, but [Tracer.Flush] no
// longer sees it.
const shardTraces = 128

// shard is a share of the open local traces and of the counters.
type shard struct {
	counters
	mu     sync.Mutex
	newest *localTrace // guarded by mu, like the links in localTrace
	oldest *localTrace // guarded by mu
	open   int         // guarded by mu
	_      [64]byte    // keeps the next shard off this cache line
}

// add lists t. It returns the local trace that was removed for it, if any.
func (s *shard) add(t *localTrace) (out *localTrace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == shardTraces {
		out = s.oldest
		s.unlist(out)
	}
	t.listed, t.older = true, s.newest
	if s.newest != nil {
		s.newest.newer = t
	} else {
		s.oldest = t
	}
	s.newest = t
	s.open++
	return out
}

func (s *shard) remove(t *localTrace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.listed {
		s.unlist(t)
	}
}

// unlist removes t from the list. s.mu is held.
func (s *shard) unlist(t *localTrace) {
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		s.newest = t.older
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		s.oldest = t.newer
	}
	t.newer, t.older, t.listed = nil, nil, false
	s.open--
}

// traces returns the listed local traces.
func (s *shard) traces() []*localTrace {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*localTrace, 0, s.open)
	for t := s.newest; t != nil; t = t.older {
		out = append(out, t)
	}
	return out
}
