package remote

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// spool holds requests on disk until they are delivered, oldest first. Each is a file,
// written and synced under another name first, so that a crash leaves all of it or
// nothing. Only the sending goroutine uses a spool, except for count.
type spool struct {
	dir      string
	root     *os.Root
	lock     *os.File
	maxBytes int64
	lost     func(reason string, spans int)

	records []record // oldest first
	taken   bool     // the first of records is being delivered
	last    uint64   // the largest record.seq so far
	failing bool     // the last write failed

	mu     sync.Mutex
	bytes  int64  // of records; guarded by mu
	spans  int    // in records; guarded by mu
	errors uint64 // guarded by mu
}

// record describes a file of a spool.
type record struct {
	seq   uint64 // position in the order of records
	spans int
	bytes int64 // on disk
}

// Names in the directory of a spool besides those of records.
const (
	lockName   = "lock"
	unfinished = "unfinished" // a record that is being written
)

func (r record) name() string { return fmt.Sprintf("%016x-%d.otlp", r.seq, r.spans) }

func parseRecordName(name string) (r record, ok bool) {
	_, err := fmt.Sscanf(name, "%x-%d.otlp", &r.seq, &r.spans)
	return r, err == nil && name == r.name() && r.seq <= math.MaxInt64 && 0 < r.spans && r.spans <= math.MaxInt32
}

// blockBytes is the unit in which most file systems assign space.
const blockBytes = 4096

