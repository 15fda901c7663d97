package pebblestore

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Scan implements [collector.Reader]. It visits traces by descending start and then by ascending
// id, and none that begin outside of the range. It reads a snapshot and blocks nobody. Besides the
// trace that is visited it holds those of a chunk, or of more if the clocks of senders disagree.
func (s *Store) Scan(ctx context.Context, q collector.Scan, visit func(*collector.Trace) bool) error {
	if !s.reading.enter() {
		return errClosed
	}
	defer s.reading.leave()
	sc := s.newScanner(q)
	defer sc.release()
	return sc.visit(ctx, visit)
}

// visit calls f for each trace of the sources until it returns false.
func (sc *scanner) visit(ctx context.Context, f func(*collector.Trace) bool) error {
	view := block.View{Scan: sc.q, Ctx: ctx, Want: sc.want}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, latest := sc.newest()
		if len(sc.found) > 0 && (from == nil || sc.found[0].First > latest) {
			c := heap.Pop(&sc.found).(*candidate)
			got, err := view.Decode(&c.Trace)
			more := err == nil && f(got)
			c.leave()
			switch {
			case errors.Is(err, block.ErrBroken):
				sc.s.damage("a trace", 0, 0, err)
			case err != nil:
				return err
			case !more:
				return nil
			}
			continue
		}
		if from == nil {
			return nil
		}
		from.next(sc)
	}
}

// scanner merges the traces of several sources.
type scanner struct {
	s          *Store
	q          collector.Scan
	want       *block.Wanted
	start, end int64
	sources    []source
	heads      map[dendro.TraceID][]inHead // traces of heads that are elsewhere, too
	split      map[dendro.TraceID]bool     // traces that sources of split traces have found
	runs       map[uint64]*runSource
	found      candidates
	blocks     int       // of a chunk, about
	recent     []*loaded // chunks that were read last, the newest last
}

// source has traces, in the order of a scan as far as it knows.
type source interface {
	// bound returns the latest start of the traces that next has not found yet. It returns
	// false if there are none.
	bound() (latest int64, ok bool)
	// next adds further traces to what the scanner has found, perhaps none.
	next(*scanner)
}

// newest returns the source with the latest bound, or nil if there is none.
func (sc *scanner) newest() (from source, latest int64) {
	for _, src := range sc.sources {
		if bound, ok := src.bound(); ok && bound >= sc.start && (from == nil || bound > latest) {
			from, latest = src, bound
		}
	}
	return from, latest
}

// candidate is a trace that was found and not visited yet.
type candidate struct {
	block.Trace
	in []*loaded // where its blocks are
}

// loaded is a chunk that was read. Its memory is given back when it is neither recent nor has
// traces to visit.
type loaded struct {
	block.Chunk
	run   uint64
	chunk uint32
	open  io.Closer
	users int
}

func (l *loaded) leave() {
	if l.users--; l.users == 0 {
		_ = l.open.Close() // nothing is written
	}
}

// maxRecent bounds the number of chunks that are kept because parts of further traces may be in
// them.
const maxRecent = 8

// load returns a chunk, or nil if it is gone or damaged. It stays loaded for the next calls.
func (sc *scanner) load(run uint64, chunk uint32) *loaded {
	for _, l := range sc.recent {
		if l.run == run && l.chunk == chunk {
			return l
		}
	}
	c, open := sc.s.chunk(run, chunk)
	if open == nil {
		return nil
	}
	if len(sc.recent) == maxRecent {
		sc.recent[0].leave()
		sc.recent = slices.Delete(sc.recent, 0, 1)
	}
	l := &loaded{c, run, chunk, open, 1}
	sc.recent = append(sc.recent, l)
	return l
}

func (sc *scanner) release() {
	for _, l := range sc.recent {
		l.leave()
	}
	for _, c := range sc.found {
		c.leave()
	}
}

func (c *candidate) leave() {
	for _, l := range c.in {
		l.leave()
	}
}

// wants reports whether a trace may be wanted, by its time.
func (sc *scanner) wants(first, end int64) bool {
	return first >= sc.start && first < sc.end && sc.want.Times(first, end)
}

