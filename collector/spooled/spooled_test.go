package spooled_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/spooled"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var (
	background = context.Background()
	errAway    = errors.New("connection refused")
)

// store keeps the names of spans unless answer, if it is not nil, returns an error for them.
type store struct {
	mu     sync.Mutex
	answer func(ctx context.Context, names []string) error
	names  []string
	tries  int
}

func (s *store) Write(ctx context.Context, batches []*dendro.Batch) error {
	var names []string
	for _, b := range batches {
		for _, span := range b.Spans {
			names = append(names, span.Name)
		}
	}
	s.mu.Lock()
	s.tries++
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, names); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, names...)
	return nil
}

// set changes what the store answers.
func (s *store) set(answer func(context.Context, []string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// has returns the names of what the store has, and how often it was asked to take something.
func (s *store) has() (names []string, tries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names), s.tries
}

// Answers of a store.
func away(context.Context, []string) error { return errAway }

func hangs(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return ctx.Err()
}

// request returns spans with these names.
func request(names ...string) []*dendro.Batch {
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}}
	for i, name := range names {
		span := &dendro.SpanData{Name: name, Start: 1, End: 2}
		span.TraceID[0], span.SpanID[0] = 1, byte(i+1)
		b.Spans = append(b.Spans, span)
	}
	return []*dendro.Batch{b}
}

// open opens a Writer, which is closed at the end of the test.
func open(t *testing.T, dir string, s collector.Writer, o spooled.Options) *spooled.Writer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w, err := spooled.Open(dir, s, o)
	testkit.NoError(t, err)
	return w
}

// left returns the names of the records in a spool.
func left(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.otlp"))
	testkit.NoError(t, err)
	return names
}

// The store is away for an hour, and the program is started again meanwhile. Every request is acknowledged, the first
// within a second and the others at once, and every span is stored once.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "spool" {
				return slog.Attr{}
			}
			return a
		}}))
		dir, s := t.TempDir(), &store{}
		w := open(t, dir, s, spooled.Options{Logger: logger})
		var want []string
		write := func() {
			t.Helper()
			name := fmt.Sprint("span ", len(want))
			want = append(want, name)
			began := time.Now()
			testkit.NoError(t, w.Write(background, request(name)))
			testkit.Equal(t, "time to write", time.Since(began), time.Duration(0))
		}
		write()
		testkit.Equal(t, "files while the store is well", left(t, dir), []string(nil))
		s.set(away)
		for range 2 {
			for began := time.Now(); time.Since(began) < 30*time.Minute; time.Sleep(5 * time.Second) {
				write()
			}
			w.Close()
			w = open(t, dir, s, spooled.Options{Logger: logger})
		}
		m := w.Metrics()
		testkit.Equal(t, "kept", fmt.Sprint(m.Spans, m.Bytes, len(m.Dropped), m.Errors), fmt.Sprint(len(want)-1, (len(want)-1)*4096, 0, 0))
		write()
		testkit.Equal(t, "away", w.Metrics().Away, true)
		if _, tries := s.has(); tries > 3*3600/5 {
			t.Errorf("the store was tried %d times", tries)
		}
		s.set(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		write()
		got, _ := s.has()
		slices.Sort(got)
		testkit.Equal(t, "stored", got, slices.Sorted(slices.Values(want)))
		m = w.Metrics()
		testkit.Equal(t, "left", fmt.Sprint(m.Spans, m.Bytes, m.Delivered, m.Away, left(t, dir)), fmt.Sprint(0, 0, len(want)-2, false, []string(nil)))
		w.Close()
		testkit.Equal(t, "log", log.String(), strings.Repeat("level=WARN msg=\"dendro: the store does not take spans, which are kept on disk\" error=\"connection refused\"\n", 3)+
			"level=INFO msg=\"dendro: the store takes spans again\"\n")
	})
}

// What comes out of the spool is what went in, the oldest first.
func TestRequestsAreUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := open(t, dir, &store{answer: away}, spooled.Options{})
		var want []string
		for _, b := range storetest.Data() {
			testkit.NoError(t, w.Write(background, []*dendro.Batch{b}))
			want = append(want, string(otlp.AppendTraces(nil, b)))
		}
		w.Close()
		var mu sync.Mutex
		var got []string
		w = open(t, dir, writer(func(batches []*dendro.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(otlp.AppendTraces(nil, batches...)))
			return nil
		}), spooled.Options{})
		synctest.Wait()
		w.Close()
		testkit.Equal(t, "number of requests", len(got), len(want))
		testkit.Equal(t, "first", got[0], want[0])
		slices.Sort(got) // several are delivered at a time
		slices.Sort(want)
		testkit.Equal(t, "requests", got, want)
	})
}

type writer func([]*dendro.Batch) error

func (w writer) Write(_ context.Context, batches []*dendro.Batch) error { return w(batches) }

