package pebblestore

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// faultyFS is a disk whose size and errors a test chooses.
type faultyFS struct {
	*errorfs.FS
	mem  *vfs.MemFS
	free atomic.Uint64
	fail atomic.Pointer[func(errorfs.Op) error]
}

func newFaultyFS() *faultyFS {
	f := &faultyFS{mem: vfs.NewCrashableMem()}
	f.FS = errorfs.Wrap(f.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail := f.fail.Load(); fail != nil {
			return (*fail)(op)
		}
		return nil
	}))
	f.free.Store(1 << 40)
	return f
}

func (f *faultyFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

// fill makes writes to some files fail, as if they were the first to find no room.
func (f *faultyFS) fill(which func(path string) bool) {
	fail := func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpReuseForWrite:
			if which(op.Path) {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	f.free.Store(0)
	f.fail.Store(&fail)
}

func (f *faultyFS) empty() {
	f.fail.Store(nil)
	f.free.Store(1 << 40)
}

// A full disk refuses spans. What is stored is read meanwhile, and writing goes on when there is room.
func TestDiskFull(t *testing.T) {
	for name, which := range map[string]func(path string) bool{
		"nothing fails yet": func(string) bool { return false },
		"log":               func(path string) bool { return strings.HasSuffix(path, ".log") },
		"tables":            func(path string) bool { return strings.HasSuffix(path, ".sst") },
		"manifest":          func(path string) bool { return strings.Contains(path, "MANIFEST") },
		"at random":         func(string) bool { return rand.IntN(3) == 0 },
		"all":               func(string) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			fs, l := newFaultyFS(), newLedger(1)
			s := openMem(t, Options{fs: fs, headBytes: 1 << 10, checkInterval: time.Millisecond, Logger: quiet})
			var number atomic.Int64
			// fills writes until n batches were acknowledged, and reports whether none was refused.
			fills := func(n int) bool {
				var writers sync.WaitGroup
				var full atomic.Bool
				for range 3 {
					writers.Go(func() {
						for range n {
							n := int(number.Add(1))
							switch err := s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}); {
							case err == nil:
								l.add(n, s.o.now())
							case errors.Is(err, ErrDiskFull):
								full.Store(true)
							default:
								t.Error(err)
								return
							}
						}
					})
				}
				writers.Wait()
				return !full.Load()
			}
			for range 3 {
				if !fills(30) {
					t.Error("spans are refused while there is room")
				}
				fs.fill(which)
				for fills(1) {
				}
				err := s.Collect(batchOf(l.seed, 1_000_000))
				var drop *dendro.DropError
				if !errors.As(err, &drop) || drop.Reason != dropDiskFull {
					t.Errorf("Collect: %v", err)
				}
				if !s.Metrics().DiskFull {
					t.Error("the metrics do not say that the disk is full")
				}
				l.check(t, s, s.o.now().Add(-time.Hour))
				fs.empty()
				for !fills(1) {
				}
			}
			l.check(t, s, s.o.now().Add(-time.Hour))
			testkit.NoError(t, s.Close())
			s = openMem(t, Options{fs: fs.mem})
			l.check(t, s, s.o.now().Add(-time.Hour))
		})
	}
}

// Close returns while the disk is full, and says so if something is not stored.
func TestCloseWhileDiskFull(t *testing.T) {
	testkit.NoLeaks(t)
	fs, l := newFaultyFS(), newLedger(1)
	s, err := Open("traces", Options{fs: fs, headBytes: 1, checkInterval: time.Millisecond, Logger: quiet})
	testkit.NoError(t, err)
	for n := range 100 {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}))
		l.add(n, s.o.now())
	}
	fs.fill(func(string) bool { return true })
	for !errors.Is(err, ErrDiskFull) {
		err = s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, 100)})
	}
	if err := s.Close(); err == nil {
		t.Error("Close says that all is stored")
	}
	s = openMem(t, Options{fs: fs.mem.CrashClone(vfs.CrashCloneCfg{})})
	l.check(t, s, s.o.now().Add(-time.Hour))
}

// After an error of the disk that is not about its size, the store refuses spans and reads go on. A
// goroutine that writes may stay in Pebble, so NoLeaks is not asked.
func TestDiskError(t *testing.T) {
	for name, in := range map[string]struct {
		match     string
		headBytes int
	}{
		"log":      {".log", 0}, // Pebble may end the process if it changes the log just then
		"manifest": {"MANIFEST", 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			fs, l := newFaultyFS(), newLedger(1)
			s, err := Open("traces", Options{fs: fs, headBytes: in.headBytes, Logger: quiet})
			testkit.NoError(t, err)
			for n := range 100 {
				testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}))
				l.add(n, s.o.now())
			}
			fail := func(op errorfs.Op) error {
				switch op.Kind {
				case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFileWrite:
					if strings.Contains(op.Path, in.match) {
						return syscall.EIO
					}
				}
				return nil
			}
			fs.fail.Store(&fail)
			var writers sync.WaitGroup
			for w := range 3 {
				writers.Go(func() {
					for n := 1000 * (w + 1); ; n++ {
						if err := s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}); err != nil {
							if !strings.Contains(err.Error(), "restart") {
								t.Error(err)
							}
							return
						}
						l.add(n, s.o.now())
					}
				})
			}
			writers.Wait()
			var drop *dendro.DropError
			if err := s.Collect(batchOf(l.seed, 1_000_000)); !errors.As(err, &drop) || drop.Reason != dropFailed {
				t.Errorf("Collect: %v", err)
			}
			l.check(t, s, s.o.now().Add(-time.Hour))
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "restart") {
				t.Errorf("Close: %v", err)
			}
			fs.fail.Store(nil)
			s = openMem(t, Options{fs: fs.mem.CrashClone(vfs.CrashCloneCfg{})})
			l.check(t, s, s.o.now().Add(-time.Hour))
		})
	}
}

// Open returns an error if the disk fails meanwhile, and does not hang.
func TestDiskErrorInOpen(t *testing.T) {
	testkit.NoLeaks(t)
	for at := range 60 {
		fs := newFaultyFS()
		left := atomic.Int64{}
		left.Store(int64(at))
		fail := func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
				return syscall.EIO
			}
			return nil
		}
		fs.fail.Store(&fail)
		s, err := Open("traces", Options{fs: fs, Logger: quiet})
		if err == nil {
			fs.fail.Store(nil)
			_ = s.Close()
			continue
		}
		if !strings.Contains(err.Error(), "traces") {
			t.Errorf("the error does not name the directory: %v", err)
		}
	}
}
