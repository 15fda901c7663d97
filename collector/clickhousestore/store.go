// Package clickhousestore is a [collector.Store] in ClickHouse, for teams that have outgrown one machine.
// Its tables are those of OpenTelemetry's exporter for ClickHouse, so that what reads or writes these
// works with both. Columns of its own have what that schema loses, such as the types of attributes.
//
// Several stores may write to the same tables. They need not know of each other.
package clickhousestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro/collector"
)

// Options configures a [Store]. The zero value is ready to use.
type Options struct {
	// Password, if it is not empty, is that of the user, instead of one in the DSN.
	Password string
	// Table is the name of the table with the spans. The names of the others begin with it. If it is
	// empty, the name is "otel_traces".
	Table string
	// Cluster is the name of the cluster that the tables are made on: a table of each of its
	// machines, replicated, and one that is distributed over all. If it is empty, tables are made on
	// the server only.
	Cluster string
	// Retention is how long spans are kept, counted from their start and rounded up to hours, when
	// tables are made. If it is zero, they are kept forever. Tables that are there keep theirs.
	Retention time.Duration
	// ExporterSchema leaves out the columns of this package: tables are just as OpenTelemetry's
	// exporter makes them. Then the types of attributes and other details are lost. Tables that
	// have the columns are written without.
	ExporterSchema bool
	// ExistingTables makes and changes no tables.
	ExistingTables bool

	// BatchSpans and BatchAge bound how many spans are written together, and how long the first of
	// them waits for others. If they are zero, the bounds are 50,000 spans and 200 ms.
	BatchSpans int
	BatchAge   time.Duration
	// MaxQueueBytes bounds the memory of spans that wait or are being written, in bytes. If it is
	// zero, the bound is 256 MiB. At the bound, Write waits and Collect drops spans.
	MaxQueueBytes int64
	// MaxQueryTime and MaxQueryMemory bound a query in ClickHouse. If they are zero, the bounds are
	// 30 seconds and 4 GiB.
	MaxQueryTime   time.Duration
	MaxQueryMemory int64

	// Logger says what went wrong. If it is nil, nobody does.
	Logger *slog.Logger
}

const (
	defaultTable          = "otel_traces"
	defaultBatchSpans     = 50_000
	defaultBatchAge       = 200 * time.Millisecond
	defaultMaxQueueBytes  = 256 << 20
	defaultMaxQueryTime   = 30 * time.Second
	defaultMaxQueryMemory = 4 << 30
	openTimeout           = 30 * time.Second
	closeTimeout          = 10 * time.Second

	// A count of traces that took countTime or longer is good for countShare times as long.
	countTime  = 200 * time.Millisecond
	countShare = 100
	// exactSpans is the number of spans up to which traces are counted exactly.
	exactSpans = 10_000_000
)

// Store keeps spans in ClickHouse. Its methods are safe for concurrent use.
type Store struct {
	o    Options
	conn driver.Conn // of readers
	// writer has connections of its own: those of readers may all be in use.
	writer driver.Conn
	t      tables
	log    *slog.Logger

	mu       sync.Mutex // guards the fields below
	maker    rowMaker
	pending  *insert // what is written next
	counts   *counts // that processes have made, and are written next
	inFlight map[*insert]struct{}
	recent   recent
	bytes    int64         // of pending and those in flight
	room     chan struct{} // closed when bytes gets less
	closing  bool
	stats    totals

	wake    chan struct{} // has an element when the flusher has to look at pending
	writing sync.WaitGroup
	life    context.Context // of inserts
	end     context.CancelFunc

	counting sync.Mutex // guards the fields below
	traces   uint64     // the number of traces when they were counted
	counted  time.Time
	took     time.Duration
}

// totals are what a store has counted since it was opened.
type totals struct {
	inserts    collector.Histogram
	spans      uint64 // that were added
	failures   uint64
	duplicates uint64
	dropped    map[string]uint64
}

var (
	_ collector.Store           = (*Store)(nil)
	_ collector.OperationWriter = (*Store)(nil)
)

