package clickhousestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

const (
	// inserts is the number of inserts that run at the same time.
	inserts = 4
	// maxDays bounds the days that the spans of an insert are of, each of which becomes a part of
	// the table. ClickHouse refuses more than a hundred.
	maxDays = 90
	// batchBytes bounds the memory of the spans of an insert.
	batchBytes = 64 << 20
	// retryTime bounds all tries of an insert.
	retryTime = 10 * time.Second
	// maxRetryWait bounds the time between two tries.
	maxRetryWait = 2 * time.Second

	day = int64(24 * time.Hour)
)

// errClosed is returned for spans that come after Close.
var errClosed = errors.New("clickhousestore: the store is closed")

// insert is a group of spans that are written together.
type insert struct {
	rows     []row // nil when they are written or have failed
	bytes    int   // about the memory of rows
	requests []int // number of the first row of each call of Write or Collect
	days     map[int64]struct{}
	since    time.Time // when the first span was added
	urgent   bool      // somebody waits for it
	silent   bool      // it has spans for which nobody waits
	token    string    // by which ClickHouse recognizes it

	done chan struct{} // closed when err is set
	err  error
}

func newInsert() *insert {
	return &insert{days: map[int64]struct{}{}, token: rand.Text(), done: make(chan struct{})}
}

// recent knows the spans that were added last, and where to.
type recent struct{ young, old map[spanKey]*insert }

// recentSpans is the number of spans after which the older ones are forgotten.
const recentSpans = 250_000

func (r *recent) find(key spanKey) *insert {
	if i, ok := r.young[key]; ok {
		return i
	}
	return r.old[key]
}

func (r *recent) add(key spanKey, to *insert) {
	if len(r.young) >= recentSpans || r.young == nil {
		r.young, r.old = map[spanKey]*insert{}, r.young
	}
	r.young[key] = to
}

// forget forgets the spans of an insert that has failed.
func (r *recent) forget(i *insert) {
	for n := range i.rows {
		key := i.rows[n].key
		for _, m := range []map[spanKey]*insert{r.young, r.old} {
			if m[key] == i {
				delete(m, key)
			}
		}
	}
}

// Collect implements [dendro.Collector]. It does not wait for ClickHouse: what it takes is lost if
// ClickHouse cannot be reached for some time, and counted. It returns a [dendro.DropError] while too
// much is waiting.
func (s *Store) Collect(b *dendro.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return &dendro.DropError{Reason: "closed", Err: errClosed}
	}
	if s.bytes > s.o.MaxQueueBytes {
		return &dendro.DropError{Reason: "queue_full"}
	}
	into, _, rejected := s.add([]*dendro.Batch{b})
	if rejected > 0 {
		return &dendro.DropError{Reason: collector.DropTooLarge, Err: errDays(rejected)}
	}
	if into != nil {
		into.silent = true
	}
	return nil
}

func errDays(spans int) error {
	return fmt.Errorf("%d spans are of more than %d days", spans, maxDays)
}

