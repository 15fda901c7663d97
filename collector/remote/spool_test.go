package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// outage returns a collector that cannot be reached until back is set.
func outage() (f *far, back *atomic.Bool) {
	back = new(atomic.Bool)
	return &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
		if back.Load() {
			return answer(200), nil
		}
		return nil, errors.New("connection refused")
	}}, back
}

// files returns the names in dir, besides that of the lock.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	testkit.NoError(t, err)
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// fill makes a spool with a request for each name, and returns its files.
func fill(t *testing.T, dir string, names ...string) []string {
	t.Helper()
	f, _ := outage()
	c := dial(t, f, remote.Options{Spool: dir})
	for _, name := range names {
		testkit.NoError(t, c.Collect(batch(name)))
		testkit.NoError(t, c.Flush(background))
	}
	testkit.NoError(t, c.Shutdown(background))
	return files(t, dir)
}

// The collector is away for an hour, for longer than MaxElapsed, and while it is, there
// are more spans than the queue holds. All are delivered once, the oldest first.
func TestSpoolOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, dir := logs(t), t.TempDir()
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: dir, QueueBytes: 4000})
		var want []string
		collect := func() {
			t.Helper()
			name := fmt.Sprint("span ", len(want))
			want = append(want, name)
			testkit.NoError(t, c.Collect(batch(name)))
			time.Sleep(20 * time.Second)
		}
		for began := time.Now(); time.Since(began) < time.Hour; {
			collect()
		}
		held := c.Stats()
		if held.SpooledSpans < len(want)-1 || held.SpooledBytes == 0 {
			t.Errorf("%d spans in %d bytes are in the spool, want about %d", held.SpooledSpans, held.SpooledBytes, len(want))
		}
		back.Store(true)
		for range 3 { // while the spool is delivered
			collect()
		}
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), want)
		testkit.NoError(t, c.Shutdown(background))
		stats := c.Stats()
		testkit.Equal(t, "sent", int(stats.SentSpans), len(want))
		testkit.Equal(t, "dropped", len(stats.Dropped), 0)
		testkit.Equal(t, "spooled", fmt.Sprint(stats.SpooledSpans, stats.SpooledBytes, stats.SpoolErrors, files(t, dir)), "0 0 0 []")
		testkit.Equal(t, "log", out.String(), `level=WARN msg="dendro: cannot reach http://collector/v1/traces: connection refused; spans are kept in `+dir+`"
level=INFO msg="dendro: http://collector/v1/traces accepts spans again"
`)
	})
}

// A collector that is reachable costs no writing.
func TestSpoolIsNotWrittenWithoutNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			testkit.Equal(t, "files", files(t, dir), []string(nil))
			time.Sleep(900 * time.Millisecond)
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{Spool: dir})
		for i := range 20 {
			testkit.NoError(t, c.Collect(batch(fmt.Sprint(i))))
			time.Sleep(300 * time.Millisecond)
		}
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "received", len(f.names()), 20)
	})
}

// What is not acknowledged within a second is written, with what waits behind it. If it is
// acknowledged later, it is not sent again.
func TestSpoolWhileCollectorHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
			if n == 1 {
				time.Sleep(8 * time.Second)
			}
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{Spool: dir, Interval: time.Millisecond})
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(500 * time.Millisecond)
		testkit.NoError(t, c.Collect(batch("b", "c")))
		testkit.Equal(t, "too early", files(t, dir), []string(nil))
		time.Sleep(time.Second)
		synctest.Wait()
		stats := c.Stats()
		testkit.Equal(t, "spooled and queued", []int{stats.SpooledSpans, stats.QueuedSpans}, []int{3, 0})
		testkit.Equal(t, "files", len(files(t, dir)), 2)
		testkit.NoError(t, c.Flush(background)) // all is in the spool
		testkit.NoError(t, c.Collect(batch("d")))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), []string{"a", "b", "c", "d"})
		testkit.Equal(t, "files", files(t, dir), []string(nil))
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "sent", c.Stats().SentSpans, uint64(4))
	})
}