// add adds a trace, whose blocks are in some chunks, if it may be wanted.
func (sc *scanner) add(t block.Trace, in ...*loaded) {
	if !sc.wants(t.First, t.End) || sc.want.Errors && t.Errors == 0 {
		return
	}
	for _, l := range in {
		l.users++
	}
	heap.Push(&sc.found, &candidate{t, in})
}

// candidates is a heap, the newest first.
type candidates []*candidate

func (c candidates) Len() int           { return len(c) }
func (c candidates) Less(i, j int) bool { return c[i].NewestFirst(&c[j].Trace) < 0 }
func (c candidates) Swap(i, j int)      { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)        { *c = append(*c, x.(*candidate)) }
func (c *candidates) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	(*c)[last] = nil
	*c = (*c)[:last]
	return x
}

func (s *Store) newScanner(q collector.Scan) *scanner {
	sc := &scanner{s: s, q: q, want: block.WantedOf(&q.Hints), start: math.MinInt64, end: math.MaxInt64, heads: map[dendro.TraceID][]inHead{}, split: map[dendro.TraceID]bool{}, runs: map[uint64]*runSource{}}
	if !q.Start.IsZero() {
		sc.start = block.UnixNano(q.Start)
	}
	if !q.End.IsZero() {
		sc.end = block.UnixNano(q.End)
	}
	s.mu.Lock()
	heads := []*head{s.head.snapshot(), s.sealed.snapshot()}
	runs := s.runs
	apart := &splitSource{open: true} // traces that are only in both heads
	for id := range continued(heads) {
		sc.heads[id] = nil
		if len(s.split.parts[id]) == 0 {
			apart.ids = append(apart.ids, id)
		}
	}
	s.mu.Unlock()

	for _, h := range heads {
		if h != nil {
			sc.sources = append(sc.sources, newHeadSource(sc, h))
		}
	}
	for _, id := range apart.ids {
		apart.add(sc, id, nil)
	}
	sc.sources = append(sc.sources, apart)
	for _, r := range runs {
		src := newRunSource(r)
		sc.runs[r.number] = src
		sc.sources = append(sc.sources, &splitSource{run: src}, src) // in this order, see addChunk
	}
	return sc
}

// continued returns the traces of heads that are elsewhere, too.
func continued(heads []*head) map[dendro.TraceID]bool {
	ids := map[dendro.TraceID]bool{}
	for _, h := range heads {
		if h == nil {
			continue
		}
		for i := range h.traces {
			if h.traces[i].earlier {
				ids[h.traces[i].id] = true
			}
		}
	}
	return ids
}

// headSource has the traces of a head that are in no other place.
type headSource struct {
	head   *head
	wanted []uint64 // for each segment, the hashes that it may have
	traces latestFirst[*trace]
}

// latestFirst is a heap by start.
type latestFirst[T interface{ start() int64 }] []T

func (l latestFirst[T]) Len() int           { return len(l) }
func (l latestFirst[T]) Less(i, j int) bool { return l[i].start() > l[j].start() }
func (l latestFirst[T]) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *latestFirst[T]) Push(x any)        { *l = append(*l, x.(T)) }
func (l *latestFirst[T]) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	*l = (*l)[:last]
	return x
}

// bound returns the latest start, or false if l is empty.
func (l latestFirst[T]) bound() (latest int64, ok bool) {
	if len(l) == 0 {
		return 0, false
	}
	return l[0].start(), true
}

func (t *trace) start() int64      { return t.first }
func (t *splitTrace) start() int64 { return t.first }

// newHeadSource returns a source for a snapshot of a head. It leaves out the traces in sc.heads, and
// notes there where they are.
func newHeadSource(sc *scanner, h *head) *headSource {
	src := &headSource{head: h, wanted: make([]uint64, len(h.segments))}
	for i := range h.segments {
		if src.wanted[i] = sc.want.All(); h.segments[i].filter != nil {
			src.wanted[i] = sc.want.In(h.segments[i].filter)
		}
	}
	for i := range h.traces {
		t := &h.traces[i]
		if in, split := sc.heads[t.id]; split {
			sc.heads[t.id] = append(in, inHead{src, t})
		} else if t.first >= sc.start && t.first < sc.end && src.wants(t) == sc.want.All() {
			src.traces = append(src.traces, t)
		}
	}
	heap.Init(&src.traces)
	return src
}

