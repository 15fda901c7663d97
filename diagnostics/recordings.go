package diagnostics

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
)

// Recording is what the flight recorder has saved: an execution trace of the last seconds before a
// request ended, which "go tool trace" opens.
type Recording struct {
	TraceID dendro.TraceID `json:"traceId"`
	// Service and Name are those of the span that was the reason, and Reason is ReasonError or
	// ReasonSlow. They are empty for a recording of an earlier process.
	Service string `json:"service,omitempty"`
	Name    string `json:"name,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Start and End are the time that is recorded. Start is zero if the format is not known.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end"`
	Bytes int64     `json:"bytes"`
	// Collections is the number of garbage collections that ended while the span was open, and
	// Paused the time for which they stopped the program. Of the first of them, a part may have
	// been before the span. Only the last 256 collections of the process are known.
	Collections int           `json:"collections"`
	Paused      time.Duration `json:"paused"`
}

// Covers reports whether what was recorded and the time from start to end overlap.
func (r *Recording) Covers(start, end time.Time) bool {
	return !r.Start.IsZero() && r.Start.Before(end) && start.Before(r.End)
}

// recordings are those that are kept, in a directory or in memory.
type recordings struct {
	dir string // "" for memory
	max int64  // bytes

	mu    sync.Mutex
	list  []recording // the oldest first; guarded by mu
	bytes int64       // of list; guarded by mu
}

type recording struct {
	Recording
	data []byte // if it is in memory
}

const (
	filePrefix, fileSuffix, unfinishedSuffix = "flight-", ".trace", ".tmp"

	dirMode = 0o700
)

// openRecordings returns what is in a directory, which is made if there is none. It removes what an
// earlier process has not finished.
func openRecordings(dir string, most int64) (*recordings, error) {
	r := &recordings{dir: dir, max: most}
	if dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), filePrefix)
		if !ours || !e.Type().IsRegular() {
			continue
		}
		if strings.HasSuffix(name, unfinishedSuffix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		id, err := dendro.ParseTraceID(strings.TrimSuffix(name, fileSuffix))
		if err != nil || r.path(id) != filepath.Join(dir, e.Name()) {
			continue // it is somebody else's
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		r.list = append(r.list, recording{Recording: Recording{TraceID: id, Start: r.startOf(id), End: info.ModTime(), Bytes: info.Size()}})
		r.bytes += info.Size()
	}
	slices.SortStableFunc(r.list, func(a, b recording) int { return a.End.Compare(b.End) })
	return r, r.trim()
}

func (r *recordings) path(id dendro.TraceID) string {
	return filepath.Join(r.dir, filePrefix+id.String()+fileSuffix)
}

// all returns the recordings, the newest first.
func (r *recordings) all() []Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Recording, 0, len(r.list))
	for _, one := range slices.Backward(r.list) {
		out = append(out, one.Recording)
	}
	return out
}

// find returns the recording of a trace.
func (r *recordings) find(id dendro.TraceID) (one recording, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.list, func(o recording) bool { return o.TraceID == id })
	if i < 0 {
		return recording{}, false
	}
	return r.list[i], true
}

// open returns the content of the recording of a trace, or fs.ErrNotExist.
func (r *recordings) open(id dendro.TraceID) (io.ReadSeekCloser, error) {
	one, ok := r.find(id)
	switch {
	case !ok:
		return nil, os.ErrNotExist
	case r.dir == "":
		return nopCloser{bytes.NewReader(one.data)}, nil
	}
	return os.Open(r.path(id))
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

var errTooLarge = errors.New("the recording exceeds the bound of all recordings")

// add saves what write writes, in place of an earlier recording of the trace, and removes the
// oldest recordings if there are too many. It must not be called by several goroutines at once.
func (r *recordings) add(one Recording, write func(io.Writer) error) (err error) {
	var data []byte
	var size int64
	if r.dir == "" {
		var buf bytes.Buffer
		err = write(&bounded{&buf, r.max})
		data, size = bytes.Clone(buf.Bytes()), int64(buf.Len()) // the buffer may have twice the memory
		one.Start = startOf(bytes.NewReader(data))
	} else {
		size, err = r.writeFile(one.TraceID, write)
		one.Start = r.startOf(one.TraceID)
	}
	if err != nil {
		return err
	}
	one.Bytes = size
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(o recording) bool {
		if o.TraceID == one.TraceID {
			r.bytes -= o.Bytes
		}
		return o.TraceID == one.TraceID
	})
	r.list = append(r.list, recording{one, data})
	r.bytes += size
	return r.trim()
}