// A transport may read a request again after its spans were written to the spool. What it
// reads is not changed by newer spans.
func TestSpoolWhileRequestIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			first := plainBody(t, r)
			r.Body.Close()
			time.Sleep(5 * time.Second)
			body, err := r.GetBody()
			testkit.NoError(t, err)
			defer body.Close()
			again, err := io.ReadAll(body)
			testkit.NoError(t, err)
			testkit.Equal(t, "read again", string(again), string(first))
			return answer(200), nil
		}), remote.Options{Spool: t.TempDir(), Compression: "none"})
		testkit.NoError(t, c.Collect(batch("first")))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "spooled", c.Stats().SpooledSpans, 1)
		testkit.NoError(t, c.Collect(batch("later")))
		time.Sleep(10 * time.Second)
		testkit.NoError(t, c.Shutdown(background))
	})
}

// A collector that is slower than the program fills the spool instead of the queue, though
// each request is answered soon.
func TestSpoolWhileCollectorIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fast atomic.Bool
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			if !fast.Load() {
				time.Sleep(900 * time.Millisecond)
			}
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{Spool: t.TempDir(), BatchBytes: 500})
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			testkit.NoError(t, c.Collect(batch(want[i], strings.Repeat("long", 100))))
			time.Sleep(100 * time.Millisecond)
			if i == 50 {
				stats := c.Stats()
				if late := stats.QueuedSpans - 2*20; late > 0 || stats.SpooledSpans == 0 {
					t.Errorf("after 5 s, %d spans are in the queue for more than 2 s, and %d in the spool", late, stats.SpooledSpans)
				}
			}
		}
		fast.Store(true)
		time.Sleep(2 * time.Second)
		testkit.NoError(t, c.Shutdown(background))
		got := slices.DeleteFunc(f.names(), func(name string) bool { return len(name) > 3 })
		testkit.Equal(t, "received", got, want)
	})
}

// Shutdown leaves to the next process what could not be delivered.
func TestSpoolRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		dir := filepath.Join(t.TempDir(), "new", "spool")
		away, _ := outage()
		c := dial(t, away, remote.Options{Spool: dir})
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(time.Minute)
		testkit.NoError(t, c.Collect(batch("b", "c")))
		began := time.Now()
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "time to shut down", time.Since(began), time.Duration(0))
		testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)

		c = dial(t, away, remote.Options{Spool: dir})
		testkit.Equal(t, "found", c.Stats().SpooledSpans, 3)
		testkit.NoError(t, c.Collect(batch("d")))
		over, cancel := context.WithCancel(background)
		cancel()
		testkit.NoError(t, c.Shutdown(over)) // nothing is lost
		testkit.NoError(t, c.Shutdown(background))

		f := &far{}
		c = dial(t, f, remote.Options{Spool: dir})
		testkit.NoError(t, c.Collect(batch("e")))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), []string{"a", "b", "c", "d", "e"})
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "files", files(t, dir), []string(nil))
	})
}

// Flush returns when everything is on disk, and makes the client try again.
func TestSpoolFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: t.TempDir()})
		began := time.Now()
		for i := range 10 {
			testkit.NoError(t, c.Collect(batch(fmt.Sprint(i))))
			testkit.NoError(t, c.Flush(background))
			testkit.Equal(t, "spooled", c.Stats().SpooledSpans, i+1)
		}
		back.Store(true)
		testkit.NoError(t, c.Collect(batch("last")))
		testkit.NoError(t, c.Flush(background))
		synctest.Wait()
		testkit.Equal(t, "received", len(f.names()), 11)
		testkit.Equal(t, "time", time.Since(began), time.Duration(0))
		testkit.NoError(t, c.Shutdown(background))
	})
}

