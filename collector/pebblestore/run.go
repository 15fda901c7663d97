package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// run is what is in memory of a run. Nothing in it changes.
type run struct {
	number        uint64
	upTo          uint64 // number of the last received chunk that is in it
	until         int64  // when its last span arrived, in nanoseconds since the Unix epoch
	traces, spans int
	bytes         int64 // in the database
	chunks        []chunkInfo
	words         int // of the filter of a chunk
	ids           idFilter
}

// chunkInfo says which traces a chunk may have.
type chunkInfo struct {
	earliest, latest int64 // start of a trace
	end              int64 // latest end
	longest          int64 // duration of a trace, in nanoseconds
	errors           int   // spans with an error
}

// chunkInfoBytes is what a chunkInfo takes.
const chunkInfoBytes = 40

// indexBytes returns about what r takes in memory.
func (r *run) indexBytes() int64 {
	return int64(len(r.chunks))*chunkInfoBytes + int64(len(r.ids))*8
}

// splitPart is a part of a trace that has several.
type splitPart struct {
	id dendro.TraceID
	part
}

const (
	// chunkBytes is about the size of a chunk of a run. Only a large trace exceeds it.
	chunkBytes = 256 << 10
	// filterWords is the size of the filter of a chunk before it is folded: 32 KiB.
	filterWords = 4 << 10
	// tracesPerYield is the number of traces after which other goroutines come first.
	tracesPerYield = 16
	// pageBytes is about the size of a page of the filter of a run.
	pageBytes = 4 << 10
)

// runWriter writes a run.
type runWriter struct {
	s       *Store
	table   *sstable.Writer
	number  uint64
	run     *run
	encoder block.Encoder
	filter  block.Filter
	filters []block.Filter
	info    chunkInfo
	index   []splitPart // of all traces
	split   []splitPart // of those that are not only in one chunk of the run, with the parts in the first run of these
	open    bool        // a chunk is begun
	chunk   []byte      // memory for a chunk
}

// writeRun writes the traces of h as a run and makes it part of the database.
func (s *Store) writeRun(ctx context.Context, h *head, number, upTo uint64) (*runWriter, error) {
	if err := s.disk.fs.MkdirAll(s.newDir(), 0o700); err != nil {
		return nil, err
	}
	path := s.disk.fs.PathJoin(s.newDir(), fmt.Sprintf("%d.sst", number))
	file, err := s.disk.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := &runWriter{
		s: s, number: number, encoder: block.NewEncoder(), filter: make(block.Filter, filterWords),
		table: sstable.NewWriter(objstorageprovider.NewFileWritable(file), sstable.WriterOptions{
			TableFormat: s.db.TableFormat(), BlockSize: 32 << 10, Compression: sstable.BalancedCompression,
		}),
		run: &run{number: number, upTo: upTo, until: s.o.now().UnixNano()},
	}
	err = w.write(ctx, h)
	if closeErr := w.table.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		var meta *sstable.WriterMetadata
		if meta, err = w.table.Metadata(); err == nil {
			w.run.bytes = int64(meta.Size)
			err = s.write(func() error { return s.db.Ingest(ctx, []string{path}) })
		}
	}
	if err != nil {
		_ = s.disk.fs.Remove(path)
		return nil, err
	}
	return w, nil
}

// newDir returns the directory of tables that are not part of the database yet.
func (s *Store) newDir() string { return s.disk.fs.PathJoin(s.dir, "new") }

// traceOf returns a trace of h with its totals.
func (h *head) traceOf(t *trace) block.Trace {
	bt := block.Trace{ID: t.id, First: t.first, End: t.end, Spans: int(t.spans), Errors: int(t.errors)}
	for b := range h.each(t) {
		bt.Blocks = append(bt.Blocks, b)
	}
	return bt
}