// A store that does not answer costs one second, for those who write while nobody knows. When it answers, it gets everything.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{answer: hangs}
		w := open(t, t.TempDir(), s, spooled.Options{})
		began := time.Now()
		var writing sync.WaitGroup
		for i := range 10 {
			writing.Go(func() { testkit.Equal(t, "error", w.Write(background, request(fmt.Sprint(i))), error(nil)) })
		}
		writing.Wait()
		testkit.Equal(t, "time", time.Since(began), time.Second)
		for i := range 10 {
			testkit.NoError(t, w.Write(background, request(fmt.Sprint(10+i))))
		}
		testkit.Equal(t, "time", time.Since(began), time.Second)
		time.Sleep(10 * time.Minute)
		s.set(nil)
		time.Sleep(2 * time.Minute) // a request that was sent before may hang for one
		synctest.Wait()
		got, _ := s.has()
		testkit.Equal(t, "stored", len(got), 20)
		w.Close()
	})
}

// A client that gives up before the spool is needed gets an error, and says nothing about the store.
func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, t.TempDir(), &store{answer: hangs}, spooled.Options{})
		ctx, cancel := context.WithTimeout(background, time.Second/2)
		defer cancel()
		testkit.Equal(t, "error", w.Write(ctx, request("a")), context.DeadlineExceeded)
		m := w.Metrics()
		testkit.Equal(t, "spooled", fmt.Sprint(m.Spans, m.Away), "0 false")
		w.Close()
	})
}

// Spans that the store rejects for good are rejected, or counted if they were acknowledged before.
func TestStoreRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rejects := func(_ context.Context, names []string) error {
			return &collector.RejectedError{Spans: len(names) - 1, Reason: "too old"}
		}
		s := &store{answer: rejects}
		w := open(t, t.TempDir(), s, spooled.Options{})
		rejected := (*collector.RejectedError)(nil)
		if err := w.Write(background, request("a", "b", "c")); !errors.As(err, &rejected) || rejected.Spans != 2 {
			t.Errorf("error %v", err)
		}
		s.set(away)
		testkit.NoError(t, w.Write(background, request("a", "b", "c")))
		s.set(rejects)
		time.Sleep(10 * time.Second)
		m := w.Metrics()
		testkit.Equal(t, "dropped", m.Dropped, map[string]uint64{"rejected": 2})
		testkit.Equal(t, "the others", fmt.Sprint(m.Spans, m.Written, m.Delivered, m.Away), "0 3 1 false")
		w.Close()
	})
}

// A request that the store never takes delays no others.
func TestStoreNeverTakesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{answer: away}
		w := open(t, t.TempDir(), s, spooled.Options{})
		testkit.NoError(t, w.Write(background, request("bad")))
		for i := range 100 {
			testkit.NoError(t, w.Write(background, request(fmt.Sprint(i))))
		}
		s.set(func(_ context.Context, names []string) error {
			if names[0] == "bad" {
				return errAway
			}
			return nil
		})
		time.Sleep(time.Minute)
		testkit.NoError(t, w.Write(background, request("later")))
		got, _ := s.has()
		testkit.Equal(t, "stored", len(got), 101)
		m := w.Metrics()
		testkit.Equal(t, "left", fmt.Sprint(m.Spans, m.Away), "1 false")
		w.Close()
	})
}

// A full spool refuses new requests, and drops none that it has acknowledged. Senders learn that they should try again.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 5
		s := &store{answer: away}
		dir := t.TempDir()
		w := open(t, dir, s, spooled.Options{MaxBytes: room*4096 + 100})
		for i := range room {
			testkit.NoError(t, w.Write(background, request(fmt.Sprint(i))))
		}
		testkit.Equal(t, "ready", w.Ready(), true)
		drop := (*dendro.DropError)(nil)
		if err := w.Write(background, request("too many")); !errors.As(err, &drop) || drop.Reason != spooled.DropFull {
			t.Errorf("error %v", err)
		}
		testkit.Equal(t, "ready", w.Ready(), false)
		testkit.Equal(t, "status", post(server.New(w, server.Options{}), request("too many")), 503)
		time.Sleep(11 * time.Second)
		testkit.Equal(t, "ready", w.Ready(), true)
		testkit.Equal(t, "files", len(left(t, dir)), room)
		w.Close()
		w = open(t, dir, s, spooled.Options{MaxBytes: 4096}) // less than is in it
		testkit.Equal(t, "files", len(left(t, dir)), room)
		s.set(nil)
		time.Sleep(5 * time.Second)
		testkit.NoError(t, w.Write(background, request("5")))
		got, _ := s.has()
		slices.Sort(got)
		testkit.Equal(t, "stored", got, []string{"0", "1", "2", "3", "4", "5"})
		w.Close()
	})
}

// post sends a request to a receiver and returns the status.
func post(h http.Handler, batches []*dendro.Batch) int {
	r, _ := http.NewRequest("POST", "/v1/traces", bytes.NewReader(otlp.AppendTraces(nil, batches...)))
	r.Header.Set("Content-Type", "application/x-protobuf")
	answer := &response{header: http.Header{}}
	h.ServeHTTP(answer, r)
	return answer.status
}