// A full spool keeps the newest spans within its bound on disk.
func TestSpoolBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		const bound = 100 << 10
		dir := t.TempDir()
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: dir, SpoolBytes: bound, BatchBytes: 2000})
		for i := range 100 {
			testkit.NoError(t, c.Collect(batch(fmt.Sprint(2*i), fmt.Sprint(2*i+1))))
			testkit.NoError(t, c.Flush(background))
		}
		held := c.Stats()
		if n := len(files(t, dir)); held.SpooledBytes > bound || n*4096 > bound || n < 20 {
			t.Errorf("%d bytes in %d files, want just under %d", held.SpooledBytes, n, bound)
		}
		testkit.Equal(t, "dropped", held.Dropped, map[string]uint64{"spool_full": uint64(200 - held.SpooledSpans)})
		testkit.Equal(t, "the one that is being delivered", files(t, dir)[0], "0000000000000001-2.otlp")
		back.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		var want []string
		for i := 200 - held.SpooledSpans + 2; i < 200; i++ {
			want = append(want, fmt.Sprint(i))
		}
		testkit.Equal(t, "received", f.names(), append([]string{"0", "1"}, want...))
		testkit.NoError(t, c.Shutdown(background))

		fill(t, dir, "a", "b", "c", "d", "e")
		c = dial(t, f, remote.Options{Spool: dir, SpoolBytes: 2 * 4096})
		testkit.Equal(t, "dropped by a smaller bound", c.Stats().Dropped, map[string]uint64{"spool_full": 3})
		testkit.NoError(t, c.Shutdown(background))
	})
}

// A spool has one client at a time.
func TestSpoolIsLocked(t *testing.T) {
	dir := t.TempDir()
	f := &far{}
	c := dial(t, f, remote.Options{Spool: dir})
	_, err := remote.Dial("http://collector", remote.Options{Spool: dir})
	testkit.Equal(t, "error", fmt.Sprint(err),
		"remote: Options.Spool: "+dir+" is in use by another process or client: give each a directory of its own")
	testkit.NoError(t, c.Shutdown(background))
	testkit.NoError(t, dial(t, f, remote.Options{Spool: dir}).Shutdown(background))
}

func TestSpoolCannotBeOpened(t *testing.T) {
	logs(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	testkit.NoError(t, os.WriteFile(file, nil, 0o600))
	newer := filepath.Join(dir, "newer")
	names := fill(t, newer, "a", "b")
	record := filepath.Join(newer, names[1])
	data, err := os.ReadFile(record)
	testkit.NoError(t, err)
	data[4] = 2
	testkit.NoError(t, os.WriteFile(record, data, 0o600))
	for spool, want := range map[string]string{
		file: "not a directory",
		newer: newer + ": " + names[1] + ": written in version 2 of the format, while this program knows up to 1: " +
			"use the version of dendro that wrote it, or another directory",
	} {
		for range 2 { // the first one leaves no lock
			_, err := remote.Dial("http://collector", remote.Options{Spool: spool})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
	testkit.Equal(t, "files", files(t, newer), names)
}

// Wherever a record was cut or changed, it is named, counted and removed, and the others
// are delivered.
func TestSpoolDamage(t *testing.T) {
	whole := t.TempDir()
	logs(t)
	names := fill(t, whole, "a", "b", "c")
	last, err := os.ReadFile(filepath.Join(whole, names[2]))
	testkit.NoError(t, err)
	for _, c := range []struct {
		name   string
		damage func(file string) error
		log    string
	}{
		{"empty", func(file string) error { return os.Truncate(file, 0) }, "0 bytes are no record"},
		{"cut", func(file string) error { return os.Truncate(file, int64(len(last)-1)) }, "bytes instead of"},
		{"longer", func(file string) error { return os.WriteFile(file, append(last[:len(last):len(last)], 0), 0o600) }, "bytes instead of"},
		{"zeros", func(file string) error { return os.WriteFile(file, make([]byte, len(last)), 0o600) }, "it begins with"},
		{"changed", func(file string) error {
			changed := bytes.Clone(last)
			changed[len(changed)/2] ^= 4
			return os.WriteFile(file, changed, 0o600)
		}, "wrong checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, dir := logs(t), t.TempDir()
				testkit.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
				testkit.NoError(t, c.damage(filepath.Join(dir, names[2])))
				f := &far{}
				client := dial(t, f, remote.Options{Spool: dir})
				testkit.NoError(t, client.Collect(batch("d")))
				time.Sleep(10 * time.Second)
				testkit.NoError(t, client.Shutdown(background))
				testkit.Equal(t, "received", f.names(), []string{"a", "b", "d"})
				stats := client.Stats()
				testkit.Equal(t, "dropped", stats.Dropped, map[string]uint64{"spool_damaged": 1})
				testkit.Equal(t, "errors", stats.SpoolErrors, uint64(1))
				testkit.Equal(t, "files", files(t, dir), []string(nil))
				if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, names[2]) || !strings.Contains(log, c.log) {
					t.Errorf("log: %s", log)
				}
			})
		})
	}
}

