package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// pageOf starts a page for a store.
func pageOf(t *testing.T, store *memory.Store) string {
	t.Helper()
	s := httptest.NewServer(web.New(store, web.Options{}))
	t.Cleanup(s.Close)
	return s.URL
}

// measured matches what is different for each run.
var measured = regexp.MustCompile(`\d+(\.\d+)?(ns|µs|ms|s)\b|\d+ a second|[\d.]+ (B|KiB|MiB) a second`)

// A load arrives, is found again, and the journal knows it.
func TestLoad(t *testing.T) {
	testkit.NoLeaks(t)
	to := newReceiver(t, nil)
	page := pageOf(t, to.store)
	journal := filepath.Join(t.TempDir(), "acks")
	var stdout bytes.Buffer
	code := run(t.Context(), []string{"load", "-otlp", to.url, "-addr", page, "-spans", "20001", "-connections", "3", "-seed", "5", "-acks", journal, "-verify", "-verify-sample", "100"}, &stdout, t.Output())
	testkit.Equal(t, "exit code", code, exitOK)
	testkit.Equal(t, "spans", to.stats(t).Spans, 20001)
	const want = `seed       5
accepted   20001 spans in #, #; 9.3 MiB, #
requests   58, p50 #, p99 #, slowest #
by id      948 of 948 spans found, in 100 of 2098 traces
by search  20001 of 20001 spans counted
rare value 3 of 3 traces found with shop.tenant = "rare-00000000005"
`
	testkit.Equal(t, "report", measured.ReplaceAllString(stdout.String(), "#"), want)

	stdout.Reset()
	code = run(t.Context(), []string{"load", "-otlp", to.url, "-spans", "1000", "-batch", "100", "-acks", journal}, &stdout, t.Output())
	testkit.Equal(t, "exit code of another run", code, exitOK)
	stdout.Reset()
	code = run(t.Context(), []string{"load", "-check", journal, "-addr", page, "-verify-sample", "0"}, &stdout, t.Output())
	testkit.Equal(t, "exit code of -check", code, exitOK)
	for _, want := range []string{"by id      20001 of 20001 spans found, in 2098 of 2098 traces\n", "by id      1000 of 1000 spans found", "by search  1000 of 1000 spans counted\n"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("-check prints\n%s\nwithout %q", stdout.String(), want)
		}
	}
}

// What a collector acknowledges and does not keep is missed.
func TestLoadMissesSpans(t *testing.T) {
	testkit.NoLeaks(t)
	empty := pageOf(t, memory.New(memory.Options{}))
	requests := 0
	var mu sync.Mutex
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		requests++
		return requests == 5 // is acknowledged, and lost
	})
	half := pageOf(t, to.store)
	for name, page := range map[string]string{"all": empty, "one request": half} {
		requests = 0
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"load", "-otlp", to.url, "-addr", page, "-spans", "3000", "-verify", "-verify-sample", "0"}, &stdout, &stderr)
		testkit.Equal(t, name+": exit code", code, exitError)
		testkit.Equal(t, name+": stderr", stderr.String(), "dendro load: acknowledged spans are missing\n")
		missed := regexp.MustCompile(`by id +(\d+) of 3000 spans found(?s:.*)by search +(\d+) of 3000 spans counted`).FindStringSubmatch(stdout.String())
		if missed == nil || missed[1] != missed[2] || missed[1] == "3000" || (missed[1] == "0") != (name == "all") {
			t.Errorf("%s: stdout\n%s", name, stdout.String())
		}
	}
}

