package remote

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Reasons for which Collect refuses spans.
var (
	errQueueFull error = &dendro.DropError{Reason: "queue_full"}
	errTooLarge  error = &dendro.DropError{Reason: collector.DropTooLarge}
	errShutdown  error = &dendro.DropError{Reason: "shutdown"}
)

// queue holds encoded spans until they are delivered, dropped or in the spool. It is bounded in
// bytes. Adding to it never waits for the network.
type queue struct {
	maxBytes, batchBytes int
	interval             time.Duration
	wake                 chan struct{} // holds a token when next must look again

	mu           sync.Mutex
	open         *batch   // being filled and not empty; or nil
	waiting      []*batch // sealed, oldest first
	taken        *batch   // the last result of next until finish is called; or nil
	bytes, spans int      // in open, waiting and taken
	room         int      // initial memory for a batch of one group
	closed       bool
}

// batch holds the spans of one request.
type batch struct {
	since        time.Time     // when the first span arrived
	done         chan struct{} // closed when the spans are delivered, dropped or in the spool
	groups       []group
	bytes, spans int          // size of the request
	readers      atomic.Int32 // requests that may still read its memory
}

// batches holds empty batches whose memory can be reused.
var batches = sync.Pool{New: func() any { return new(batch) }}

// group holds the spans of one resource and scope.
type group struct {
	resource *dendro.Resource
	scope    *dendro.Scope
	head     []byte // both, encoded without spans
	spans    []byte // encoded by otlp.AppendSpan
}

// groupBytes is about what a group takes in addition to its spans, including its
// resource, its scope, and a batch of its own.
const groupBytes = 512

// recentGroups bounds how many groups are searched for the resource and scope of new
// spans. There is one for each tracer, but a new one for each request in a program
// that forwards spans.
const recentGroups = 16

// encoding holds the encoded spans of one call of Collect, in chunks of one scope that fit
// into a batch.
type encoding struct {
	bytes  []byte
	chunks []chunk
	groups int // about how many groups of batches the chunks need
}

// chunk is a number of spans that end at offset end.
type chunk struct {
	scope      *dendro.Scope
	end, spans int
}

// encodings holds empty encodings whose memory can be reused.
var encodings = sync.Pool{New: func() any { return new(encoding) }}

// maxIdleBytes bounds the size of an encoding that is kept for another call of
// Collect.
const maxIdleBytes = 1 << 20

func (e *encoding) release() {
	if cap(e.bytes) <= maxIdleBytes {
		clear(e.chunks)
		e.bytes, e.chunks, e.groups = e.bytes[:0], e.chunks[:0], 0
		encodings.Put(e)
	}
}

// ended records that a span of scope sc has been encoded, beginning at start. It begins a
// new chunk if the span before has another scope, or if the span does not fit into a batch
// with the spans before it.
func (e *encoding) ended(sc *dendro.Scope, start, batchBytes int) {
	begin, last := 0, len(e.chunks)-1
	if last > 0 {
		begin = e.chunks[last-1].end
	}
	if large := len(e.bytes)-begin > batchBytes && start > begin; last < 0 || large || sc != e.chunks[last].scope {
		recent := e.chunks[max(0, len(e.chunks)-recentGroups):]
		if large || !slices.ContainsFunc(recent, func(c chunk) bool { return c.scope == sc }) {
			e.groups++
		}
		e.chunks = append(e.chunks, chunk{scope: sc})
		last++
	}
	e.chunks[last].end = len(e.bytes)
	e.chunks[last].spans++
}

// refuses returns the reason why the queue does not accept that many bytes, or nil if
// it does.
func (q *queue) refuses(bytes int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refusesLocked(bytes)
}

func (q *queue) refusesLocked(bytes int) error {
	switch {
	case q.closed:
		return errShutdown
	case bytes > q.maxBytes:
		return errTooLarge
	case q.bytes+bytes > q.maxBytes:
		return errQueueFull
	}
	return nil
}

// add copies all of e into the queue, or nothing.
func (q *queue) add(r *dendro.Resource, e *encoding) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusesLocked(len(e.bytes) + e.groups*groupBytes); err != nil {
		return err
	}
	start := 0
	for _, c := range e.chunks {
		q.addChunk(r, c.scope, e.bytes[start:c.end], c.spans)
		start = c.end
	}
	return nil
}

func (q *queue) addChunk(r *dendro.Resource, sc *dendro.Scope, spans []byte, n int) {
	if q.open != nil && q.open.bytes+len(spans) > q.batchBytes {
		q.seal(true)
	}
	if q.open == nil {
		q.open = batches.Get().(*batch)
		q.open.since, q.open.done = time.Now(), make(chan struct{})
		poke(q.wake)
	}
	before := q.open.held()
	q.open.add(r, sc, spans, n, q.room)
	q.bytes += q.open.held() - before
	q.spans += n
}