// What is left of a record whose writing was interrupted is no record, and other files
// are left alone.
func TestSpoolUnfinished(t *testing.T) {
	out, dir := logs(t), t.TempDir()
	names := fill(t, dir, "a")
	out.Reset()
	foreign := []string{"0000000000000001-x.otlp", "0000000000000001-01.otlp", "1-1.otlp", "README", "ffffffffffffffff-1.otlp"}
	for _, name := range append(foreign, "unfinished") {
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("dspl"), 0o600))
	}
	f, _ := outage()
	c := dial(t, f, remote.Options{Spool: dir})
	testkit.Equal(t, "found", c.Stats().SpooledSpans, 1)
	testkit.NoError(t, c.Shutdown(background))
	want := append(foreign, names...)
	slices.Sort(want)
	testkit.Equal(t, "files", files(t, dir), want)
	log := out.String()
	if strings.Contains(log, "damaged") || strings.Count(log, "files that are not of the spool are left alone, 5 in all: ") != 1 {
		t.Errorf("log: %s", log)
	}
	for _, name := range foreign {
		if !strings.Contains(log, name) {
			t.Errorf("the log does not name %s: %s", name, log)
		}
	}
}

// Links in the directory are not followed, and not replaced by records.
func TestSpoolLinks(t *testing.T) {
	logs(t)
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "elsewhere")
	link := func(name string) {
		if err := os.Symlink(elsewhere, filepath.Join(dir, name)); err != nil {
			t.Skipf("SKIPPED: no symbolic links: %v", err)
		}
	}
	const record = "0000000000000001-1.otlp"
	link(record)
	link("unfinished")
	testkit.Equal(t, "files", fill(t, dir, "a"), []string{record, "0000000000000002-1.otlp"})
	if to, err := os.Readlink(filepath.Join(dir, record)); err != nil || to != elsewhere {
		t.Errorf("the link leads to %q: %v", to, err)
	}

	testkit.NoError(t, os.Remove(filepath.Join(dir, "lock")))
	link("lock")
	_, err := remote.Dial("http://collector", remote.Options{Spool: dir})
	if want := filepath.Join(dir, "lock") + " is no regular file: remove it"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("elsewhere: %v", err)
	}
}

// While the disk is full or broken, the client works as without a spool.
func TestSpoolCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, dir := logs(t), t.TempDir()
		obstacle := filepath.Join(dir, "unfinished")
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: dir, MaxElapsed: time.Minute})
		testkit.NoError(t, os.Mkdir(obstacle, 0o700)) // a record cannot be created
		testkit.NoError(t, c.Collect(batch("too", "old")))
		time.Sleep(50 * time.Second)
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		stats := c.Stats()
		testkit.Equal(t, "dropped", stats.Dropped, map[string]uint64{"unreachable": 2})
		testkit.Equal(t, "queued and spooled", []int{stats.QueuedSpans, stats.SpooledSpans}, []int{1, 0})
		if stats.SpoolErrors < 60 { // it tries every second
			t.Errorf("%d errors", stats.SpoolErrors)
		}
		testkit.NoError(t, os.Remove(obstacle))
		testkit.NoError(t, c.Collect(batch("b")))
		time.Sleep(time.Hour)
		synctest.Wait()
		stats = c.Stats()
		testkit.Equal(t, "queued and spooled", []int{stats.QueuedSpans, stats.SpooledSpans}, []int{0, 2})

		testkit.NoError(t, os.Mkdir(obstacle, 0o700))
		testkit.NoError(t, c.Collect(batch("c")))
		time.Sleep(10 * time.Second)
		back.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), []string{"a", "b", "c"})

		back.Store(false)
		testkit.NoError(t, c.Collect(batch("d")))
		err := c.Shutdown(background)
		testkit.Equal(t, "lost in the end", errors.Is(err, context.DeadlineExceeded), true)
		testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"unreachable": 2, "shutdown": 1})
		log := out.String()
		testkit.Equal(t, "log", strings.Count(log, "cannot write to spool "+dir), 2)
		testkit.Equal(t, "log", strings.Count(log, "spool "+dir+" can be written again"), 1)
	})
}