// Open connects to the ClickHouse server of a DSN, such as
// clickhouse://user:password@host:9000/otel or http://host:8123/otel, and makes the tables that are not there.
// The database must exist. Options of the DSN are those of github.com/ClickHouse/clickhouse-go/v2. Open returns an error if
// the server does not answer within 30 seconds or the tables lack a column. The caller must close the store.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	config, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("clickhousestore: DSN: %w", err)
	}
	if config.Auth.Database == "" {
		config.Auth.Database = "default"
	}
	if o.Password != "" {
		config.Auth.Password = o.Password
	}
	if o.Table == "" {
		o.Table = defaultTable
	}
	if o.BatchSpans <= 0 {
		o.BatchSpans = defaultBatchSpans
	}
	if o.BatchAge <= 0 {
		o.BatchAge = defaultBatchAge
	}
	if o.MaxQueueBytes <= 0 {
		o.MaxQueueBytes = defaultMaxQueueBytes
	}
	if o.MaxQueryTime <= 0 {
		o.MaxQueryTime = defaultMaxQueryTime
	}
	if o.MaxQueryMemory <= 0 {
		o.MaxQueryMemory = defaultMaxQueryMemory
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	config.ClientInfo.Products = append(config.ClientInfo.Products, struct{ Name, Version string }{"dendro", ""})
	conn, err := clickhouse.Open(config)
	if err != nil {
		return nil, fmt.Errorf("clickhousestore: %w", err)
	}
	config.MaxOpenConns, config.MaxIdleConns = inserts+1, inserts
	writer, err := clickhouse.Open(config)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("clickhousestore: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	s := &Store{
		o: o, conn: conn, writer: writer, log: o.Logger, life: life, end: end, maker: rowMaker{encoder: newEncoder()}, pending: newInsert(), inFlight: map[*insert]struct{}{},
		room: make(chan struct{}), wake: make(chan struct{}, 1), stats: totals{dropped: map[string]uint64{}},
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := s.openTables(ctx, config.Auth.Database); err != nil {
		end()
		_ = errors.Join(conn.Close(), writer.Close())
		return nil, fmt.Errorf("clickhousestore: %w", err)
	}
	s.maker.plain = len(s.t.written) == len(exporterColumns)
	s.writing.Go(s.flush)
	return s, nil
}

// Close writes what has arrived, for ten seconds at most, and closes the connections. No method may be called after it.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	poke(s.wake)
	timer := time.AfterFunc(closeTimeout, s.end)
	defer timer.Stop()
	s.writing.Wait()
	s.end()
	return errors.Join(s.conn.Close(), s.writer.Close())
}

// Stats implements [collector.Reader]. Traces and Spans are those of all that is written to the tables, by
// whomever. The number of traces is an estimate if there are many, and some minutes old if counting them takes long. Bytes is their size on the disks of one
// server. Accepted and Dropped leave out what ClickHouse has removed because it was too old.
func (s *Store) Stats(ctx context.Context) (st collector.Stats, err error) {
	s.settle(ctx)
	var spans, bytes uint64
	err = s.row(ctx, "SELECT count() FROM "+s.t.traces(), nil, &spans)
	if err == nil {
		p := params{}
		err = s.row(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = "+p.text(s.t.database)+
			" AND table IN "+p.texts([]string{s.t.name, s.t.name + suffixLocal}), p, &bytes)
	}
	var traces uint64
	if err == nil {
		traces, err = s.countTraces(ctx, spans)
	}
	var counted collector.OperationStats
	if err == nil {
		counted, err = s.operationStats(ctx)
	}
	if err != nil {
		return st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st = collector.Stats{Traces: int(traces), Spans: int(spans), Bytes: int64(bytes), Accepted: spans, Duplicates: s.stats.duplicates, Dropped: map[string]uint64{}, Operations: counted}
	for reason, n := range s.stats.dropped {
		st.Dropped[reason] = n
		st.Accepted += n
	}
	return st, nil
}

// countTraces returns the number of traces, which have a number of spans. That of many is within a percent.
func (s *Store) countTraces(ctx context.Context, spans uint64) (n uint64, err error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	if s.took >= countTime && time.Since(s.counted) < countShare*s.took {
		return s.traces, nil
	}
	table := s.t.traces()
	if s.t.hasIDs {
		table = s.t.traceIDs()
	}
	count := "uniqExact"
	if spans > exactSpans {
		count = "uniqCombined64"
	}
	began := time.Now()
	if err = s.row(ctx, "SELECT "+count+"(TraceId) FROM "+table, nil, &n); err == nil {
		s.traces, s.counted, s.took = n, time.Now(), time.Since(began)
	}
	return n, err
}

// poke makes the receiver of c look again.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
