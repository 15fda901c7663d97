// Package spool holds requests on disk until they are delivered, oldest first.
//
// Each request is a file, written and synced under another name first, so that a crash
// leaves all of it or nothing. docs/decisions/020 has the format and its reasons.
package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Reasons for which spans in a spool are lost.
const (
	LostFull    = "spool_full"    // the oldest in a full spool
	LostDamaged = "spool_damaged" // not as they were written
)

// Options configures [Open].
type Options struct {
	// MaxBytes bounds the space on disk, in bytes.
	MaxBytes int64
	// DropOldest drops the oldest records of a full spool to make room for new ones.
	// Without it, Append returns [ErrFull].
	DropOldest bool
	// Lost is called with the number of spans that were dropped, and the reason. It must not
	// call the spool.
	Lost func(reason string, spans int)
	// Otherwise says in the log what becomes of requests that cannot be written.
	Otherwise string
	// Logger says what went wrong. If it is nil, that is [slog.Default].
	Logger *slog.Logger
}

// Spool is a directory with requests. Its methods are safe for concurrent use.
type Spool struct {
	o    Options
	dir  string
	root *os.Root
	lock *os.File

	mu      sync.Mutex // guards what follows
	records []*Record  // oldest first
	size    Size       // with the bytes of records that are being written
	last    uint64     // the largest Record.seq so far
	failing bool       // the last write failed
	names   int        // number of names for records that are being written
	unused  []string   // those of them that are not in use
}

// Size is what a [Spool] holds.
type Size struct {
	Spans  int
	Bytes  int64  // on disk
	Errors uint64 // number of operations that failed so far
}

// Names in the directory of a spool besides those of records.
const (
	lockName = "lock"
	// A record that is being written has this name, or this with a hyphen and a number if there are
	// others.
	unfinished = "unfinished"
)

// ErrFull is returned by [Spool.Append] if there is no room.
var ErrFull = errors.New("the spool is full")

var errLocked = errors.New("locked")

// Open opens the spool in dir, which it creates if necessary. If the spool takes
// more than o.MaxBytes, it drops the oldest records with o.DropOldest, and is full without.
func Open(dir string, o Options) (_ *Spool, err error) {
	s := &Spool{o: o}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err = os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	lock := filepath.Join(s.dir, lockName)
	if info, err := os.Lstat(lock); err == nil && !info.Mode().IsRegular() { // a link would lock a file elsewhere
		return nil, fmt.Errorf("%s is no regular file: remove it, or use another directory", lock)
	}
	if s.lock, err = lockFile(lock); errors.Is(err, errLocked) {
		return nil, fmt.Errorf("%s is in use by another process or client: give each a directory of its own", s.dir)
	} else if err != nil {
		return nil, err
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return nil, err
	}
	if err = s.list(); err != nil {
		return nil, err
	}
	s.makeRoom(0)
	return s, nil
}

// Dir returns the absolute path of the directory.
func (s *Spool) Dir() string { return s.dir }