// writeFile writes a file and then gives it its name.
func (r *recordings) writeFile(id dendro.TraceID, write func(io.Writer) error) (size int64, err error) {
	f, err := os.CreateTemp(r.dir, filePrefix+"*"+unfinishedSuffix) // with mode 0600
	if err != nil {
		return 0, err
	}
	w := &bounded{f, r.max}
	if err = errors.Join(write(w), f.Close()); err == nil {
		err = os.Rename(f.Name(), r.path(id))
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	return r.max - w.left, nil
}

// trim removes the oldest recordings until the others are within the bound. r.mu is held, unless r is new.
func (r *recordings) trim() error {
	for r.bytes > r.max {
		if r.dir != "" {
			if err := os.Remove(r.path(r.list[0].TraceID)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		r.bytes -= r.list[0].Bytes
		r.list = slices.Delete(r.list, 0, 1)
	}
	return nil
}

// bounded is a writer that takes only some bytes.
type bounded struct {
	io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, errTooLarge
	}
	n, err := b.Writer.Write(p)
	b.left -= int64(n)
	return n, err
}

// startOf returns when the recording of a trace in a file begins, or the zero time if that is not known.
func (r *recordings) startOf(id dendro.TraceID) time.Time {
	f, err := os.Open(r.path(id))
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = f.Close() }()
	return startOf(f)
}

// The parts of the format of Go's execution traces, since Go 1.25, that startOf reads: the header
// and the types of events in $GOROOT/src/internal/trace/tracev2.
const (
	traceHeader            = "go 1.%d trace\x00\x00\x00"
	eventBatch        byte = 1
	frequency         byte = 8
	experimentalBatch byte = 49
	syncBatch         byte = 50
	clockSnapshot     byte = 51

	maxBatch = 1 << 20 // bytes, more than Go's bound
)

// startOf returns the time in the first batch that has the clock, which is when an execution trace
// begins. It is zero if the format is not known.
func startOf(r io.Reader) time.Time {
	in := bufio.NewReader(r)
	var header [16]byte
	version := 0
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return time.Time{}
	}
	if n, err := fmt.Sscanf(string(header[:]), traceHeader, &version); n != 1 || err != nil || version < 25 {
		return time.Time{}
	}
	for {
		kind, err := in.ReadByte()
		if err == nil && kind == experimentalBatch {
			kind, err = eventBatch, skip(in, 1)
		}
		if err != nil || kind != eventBatch {
			return time.Time{}
		}
		fields := uvarints(in, 4) // generation, thread, time, size
		if fields == nil || fields[3] > maxBatch {
			return time.Time{}
		}
		if first, err := in.Peek(1); err == nil && fields[3] > 0 && first[0] == syncBatch {
			return clockOf(io.LimitReader(in, int64(fields[3])))
		}
		if skip(in, int(fields[3])) != nil {
			return time.Time{}
		}
	}
}

// clockOf returns the time in a batch with the clock.
func clockOf(r io.Reader) time.Time {
	in := bufio.NewReader(r)
	for _, part := range []struct {
		event  byte
		fields int
	}{{syncBatch, 0}, {frequency, 1}, {clockSnapshot, 4}} { // the last: trace time, monotonic time, seconds, nanoseconds
		event, err := in.ReadByte()
		fields := uvarints(in, part.fields)
		switch {
		case err != nil || event != part.event || fields == nil:
			return time.Time{}
		case event == clockSnapshot && fields[2] <= math.MaxUint32:
			return time.Unix(int64(fields[2]), int64(fields[3]%uint64(time.Second)))
		}
	}
	return time.Time{}
}

// uvarints reads n numbers, or returns nil.
func uvarints(in *bufio.Reader, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		var err error
		if out[i], err = binary.ReadUvarint(in); err != nil {
			return nil
		}
	}
	return out
}

func skip(in *bufio.Reader, n int) error {
	_, err := in.Discard(n)
	return err
}
