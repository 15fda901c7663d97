package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/collector/operations"
)

// The counts of operations are saved whenever a run is complete. Chunks that were received after
// that are counted again when the store is opened, and counts that were received are added again.
//
//	value = number of the last received chunk that is counted (8), snapshot of package operations

var operationsKey = append([]byte{kindFormat}, "operations"...)

// replaceReceived deletes the received chunks that are in a run, and saves the counts of all up to
// them.
func (s *Store) replaceReceived(first, upTo uint64, snapshot []byte) error {
	b := s.db.NewBatch()
	defer b.Close() //nolint:errcheck // it is applied before
	op := b.SetDeferred(len(operationsKey), 8+len(snapshot))
	copy(op.Key, operationsKey)
	binary.BigEndian.PutUint64(op.Value, upTo)
	copy(op.Value[8:], snapshot)
	return errors.Join(op.Finish(), b.DeleteRange(receivedKey(first), receivedKey(upTo+1), nil), s.db.Apply(b, pebble.NoSync))
}

// loadCounts reads the counts of operations, and returns the number of the last received chunk that
// is in them. Without them, or if they are damaged, the counts begin with the chunks that are there.
func (s *Store) loadCounts() (upTo uint64) {
	value, closer, err := s.db.Get(operationsKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0
	}
	if err == nil {
		defer closer.Close() //nolint:errcheck // nothing is written
		if len(value) < 8 {
			err = block.ErrBroken
		} else {
			var table *operations.Table
			if table, err = operations.Restore(s.operationOptions(), value[8:]); err == nil {
				s.operations = table
				return binary.BigEndian.Uint64(value)
			}
		}
	}
	s.damage("the counts of operations", 0, 0, err)
	return 0
}

func (s *Store) operationOptions() operations.Options {
	return operations.Options{MaxBytes: operationBytes, Now: s.o.now}
}

// WriteOperations implements [collector.OperationWriter]. When it returns, the counts are stored as
// [Options.Sync] says. It returns [ErrDiskFull] while the disk is full.
func (s *Store) WriteOperations(ctx context.Context, snapshot []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := s.putOperations(ctx, snapshot)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

// putOperations adds counts to those of the store, and returns the commit that stores them.
func (s *Store) putOperations(ctx context.Context, snapshot []byte) (*commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(ctx, true); err != nil {
		return nil, err
	}
	s.writing.Add(1)
	defer s.writing.Done()
	s.complete() // what came before has a lower number, and a head that is full is sealed without these counts
	if err := s.operations.Merge(snapshot); err != nil {
		return nil, err
	}
	s.ready = append(s.ready, received{s.next, ofOperations, segment{data: bytes.Clone(snapshot)}})
	s.next++
	s.head.bytes += len(snapshot)
	poke(s.wake)
	return s.pending, nil
}

// countBetween counts what was received and is in a run already, but not in the counts.
func (s *Store) countBetween(counted, before uint64) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: receivedKey(counted + 1), UpperBound: receivedKey(before)})
	if err != nil {
		return err
	}
	defer it.Close() //nolint:errcheck // nothing is written
	for ok := it.First(); ok; ok = it.Next() {
		switch ofReceived(it.Key()) {
		case ofKept:
			continue
		case ofOperations:
			_ = s.operations.Merge(it.Value())
			continue
		}
		c, err := block.ReadChunk(it.Value())
		if err != nil {
			continue // the spans are in a run
		}
		for b := range c.All() {
			_ = s.count(b)
		}
	}
	return nil // what cannot be read is not counted
}

// count counts the spans of a block.
func (s *Store) count(b block.Block) error {
	r, spans, err := s.spansOf(b)
	if err == nil {
		s.operations.Shard(0).Count(r, spans)
	}
	return err
}

// spansOf decodes a block.
func (s *Store) spansOf(b block.Block) (*dendro.Resource, []*dendro.SpanData, error) {
	f := s.decoder.Open(b)
	if s.decoder.Failed {
		return nil, nil, block.ErrBroken
	}
	t := block.Trace{ID: b.TraceID()}
	t.Add(b, &f)
	got, err := t.Decode(context.Background())
	if err != nil {
		return nil, nil, err
	}
	spans := make([]*dendro.SpanData, len(got.Spans))
	for i := range got.Spans {
		spans[i] = &got.Spans[i].SpanData
	}
	return got.Spans[0].Resource, spans, nil
}