func (w *runWriter) write(ctx context.Context, h *head) error {
	order := make([]*trace, len(h.traces))
	for i := range h.traces {
		order[i] = &h.traces[i]
	}
	slices.SortFunc(order, func(a, b *trace) int {
		return cmp.Or(cmp.Compare(a.first, b.first), bytes.Compare(a.id[:], b.id[:]))
	})
	view := block.View{Scan: collector.Scan{AllAttributes: true, Details: true}, Ctx: ctx}
	for n, t := range order {
		if n%tracesPerYield == 0 {
			runtime.Gosched() // there may be one processor, and somebody who waits for an answer
		}
		bt := h.traceOf(t)
		got, err := view.Decode(&bt)
		if err != nil {
			return err
		}
		if len(w.encoder.Data) >= chunkBytes {
			if err := w.seal(); err != nil {
				return err
			}
		}
		if err := w.trace(t, &bt, got); err != nil {
			return err
		}
		w.run.traces++
		w.run.spans += len(got.Spans)
	}
	if err := w.seal(); err != nil {
		return err
	}
	if err := w.writeFilter(); err != nil {
		return err
	}
	return w.writeIndex()
}

// trace writes the spans of a trace, those of the same resource together.
func (w *runWriter) trace(t *trace, bt *block.Trace, got *collector.Trace) error {
	firstPart := len(w.index)
	begun := false
	err := eachSource(got.Spans, func(r *dendro.Resource, spans []*dendro.SpanData) error {
		if len(w.encoder.Data) >= 2*chunkBytes { // a large trace
			if err := w.seal(); err != nil {
				return err
			}
			begun = false
		}
		if !w.open {
			w.open = true
			clear(w.filter)
			w.encoder.Begin(w.encoder.Data[:0], uint32(len(w.run.chunks)+1), w.filter)
			w.info = chunkInfo{earliest: math.MaxInt64, latest: math.MinInt64, end: math.MinInt64}
		}
		if !begun {
			begun = true
			w.index = append(w.index, splitPart{bt.ID, part{w.number, uint32(len(w.run.chunks)), uint32(len(w.encoder.Data)), bt.First, bt.End}})
			w.info.earliest, w.info.latest = min(w.info.earliest, bt.First), max(w.info.latest, bt.First)
			w.info.end, w.info.longest = max(w.info.end, bt.End), max(w.info.longest, bt.End-bt.First)
		}
		var f block.Footer
		w.encoder.Limit = math.MaxInt
		w.encoder.Append(&f, r, spans)
		w.info.errors += f.Errors
		return nil
	})
	if err != nil {
		return err
	}
	if parts := w.index[firstPart:]; t.earlier || len(parts) > 1 {
		w.s.mu.Lock()
		before := w.s.split.parts[t.id]
		for _, p := range before { // runs after the first one list their own
			if p.run == before[0].run {
				w.split = append(w.split, splitPart{t.id, p})
			}
		}
		w.s.mu.Unlock()
		w.split = append(w.split, parts...)
	}
	return nil
}

// fewSources is the number of groups up to which all spans are looked at for each.
const fewSources = 100

// eachSource calls f for the spans of each resource, in their order, but for at most block.MaxSpans at
// a time. It sets the resources to nil.
func eachSource(spans []collector.Span, f func(*dendro.Resource, []*dendro.SpanData) error) error {
	group := make([]*dendro.SpanData, 0, min(len(spans), block.MaxSpans))
	for n := 0; ; n++ {
		if n == fewSources {
			return eachOfMany(spans, f)
		}
		for len(spans) > 0 && spans[0].Resource == nil { // it was in a group before
			spans = spans[1:]
		}
		if len(spans) == 0 {
			return nil
		}
		r := spans[0].Resource
		group = group[:0]
		for i := range spans {
			if spans[i].Resource == r {
				group = append(group, &spans[i].SpanData)
				spans[i].Resource = nil
				if len(group) == block.MaxSpans {
					break
				}
			}
		}
		if err := f(r, group); err != nil {
			return err
		}
	}
}

// eachOfMany is eachSource for spans of many resources. Those without a resource are left out.
func eachOfMany(spans []collector.Span, f func(*dendro.Resource, []*dendro.SpanData) error) error {
	var resources []*dendro.Resource
	of := map[*dendro.Resource][]*dendro.SpanData{}
	for i := range spans {
		r := spans[i].Resource
		if r == nil {
			continue
		}
		if of[r] == nil {
			resources = append(resources, r)
		}
		of[r] = append(of[r], &spans[i].SpanData)
	}
	for _, r := range resources {
		for group := range slices.Chunk(of[r], block.MaxSpans) {
			if err := f(r, group); err != nil {
				return err
			}
		}
	}
	return nil
}