// Size returns what the spool holds, including what an earlier process has left.
func (s *Spool) Size() Size {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

func (s *Spool) log() *slog.Logger { return cmp.Or(s.o.Logger, slog.Default()) }

// maxForeign bounds how many names of other files are logged.
const maxForeign = 10

// list finds the records that an earlier process left. It leaves other files alone, and logs their
// names.
func (s *Spool) list() error {
	entries, err := fs.ReadDir(s.root.FS(), ".") // sorted by name, which is by age
	if err != nil {
		return err
	}
	var foreign []string
	for _, e := range entries {
		if base, _, _ := strings.Cut(e.Name(), "-"); base == unfinished {
			if err := s.root.Remove(e.Name()); err != nil {
				return err
			}
			continue
		}
		r, ok := parseName(e.Name())
		if ok && !e.Type().IsRegular() {
			s.last = max(s.last, r.seq) // no record gets its name
			ok = false
		}
		if !ok {
			if e.Name() != lockName {
				foreign = append(foreign, strconv.Quote(e.Name()))
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		r.Bytes = onDisk(info.Size())
		s.records = append(s.records, r)
		s.last = max(s.last, r.seq)
		s.size.Bytes += r.Bytes
		s.size.Spans += r.Spans
	}
	if n := len(foreign); n > 0 {
		names := strings.Join(foreign[:min(n, maxForeign)], ", ")
		s.log().Warn(fmt.Sprintf("dendro: spool %s: files that are not of the spool are left alone, %d in all: %s", s.dir, n, names))
	}
	if len(s.records) == 0 {
		return nil
	}
	// Records of a newer version are newer, because a program that writes an older one does
	// not open the spool.
	newest := s.records[len(s.records)-1].name()
	var version versionError
	if _, err := s.read(newest, int64(headerBytes)); errors.As(err, &version) {
		return fmt.Errorf("%s: %s: %w: use the version of dendro that wrote it, or another directory", s.dir, newest, version)
	}
	return nil
}

// Append writes a request with that many spans, and syncs it. Several may be written at a time. It logs
// the first of several errors in a row. The error is [ErrFull] if there is no room.
func (s *Spool) Append(b Body, spans int) error {
	r := &Record{Spans: spans, Bytes: onDisk(int64(headerBytes + b.Size()))}
	err := s.append(r, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !s.failing:
		s.log().Warn(fmt.Sprintf("dendro: cannot write to spool %s: %v; %s", s.dir, err, s.o.Otherwise))
	case err == nil && s.failing:
		s.log().Info("dendro: spool " + s.dir + " can be written again")
	}
	s.failing = err != nil
	if err != nil {
		s.size.Errors++
	}
	return err
}

func (s *Spool) append(r *Record, b Body) error {
	temporary, err := s.begin(r)
	if err != nil {
		return err
	}
	err = s.create(temporary, r.name(), append([][]byte{header(b)}, b.Parts...))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unused = append(s.unused, temporary)
	if err != nil {
		s.size.Bytes -= r.Bytes
		return err
	}
	s.records = append(s.records, r)
	s.size.Spans += r.Spans
	return nil
}

// begin assigns room and a number to a new record. It returns the name of its file until that is complete.
func (s *Spool) begin(r *Record) (temporary string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.makeRoom(r.Bytes) {
		return "", fmt.Errorf("%w: no room for %d bytes below the bound of %d", ErrFull, r.Bytes, s.o.MaxBytes)
	}
	s.size.Bytes += r.Bytes
	s.last++
	r.seq = s.last
	if n := len(s.unused); n > 0 {
		temporary, s.unused = s.unused[n-1], s.unused[:n-1]
		return temporary, nil
	}
	s.names++
	if s.names == 1 {
		return unfinished, nil
	}
	return fmt.Sprintf("%s-%d", unfinished, s.names), nil
}

// create writes and syncs a file. If it fails, there is no file.
func (s *Spool) create(temporary, name string, parts [][]byte) error {
	f, err := s.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if _, err = f.Write(part); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = s.root.Rename(temporary, name)
	}
	if err == nil {
		err = syncDir(s.root)
	}
	if err != nil {
		_ = s.root.Remove(temporary)
		_ = s.root.Remove(name)
	}
	return err
}

// makeRoom reports whether that many bytes can be added. With Options.DropOldest it drops the
// oldest records if that helps, and never one that is taken. s.mu is held.
func (s *Spool) makeRoom(bytes int64) bool {
	over := s.size.Bytes + bytes - s.o.MaxBytes
	if over <= 0 {
		return true
	}
	var dropped []*Record
	for _, r := range s.records {
		if s.o.DropOldest && !r.taken && over > 0 {
			dropped = append(dropped, r)
			over -= r.Bytes
		}
	}
	if over > 0 {
		return false
	}
	for _, r := range dropped {
		s.o.Lost(LostFull, r.Spans)
		s.remove(r)
	}
	return true
}

// remove removes a record. If its file cannot be removed, the next process delivers it once
// more. s.mu is held.
func (s *Spool) remove(r *Record) {
	if err := s.root.Remove(r.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.size.Errors++
	}
	s.forget(r)
	s.size.Bytes -= r.Bytes
	s.size.Spans -= r.Spans
}

// forget removes a record from s.records, where it is near the beginning. s.mu is held.
func (s *Spool) forget(r *Record) {
	i := slices.Index(s.records, r)
	copy(s.records[1:], s.records[:i])
	s.records[0] = nil
	s.records = s.records[1:]
}

// Take takes the oldest record that is not taken, for delivery. It returns nil if there is none. The
// caller must call Done, Release or Postpone, unless Load has failed.
func (s *Spool) Take() *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if !r.taken {
			r.taken = true
			return r
		}
	}
	return nil
}

// Done removes a record that was taken.
func (s *Spool) Done(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(r)
}

// Release leaves a record that was taken for later.
func (s *Spool) Release(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.taken = false
}

// Postpone leaves a record that was taken until the others are delivered.
func (s *Spool) Postpone(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.taken = false
	s.forget(r)
	s.records = append(s.records, r)
}

// Load returns the request of a record that was taken. After an error the record is no longer taken: a
// damaged or missing one is dropped, and one that cannot be read is postponed.
func (s *Spool) Load(r *Record) (Body, error) {
	b, err := s.read(r.name(), r.Bytes)
	var reading *fs.PathError
	switch {
	case err == nil:
		return b, nil
	case errors.As(err, &reading) && !errors.Is(err, fs.ErrNotExist):
		s.log().Warn(fmt.Sprintf("dendro: cannot read from spool %s: %v", s.dir, err))
		s.Postpone(r)
		s.failed()
	default:
		s.Damaged(r, err)
	}
	return Body{}, err
}

// Damaged drops a record that was taken, because it is not as it was written.
func (s *Spool) Damaged(r *Record, err error) {
	s.log().Warn(fmt.Sprintf("dendro: spool %s: %s is damaged: %v; its %d spans are dropped", s.dir, r.name(), err, r.Spans))
	s.o.Lost(LostDamaged, r.Spans)
	s.Done(r)
	s.failed()
}

// read reads at most limit bytes of a record.
func (s *Spool) read(name string, limit int64) (Body, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return Body{}, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return Body{}, err
	}
	return parse(data)
}

func (s *Spool) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size.Errors++
}

// Close unlocks the directory. No method but Size may be called after it.
func (s *Spool) Close() {
	if s.root != nil {
		_ = s.root.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