// What a collector refuses for a while is sent again and counted, and what it never takes is an error.
func TestLoadIsRefused(t *testing.T) {
	testkit.NoLeaks(t)
	for name, test := range map[string]struct {
		statuses       []int // of the first requests
		code           int
		stdout, stderr string
	}{
		"busy":         {[]int{429, 503, 503}, exitOK, "\nrefused    1 × 429 Too Many Requests, 2 × 503 Service Unavailable\n", ""},
		"rejected":     {[]int{400}, exitError, "\nrejected   400 spans (400 Bad Request: no)\n", "400 spans were rejected: 400 Bad Request: no"},
		"unauthorized": {[]int{401}, exitError, "accepted   0 spans", "401 Unauthorized: no"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			to := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
				if n++; n > len(test.statuses) {
					return false
				}
				http.Error(w, "no", test.statuses[n-1])
				return true
			})
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"load", "-otlp", to.url, "-spans", "2000", "-batch", "400", "-connections", "1"}, &stdout, &stderr)
			testkit.Equal(t, "exit code", code, test.code)
			if !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) || stderr.Len() > 0 && test.stderr == "" {
				t.Errorf("stdout %q, want %q; stderr %q, want %q", stdout.String(), test.stdout, stderr.String(), test.stderr)
			}
		})
	}
}

// While the collector is away, a line says so, and Ctrl-C ends it.
func TestLoadWithoutCollector(t *testing.T) {
	testkit.NoLeaks(t)
	progressInterval = time.Millisecond
	defer func() { progressInterval = 2 * time.Second }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	l.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stderr := &awaited{want: " × not answered (dial tcp " + l.Addr().String(), found: interrupt}
	var stdout bytes.Buffer
	code := run(ctx, []string{"load", "-otlp", "http://" + l.Addr().String()}, &stdout, stderr)
	testkit.Equal(t, "exit code", code, exitError)
	if !strings.HasSuffix(stderr.text.String(), "dendro load: no span was accepted\n") {
		t.Errorf("stderr %q", stderr.text.String())
	}
}

// A rate is not exceeded, and the time bounds a load.
func TestLoadRate(t *testing.T) {
	to := newReceiver(t, nil)
	began := time.Now()
	code := run(t.Context(), []string{"load", "-otlp", to.url, "-spans", "300", "-batch", "10", "-connections", "2", "-rate", "2000"}, t.Output(), t.Output())
	testkit.Equal(t, "exit code", code, exitOK)
	if took := time.Since(began); took < 100*time.Millisecond { // the last requests are sent after 140 ms
		t.Errorf("300 spans took %v", took)
	}
	to = newReceiver(t, nil)
	code = run(t.Context(), []string{"load", "-otlp", to.url, "-batch", "10", "-duration", "300ms", "-rate", "10000"}, t.Output(), t.Output())
	testkit.Equal(t, "exit code", code, exitOK)
	if n := to.stats(t).Spans; n == 0 || n > 3000+2*10 {
		t.Errorf("%d spans in 300 ms", n)
	}
}