// seal writes the open chunk.
func (w *runWriter) seal() error {
	if !w.open {
		return nil
	}
	w.open = false
	number := uint32(len(w.run.chunks))
	w.filters = append(w.filters, slices.Clone(w.filter.Fold()))
	w.run.chunks = append(w.run.chunks, w.info)
	w.chunk = block.AppendChunk(w.chunk[:0], w.encoder.Data, nil)
	err := w.table.Set(numberedKey(w.number, ofChunk, number), w.chunk)
	w.encoder.Data = w.encoder.Data[:0]
	return err
}

// writeFilter writes the filters of all chunks, bit by bit: a row has one bit of each of them. To
// look for a hash, a reader needs two rows, which are a small part of all.
//
//	page = n * row
//	row  = a bit for each chunk, in little-endian words of 64
func (w *runWriter) writeFilter() error {
	for _, f := range w.filters {
		w.run.words = max(w.run.words, len(f))
	}
	width := w.run.rowBytes()
	rows := make([]byte, 64*w.run.words*width)
	for n, f := range w.filters {
		for at := range w.run.words { // a folded filter repeats itself
			for word := f[at%len(f)]; word != 0; word &= word - 1 {
				row := 64*at + bits.TrailingZeros64(word)
				rows[row*width+n/8] |= 1 << (n % 8)
			}
		}
	}
	size := w.run.rowsPerPage() * width
	for n := uint32(0); len(rows) > 0; n++ {
		page := rows[:min(size, len(rows))]
		if err := w.table.Set(numberedKey(w.number, ofFilter, n), page); err != nil {
			return err
		}
		rows = rows[len(page):]
	}
	return nil
}

// rowBytes returns the size of a row of the filter.
func (r *run) rowBytes() int { return (len(r.chunks) + 63) / 64 * 8 }

func (r *run) rowsPerPage() int { return max(1, pageBytes/r.rowBytes()) }

// writeIndex writes what is known about the run, and where each trace is.
func (w *runWriter) writeIndex() error {
	w.run.ids = newIDFilter(len(w.index))
	for i := range w.index {
		w.run.ids.add(w.s.hash(w.index[i].id))
	}
	if err := w.table.Set(runPartKey(w.number, ofMeta), w.run.append(nil, w.split)); err != nil {
		return err
	}
	slices.SortFunc(w.index, func(a, b splitPart) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.chunk, b.chunk))
	})
	for i := 0; i < len(w.index); {
		id := w.index[i].id
		var value []byte
		for ; i < len(w.index) && w.index[i].id == id; i++ {
			value = binary.AppendUvarint(value, uint64(w.index[i].chunk))
			value = binary.AppendUvarint(value, uint64(w.index[i].at))
		}
		if err := w.table.Set(traceKey(w.number, id), value); err != nil {
			return err
		}
	}
	return nil
}

