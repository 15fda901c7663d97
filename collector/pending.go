package collector

import (
	"time"

	"github.com/dendrotrace/dendro"
)

// To look for a trace in the index takes as long as all the rest of Collect: it is
// a random access to more memory than the processor caches. Most of what a program
// hands over are whole traces that are not there: they go into the index together,
// and the processor waits for many of these accesses at once.

// pending is a new trace, of one block, that is not in the index yet.
type pending struct {
	hash  uint64
	block ref
}

const (
	// maxPending is how many there may be.
	maxPending = 64
	// pendingShare is how large one may be: one in so many parts of a segment.
	pendingShare = 4
)

// begins reports whether spans, a batch, begin a new trace as far as can be told
// without looking: they have its root, and nothing has arrived since it began that
// could be a part of it, only other traces with their roots. Clocks that disagree
// and senders that repeat themselves make it err, which settle finds out.
func (p *partition) begins(spans []*dendro.SpanData) bool {
	last := spans[len(spans)-1] // as tracers have it, the root comes last
	if last.ParentID.IsValid() {
		if last.End > p.partial { // but it has not ended in the future
			p.partial = max(p.partial, min(last.End, time.Now().UnixNano()))
		}
		return false
	}
	return len(spans) <= maxBlockSpans && last.Start > p.partial
}

// postpone notes a new trace.
func (p *partition) postpone(hash uint64, block ref) {
	p.pending = append(p.pending, pending{hash, block})
	if len(p.pending) == maxPending {
		p.settle()
	}
}

// settle puts the new traces into the index. Whoever looks into it calls settle
// first.
func (p *partition) settle() {
	if len(p.pending) == 0 {
		return
	}
	for _, n := range p.pending { // into the cache of the processor
		if t := p.index.table(n.hash); len(t.entries) > 0 {
			p.touched += t.entries[t.start(uint32(n.hash))].hash
		}
	}
	var known []pending
	for _, n := range p.pending {
		id := idOf(p.bytesAt(n.block))
		t := p.index.table(n.hash)
		if at, found := p.find(t, n.hash, &id); found {
			known = append(known, n)
		} else {
			p.insert(t, at, n.hash, &id, n.block)
		}
	}
	p.pending = p.pending[:0]
	for _, n := range known {
		if !p.gone(n.block) { // to make room for another
			p.join(n)
		}
	}
	p.shrink()
}

// join adds a block that has begun a trace anew to the trace that is there.
func (p *partition) join(n pending) {
	var t trace
	p.snapshot(&t, n.block, nil)
	got, err := t.decode()
	if err != nil {
		return // cannot be: it has just been encoded
	}
	p.bytesAt(n.block)[atMark] = markVoid
	p.stats.Traces--
	p.stats.Spans -= len(got.Spans)
	p.stats.Accepted -= uint64(len(got.Spans))
	b := dendro.Batch{Resource: got.Spans[0].Resource, Scope: got.Spans[0].Scope}
	for i := range got.Spans {
		b.Spans = append(b.Spans, &got.Spans[i].SpanData)
	}
	tooLarge, _ := p.addBlock(&b, n.hash, b.Spans, false)
	p.refuse(tooLarge)
}