// The spans that a journal stands for are those of the requests.
func TestAcks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "acks")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	testkit.NoError(t, err)
	want := map[string]bool{}
	for seed := range uint64(2) {
		a := &acks{run: loadRun{seed: seed + 1, batch: 50}, began: time.Now()}
		testkit.NoError(t, a.startJournal(file))
		for connection := range 2 {
			g := newGenerator(a.run, connection, 3333)
			for n := 0; ; n++ {
				r, ok := g.next()
				if !ok {
					break
				}
				if n%3 == connection { // is not acknowledged
					continue
				}
				testkit.NoError(t, a.add(&r))
				batches, err := otlp.DecodeTraces(bytes.Join(r.parts, nil))
				testkit.NoError(t, err)
				for _, s := range batches[0].Spans {
					want[fmt.Sprint(s.TraceID, s.SpanID)] = true
				}
			}
		}
	}
	_, err = fmt.Fprint(file, "0 0 9")
	testkit.NoError(t, err)
	testkit.NoError(t, file.Close())
	runs, err := readJournal(name)
	testkit.NoError(t, err)
	testkit.Equal(t, "runs", len(runs), 2)
	got := map[string]bool{}
	for _, run := range runs {
		run.each(func(p *plan, spans []int) bool {
			for _, i := range spans {
				got[fmt.Sprint(p.id, dendro.SpanID(binary.BigEndian.AppendUint64(nil, p.span(i))))] = true
			}
			return true
		})
	}
	testkit.Equal(t, "spans", got, want)

	for text, line := range map[string]int{"0 1 2 3\n": 1, "run 1 50 0\n0 1 2 51\n": 2, "run 1 50 0\n0 12 2 3\n": 2, "run 1 50 0\n0 1 2 3\nrun\n": 3, "run 1 50 0\n0 1 99999999 3\n": 2, "<html>\n": 1, strings.Repeat("x", 1000): 1} {
		testkit.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		_, err := readJournal(name)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("acks:%d: ", line)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// How long spans take until they are found is measured during a load.
func TestLoadFreshness(t *testing.T) {
	testkit.NoLeaks(t)
	defer func(before time.Duration) { freshPatience = before }(freshPatience)
	for name, test := range map[string]struct {
		patience       time.Duration
		late           map[string]int64 // how many requests for a path do not find a span
		code           int
		report, stderr string
	}{
		"found":     {time.Minute, nil, exitOK, `by id (\d+) spans, \d+ at once, #; by search \d+ spans, \d+ at once, #`, `^$`},
		"late":      {time.Minute, map[string]int64{"traces": 5, "search": 3}, exitOK, `by id (\d+) spans, \d+ at once, #; by search \d+ spans, \d+ at once, #`, `^$`},
		"not by id": {50 * time.Millisecond, map[string]int64{"traces": 1e9}, exitError, `by id 0 spans, 0 at once, #, 1 not found; by search 1 spans, 1 at once, #`, `acknowledged spans were not found within 50ms`},
		"not at all": {50 * time.Millisecond, map[string]int64{"traces": 1e9, "search": 1e9}, exitError, `by id 0 spans, 0 at once, #, 1 not found; by search 0 spans, 0 at once, #, 1 not found`,
			`acknowledged spans were not found within 50ms`},
	} {
		t.Run(name, func(t *testing.T) {
			freshPatience = test.patience
			to := newReceiver(t, nil)
			page := web.New(to.store, web.Options{})
			var mu sync.Mutex
			asked := map[string]int64{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				path := strings.Split(r.URL.Path, "/")[2]
				mu.Lock()
				asked[path]++
				late := asked[path] <= test.late[path]
				mu.Unlock()
				switch {
				case late && path == "traces":
					http.NotFound(w, r)
				case late:
					fmt.Fprint(w, `{"traces":[]}`)
				default:
					page.ServeHTTP(w, r)
				}
			}))
			defer server.Close()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"load", "-otlp", to.url, "-addr", server.URL, "-spans", "5000", "-seed", "5", "-freshness"}, &stdout, &stderr)
			testkit.Equal(t, "exit code", code, test.code)
			numbers := regexp.MustCompile(`p50 \S+, p99 \S+, slowest [0-9.µmns]+`)
			if got := numbers.ReplaceAllString(stdout.String(), "#"); !regexp.MustCompile(`(?m)^freshness  ` + test.report + `$`).MatchString(got) {
				t.Errorf("stdout\n%s\nwant %q", got, test.report)
			}
			if got := stderr.String(); !regexp.MustCompile(test.stderr).MatchString(got) {
				t.Errorf("stderr %q, want %q", got, test.stderr)
			}
			for path, n := range test.late {
				if n < 1e9 && asked[path] <= n {
					t.Errorf("%s was asked %d times", path, asked[path])
				}
			}
		})
	}
}

// A page that cannot be asked is an error before anything is sent.
func TestLoadAsksFirst(t *testing.T) {
	testkit.NoLeaks(t)
	to := newReceiver(t, nil)
	for _, flag := range []string{"-verify", "-freshness"} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"load", "-otlp", to.url, "-addr", to.url, "-spans", "1000", flag}, t.Output(), &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		testkit.Equal(t, "spans", to.stats(t).Spans, 0)
		if !strings.HasPrefix(stderr.String(), "dendro load: ") {
			t.Errorf("stderr %q", stderr.String())
		}
	}
}