// A directory that is removed while it is used hurts only what was in it.
func TestSpoolIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		dir := filepath.Join(t.TempDir(), "spool")
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: dir})
		testkit.NoError(t, c.Collect(batch("a", "b")))
		testkit.NoError(t, c.Flush(background))
		testkit.NoError(t, c.Collect(batch("c")))
		testkit.NoError(t, c.Flush(background))
		if err := os.RemoveAll(dir); err != nil {
			t.Skipf("SKIPPED: this system keeps directories that are in use: %v", err)
		}
		testkit.NoError(t, c.Collect(batch("d")))
		time.Sleep(10 * time.Second)
		testkit.Equal(t, "queued", c.Stats().QueuedSpans, 1)
		back.Store(true)
		time.Sleep(20 * time.Second)
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "received", f.names(), []string{"a", "b", "d"}) // the first was being delivered
		testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"spool_damaged": 1})
	})
}

// A record that cannot be read now does not delay the others, and is tried again.
func TestSpoolCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		dir := t.TempDir()
		names := fill(t, dir, "a", "b", "c")
		f, back := outage()
		c := dial(t, f, remote.Options{Spool: dir})
		time.Sleep(time.Minute) // a is being delivered
		record := filepath.Join(dir, names[1])
		testkit.NoError(t, os.Rename(record, record+".away"))
		testkit.NoError(t, os.Mkdir(record, 0o700)) // can be opened, but not be read
		back.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), []string{"a", "c"})
		testkit.Equal(t, "left", c.Stats().SpooledSpans, 1)
		testkit.NoError(t, os.Remove(record))
		testkit.NoError(t, os.Rename(record+".away", record))
		time.Sleep(10 * time.Second)
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "received", f.names(), []string{"a", "c", "b"})
		testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)
	})
}

// The collector may refuse spans from the spool, which are dropped.
func TestSpoolRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		dir := t.TempDir()
		fill(t, dir, "a", "b", "c")
		f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
			return answer([]int{200, 400, 200}[n-1]), nil
		}}
		c := dial(t, f, remote.Options{Spool: dir})
		synctest.Wait()
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "received", f.names(), []string{"a", "c"})
		testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"rejected": 1})
		testkit.Equal(t, "files", files(t, dir), []string(nil))
	})
}

// Answers that are not about the spans, such as those to a wrong token or path, leave them in the
// spool.
func TestSpoolWhileRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		dir := t.TempDir()
		fill(t, dir, "a", "b")
		f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
			return answer([]int{401, 403, 404, 405, 200, 200}[n-1]), nil
		}}
		c := dial(t, f, remote.Options{Spool: dir})
		time.Sleep(time.Minute)
		testkit.Equal(t, "received", f.names(), []string{"a", "b"})
		testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)
		testkit.NoError(t, c.Shutdown(background))
	})
}

// Requests are sent with the compression that they were written with, by which process
// ever.
func TestSpoolCompression(t *testing.T) {
	for _, c := range []struct{ compression, now, spooled string }{{"", "", "gzip"}, {"none", "", ""}, {"gzip", "gzip", "gzip"}} {
		t.Run(c.compression, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs(t)
				dir := t.TempDir()
				var encodings []string
				f := &far{respond: func(n int, r *http.Request, _ []string) (*http.Response, error) {
					encodings = append(encodings, r.Header.Get("Content-Encoding"))
					return answer([]int{503, 200, 200}[n-1]), nil
				}}
				o := remote.Options{Spool: dir, Compression: c.compression}
				client := dial(t, f, o)
				testkit.NoError(t, client.Collect(batch("a")))
				testkit.NoError(t, client.Shutdown(background))
				for range 2 {
					client = dial(t, f, remote.Options{Spool: dir, Compression: "none"})
					synctest.Wait()
					testkit.NoError(t, client.Shutdown(background))
				}
				testkit.Equal(t, "received", f.names(), []string{"a"})
				testkit.Equal(t, "encodings", encodings, []string{c.now, c.spooled})
			})
		})
	}
}

