package clickhousestore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/operations"
)

const (
	// countsAge is how long counts of a process wait for those of others.
	countsAge = time.Second
	// countsBytes bounds the memory of counts that are written together.
	countsBytes = 64 << 20
	// countsKept is longer than a table keeps counts.
	countsKept = 26 * time.Hour
)

var errNoMarks = errors.New("clickhousestore: the views that count spans are missing or those of an older dendro, and would count twice what a process has counted: see \"Views of an older version\" in docs/clickhouse.md")

// counts are what processes have counted, and are written together.
type counts struct {
	table *operations.Table
	done  chan struct{} // closed when err is set
	err   error
}

// WriteOperations implements [collector.OperationWriter]. Counts that come within a second are written
// together, in two inserts. It returns an error if ClickHouse does not take them within ten seconds, or if
// its views are of an older version.
func (s *Store) WriteOperations(ctx context.Context, snapshot []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.t.counts || !s.t.marks {
		return errNoMarks
	}
	c, err := s.addCounts(snapshot)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// addCounts adds counts to those that are written next, which it returns.
func (s *Store) addCounts(snapshot []byte) (*counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, errClosed
	}
	c := s.counts
	if c == nil {
		c = &counts{table: operations.New(operations.Options{MaxBytes: countsBytes}), done: make(chan struct{})}
	}
	if err := c.table.Merge(snapshot); err != nil {
		return nil, err
	}
	if s.counts == nil {
		s.counts = c
		s.writing.Go(func() { s.writeCounts(c) })
	}
	return c, nil
}

// writeCounts waits for counts of other processes, writes all, and says so to those who wait.
func (s *Store) writeCounts(c *counts) {
	defer close(c.done)
	select {
	case <-time.After(countsAge):
	case <-s.life.Done():
	}
	s.mu.Lock()
	s.counts = nil
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.life, retryTime)
	defer cancel()
	if c.err = s.insertCounts(ctx, c.table); c.err != nil {
		s.log.Error("counts of operations are not written", "error", c.err)
	}
}

// insertCounts adds the counts of a table to those of the views.
func (s *Store) insertCounts(ctx context.Context, t *operations.Table) error {
	now := time.Now()
	w := collector.OperationScan{Start: now.Add(-countsKept), End: now.Add(time.Minute), Step: time.Minute}
	first, step, _ := w.Points()
	minute := func(point int) time.Time { return first.Add(time.Duration(point) * step) }

	var rows [][]any
	err := t.Operations(ctx, w, func(o *collector.Operation) bool {
		kind := kindNames[o.Kind]
		if o.Other {
			kind = otherKind
		}
		for i := range o.Points {
			if c := &o.Points[i]; c.Spans > 0 {
				rows = append(rows, []any{minute(i), o.Service, o.Name, kind, c.Spans, c.Errors, bucketsOf(c), uint64(0)})
			}
		}
		return true
	})
	if late := t.Stats().Late; late > 0 {
		rows = append(rows, []any{now, "", "", otherKind, 0.0, 0.0, bucketsOf(&collector.Counts{}), late})
	}
	if err == nil {
		err = s.insertRows(ctx, suffixOperations, "Minute, ServiceName, SpanName, SpanKind, Spans, Errors, Buckets, Late", rows)
	}
	if err != nil {
		return err
	}
	rows = nil
	err = t.Edges(ctx, w, func(e *collector.Edge) bool {
		for i := range e.Points {
			if c := &e.Points[i]; c.Spans > 0 {
				rows = append(rows, []any{
					minute(i), string(e.Client.Kind), e.Client.Name, e.Client.System, string(e.Server.Kind), e.Server.Name, e.Server.System, c.Spans, c.Errors, bucketsOf(c),
				})
			}
		}
		return true
	})
	if err == nil {
		err = s.insertRows(ctx, suffixEdges, "Minute, ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem, Spans, Errors, Buckets", rows)
	}
	return err
}

// bucketsOf returns the durations of c as a value of the column Buckets.
func bucketsOf(c *collector.Counts) []any {
	numbers, spans := []uint16{}, []float64{}
	for i, n := range c.Durations.Buckets() {
		numbers, spans = append(numbers, uint16(i)), append(spans, n)
	}
	return []any{numbers, spans}
}

// insertRows inserts rows into a table with counts. It tries again until ctx is done.
func (s *Store) insertRows(ctx context.Context, suffix, columns string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	token := rand.Text()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, maxRetryWait) {
		b, err := s.writer.PrepareBatch(inserting(ctx, token), "INSERT INTO "+s.t.of(suffix)+" ("+columns+")")
		if err == nil {
			err = send(b, rows)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.log.Warn("counts of operations are written again", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// send sends rows.
func send(b driver.Batch, rows [][]any) error {
	for _, row := range rows {
		if err := b.Append(row...); err != nil {
			return errors.Join(err, b.Abort())
		}
	}
	return b.Send()
}