// wants returns a bit for each wanted hash that a trace may have.
func (src *headSource) wants(t *trace) (found uint64) {
	for n := t.newest; n >= 0; n = src.head.blocks[n].previous {
		found |= src.wanted[src.head.blocks[n].segment]
	}
	return found
}

func (src *headSource) bound() (latest int64, ok bool) { return src.traces.bound() }

func (src *headSource) next(sc *scanner) {
	t := heap.Pop(&src.traces).(*trace)
	bt := block.Trace{ID: t.id}
	src.head.addTo(&bt, t)
	sc.add(bt)
}

// splitSource has the traces in several places whose first part is in a run.
type splitSource struct {
	run    *runSource
	open   bool // traces is complete
	ids    []dendro.TraceID
	traces latestFirst[*splitTrace]
}

type splitTrace struct {
	id         dendro.TraceID
	first, end int64
	parts      []part
}

// inHead is a trace of a head.
type inHead struct {
	of *headSource
	*trace
}

// bound returns that of the run before the traces are known: no trace begins after its first part.
func (src *splitSource) bound() (latest int64, ok bool) {
	if src.open {
		return src.traces.bound()
	}
	return src.run.last()
}

// add adds a trace that may be wanted. Of its parts, those in runs that are newer than the snapshot of
// heads are left out.
func (src *splitSource) add(sc *scanner, id dendro.TraceID, parts []part) {
	newer := slices.IndexFunc(parts, func(p part) bool { return sc.runs[p.run] == nil })
	if newer >= 0 {
		parts = parts[:newer]
	}
	t := &splitTrace{id, math.MaxInt64, math.MinInt64, parts}
	for _, p := range parts {
		t.first, t.end = min(t.first, p.first), max(t.end, p.end)
	}
	for _, in := range sc.heads[id] {
		t.first, t.end = min(t.first, in.first), max(t.end, in.end)
	}
	if sc.wants(t.first, t.end) && t.wanted(sc) == sc.want.All() {
		heap.Push(&src.traces, t)
	}
}

// wanted returns a bit for each wanted hash that the trace may have.
func (t *splitTrace) wanted(sc *scanner) (wants uint64) {
	for _, p := range t.parts {
		r := sc.runs[p.run]
		r.open(sc)
		wants |= r.wants[p.chunk]
	}
	for _, in := range sc.heads[t.id] {
		wants |= in.of.wants(in.trace)
	}
	return wants
}

func (src *splitSource) next(sc *scanner) {
	if !src.open {
		src.open = true
		sc.s.mu.Lock()
		split := make(map[dendro.TraceID][]part, len(sc.s.split.byRun[src.run.run.number]))
		for id := range sc.s.split.byRun[src.run.run.number] {
			split[id] = sc.s.split.parts[id]
		}
		sc.s.mu.Unlock()
		for id, parts := range split {
			if !sc.split[id] {
				sc.split[id] = true
				src.add(sc, id, parts)
			}
		}
		return
	}
	t := heap.Pop(&src.traces).(*splitTrace)
	bt := block.Trace{ID: t.id}
	for _, in := range sc.heads[t.id] {
		in.of.head.addTo(&bt, in.trace)
	}
	var in []*loaded
	for _, p := range slices.Backward(t.parts) {
		if l := sc.load(p.run, p.chunk); l != nil {
			addTo(&bt, l.Chunk, p.at)
			l.users++ // loading another must not give it back
			in = append(in, l)
		}
	}
	if len(bt.Blocks) > 0 {
		sc.add(bt, in...)
	}
	for _, l := range in {
		l.leave()
	}
}

// runSource has the traces of a run that are in no other place.
type runSource struct {
	run    *run
	at     int      // number of chunks that are left
	latest []int64  // for each chunk, the latest start of a trace in it and those before it
	wants  []uint64 // for each chunk, a bit for each wanted hash that it may have; nil until open
	hashes map[uint64][]byte
}

func newRunSource(r *run) *runSource {
	src := &runSource{run: r, at: len(r.chunks), latest: make([]int64, len(r.chunks))}
	latest := int64(math.MinInt64)
	for i := range r.chunks {
		latest = max(latest, r.chunks[i].latest)
		src.latest[i] = latest
	}
	return src
}

func (src *runSource) bound() (latest int64, ok bool) {
	if src.at == 0 {
		return 0, false
	}
	return src.latest[src.at-1], true
}