// Write implements [collector.Writer]. When it returns nil, ClickHouse has the spans. It waits while too much is
// waiting. It returns an error if ClickHouse does not take the spans within ten seconds.
func (s *Store) Write(ctx context.Context, batches []*dendro.Batch) error {
	if err := s.admit(ctx); err != nil {
		return err
	}
	into, before, rejected := s.add(batches)
	s.mu.Unlock()
	if into != nil {
		before = append(before, into)
	}
	for _, i := range before {
		select {
		case <-i.done:
			if i.err != nil {
				return i.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if rejected > 0 {
		return &collector.RejectedError{Spans: rejected, Reason: errDays(rejected).Error()}
	}
	return nil
}

// admit waits until there is room, and locks s.mu if it returns nil.
func (s *Store) admit(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return errClosed
		}
		if s.bytes <= s.o.MaxQueueBytes {
			return nil
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// add adds spans to the pending insert, which it returns if there were any. Of those that were there, it returns
// the inserts that are not written yet. rejected is the number of spans that were not added. s.mu is held.
func (s *Store) add(batches []*dendro.Batch) (into *insert, before []*insert, rejected int) {
	days := map[int64]struct{}{}
	for _, b := range batches {
		for _, span := range b.Spans {
			if len(days) < maxDays {
				days[span.Start/day] = struct{}{}
			}
		}
	}
	maps.Copy(days, s.pending.days)
	if len(days) > maxDays && len(s.pending.rows) > 0 {
		s.start()
	}
	to := s.pending
	first, bytes := len(to.rows), to.bytes
	for _, b := range batches {
		for _, span := range b.Spans {
			key := keyOf(span)
			if !b.Fresh {
				if i := s.recent.find(key); i != nil {
					s.stats.duplicates++
					if i != to && i.rows != nil && !slices.Contains(before, i) {
						before = append(before, i)
					} else if i == to {
						into = to
					}
					continue
				}
			}
			if _, ok := to.days[span.Start/day]; !ok {
				if len(to.days) == maxDays {
					rejected++
					continue
				}
				to.days[span.Start/day] = struct{}{}
			}
			s.recent.add(key, to)
			r, size := s.maker.row(b.Resource, span, key)
			to.rows = append(to.rows, r)
			to.bytes += size
		}
	}
	s.bytes += int64(to.bytes - bytes)
	if len(to.rows) > first {
		to.requests = append(to.requests, first)
		if into = to; first == 0 {
			to.since = time.Now()
		}
		if first == 0 || s.due() {
			poke(s.wake)
		}
	}
	return into, before, rejected
}

// due reports whether the pending insert need not wait for more spans. s.mu is held.
func (s *Store) due() bool {
	p := s.pending
	return len(p.rows) > 0 && (len(p.rows) >= s.o.BatchSpans || p.bytes >= batchBytes || p.urgent || s.closing || time.Since(p.since) >= s.o.BatchAge)
}

// start makes the pending insert one that is in flight, and begins another one. s.mu is held.
func (s *Store) start() {
	i := s.pending
	s.pending = newInsert()
	s.inFlight[i] = struct{}{}
	s.writing.Go(func() { s.insert(i) })
}

// flush starts inserts when they are due, until the store is closed.
func (s *Store) flush() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.mu.Lock()
		for s.due() && len(s.inFlight) < inserts {
			s.start()
		}
		if s.closing && len(s.pending.rows) == 0 {
			s.mu.Unlock()
			return
		}
		wait := time.Hour
		if p := s.pending; len(p.rows) > 0 && len(s.inFlight) < inserts {
			wait = time.Until(p.since.Add(s.o.BatchAge))
		}
		s.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// settle waits until all that has been collected is written or has failed, so that it can be read. Spans for
// which somebody waits in Write are not there before Write returns.
func (s *Store) settle(ctx context.Context) {
	s.mu.Lock()
	var wait []*insert
	if s.pending.silent {
		s.pending.urgent = true
		poke(s.wake)
		wait = append(wait, s.pending)
	}
	for i := range s.inFlight {
		if i.silent {
			wait = append(wait, i)
		}
	}
	s.mu.Unlock()
	for _, i := range wait {
		select {
		case <-i.done:
		case <-ctx.Done():
			return
		}
	}
}

// insert writes an insert, and says so to those who wait for it.
func (s *Store) insert(i *insert) {
	duplicates, err := s.tryInsert(i)
	s.mu.Lock()
	s.stats.duplicates += uint64(duplicates)
	if err == nil {
		s.stats.spans += uint64(len(i.rows) - duplicates)
	} else {
		s.log.Error("spans are not written", "spans", len(i.rows), "error", err)
		s.recent.forget(i)
		if i.silent {
			s.stats.dropped["write_failed"] += uint64(len(i.rows))
		}
	}
	s.bytes -= int64(i.bytes)
	i.rows, i.err = nil, err
	delete(s.inFlight, i)
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	close(i.done)
	poke(s.wake)
}

// tryInsert writes an insert, and tries again while that may help. It returns the number of spans that the table had.
// Each try writes the same rows with the same token, so that ClickHouse leaves out what an earlier one has written, in each
// table and partition.
func (s *Store) tryInsert(i *insert) (duplicates int, err error) {
	ctx, cancel := context.WithTimeout(s.life, retryTime)
	defer cancel()
	var rows []row // nil until it is known what the table has
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, maxRetryWait) {
		began := time.Now()
		if rows == nil {
			var had []int
			if had, err = s.had(ctx, i); err == nil {
				rows, duplicates = others(i.rows, had), len(had)
			}
		}
		if rows != nil {
			err = s.insertOnce(ctx, i.token, rows)
		}
		s.tried(began, err)
		if err == nil || ctx.Err() != nil {
			return duplicates, err
		}
		s.log.Warn("spans are written again", "spans", len(i.rows), "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return duplicates, err
		}
	}
}

// others returns the rows whose numbers are not in sorted. It is not nil.
func others(rows []row, sorted []int) []row {
	if len(sorted) == 0 {
		return rows
	}
	out := make([]row, 0, len(rows)-len(sorted))
	for n := range rows {
		if _, found := slices.BinarySearch(sorted, n); !found {
			out = append(out, rows[n])
		}
	}
	return out
}

func (s *Store) insertOnce(ctx context.Context, token string, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	b, err := s.writer.PrepareBatch(inserting(ctx, token), s.t.insert())
	if err != nil {
		return err
	}
	for n, c := range s.t.written {
		if err := b.Column(n).Append(c.values(rows)); err != nil {
			return errors.Join(err, b.Abort())
		}
	}
	return b.Send()
}

// inserting returns ctx with the settings of an insert.
func inserting(ctx context.Context, token string) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"async_insert": 0,
		// A distributed table answers when the machines of the cluster have the rows.
		"distributed_foreground_insert":                      1,
		"insert_deduplication_token":                         token,
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
}

// had returns the numbers of the rows that the table has already. A client that has not seen an answer, because a
// collector was killed, sends the same request to another one. So one span of each request is looked for, and only if it is
// found all others.
func (s *Store) had(ctx context.Context, i *insert) ([]int, error) {
	found, err := s.find(ctx, i.rows, i.requests)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var rows []int
	for n, first := range i.requests {
		if _, ok := slices.BinarySearch(found, first); !ok {
			continue
		}
		end := len(i.rows)
		if n+1 < len(i.requests) {
			end = i.requests[n+1]
		}
		for row := first; row < end; row++ {
			rows = append(rows, row)
		}
	}
	return s.find(ctx, i.rows, rows)
}

const (
	// findSpans bounds the number of spans that one query looks for.
	findSpans = 1000
	// findBytes bounds the size of names in such a query, which are a part of a URL if the protocol is HTTP.
	findBytes = 16 << 10
)

// find returns which of some rows the table has.
func (s *Store) find(ctx context.Context, rows []row, of []int) (found []int, err error) {
	type identity struct {
		trace, span string
		start       int64
	}
	for chunk := range slices.Chunk(of, findSpans) {
		wanted := map[identity]int{}
		traces, services, names := map[string]struct{}{}, map[string]struct{}{}, map[string]struct{}{}
		first, last := int64(math.MaxInt64), int64(math.MinInt64)
		for _, n := range chunk {
			r := &rows[n]
			start := r.time.UnixNano()
			wanted[identity{r.traceID, r.spanID, start}] = n
			traces[r.traceID], services[r.service], names[r.name] = struct{}{}, struct{}{}, struct{}{}
			first, last = min(first, start), max(last, start)
		}
		var p params
		text := "SELECT TraceId, SpanId, toUnixTimestamp64Nano(Timestamp) FROM " + s.t.traces() +
			" WHERE TraceId IN " + p.texts(slices.Sorted(maps.Keys(traces))) + " AND Timestamp >= " + p.time(first) + " AND Timestamp <= " + p.time(last)
		for column, texts := range map[string]map[string]struct{}{"ServiceName": services, "SpanName": names} {
			size := 0
			for text := range texts {
				size += len(text)
			}
			if size <= findBytes { // they only make the query faster
				text += " AND " + column + " IN " + p.texts(slices.Sorted(maps.Keys(texts)))
			}
		}
		err := s.eachOn(ctx, s.writer, text, p, func(got driver.Rows) error {
			var id identity
			if err := got.Scan(&id.trace, &id.span, &id.start); err != nil {
				return err
			}
			if n, ok := wanted[id]; ok {
				found = append(found, n)
				delete(wanted, id)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(found)
	return found, nil
}
