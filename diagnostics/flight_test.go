package diagnostics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// fly starts a flight recorder for a test, which knows how long operations take.
func fly(t *testing.T, d *Diagnostics, o FlightOptions) {
	t.Helper()
	testkit.NoError(t, d.StartFlightRecorder(o))
	t.Cleanup(d.StopFlightRecorder)
	waitUntil(t, func() bool { return d.usual.p99s.Load() != nil })
}

func fail(s ended) dendro.TraceID {
	s.RecordError(errors.New("out of stock"))
	s.End()
	return s.Context().TraceID
}

func TestFlightRecorder(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "new", "dir")} {
		t.Run("dir="+filepath.Base(dir), func(t *testing.T) {
			testkit.NoLeaks(t)
			d, tracer := newShop(t, Options{}, leastSpans)
			before := time.Now()
			fly(t, d, FlightOptions{Every: 1, Dir: dir})
			past(tracer, "GET /fast", fast).End()
			past(tracer, "GET /new", time.Hour).End()
			testkit.Equal(t, "nothing failed or was slow", d.FlightStats().Saved, uint64(0))

			slow := past(tracer, "GET /fast", 2*fast)
			runtime.GC()
			slow.at = time.Now()
			slow.End()
			waitUntil(t, func() bool { return d.FlightStats().Saved == 1 })
			failed := fail(past(tracer, "GET /new", fast))
			waitUntil(t, func() bool { return d.FlightStats().Saved == 2 })
			testkit.Equal(t, "stats", fmt.Sprint(d.FlightStats()), "{2 map[] }")

			all := d.Recordings()
			testkit.Equal(t, "recordings", len(all), 2)
			for i, want := range []Recording{
				{TraceID: failed, Service: "shop", Name: "GET /new", Reason: ReasonError},
				{TraceID: slow.Context().TraceID, Service: "shop", Name: "GET /fast", Reason: ReasonSlow},
			} {
				got := all[i]
				if got.Start.Before(before.Add(-time.Minute)) || got.End.Before(got.Start) || got.End.After(time.Now()) || got.Bytes == 0 {
					t.Errorf("recording %+v", got)
				}
				testkit.Equal(t, "covers the request", got.Covers(got.End.Add(-1), time.Now()), true)
				if i == 1 && got.Collections == 0 {
					t.Error("no garbage collection")
				}
				got.Start, got.End, got.Bytes, got.Collections, got.Paused = time.Time{}, time.Time{}, 0, 0, 0
				testkit.Equal(t, "recording", got, want)
				data := read(t, d, want.TraceID)
				testkit.Equal(t, "bytes", len(data), int(all[i].Bytes))
				if !bytes.HasPrefix(data, []byte("go 1.")) {
					t.Errorf("not an execution trace: %.20q", data)
				}
			}
			if dir != "" {
				info, err := os.Stat(filepath.Join(dir, "flight-"+failed.String()+".trace"))
				testkit.NoError(t, err)
				if runtime.GOOS != "windows" {
					testkit.Equal(t, "mode", info.Mode().Perm(), fs.FileMode(0o600))
				}
			}
			_, err := d.OpenRecording(dendro.TraceID{1})
			testkit.Equal(t, "no recording", errors.Is(err, fs.ErrNotExist), true)
		})
	}
}

func read(t *testing.T, d *Diagnostics, id dendro.TraceID) []byte {
	t.Helper()
	f, err := d.OpenRecording(id)
	testkit.NoError(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	testkit.NoError(t, err)
	return data
}

// Of requests that fail soon after each other, the first is saved and the others are counted.
func TestFlightRate(t *testing.T) {
	d, tracer := newShop(t, Options{}, leastSpans)
	fly(t, d, FlightOptions{Every: time.Hour})
	for range 5 {
		fail(past(tracer, "GET /new", fast))
		past(tracer, "GET /fast", time.Second).End()
	}
	waitUntil(t, func() bool { return d.FlightStats().Saved == 1 })
	testkit.Equal(t, "stats", fmt.Sprint(d.FlightStats()), "{1 map[rate:9] }")
	d.StopFlightRecorder()
	checkEmpty(t, d)
}

// A process has one flight recorder, and it can be started again.
func TestFlightRecorderIsOne(t *testing.T) {
	testkit.NoLeaks(t)
	d, other := New(Options{}), New(Options{})
	d.StopFlightRecorder()
	testkit.Equal(t, "recordings of none", len(d.Recordings()), 0)
	_, err := d.OpenRecording(dendro.TraceID{1})
	testkit.Equal(t, "no recorder", errors.Is(err, fs.ErrNotExist), true)
	for range 2 {
		testkit.NoError(t, d.StartFlightRecorder(FlightOptions{}))
		for _, again := range []*Diagnostics{d, other} {
			if err := again.StartFlightRecorder(FlightOptions{}); err == nil {
				t.Error("started twice")
			}
		}
		d.StopFlightRecorder()
	}
	file := filepath.Join(t.TempDir(), "file")
	testkit.NoError(t, os.WriteFile(file, nil, 0o600))
	if err := d.StartFlightRecorder(FlightOptions{Dir: file}); err == nil {
		t.Error("a file is not a directory")
	}
}

func TestRecordingsAreBounded(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		r, err := openRecordings(dir, 100)
		testkit.NoError(t, err)
		add := func(id byte, bytes int) error {
			return r.add(Recording{TraceID: dendro.TraceID{15: id}, End: time.Now()}, func(w io.Writer) error {
				_, err := w.Write(make([]byte, bytes))
				return err
			})
		}
		has := func(what string, want ...byte) {
			t.Helper()
			var got []byte
			for _, one := range r.all() {
				got = append(got, one.TraceID[15])
			}
			testkit.Equal(t, what, string(got), string(want))
			files, _ := filepath.Glob(filepath.Join(r.dir, "flight-*"))
			if dir != "" && len(files) != len(want) {
				t.Errorf("%s: files %q", what, files)
			}
		}
		testkit.NoError(t, add(1, 40))
		testkit.NoError(t, add(2, 60))
		has("at the bound", 2, 1)
		testkit.NoError(t, add(3, 1))
		has("the oldest is removed", 3, 2)
		testkit.NoError(t, add(2, 99))
		has("one trace has one recording", 2, 3)
		testkit.Equal(t, "too large", errors.Is(add(4, 101), errTooLarge), true)
		has("what is too large is not kept", 2, 3)
	}
}