// last returns the latest start of a trace in the run.
func (src *runSource) last() (latest int64, ok bool) {
	if len(src.latest) == 0 {
		return 0, false
	}
	return src.latest[len(src.latest)-1], true
}

// open reads what the filter of the run says about the wanted hashes.
func (src *runSource) open(sc *scanner) {
	if src.wants != nil {
		return
	}
	src.wants = make([]uint64, len(src.run.chunks))
	src.hashes = map[uint64][]byte{}
	for bit, want := range sc.want.Hashes {
		for _, hash := range want.Hashes {
			row := sc.s.row(src.run, hash)
			src.hashes[hash] = row
			for n := range src.wants {
				if row[n/8]>>(n%8)&1 != 0 {
					src.wants[n] |= 1 << bit
				}
			}
		}
	}
}

// row returns a bit for each chunk of a run that may have a hash. If the filter cannot be read, all
// may.
func (s *Store) row(r *run, hash uint64) []byte {
	out := make([]byte, r.rowBytes())
	for i := range out {
		out[i] = 0xff
	}
	a, b := block.Places(r.words, hash)
	for _, place := range []uint64{a, b} {
		page, at := int(place)/r.rowsPerPage(), int(place)%r.rowsPerPage()*len(out)
		value, closer, err := s.db.Get(numberedKey(r.number, ofFilter, uint32(page)))
		switch {
		case errors.Is(err, pebble.ErrNotFound): // the run is gone
			return out
		case err == nil && len(value) >= at+len(out):
			for i := range out {
				out[i] &= value[at+i]
			}
			err = closer.Close()
		case err == nil:
			err = errors.Join(block.ErrBroken, closer.Close())
		}
		if err != nil {
			s.damage("the filter of a run", r.number, uint32(page), err)
			return out
		}
	}
	return out
}

// agrees reports whether a chunk may have a wanted trace.
func (c *chunkInfo) agrees(sc *scanner) bool {
	w := sc.want
	return c.latest >= sc.start && c.earliest < sc.end && c.longest >= int64(w.MinDuration) && (!w.Errors || c.errors > 0) &&
		(w.StartsAfter.IsZero() || c.end >= block.UnixNano(w.StartsAfter))
}

func (src *runSource) next(sc *scanner) {
	src.at--
	number := src.at
	if !src.run.chunks[number].agrees(sc) {
		return
	}
	src.open(sc)
	if src.wants[number] != sc.want.All() {
		return
	}
	l := sc.load(src.run.number, uint32(number))
	literal := func(hash uint64) bool { return src.hashes[hash][number/8]>>(number%8)&1 != 0 }
	if l != nil && sc.want.Literal(l.Blocks, literal) {
		sc.addChunk(l)
	}
}

// addChunk adds the traces of a chunk that were nowhere else when the source of the split traces of its run was
// opened, which is before. A trace that has become one since is added as it was.
func (sc *scanner) addChunk(l *loaded) {
	blocks := slices.AppendSeq(make([]block.Block, 0, sc.blocks), l.All())
	sc.blocks = len(blocks) + len(blocks)/8
	var traces []block.Trace
	var d block.Decoder
	for len(blocks) > 0 {
		t := block.Trace{ID: blocks[0].TraceID()}
		n := 1
		for n < len(blocks) && blocks[n].TraceID() == t.ID {
			n++
		}
		t.Blocks = blocks[:0:n]
		slices.Reverse(blocks[:n])
		for _, b := range blocks[:n] {
			f := d.Open(b)
			t.Add(b, &f)
		}
		blocks = blocks[n:]
		if sc.wants(t.First, t.End) {
			traces = append(traces, t)
		}
	}
	if d.Broken {
		sc.s.damage("a trace", l.run, l.chunk, block.ErrBroken)
		return
	}
	sc.s.mu.Lock()
	traces = slices.DeleteFunc(traces, func(t block.Trace) bool {
		parts := sc.s.split.parts[t.ID]
		return sc.split[t.ID] || len(parts) > 0 && parts[0].run != l.run // that run has the source of it
	})
	sc.s.mu.Unlock()
	in := []*loaded{l}
	for _, t := range traces {
		sc.add(t, in...)
	}
}