// Each span is sent or refused, and counted once, while the collector is away at times.
func TestSpoolConcurrency(t *testing.T) {
	testkit.NoLeaks(t)
	logs(t)
	const workers, traces = 4, 100
	var mu sync.Mutex
	received, requests := map[string]int{}, 0
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		batches, err := otlp.DecodeTraces(plainBody(t, r))
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%3 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, b := range batches {
			for _, s := range b.Spans {
				received[s.Name]++
			}
		}
	}))
	defer far.Close()
	c, err := remote.Dial(far.URL, remote.Options{BatchBytes: 2000, Interval: time.Millisecond, Spool: t.TempDir()})
	testkit.NoError(t, err)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range traces {
				testkit.Equal(t, "collected", c.Collect(batch(fmt.Sprint(w, " ", i))), error(nil))
				if i%20 == 0 {
					_ = c.Flush(background)
				}
			}
		})
	}
	group.Wait()
	ctx, cancel := context.WithTimeout(background, time.Minute)
	defer cancel()
	for stats := c.Stats(); stats.QueuedSpans+stats.SpooledSpans > 0; stats = c.Stats() {
		testkit.NoError(t, ctx.Err())
		_ = c.Flush(ctx)
		time.Sleep(time.Millisecond)
	}
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "sent", int(c.Stats().SentSpans), workers*traces)
	testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)
	mu.Lock()
	defer mu.Unlock()
	testkit.Equal(t, "received", len(received), workers*traces)
	testkit.Equal(t, "most often", slices.Max(slices.Collect(maps.Values(received))), 1)
}

// spoolDirVar makes the test binary a program that collects spans for a collector that
// does not exist, with a spool in this directory.
const spoolDirVar = "DENDRO_TEST_SPOOL"

func TestMain(m *testing.M) {
	dir := os.Getenv(spoolDirVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	c, err := remote.Dial("http://127.0.0.1:1", remote.Options{Spool: dir, Interval: time.Millisecond, BatchBytes: 500})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ { // until it is killed
		if err := c.Collect(batch(fmt.Sprint(i))); err != nil {
			time.Sleep(time.Millisecond) // the queue is full
			i--
		}
	}
}

// A program that is killed, without having called Flush or Shutdown, loses nothing that was
// in the spool. The next one delivers it, in order and without a gap.
func TestSpoolKill(t *testing.T) {
	testkit.NoLeaks(t)
	logs(t)
	dir := t.TempDir()
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), spoolDirVar+"="+dir)
	var out bytes.Buffer
	program.Stdout, program.Stderr = &out, &out
	testkit.NoError(t, program.Start())
	deadline := time.Now().Add(time.Minute)
	for len(files(t, dir)) < 20 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	_, err := remote.Dial("http://collector", remote.Options{Spool: dir})
	if err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("while the program runs: %v", err)
	}
	testkit.NoError(t, program.Process.Kill())
	_ = program.Wait()
	if t.Failed() {
		t.Fatal(out.String())
	}

	var mu sync.Mutex
	var names []string
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		batches, err := otlp.DecodeTraces(plainBody(t, r))
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, b := range batches {
			for _, s := range b.Spans {
				names = append(names, s.Name)
			}
		}
	}))
	defer far.Close()
	c, err := remote.Dial(far.URL, remote.Options{Spool: dir})
	testkit.NoError(t, err)
	for deadline := time.Now().Add(time.Minute); c.Stats().SpooledSpans > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)
	mu.Lock()
	defer mu.Unlock()
	if len(names) < 20 {
		t.Errorf("%d spans of at least 20 requests", len(names))
	}
	for i, name := range names {
		if name != fmt.Sprint(i) {
			t.Fatalf("span %d is %s", i, name)
		}
	}
}