// append appends what is known about a run, and the parts of its traces in several places.
//
//	meta = version (1), number of the last received chunk, time of its last one, traces, spans,
//	       words of a filter, n, n * chunk, words of the filter of ids, n * word (8), m, m * split
//	chunk = latest start, latest start - earliest start, latest end - latest start, longest duration, errors
//	split = trace id (16), run, chunk, offset, start, duration
func (r *run) append(b []byte, split []splitPart) []byte {
	b = append(b, metaVersion)
	for _, n := range []uint64{r.upTo, uint64(r.until), uint64(r.traces), uint64(r.spans), uint64(r.words), uint64(len(r.chunks))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, c := range r.chunks {
		for _, n := range []int64{c.latest, c.latest - c.earliest, c.end - c.latest, c.longest, int64(c.errors)} {
			b = binary.AppendVarint(b, n)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.ids)))
	for _, word := range r.ids {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	b = binary.AppendUvarint(b, uint64(len(split)))
	for _, p := range split {
		b = append(b, p.id[:]...)
		for _, n := range []uint64{p.run, uint64(p.chunk), uint64(p.at)} {
			b = binary.AppendUvarint(b, n)
		}
		b = binary.AppendVarint(b, p.first)
		b = binary.AppendVarint(b, p.end-p.first)
	}
	return b
}

const metaVersion = 1

// readRun reads what append wrote. It returns [block.ErrBroken] for anything else.
func readRun(number uint64, data []byte) (*run, []splitPart, error) {
	d := reader{data: data}
	if v := d.bytes(1); len(v) == 0 || v[0] != metaVersion {
		return nil, nil, fmt.Errorf("run of an unknown format: %w", block.ErrBroken)
	}
	r := &run{number: number}
	r.upTo, r.until = d.uvarint(), int64(d.uvarint())
	r.traces, r.spans, r.words = int(d.uvarint()), int(d.uvarint()), int(d.uvarint())
	r.chunks = make([]chunkInfo, d.count(5))
	for i := range r.chunks {
		c := &r.chunks[i]
		c.latest = d.varint()
		c.earliest = c.latest - d.varint()
		c.end = c.latest + d.varint()
		c.longest, c.errors = d.varint(), int(d.varint())
	}
	r.ids = make(idFilter, d.count(8))
	for i := range r.ids {
		if word := d.bytes(8); len(word) == 8 {
			r.ids[i] = binary.LittleEndian.Uint64(word)
		}
	}
	split := make([]splitPart, d.count(21))
	for i := range split {
		p := &split[i]
		copy(p.id[:], d.bytes(16))
		p.run, p.chunk, p.at = d.uvarint(), uint32(d.uvarint()), uint32(d.uvarint())
		p.first = d.varint()
		p.end = p.first + d.varint()
	}
	if d.failed || len(d.data) > 0 || len(r.chunks) == 0 || r.traces < 0 || r.spans < 0 || r.words < 1 || r.words > filterWords || r.words&(r.words-1) != 0 || len(r.ids) == 0 || len(r.ids)%lineWords != 0 {
		return nil, nil, block.ErrBroken
	}
	return r, split, nil
}

// reader reads numbers.
type reader struct {
	data   []byte
	failed bool
}

func (d *reader) bytes(n int) []byte {
	if n > len(d.data) {
		d.failed, d.data = true, nil
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *reader) uvarint() uint64 {
	n, size := binary.Uvarint(d.data)
	d.bytes(max(size, 0))
	d.failed = d.failed || size <= 0
	return n
}

func (d *reader) varint() int64 {
	n, size := binary.Varint(d.data)
	d.bytes(max(size, 0))
	d.failed = d.failed || size <= 0
	return n
}

// count reads the number of elements that follow, each of at least size bytes.
func (d *reader) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.data)/size) {
		d.failed = true
		return 0
	}
	return int(n)
}

// idFilter is a Bloom filter of trace ids whose bits for one of them are in one line of a
// processor's cache (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters).
type idFilter []uint64

const (
	lineWords = 8 // 64 bytes
	// bitsPerID makes about one of 5000 answers wrong.
	bitsPerID  = 20
	probesOfID = 7
)

func newIDFilter(n int) idFilter {
	return make(idFilter, max(1, (n*bitsPerID+64*lineWords-1)/(64*lineWords))*lineWords)
}

// idHash is a hash of a trace id.
type idHash struct{ line, bits uint64 }

func (f idFilter) line(h idHash) []uint64 {
	at, _ := bits.Mul64(h.line, uint64(len(f)/lineWords))
	return f[at*lineWords:][:lineWords]
}

func (f idFilter) add(h idHash) {
	line := f.line(h)
	for range probesOfID {
		line[h.bits&7] |= 1 << (h.bits >> 3 & 63)
		h.bits >>= 9
	}
}

func (f idFilter) has(h idHash) bool {
	line := f.line(h)
	for range probesOfID {
		if line[h.bits&7]>>(h.bits>>3&63)&1 == 0 {
			return false
		}
		h.bits >>= 9
	}
	return true
}

// hash returns the hash of a trace id. Senders cannot choose ids that collide, because the
// directory has random numbers of its own.
func (s *Store) hash(id dendro.TraceID) idHash {
	a, b := binary.LittleEndian.Uint64(id[:8])^s.format.Seed[0], binary.LittleEndian.Uint64(id[8:])^s.format.Seed[1]
	high, low := bits.Mul64(a, b)
	line := high ^ low
	high, low = bits.Mul64(line^s.format.Seed[1], a|1)
	return idHash{line, high ^ low}
}