// seal moves the open batch to the waiting ones. full reports whether it is full. q.mu
// must be held.
func (q *queue) seal(full bool) {
	q.room = 0
	if full && len(q.open.groups) == 1 { // the next one usually gets full, too
		q.room = q.batchBytes
	}
	q.waiting = append(q.waiting, q.open)
	q.open = nil
	poke(q.wake)
}

// next waits for a batch that is full or old enough. Once ctx is done, it returns what
// is left, and then nil. The caller must call finish for each batch.
func (q *queue) next(ctx context.Context) *batch {
	for {
		stopped := ctx.Err() != nil
		b, wait := q.take(stopped)
		if b != nil || stopped {
			return b
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-q.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
}

// take returns the oldest sealed batch. If there is none, it returns the open batch if
// that is due or anyway is set. Otherwise it returns the time until the open batch is
// due, or 0 if there is none.
func (q *queue) take(anyway bool) (*batch, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		if q.open == nil {
			return nil, 0
		}
		if wait := q.interval - time.Since(q.open.since); wait > 0 && !anyway {
			return nil, wait
		}
		q.seal(false)
	}
	q.taken = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return q.taken, 0
}

// putBack undoes take.
func (q *queue) putBack(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = nil
	q.waiting = slices.Insert(q.waiting, 0, b)
}

// finish removes the batch that next or take returned.
func (q *queue) finish(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = nil
	q.bytes -= b.held()
	q.spans -= b.spans
	close(b.done)
	if b.room() <= 2*q.batchBytes && b.readers.Load() == 0 {
		b.reset()
		batches.Put(b)
	}
}

// flush seals the open batch. It returns a channel that is closed when everything that
// is in the queue now is finished, or nil if the queue is empty.
func (q *queue) flush() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open != nil {
		q.open.trim()
		q.seal(false)
	}
	if n := len(q.waiting); n > 0 {
		return q.waiting[n-1].done
	}
	if q.taken != nil {
		return q.taken.done
	}
	return nil
}

// close makes the queue refuse everything.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// size returns the number of spans and bytes in the queue.
func (q *queue) size() (spans, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.spans, q.bytes
}

// add copies n encoded spans into the group of r and sc. If that is the only group and
// needs more memory, it gets memory for at least room bytes.
func (b *batch) add(r *dendro.Resource, sc *dendro.Scope, spans []byte, n, room int) {
	g := b.group(r, sc)
	if size := len(g.spans) + len(spans); size > cap(g.spans) {
		size = max(size, cap(g.spans)*3/2) // append grows in smaller steps
		if len(b.groups) == 1 {
			size = max(size, room)
		}
		g.spans = append(make([]byte, 0, size), g.spans...)
	}
	g.spans = append(g.spans, spans...)
	b.bytes += len(spans)
	b.spans += n
}

// group returns the group of r and sc, or of others that are equal: those that come from the ring of
// a recorder are not the ones that went into it.
func (b *batch) group(r *dendro.Resource, sc *dendro.Scope) *group {
	n := len(b.groups)
	recent := b.groups[max(0, n-recentGroups):]
	for i := range recent {
		if g := &recent[i]; g.resource == r && g.scope == sc {
			return g
		}
	}
	head := otlp.AppendResourceSpans(nil, r, sc, 0)
	for i := range recent {
		if g := &recent[i]; bytes.Equal(g.head, head) {
			return g
		}
	}
	b.bytes += len(head)
	if n < cap(b.groups) {
		b.groups = b.groups[:n+1] // reuses the memory for spans
	} else {
		b.groups = append(b.groups, group{})
	}
	g := &b.groups[n]
	g.resource, g.scope, g.head = r, sc, head
	return g
}

// held returns about how many bytes of memory b takes.
func (b *batch) held() int { return b.bytes + len(b.groups)*groupBytes }

// room returns the size of the memory for spans, including unused groups.
func (b *batch) room() (n int) {
	for _, g := range b.groups[:cap(b.groups)] {
		n += cap(g.spans)
	}
	return n
}

// trim frees memory that b does not need, as it may wait for a long time together with
// many others.
func (b *batch) trim() {
	if b.room() <= 2*b.held() {
		return
	}
	clear(b.groups[len(b.groups):cap(b.groups)])
	for i := range b.groups {
		if g := &b.groups[i]; cap(g.spans) > 2*len(g.spans) {
			g.spans = bytes.Clone(g.spans)
		}
	}
}

// reset empties b and keeps its memory.
func (b *batch) reset() {
	for i := range b.groups {
		b.groups[i] = group{spans: b.groups[i].spans[:0]}
	}
	b.groups, b.bytes, b.spans = b.groups[:0], 0, 0
}

// parts returns b as an ExportTraceServiceRequest, in parts that mostly are the memory
// of b.
func (b *batch) parts() (parts [][]byte) {
	for i := range b.groups {
		g := &b.groups[i]
		parts = append(parts, otlp.AppendResourceSpans(nil, g.resource, g.scope, len(g.spans)), g.spans)
	}
	return parts
}
