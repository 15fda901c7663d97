package sqldriver

import (
	"encoding/binary"
	"log/slog"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// repeated is how often a statement is executed below one span, at one place, until
// that is marked: a program that asks for each item of a list makes so many queries as
// there are items, where one would do (the N+1 problem).
const repeated = 5

// repeats counts how often each statement was executed below each span, and at each
// place in the program. It forgets: two that have the same entry push each other out,
// and only those of requests that are under way matter. The zero value is ready for
// use.
type repeats struct {
	texts     counts
	places    counts // of texts
	summaries counts // the highest of those of its texts
}

// counts has a count in the low 16 bits of an entry. The others tell whose it is.
type counts [2048]atomic.Uint64

const (
	countBits = 16
	maxCount  = 1<<countBits - 1
)

// update makes the count of key what f returns for it, and returns that.
func (c *counts) update(key uint64, f func(count uint64) uint64) uint64 {
	h := key * 0x9e3779b97f4a7c15
	entry, tag := &c[h>>53], h<<11&^maxCount
	for {
		old := entry.Load()
		count := uint64(0)
		if old&^maxCount == tag {
			count = old & maxCount
		}
		count = min(f(count), maxCount)
		if entry.CompareAndSwap(old, tag|count) {
			return count
		}
	}
}

// add adds n to the count of key.
func (c *counts) add(key, n uint64) uint64 {
	return c.update(key, func(count uint64) uint64 { return count + n })
}

// raise makes the count of key n, if it is less.
func (c *counts) raise(key, n uint64) uint64 {
	return c.update(key, func(count uint64) uint64 { return max(count, n) })
}

// note counts an execution of s below parent, and marks parent if it is one of
// many. To look for the place takes longer than all the rest: the first execution is
// counted at the place of the second, as few have a second, and of more than a
// thousand each hundred at the place of its last.
func (r *repeats) note(parent *dendro.Span, s *statement) {
	if parent == nil {
		return
	}
	id := parent.Context().SpanID
	below := binary.BigEndian.Uint64(id[:])
	added := uint64(1)
	switch n := r.texts.add(below^s.textHash, 1); {
	case n == 2:
		added = 2
	case n == 1, n > 1000 && n%100 != 0:
		return
	case n > 1000:
		added = 100
	}
	n := r.places.add(below^s.textHash^place(), added)
	if n < repeated {
		return
	}
	if n-added < repeated {
		parent.SetAttributes(slog.Bool(repeatedKey, true))
		parent.AddEvent(semconv.DBRepeatedEvent, caller(s.shape())...)
	}
	// Statements and places that have the summary in common share the attribute, which
	// is the highest of their counts, whoever sets it last.
	for set := uint64(0); ; set = n {
		if n = r.summaries.raise(below^s.summaryHash, n); n == set {
			return
		}
		parent.SetAttributes(slog.Int64(s.repeated, int64(n)))
	}
}

// shape returns what there is to tell of a statement that is repeated.
func (s *statement) shape() []slog.Attr {
	attrs := make([]slog.Attr, 0, 5)
	for _, a := range s.attrs {
		if a.Key == semconv.DBQuerySummary || a.Key == semconv.DBQueryText {
			attrs = append(attrs, a)
		}
	}
	return attrs
}