// What an earlier process has saved is found again, and counts.
func TestRecordingsAreFound(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"flight-00000000000000000000000000000002.trace", "flight-00000000000000000000000000000001.trace", "flight-1.tmp", "flight-x.trace", "other"} {
		file := filepath.Join(dir, name)
		testkit.NoError(t, os.WriteFile(file, make([]byte, 10), 0o600))
		at := time.Unix(1_700_000_000+int64(i), 0)
		testkit.NoError(t, os.Chtimes(file, at, at))
	}
	r, err := openRecordings(dir, 20)
	testkit.NoError(t, err)
	testkit.Equal(t, "recordings", fmt.Sprint(r.all()), fmt.Sprint([]Recording{
		{TraceID: dendro.TraceID{15: 1}, End: time.Unix(1_700_000_001, 0), Bytes: 10},
		{TraceID: dendro.TraceID{15: 2}, End: time.Unix(1_700_000_000, 0), Bytes: 10},
	}))
	r, err = openRecordings(dir, 19)
	testkit.NoError(t, err)
	testkit.Equal(t, "fewer", len(r.all()), 1)
	entries, err := os.ReadDir(dir)
	testkit.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	testkit.Equal(t, "files", fmt.Sprint(names), "[flight-00000000000000000000000000000001.trace flight-x.trace other]")
}

// A recording that cannot be written is counted, and leaves no file.
func TestFlightFails(t *testing.T) {
	d, tracer := newShop(t, Options{}, leastSpans)
	dir := filepath.Join(t.TempDir(), "dir")
	fly(t, d, FlightOptions{Every: 1, Dir: dir})
	testkit.NoError(t, os.Remove(dir))
	fail(past(tracer, "GET /new", fast))
	waitUntil(t, func() bool { return d.FlightStats().Unsaved["failed"] == 1 })
	if d.FlightStats().LastError == "" {
		t.Error("no error")
	}
	d.StopFlightRecorder()

	fly(t, d, FlightOptions{Every: 1, KeepBytes: 100})
	fail(past(tracer, "GET /new", fast))
	waitUntil(t, func() bool { return d.FlightStats().Unsaved["size"] == 1 })
	testkit.Equal(t, "recordings", len(d.Recordings()), 0)
}

// clocked is an execution trace that begins at 1,700,000,000.5 Unix seconds, after a batch of an experiment.
const clocked = "go 1.26 trace\x00\x00\x00" +
	"\x31\x01\x01\x01\x01\x02ab" +
	"\x01\x01\x01\x01\x10\x32\x08\x01\x33\x01\x01\x80\xe2\xcf\xaa\x06\x80\xca\xb5\xee\x01"

func TestStartOf(t *testing.T) {
	testkit.Equal(t, "start", startOf(strings.NewReader(clocked)), time.Unix(1_700_000_000, 500_000_000))
	for _, other := range []string{"", "go 1.24 trace\x00\x00\x00" + clocked[16:], "go 1.26 trace\x00\x00\x00\x34", clocked[:len(clocked)-2]} {
		testkit.Equal(t, "another format", startOf(strings.NewReader(other)).IsZero(), true)
	}
}

func FuzzStartOf(f *testing.F) {
	f.Add([]byte(clocked))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := startOf(bytes.NewReader(data)).MarshalJSON(); err != nil {
			t.Error(err)
		}
	})
}
