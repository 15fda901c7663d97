// Package pebblestore has a [collector.Store] on disk, in an embedded database: Pebble.
//
//	store, err := pebblestore.Open("traces", pebblestore.Options{})
//	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store})
//
// # How it works
//
// Spans arrive in a head: blocks in memory, in the encoding of the memory store. A chunk of new
// blocks is written to the database and synced, for all goroutines that wait for it at once. When
// the head is full or an hour old, its traces are written again, whole and ordered by time, as a
// run: a table of the database with the chunks, their filters and an index of trace ids. Then
// what was received is deleted. Runs never change. The oldest ones are dropped as a whole when the
// store is full or they are too old. docs/storage-format.md has the format.
//
// # What a crash can lose
//
// Nothing that Write has acknowledged, if [Options.Sync] is [SyncAlways], whether the process or
// the machine stops. Spans of Collect, which does not wait, are synced a moment later.
package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/collector/operations"
)

// Sync says what has happened to spans when [Store.Write] returns.
type Sync uint8

const (
	// SyncAlways means that they are on the disk. A crash of the process or of the machine loses nothing.
	SyncAlways Sync = iota
	// SyncInterval means that they are given to the operating system and on the disk a second later. A crash of
	// the process loses what was written in the last moments, one of the machine up to the last second.
	SyncInterval
	// SyncNone means that the database writes when it likes to. A crash loses up to the last 32 MiB.
	SyncNone
)

// Options configures a [Store]. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the size of the stored traces in bytes; the oldest make room. The log of the
	// database takes up to 150 MiB of the disk besides. If MaxBytes is zero, the bound is 10 GiB. Less
	// than 64 MiB means 64 MiB.
	MaxBytes int64
	// MaxAge is how long traces are kept after they arrived. If it is zero, they are kept until
	// there is no room. They are dropped an hour's worth at a time.
	MaxAge time.Duration
	// KeepErrors is how long traces with an error, and the slowest five of each operation among those that are
	// dropped at a time, are kept after they ended, whatever MaxAge is. They are gone at most another MaxAge
	// later. Where MaxBytes requires that traces are dropped, up to about half of what
	// they take is kept. If KeepErrors is zero, no trace is kept longer than others.
	KeepErrors time.Duration
	// Sync says when spans are on the disk.
	Sync Sync
	// Logger gets what happens in the background. If it is nil, that is [slog.Default].
	Logger *slog.Logger

	fs            vfs.FS           // nil: that of the operating system
	now           func() time.Time // nil: time.Now
	headBytes     int              // 0: depends on MaxBytes
	checkInterval time.Duration    // of looks at the disk; 0: a second
	// retainInterval is that of looks at the age of runs; 0: a minute.
	retainInterval time.Duration
}

const (
	defaultMaxBytes = 10 << 30
	minMaxBytes     = 64 << 20
	// A head takes headShare of the store, within these bounds.
	headShare    = 32
	minHeadBytes = 2 << 20
	maxHeadBytes = 32 << 20
	// maxHeadAge is the age at which a head becomes a run, however small it is.
	maxHeadAge = time.Hour
	// operationBytes bounds the counts of operations, in memory.
	operationBytes = 16 << 20
	cacheBytes     = 24 << 20
	memTableBytes  = 16 << 20
	maxMemTables   = 2 // that there are, mostly
)

// Reasons of a [dendro.DropError], and of [collector.Stats.Dropped].
const (
	dropBusy     = "store_busy" // spans come faster than runs are written
	dropDiskFull = "disk_full"
	dropFailed   = "store_failed"
	dropClosed   = "store_closed"
	dropEvicted  = "evicted"
	dropExpired  = "expired"
)

// ErrDiskFull is the error of [Store.Write] while there is no room on the disk. Reading goes on, and
// writing does when there is room again.
var ErrDiskFull = errors.New("pebblestore: the disk is full")

var errClosed = errors.New("pebblestore: the store is closed")

