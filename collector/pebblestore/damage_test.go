package pebblestore

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// readFile and writeFile do what those of package os do.
func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	testkit.NoError(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	testkit.NoError(t, err)
	return data
}

func writeFile(t testing.TB, fs vfs.FS, name string, data []byte) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	testkit.NoError(t, err)
	_, err = f.Write(data)
	testkit.NoError(t, err)
	testkit.NoError(t, f.Sync())
	testkit.NoError(t, f.Close())
}

// closedStore returns the file system of a closed store with some runs and received chunks.
func closedStore(t testing.TB, l *ledger) *vfs.MemFS {
	fs := vfs.NewCrashableMem()
	for round := range 3 {
		s, err := Open("traces", Options{fs: fs, headBytes: 4 << 10})
		testkit.NoError(t, err)
		for n := range 30 {
			n += 30 * round
			testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}))
			l.add(n, s.o.now())
		}
		testkit.NoError(t, s.Close())
	}
	return fs
}

var damages = flag.Int("damages", 1, "TestDamagedFiles: how often to hurt each file")

// A store that is hurt opens, and has what is not hurt, or it refuses and says why.
func TestDamagedFiles(t *testing.T) {
	testkit.NoLeaks(t)
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 3))
	l := newLedger(seed)
	whole := closedStore(t, l)
	names, err := whole.List("traces")
	testkit.NoError(t, err)
	all, spans := l.since(time.Time{}), 0
	for _, keys := range all {
		spans += len(keys)
	}
	results := map[string]int{}
	for range *damages {
		for _, name := range names {
			if info, err := whole.Stat(path.Join("traces", name)); err != nil || info.IsDir() || info.Size() == 0 || name == "LOCK" {
				continue
			}
			fs := whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
			data := readFile(t, fs, path.Join("traces", name))
			how := "flip"
			if r.IntN(3) == 0 {
				how = "truncate"
				data = data[:r.IntN(len(data))]
			} else {
				for range 1 + r.IntN(3) {
					data[r.IntN(len(data))] ^= 1 << r.IntN(8)
				}
			}
			writeFile(t, fs, path.Join("traces", name), data)
			log := &lines{}
			o := Options{fs: fs, Logger: slog.New(slog.NewTextHandler(log, nil))}
			kind := how + " " + strings.TrimLeft(name, "0123456789")
			s, err := Open("traces", o)
			if err != nil {
				results[kind+" refused"]++
				if table, is := strings.CutSuffix(name, ".sst"); is && !strings.Contains(err.Error(), table) { // of others, Pebble says what they are
					t.Errorf("%s: the error does not name it: %v", name, err)
				}
				continue
			}
			found := 0
			for range 3 {
				found = 0
				testkit.NoError(t, s.Scan(t.Context(), collector.Scan{AllAttributes: true}, func(trace *collector.Trace) bool {
					for _, d := range trace.Spans {
						if _, ok := all[trace.ID][block.SpanKey{ID: d.SpanID, Start: d.Start}]; !ok {
							t.Errorf("%s: span %s of trace %s is new", name, d.SpanID, trace.ID)
						}
						found++
					}
					return true
				}))
				for id := range all {
					_, err := s.Trace(t.Context(), id, collector.TimeRange{})
					testkit.NoError(t, err)
				}
			}
			results[kind+" opened"]++
			if found < spans {
				results[kind+" spans lost"] += spans - found
				if s.Metrics().Damaged == 0 {
					results[kind+" SILENT"]++
				}
			}
			for line := range strings.Lines(log.String()) {
				if n := strings.Count(log.String(), line[strings.Index(line, "level"):]); n > 1 {
					t.Errorf("logged %d times: %s", n, line)
				}
			}
			for n := range 20 {
				testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed+1, n)}))
			}
			testkit.NoError(t, s.Close())
		}
	}
	t.Log(results)
}

// Check says what is hurt and how much of it.
func TestCheck(t *testing.T) {
	testkit.NoLeaks(t)
	l := newLedger(1)
	dir := t.TempDir()
	nothing := func(d Damage) { t.Errorf("%+v is damaged", d) }
	s, err := Open(dir, Options{headBytes: 200 << 10, Sync: SyncNone})
	testkit.NoError(t, err)
	for n := range 1500 {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)}))
		l.add(n, s.o.now())
		if n%400 == 399 {
			settle(s)
		}
	}
	if _, err := Check(t.Context(), dir, nothing, func(Checked) {}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while it is used: %v", err)
	}
	spans := 0
	for _, keys := range l.since(time.Time{}) {
		spans += len(keys)
	}
	testkit.NoError(t, s.Close())
	calls := 0
	got, err := Check(t.Context(), dir, nothing, func(Checked) { calls++ })
	testkit.NoError(t, err)
	if got.Spans != spans || got.Lost != 0 || got.Runs < 3 || got.Chunks < got.Runs || calls < got.Runs {
		t.Errorf("%+v with %d calls, want %d spans", got, calls, spans)
	}
	var largest string
	size := int64(0)
	names, err := vfs.Default.List(dir)
	testkit.NoError(t, err)
	for _, name := range names {
		if info, err := vfs.Default.Stat(path.Join(dir, name)); err == nil && strings.HasSuffix(name, ".sst") && info.Size() > size {
			largest, size = path.Join(dir, name), info.Size()
		}
	}
	data := readFile(t, vfs.Default, largest)
	data[100] ^= 1 // in the first chunk
	writeFile(t, vfs.Default, largest, data)
	hurt := map[string]int{}
	got, err = Check(t.Context(), dir, func(d Damage) { hurt[d.What]++ }, func(Checked) {})
	testkit.NoError(t, err)
	if got.Lost == 0 || got.Spans+got.Lost != spans || hurt[aChunk] != 1 {
		t.Errorf("%+v, %v, want %d spans", got, hurt, spans)
	}
	if _, err := Check(t.Context(), path.Join(dir, "none"), nothing, func(Checked) {}); err == nil {
		t.Error("no error for a directory that is not there")
	}
}