func onDisk(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

// A record begins with a header:
//
//	magic (4), version (1), encoding (1), length of the body (8), CRC-32C (4)
//
// Integers are little-endian. The checksum is that of the header before it and of the
// body, an ExportTraceServiceRequest in protobuf.
const (
	recordMagic    = "dspl"
	recordVersion  = 1
	headerBytes    = len(recordMagic) + 1 + 1 + 8 + 4
	checksumOffset = headerBytes - 4
)

// Encodings of the body of a record.
const (
	encodingPlain = iota
	encodingGzip
)

var (
	errLocked  = errors.New("locked")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// recordHeader returns the header of a record of c.
func recordHeader(c *content) []byte {
	h := append(make([]byte, 0, headerBytes), recordMagic...)
	h = append(h, recordVersion, encodingPlain)
	if c.gzip {
		h[len(h)-1] = encodingGzip
	}
	h = binary.LittleEndian.AppendUint64(h, uint64(c.size))
	sum := crc32.Update(0, castagnoli, h)
	for _, part := range c.parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return binary.LittleEndian.AppendUint32(h, sum)
}

// versionError is the version of a record that this program does not know.
type versionError uint8

func (v versionError) Error() string {
	return fmt.Sprintf("written in version %d of the format, while this program knows up to %d", uint8(v), recordVersion)
}

// parseRecord returns the content of a record. It keeps data.
func parseRecord(data []byte) (*content, error) {
	if len(data) < headerBytes {
		return nil, fmt.Errorf("%d bytes are no record", len(data))
	}
	header, body := data[:headerBytes], data[headerBytes:]
	magic, version := string(header[:len(recordMagic)]), header[len(recordMagic)]
	switch {
	case magic != recordMagic || version == 0:
		return nil, fmt.Errorf("it begins with %q", header[:len(recordMagic)+1])
	case version > recordVersion:
		return nil, versionError(version)
	}
	if length := binary.LittleEndian.Uint64(header[checksumOffset-8:]); length != uint64(len(body)) {
		return nil, fmt.Errorf("%d bytes instead of %d", len(body), length)
	}
	sum := crc32.Update(crc32.Update(0, castagnoli, header[:checksumOffset]), castagnoli, body)
	if sum != binary.LittleEndian.Uint32(header[checksumOffset:]) {
		return nil, errors.New("wrong checksum")
	}
	encoding := header[len(recordMagic)+1]
	if encoding > encodingGzip {
		return nil, fmt.Errorf("unknown encoding %d", encoding)
	}
	return &content{parts: [][]byte{body}, size: len(body), gzip: encoding == encodingGzip}, nil
}

// openSpool opens the spool in dir, which it creates if necessary. If the spool takes
// more than maxBytes, it drops the oldest records.
func openSpool(dir string, maxBytes int64, lost func(reason string, spans int)) (_ *spool, err error) {
	s := &spool{maxBytes: maxBytes, lost: lost}
	defer func() {
		if err != nil {
			s.close()
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

// maxForeign bounds how many names of other files are logged.
const maxForeign = 10

// list finds the records that an earlier process left. It leaves other files alone, and logs their
// names.
func (s *spool) list() error {
	if err := s.root.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := fs.ReadDir(s.root.FS(), ".") // sorted by name, which is by age
	if err != nil {
		return err
	}
	var foreign []string
	for _, e := range entries {
		r, ok := parseRecordName(e.Name())
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
		r.bytes = onDisk(info.Size())
		s.add(r)
	}
	if n := len(foreign); n > 0 {
		names := strings.Join(foreign[:min(n, maxForeign)], ", ")
		slog.Warn(fmt.Sprintf("dendro: spool %s: files that are not of the spool are left alone, %d in all: %s", s.dir, n, names))
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

func (s *spool) add(r record) {
	s.records = append(s.records, r)
	s.last = max(s.last, r.seq)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += r.bytes
	s.spans += r.spans
}

// append writes a request with that many spans. It drops the oldest records if there is
// no room. It logs the first of several errors in a row.
func (s *spool) append(c *content, spans int) error {
	err := s.write(c, spans)
	if err != nil {
		s.failed()
	}
	switch {
	case err != nil && !s.failing:
		slog.Warn(fmt.Sprintf("dendro: cannot write to spool %s: %v; spans stay in memory", s.dir, err))
	case err == nil && s.failing:
		slog.Info("dendro: spool " + s.dir + " can be written again")
	}
	s.failing = err != nil
	return err
}

func (s *spool) write(c *content, spans int) error {
	r := record{seq: s.last + 1, spans: spans, bytes: onDisk(int64(headerBytes + c.size))}
	if !s.makeRoom(r.bytes) {
		return fmt.Errorf("a request of %d bytes does not fit into Options.SpoolBytes", c.size)
	}
	if err := s.create(r.name(), append([][]byte{recordHeader(c)}, c.parts...)); err != nil {
		return err
	}
	s.add(r)
	return nil
}

// create writes and syncs a file. If it fails, there is no file.
func (s *spool) create(name string, parts [][]byte) error {
	f, err := s.root.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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
		err = s.root.Rename(unfinished, name)
	}
	if err == nil {
		err = syncDir(s.root)
	}
	if err != nil {
		_ = s.root.Remove(unfinished)
		_ = s.root.Remove(name)
	}
	return err
}

// makeRoom drops the oldest records until that many bytes can be added. It reports false
// if this is impossible, because it never drops the record that is being delivered.
func (s *spool) makeRoom(bytes int64) bool {
	oldest, kept := 0, int64(0)
	if s.taken {
		oldest, kept = 1, s.records[0].bytes
	}
	if kept+bytes > s.maxBytes {
		return false
	}
	for s.bytes+bytes > s.maxBytes {
		s.lost(dropSpoolFull, s.records[oldest].spans)
		s.remove(oldest)
	}
	return true
}

// remove removes a record. If its file cannot be removed, the next process delivers it once
// more.
func (s *spool) remove(i int) {
	r := s.records[i]
	if err := s.root.Remove(r.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.failed()
	}
	s.records = slices.Delete(s.records, i, i+1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= r.bytes
	s.spans -= r.spans
}

// take takes the oldest record for delivery and returns its number of spans. It reports
// false if there is none. The caller must call done, release or postpone.
func (s *spool) take() (spans int, ok bool) {
	if len(s.records) == 0 {
		return 0, false
	}
	s.taken = true
	return s.records[0].spans, true
}

// done removes the record that was taken.
func (s *spool) done() {
	s.taken = false
	s.remove(0)
}

// release leaves the record that was taken for later.
func (s *spool) release() { s.taken = false }

// load returns the record that was taken. A damaged or missing one is dropped. One that
// cannot be read has to wait until the others are delivered.
func (s *spool) load() (*content, error) {
	r := s.records[0]
	c, err := s.read(r.name(), r.bytes)
	var reading *fs.PathError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &reading) && !errors.Is(err, fs.ErrNotExist):
		slog.Warn(fmt.Sprintf("dendro: cannot read from spool %s: %v", s.dir, err))
		s.taken = false
		s.records = append(s.records[1:], r)
	default:
		slog.Warn(fmt.Sprintf("dendro: spool %s: %s is damaged: %v; its %d spans are dropped", s.dir, r.name(), err, r.spans))
		s.lost(dropSpoolDamaged, r.spans)
		s.done()
	}
	s.failed()
	return nil, err
}

// read reads at most limit bytes of a record.
func (s *spool) read(name string, limit int64) (*content, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, err
	}
	return parseRecord(data)
}

func (s *spool) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors++
}

// count adds what the spool holds to stats.
func (s *spool) count(stats *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.SpooledSpans, stats.SpooledBytes, stats.SpoolErrors = s.spans, s.bytes, s.errors
}

// close unlocks the directory.
func (s *spool) close() {
	if s.root != nil {
		_ = s.root.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
