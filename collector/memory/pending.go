package memory

import (
	"context"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Looking a trace up in the index takes as long as the rest of Collect, because it
// accesses random places in more memory than the processor caches. Most batches of a
// program are whole new traces. They are put into the index many at a time, so that
// the processor waits for many of these accesses at once.

// pending is a new trace of one block that is not in the index yet.
type pending struct {
	hash  uint64
	block block.Ref
}

const (
	// maxPending bounds the number of pending traces.
	maxPending = 64
	// pendingShare bounds the size of a pending trace to the size of a segment divided
	// by pendingShare.
	pendingShare = 4
)

// begins reports whether the spans of a batch seem to begin a new trace, without a
// lookup: they include the root span, and since that began only other traces with
// their roots arrived, so nothing that could be part of this one. It may be wrong if
// clocks disagree or a sender repeats a batch. settle corrects that.
func (p *partition) begins(spans []*dendro.SpanData) bool {
	last := spans[len(spans)-1] // tracers put the root last
	if last.ParentID.IsValid() {
		if last.End > p.partial { // but not beyond now
			p.partial = max(p.partial, min(last.End, time.Now().UnixNano()))
		}
		return false
	}
	return len(spans) <= block.MaxSpans && last.Start > p.partial
}

// postpone adds a new trace to the pending ones.
func (p *partition) postpone(hash uint64, block block.Ref) {
	p.pending = append(p.pending, pending{hash, block})
	if len(p.pending) == maxPending {
		p.settle()
	}
}

// settle puts the pending traces into the index. It must be called before the index is
// read.
func (p *partition) settle() {
	if len(p.pending) == 0 {
		return
	}
	for _, n := range p.pending { // loads the entries into the processor's cache
		if t := p.index.table(n.hash); len(t.entries) > 0 {
			p.touched += t.entries[t.start(uint32(n.hash))].hash
		}
	}
	var known []pending
	for _, n := range p.pending {
		id := p.block(n.block).TraceID()
		t := p.index.table(n.hash)
		if at, found := p.find(t, n.hash, &id); found {
			known = append(known, n)
		} else {
			p.insert(t, at, n.hash, &id, n.block)
		}
	}
	p.pending = p.pending[:0]
	for _, n := range known {
		if !p.gone(n.block) { // it may have been evicted to make room for another
			p.join(n)
		}
	}
	p.shrink()
}

// join moves the spans of a pending block to the trace that turned out to be held.
func (p *partition) join(n pending) {
	var t block.Trace
	p.snapshot(&t, n.block, nil)
	got, err := t.Decode(context.Background())
	if err != nil {
		return // impossible: it was just encoded
	}
	p.block(n.block).SetMark(block.MarkVoid)
	p.stats.Traces--
	p.stats.Spans -= len(got.Spans)
	p.stats.Accepted -= uint64(len(got.Spans))
	b := dendro.Batch{Resource: got.Spans[0].Resource}
	for i := range got.Spans {
		b.Spans = append(b.Spans, &got.Spans[i].SpanData)
	}
	tooLarge, _ := p.addBlock(&b, n.hash, b.Spans, false, false)
	p.refuse(tooLarge)
}