// Store is a [collector.Store] in a directory. Its methods are safe for concurrent use.
type Store struct {
	dir        string
	o          Options
	log        *slog.Logger
	disk       *disk
	db         *pebble.DB
	lock       *pebble.Lock
	operations *operations.Table

	format  format
	metrics metrics

	mu     sync.Mutex    // guards the fields below
	head   *head         // receives spans
	sealed *head         // is being written as a run, or nil
	room   chan struct{} // closed when sealed becomes nil
	// snapshot has the counts of operations of when sealed was sealed, until it is written.
	snapshot []byte
	counted  uint64 // number of the last received chunk that was counted before the store was opened
	runs     []*run // oldest first; never modified, but replaced
	nextRun  uint64 // number of the next run
	split    splits
	encoder  block.Encoder // of the last segment of head; its Data is nil if that is complete
	segment  uint32        // number of the segment
	usual    int           // size of the segment before
	filter   block.Filter  // of the segment
	decoder  block.Decoder
	ready    []received // chunks that are complete
	gone     uint64     // the run that is gone when they are written, or 0
	next     uint64     // number of the next chunk
	pending  *commit    // of ready and of the segment
	last     *commit    // the one before
	stored   *commit    // of the sealed head, or nil
	counts   counts
	closed   bool

	damaged  places
	found    func(Damage)
	troubles places // that Pebble has logged
	failed   atomic.Pointer[error]
	failing  chan struct{} // closed after failed is set
	wake     chan struct{} // holds a token when there is something to commit
	seal     chan struct{} // holds a token when there is a sealed head
	stop     chan struct{} // closed by Close
	reading  gate
	writing  sync.WaitGroup // calls that add to the head; incremented while mu is held and the store is open
	working  sync.WaitGroup // goroutines
	finished sync.Once
	closeErr error
}

// counts is what Stats returns besides what can be added up.
type counts struct {
	shared     int // places of split traces beyond the first
	duplicates uint64
	dropped    map[string]uint64
}

var (
	_ collector.Store           = (*Store)(nil)
	_ collector.OperationWriter = (*Store)(nil)
)

// Open opens the store in a directory, which it makes if there is none. It returns an error if
// another process uses it, or a later version of dendro has written it.
func Open(dir string, o Options) (*Store, error) {
	s := newStore(dir, o)
	err := errClosed // until it is known
	var opening sync.WaitGroup
	opening.Go(func() { err = s.open() }) // a fatal error ends this goroutine
	opening.Wait()
	if failed := s.err(); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %s: %w", dir, err)
	}
	return s, nil
}

func (o *Options) setDefaults() {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	o.MaxBytes = max(o.MaxBytes, minMaxBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.checkInterval == 0 {
		o.checkInterval = time.Second
	}
	if o.retainInterval == 0 {
		o.retainInterval = defaultRetainInterval
	}
	if o.headBytes == 0 {
		o.headBytes = int(min(max(o.MaxBytes/headShare, minHeadBytes), maxHeadBytes))
	}
}

func newStore(dir string, o Options) *Store {
	o.setDefaults()
	s := &Store{
		dir: dir, o: o, log: o.Logger.With("dir", dir),
		encoder: block.NewEncoder(),
		usual:   minSegmentBytes,
		filter:  make(block.Filter, filterWords),
		pending: newCommit(),
		split:   newSplits(),
		counts:  counts{dropped: map[string]uint64{}},
		wake:    make(chan struct{}, 1),
		seal:    make(chan struct{}, 1),
		failing: make(chan struct{}),
		stop:    make(chan struct{}),
		reading: newGate(),
	}
	s.found = s.logDamage
	s.disk = newDisk(dir, &s.o, s.log)
	s.operations = operations.New(s.operationOptions())
	return s
}

func (s *Store) open() error {
	if err := s.disk.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.openDB(false); err != nil {
		s.disk.close()
		return err
	}
	s.disk.check()
	if err := s.load(); err != nil {
		s.disk.close()
		return errors.Join(err, s.closeDB())
	}
	s.working.Go(s.commits)
	s.working.Go(s.seals)
	s.working.Go(s.disk.watch)
	return nil
}

// openDB locks the directory and opens the database in it.
func (s *Store) openDB(readOnly bool) error {
	lock, err := pebble.LockDirectory(s.dir, s.disk.fs)
	if err != nil {
		return fmt.Errorf("another process uses this directory, each needs its own: %w", err)
	}
	cache := pebble.NewCache(cacheBytes + maxMemTables*memTableBytes) // in which Pebble counts them
	defer cache.Unref()
	o := &pebble.Options{
		ReadOnly:           readOnly,
		FS:                 s.disk.fs,
		Lock:               lock,
		Cache:              cache,
		MemTableSize:       memTableBytes,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MaxOpenFiles:       500,
		Logger:             logger{s},
		EventListener:      &pebble.EventListener{DataCorruption: s.corrupt},
	}
	for i := range o.Levels { // received chunks, which do not stay
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	if err := s.write(func() (err error) { s.db, err = pebble.Open(s.dir, o); return err }); err != nil {
		return errors.Join(err, lock.Close())
	}
	s.lock = lock
	return nil
}

// closeDB closes the database. It does not wait for one that fails.
func (s *Store) closeDB() error {
	closed := make(chan error, 1)
	go func() {
		if s.err() == nil {
			closed <- errors.Join(s.db.Close(), s.lock.Close())
		}
	}()
	select {
	case err := <-closed:
		return err
	case <-s.failing:
		return s.err()
	}
}

// Close stops receiving, waits for calls that read, writes what was collected, and closes the store.
// After that, all methods return errors. It may be called more than once, and each call waits. If the
// database has failed, or there is no room on the disk for what was collected, it returns that
// error, and the directory stays locked until the process ends.
func (s *Store) Close() error {
	s.finished.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.stop)
		s.disk.close()
		stopped := make(chan struct{})
		go func() {
			s.working.Wait()
			close(stopped)
		}()
		select {
		case <-stopped:
		case <-s.failing: // a write may wait in Pebble forever
		}
		s.reading.close()
		s.closeErr = s.closeDB()
	})
	return s.closeErr
}