// response is an [http.ResponseWriter] that keeps the status. Unlike that of httptest, it works with
// synctest and deadlines of requests.
type response struct {
	header http.Header
	status int
	io.Writer
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) WriteHeader(status int)      { r.status = status }
func (r *response) Write(p []byte) (int, error) { return len(p), nil }

// While the disk cannot be written, requests are refused if the store is away, and reach it as soon as it is back.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), &store{answer: away}
		w := open(t, dir, s, spooled.Options{})
		testkit.NoError(t, os.Mkdir(filepath.Join(dir, "unfinished"), 0o700)) // a record cannot be created
		for range 2 {
			if err := w.Write(background, request("a")); err == nil || errors.Is(err, errAway) {
				t.Errorf("error %v", err)
			}
		}
		testkit.Equal(t, "ready", w.Ready(), false)
		testkit.Equal(t, "errors", w.Metrics().Errors, uint64(2))
		s.set(nil)
		testkit.NoError(t, w.Write(background, request("b")))
		testkit.Equal(t, "away", w.Metrics().Away, false)
		w.Close()
	})
}

// A damaged record is counted and does not keep the others.
func TestDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), &store{answer: away}
		w := open(t, dir, s, spooled.Options{})
		for i := range 3 {
			testkit.NoError(t, w.Write(background, request(fmt.Sprint(i), "second")))
		}
		w.Close()
		testkit.NoError(t, os.Truncate(left(t, dir)[1], 30))
		s.set(nil)
		w = open(t, dir, s, spooled.Options{})
		time.Sleep(time.Minute)
		got, _ := s.has()
		testkit.Equal(t, "stored", got, []string{"0", "second", "2", "second"})
		testkit.Equal(t, "dropped", w.Metrics().Dropped, map[string]uint64{"spool_damaged": 2})
		w.Close()
	})
}

// A spool belongs to one process.
func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, &store{}, spooled.Options{})
	_, err := spooled.Open(dir, &store{}, spooled.Options{})
	if err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("error %v", err)
	}
	w.Close()
	open(t, dir, &store{}, spooled.Options{}).Close()
}

// Requests from many goroutines, while the store is away at times, are stored or refused.
func TestConcurrency(t *testing.T) {
	testkit.NoLeaks(t)
	var calls int
	s := &store{}
	s.set(func(context.Context, []string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if calls++; calls%5 == 0 {
			return errAway
		}
		return nil
	})
	w := open(t, t.TempDir(), s, spooled.Options{})
	var writing sync.WaitGroup
	for g := range 8 {
		writing.Go(func() {
			for i := range 50 {
				testkit.Equal(t, "error", w.Write(background, request(fmt.Sprint(g, " ", i))), error(nil))
			}
		})
	}
	writing.Wait()
	s.set(nil)
	for deadline := time.Now().Add(time.Minute); w.Metrics().Spans > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	got, _ := s.has()
	slices.Sort(got)
	testkit.Equal(t, "stored", len(got), 400)
	testkit.Equal(t, "stored once", len(slices.Compact(got)), 400)
}

// spoolVar makes the test binary a program that writes for a store that is away, with a spool in this directory, and
// prints what was acknowledged.
const spoolVar = "DENDRO_TEST_SPOOL"

func TestMain(m *testing.M) {
	dir := os.Getenv(spoolVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	w, err := spooled.Open(dir, &store{answer: away}, spooled.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var writing sync.WaitGroup
	for g := range 4 {
		writing.Go(func() {
			for i := 0; ; i++ { // until it is killed
				if name := fmt.Sprint(g, "/", i); w.Write(background, request(name)) == nil {
					fmt.Println(name)
				}
			}
		})
	}
	writing.Wait()
}

// A program that is killed while it writes to the spool loses nothing that it has acknowledged.
func TestKill(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), spoolVar+"="+dir)
	out, err := program.StdoutPipe()
	testkit.NoError(t, err)
	testkit.NoError(t, program.Start())
	acknowledged := make([]byte, 200)
	_, err = io.ReadFull(out, acknowledged)
	testkit.NoError(t, err)
	testkit.NoError(t, program.Process.Kill())
	rest, _ := io.ReadAll(out)
	_ = program.Wait()

	s := &store{}
	w := open(t, dir, s, spooled.Options{})
	for deadline := time.Now().Add(time.Minute); w.Metrics().Spans > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	testkit.Equal(t, "dropped", len(w.Metrics().Dropped), 0)
	got, _ := s.has()
	lines := strings.SplitAfter(string(append(acknowledged, rest...)), "\n")
	for _, line := range lines[:len(lines)-1] {
		if name := strings.TrimSpace(line); !slices.Contains(got, name) {
			t.Errorf("%s was acknowledged, and is lost", name)
		}
	}
	if len(lines) < 20 {
		t.Errorf("only %q were acknowledged", lines)
	}
}
