package dendro

import "sync"

// shardCount spreads the bookkeeping of open local traces, so that requests do
// not wait for each other.
const shardCount = 16

// shardTraces is how many open local traces a shard keeps in sight, so that
// spans that nobody ends cannot fill the memory. When there is one more, the
// oldest hands over what has ended; it goes on as before, but [Tracer.Flush]
// does not see it any more.
const shardTraces = 128

// shard is a share of the open local traces and of the counters.
type shard struct {
	counters
	mu     sync.Mutex
	newest *localTrace // guarded by mu, like the links in localTrace
	oldest *localTrace // guarded by mu
	open   int         // guarded by mu
	_      [64]byte    // the next shard starts on another cache line
}

// add brings t into sight. It returns the one that t has pushed out, if any.
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

// unlist takes t out of the list. s.mu is held.
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

// traces returns the open local traces.
func (s *shard) traces() []*localTrace {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*localTrace, 0, s.open)
	for t := s.newest; t != nil; t = t.older {
		out = append(out, t)
	}
	return out
}
