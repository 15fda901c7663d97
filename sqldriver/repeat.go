package sqldriver

import (
	"encoding/binary"
	"log/slog"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// repeated is how often a statement is executed below one span until that is
// marked: a program that asks for each item of a list makes so many queries as
// there are items, where one would do (the N+1 problem).
const repeated = 5

// repeats counts how often each statement was executed below each span. It
// forgets: two that have the same place push each other out, and only those of
// requests that are under way matter. The zero value is ready for use.
type repeats struct {
	// A count is in the low 16 bits of an entry. The others tell whose it is.
	entries [4096]atomic.Uint64
}

const (
	countBits = 16
	maxCount  = 1<<countBits - 1
)

// add counts one execution of s below parent, and returns how many there were.
func (r *repeats) add(parent dendro.SpanID, s *statement) uint64 {
	h := (binary.BigEndian.Uint64(parent[:]) ^ s.id) * 0x9e3779b97f4a7c15
	entry, tag := &r.entries[h>>52], h<<12&^maxCount
	for {
		old := entry.Load()
		count := uint64(1)
		if old&^maxCount == tag {
			count = min(old&maxCount+1, maxCount)
		}
		if entry.CompareAndSwap(old, tag|count) {
			return count
		}
	}
}

// note counts an execution of s below parent, and marks parent if it is one of
// many.
func (r *repeats) note(parent *dendro.Span, s *statement) {
	if parent == nil {
		return
	}
	n := r.add(parent.Context().SpanID, s)
	if n < repeated || n > 1000 && n%100 != 0 { // of many the hundreds will do
		return
	}
	parent.SetAttributes(slog.Int64(s.repeated, int64(n)))
	if n == repeated {
		parent.SetAttributes(slog.Bool(repeatedKey, true))
		parent.AddEvent(repeatedEvent, caller(s.shape())...)
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