// err returns why the store cannot write any more, or nil.
func (s *Store) err() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail notes that the store cannot write any more.
func (s *Store) fail(why string) {
	err := fmt.Errorf("pebblestore: %s: restart the program: %s", s.dir, why)
	if s.failed.CompareAndSwap(nil, &err) {
		close(s.failing)
		s.log.Error("dendro: the store has failed: spans are refused", "err", err)
	}
}

// write calls a function that writes to the database. Pebble panics after some errors of the disk.
func (s *Store) write(f func() error) (err error) {
	if err := s.err(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			s.fail(fmt.Sprint(p))
			err = s.err()
		}
	}()
	return f()
}

// Stats implements [collector.Reader].
func (s *Store) Stats(ctx context.Context) (st collector.Stats, err error) {
	if err := ctx.Err(); err != nil {
		return st, err
	}
	st.MaxBytes, st.Operations = s.o.MaxBytes, s.operations.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return st, errClosed
	}
	for _, r := range s.runs {
		st.Traces += r.traces
		st.Spans += r.spans
		st.Bytes += r.bytes
	}
	for _, h := range []*head{s.head, s.sealed} {
		if h != nil {
			st.Traces += len(h.traces)
			st.Spans += h.spans
			st.Bytes += int64(h.bytes)
		}
	}
	st.Traces -= s.counts.shared
	st.Duplicates = s.counts.duplicates
	st.Accepted = uint64(st.Spans)
	for reason, n := range s.counts.dropped {
		if st.Dropped == nil {
			st.Dropped = map[string]uint64{}
		}
		st.Dropped[reason] = n
		st.Accepted += n
	}
	return st, nil
}

// Operations implements [collector.OperationReader].
func (s *Store) Operations(ctx context.Context, w collector.OperationScan, visit func(*collector.Operation) bool) error {
	return s.operations.Operations(ctx, w, visit)
}

// Edges implements [collector.OperationReader].
func (s *Store) Edges(ctx context.Context, w collector.OperationScan, visit func(*collector.Edge) bool) error {
	return s.operations.Edges(ctx, w, visit)
}

// logger writes what Pebble logs. A fatal error is the last thing that a goroutine of Pebble does:
// the database cannot write any more.
type logger struct{ s *Store }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.s.troubles.add(place{what: text}) { // it tries some things again without a pause
		l.s.log.Error("dendro: store: " + text)
	}
}

func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