// A search finds all traces, also where there are more than one request returns. What may be cut
// short is an error.
func TestSearchIsComplete(t *testing.T) {
	testkit.NoLeaks(t)
	store := memory.New(memory.Options{})
	b := &dendro.Batch{Resource: &dendro.Resource{}}
	add := func(n int, second int64) {
		s := &dendro.SpanData{Name: "rare", Start: second*1e9 + int64(n), End: second*1e9 + int64(n)}
		s.TraceID, s.SpanID = dendro.TraceID{13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}, dendro.SpanID{1}
		b.Spans = append(b.Spans, s)
	}
	const first, traces = 1_700_000_000, 2500
	for n := range traces {
		add(n+1, first+int64(n)/500)
	}
	testkit.NoError(t, store.Collect(b))
	v := verifier{client: client{addr: pageOf(t, store), flags: newFlags("load", "", "", t.Output())}}
	testkit.Equal(t, "connected", v.connect(), -1)
	defer v.close()
	got := map[string]bool{}
	testkit.NoError(t, v.searchAll(t.Context(), `{ name = "rare" }`, first-3600, first+60, got))
	testkit.Equal(t, "found", len(got), traces)

	b.Spans = nil
	for n := range 1500 {
		add(traces+n+1, first+20)
	}
	testkit.NoError(t, store.Collect(b))
	err := v.searchAll(t.Context(), `{ name = "rare" }`, first-3600, first+60, got)
	if err == nil || !strings.Contains(err.Error(), "the search of a second is not complete: stopped at the limit of 1000 traces") {
		t.Errorf("error %v", err)
	}
}

func TestLoadUsage(t *testing.T) {
	for args, want := range map[string]string{
		"-help":                "-verify-sample number",
		"now":                  `unexpected argument "now"`,
		"-rate -1":             "are not negative",
		"-connections 0":       "-connections 0: want 1 to 1000",
		"-batch 10001":         "-batch 10001: want 1 to 10000",
		"-check no-such":       "no such file",
		"-check " + os.DevNull: "there is no run in it",
		"-otlp collector":      "has no scheme",
		"-acks /no-such/acks":  "no such file",
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), append([]string{"load"}, strings.Fields(args)...), t.Output(), &stderr)
		if want := map[bool]int{true: exitUsage, false: exitError}[strings.Contains(stderr.String(), "Usage:")]; args != "-help" && code != want {
			t.Errorf("%s: exit code %d, want %d", args, code, want)
		}
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: stderr %q, want %q", args, stderr.String(), want)
		}
	}
}

// Each way to look for spans can miss them alone.
func TestLoadChecks(t *testing.T) {
	testkit.NoLeaks(t)
	to := newReceiver(t, nil)
	journal := filepath.Join(t.TempDir(), "acks")
	testkit.Equal(t, "exit code", run(t.Context(), []string{"load", "-otlp", to.url, "-spans", "500", "-connections", "1", "-seed", "5", "-acks", journal}, t.Output(), t.Output()), exitOK)
	page := web.New(to.store, web.Options{})
	others := otlp.AppendTraces(nil, traceOf(1, 20))
	for path, test := range map[string]struct{ answer, want string }{
		"/none":              {"", "by id      500 of 500 spans found, in 54 of 54 traces\nby search  500 of 500 spans counted\nrare value 1 of 1 traces"},
		"/api/traces/":       {string(others), "by id      0 of 500"},
		"/api/metrics/query": {`{"series":[]}`, "by search  0 of 500"},
		"/api/search":        {`{"traces":[]}`, "rare value 0 of 1"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, path) {
				fmt.Fprint(w, test.answer)
				return
			}
			page.ServeHTTP(w, r)
		}))
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"load", "-check", journal, "-addr", server.URL, "-verify-sample", "0"}, &stdout, &stderr)
		testkit.Equal(t, path+": exit code", code, map[bool]int{true: exitOK, false: exitError}[test.answer == ""])
		if !strings.Contains(stdout.String(), test.want) {
			t.Errorf("%s: stdout\n%swithout %q; stderr %q", path, stdout.String(), test.want, stderr.String())
		}
		server.Close()
	}
}
