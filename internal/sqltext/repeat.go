package sqltext

import (
	"encoding/binary"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Repeated is the number of executions of a statement below one span and at one place
// from which on that is recorded. A program that queries each item of a list makes as
// many queries as there are items, where one would suffice (the N+1 problem).
const Repeated = 5

// repeatedKey is an attribute of a span below which a statement was repeated.
const repeatedKey = "dendro.db.repeated"

var hashSeed = maphash.MakeSeed()

// Repeats counts how often each statement was executed below each span and at each
// place in the program. The counts are approximate: keys that share an entry displace
// each other. That is good enough, as only requests in progress matter. The zero value
// is ready to use.
type Repeats struct {
	texts     counts
	places    counts // counts of texts
	summaries counts // highest counts of the texts of a summary
}

// counts is a hash table of counts. The low 16 bits of an entry are the count, and the
// other bits identify the key.
type counts [2048]atomic.Uint64

const (
	countBits = 16
	maxCount  = 1<<countBits - 1
)

// update replaces the count of key by the result of f and returns it.
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

// raise sets the count of key to n if it is less.
func (c *counts) raise(key, n uint64) uint64 {
	return c.update(key, func(count uint64) uint64 { return max(count, n) })
}

// Statement is what Repeats needs to know about a statement.
type Statement struct {
	textHash    uint64 // hash of the redacted text
	summaryHash uint64
	key         string      // attribute key of the number of its executions
	attrs       []slog.Attr // of the event
}

// NewStatement returns a statement with a redacted text and a summary. The event about
// its repetition has the attributes.
func NewStatement(text, summary string, attrs ...slog.Attr) Statement {
	s := Statement{textHash: maphash.String(hashSeed, text), key: repeatedKey + "." + summary, attrs: slices.Clip(attrs)}
	s.summaryHash = maphash.String(hashSeed, s.key)
	return s
}

// Note counts an execution of s below parent, and marks parent if s was repeated.
// Looking up the place takes longer than everything else. Therefore the first
// execution is counted at the place of the second, as few statements have a second,
// and above a thousand executions every hundredth is counted a hundredfold.
func (r *Repeats) Note(parent *dendro.Span, s *Statement) {
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
	if n < Repeated {
		return
	}
	if n-added < Repeated {
		parent.SetAttributes(slog.Bool(repeatedKey, true))
		parent.AddEvent(semconv.DBRepeatedEvent, AppendCaller(s.attrs)...)
	}
	// Statements and places with the same summary share the attribute. It is the
	// highest of their counts, whoever sets it last.
	for set := uint64(0); ; set = n {
		if n = r.summaries.raise(below^s.summaryHash, n); n == set {
			return
		}
		parent.SetAttributes(slog.Int64(s.key, int64(n)))
	}
}
