package pebblestore

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func FuzzReadRun(f *testing.F) {
	r := &run{number: 3, upTo: 7, traces: 1, spans: 2, chunks: make([]chunkInfo, 2), words: 64, ids: newIDFilter(3)}
	f.Add(r.append(nil, []splitPart{{part: part{run: 2}}}))
	f.Add([]byte{metaVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := readRun(1, data)
		if err != nil {
			return
		}
		r.overlaps(collector.TimeRange{})
		r.ids.has(idHash{1, 2})
		newRunSource(r)
		if r.rowBytes() <= 0 || r.rowsPerPage() <= 0 {
			t.Errorf("rows of %d bytes, %d a page", r.rowBytes(), r.rowsPerPage())
		}
	})
}

// replaceValue replaces a value of a closed store.
func replaceValue(t *testing.T, fs vfs.FS, key, value []byte) {
	db, err := pebble.Open("traces", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: logger{newStore("traces", Options{Logger: quiet})}})
	testkit.NoError(t, err)
	testkit.NoError(t, db.Set(key, value, pebble.Sync))
	testkit.NoError(t, db.Close())
}

// A store opens, whatever is the value of a key, and can be read and written.
func FuzzStore(f *testing.F) {
	l := newLedger(1)
	whole := closedStore(f, l)
	s, err := Open("traces", Options{fs: whole.CrashClone(vfs.CrashCloneCfg{})})
	testkit.NoError(f, err)
	it, err := s.db.NewIter(nil)
	testkit.NoError(f, err)
	var keys [][]byte
	seen := map[string]bool{}
	for ok := it.First(); ok; ok = it.Next() {
		kind := string(it.Key()[:1])
		if len(it.Key()) > 9 {
			kind += string(it.Key()[9:10])
		}
		if !seen[kind] { // one of each kind
			seen[kind] = true
			f.Add(uint8(len(keys)), append([]byte(nil), it.Value()...))
			f.Add(uint8(len(keys)), []byte("wrong"))
			keys = append(keys, append([]byte(nil), it.Key()...))
		}
	}
	testkit.NoError(f, it.Close())
	testkit.NoError(f, s.Close())
	f.Fuzz(func(t *testing.T, n uint8, value []byte) {
		testkit.NoLeaks(t)
		fs := whole.CrashClone(vfs.CrashCloneCfg{})
		replaceValue(t, fs, keys[int(n)%len(keys)], value)
		s, err := Open("traces", Options{fs: fs, Logger: quiet, headBytes: 1})
		if err != nil {
			return
		}
		for id := range l.since(s.o.now().Add(-1 << 50)) {
			_, _ = s.Trace(t.Context(), id, collector.TimeRange{})
		}
		testkit.NoError(t, s.Scan(t.Context(), collector.Scan{AllAttributes: true, Details: true}, func(*collector.Trace) bool { return true }))
		for n := range 5 {
			testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(1, n)}))
		}
		settle(s)
		testkit.NoError(t, s.Close())
		checked := newStore("traces", Options{fs: fs, Logger: quiet})
		checked.found = func(Damage) {}
		_, err = checked.check(t.Context(), func(Checked) {})
		testkit.NoError(t, err)
	})
}

// A directory of a later format, or of another process, is refused, and the error says what to do.
func TestRefusedDirectory(t *testing.T) {
	testkit.NoLeaks(t)
	fs := vfs.NewMem()
	s := openMem(t, Options{fs: fs})
	if _, err := Open("traces", Options{fs: fs}); err == nil || !strings.Contains(err.Error(), "another process uses this directory") {
		t.Errorf("used by another: %v", err)
	}
	testkit.NoError(t, s.Close())
	replaceValue(t, fs, formatKey, []byte(`{"Version":2}`))
	if _, err := Open("traces", Options{fs: fs}); err == nil || !strings.Contains(err.Error(), "use a newer dendro") {
		t.Errorf("of a later format: %v", err)
	}
}
