package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Checked is what [Check] has read.
type Checked struct {
	Runs, Chunks, Spans int
	// Lost is the number of spans of runs that could not be read, as far as that is known: not for
	// a run whose record is damaged, and not for chunks that were received.
	Lost int
}

// Check reads everything in the directory of a store, and changes nothing but the file of the lock.
// It calls found for each thing that is damaged, and progress after each chunk. It returns an error
// if another process uses the directory, if there is no store, or if that cannot be opened at all.
func Check(ctx context.Context, dir string, found func(Damage), progress func(Checked)) (Checked, error) {
	s := newStore(dir, Options{Logger: slog.New(slog.DiscardHandler)})
	s.found = found
	return s.check(ctx, progress)
}

func (s *Store) check(ctx context.Context, progress func(Checked)) (c Checked, err error) {
	var checking sync.WaitGroup
	checking.Go(func() { c, err = s.checkAll(ctx, progress) }) // a fatal error ends this goroutine
	checking.Wait()
	s.disk.close()
	if failed := s.err(); failed != nil {
		return c, failed
	}
	if err != nil {
		err = fmt.Errorf("pebblestore: %s: %w", s.dir, err)
	}
	return c, err
}

func (s *Store) checkAll(ctx context.Context, progress func(Checked)) (c Checked, err error) {
	if _, err := s.disk.fs.Stat(s.dir); err != nil {
		return c, err
	}
	if err := s.openDB(true); err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.closeDB()) }()
	if err := s.loadFormat(); err != nil {
		return c, err
	}
	if err := s.loadRuns(); err != nil {
		return c, err
	}
	for _, r := range s.runs {
		if err := s.checkRun(ctx, r, &c, progress); err != nil {
			return c, err
		}
	}
	err = s.loadReceived()
	c.Chunks += len(s.head.segments)
	c.Spans += s.head.spans
	progress(c)
	return c, err
}

// checkRun reads a run.
func (s *Store) checkRun(ctx context.Context, r *run, c *Checked, progress func(Checked)) error {
	c.Runs++
	spans := 0
	for number := range uint32(len(r.chunks)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		spans += s.checkChunk(r, number)
		c.Chunks++
		progress(*c)
	}
	c.Spans += spans
	c.Lost += max(0, r.spans-spans)
	for page := range uint32((64*r.words + r.rowsPerPage() - 1) / r.rowsPerPage()) {
		s.checkPage(r.number, page)
	}
	return s.checkIndex(r)
}

// checkChunk returns the number of spans in a chunk that can be read.
func (s *Store) checkChunk(r *run, number uint32) (spans int) {
	chunk, open := s.chunk(r.number, number)
	if open == nil {
		s.damage(aChunk, r.number, number, errors.New("it is not there"))
		return 0
	}
	defer open.Close()
	var d block.Decoder
	for b := range chunk.All() {
		f := d.Open(b)
		t := block.Trace{ID: b.TraceID()}
		t.Add(b, &f)
		got, err := t.Decode(context.Background())
		if err != nil {
			s.damage("a trace in a chunk", r.number, number, err)
			continue
		}
		spans += len(got.Spans)
	}
	return spans
}

// checkPage reads a page of the filter of a run.
func (s *Store) checkPage(run uint64, page uint32) {
	_, closer, err := s.db.Get(numberedKey(run, ofFilter, page))
	if err != nil {
		s.damage("the filter of a run", run, page, err)
		return
	}
	_ = closer.Close() // nothing is written
}

// checkIndex reads the index of a run.
func (s *Store) checkIndex(r *run) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: runPartKey(r.number, ofTrace), UpperBound: runPartKey(r.number, ofTrace+1)})
	if err != nil {
		return err
	}
	traces := 0
	for ok := it.First(); ok; ok = it.Next() {
		traces++
	}
	err = it.Close()
	if err == nil && traces != r.traces {
		err = fmt.Errorf("%d of %d traces: %w", traces, r.traces, block.ErrBroken)
	}
	if err != nil {
		s.damage("the index of a run", r.number, 0, err)
	}
	return nil
}
