package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// With these flags, TestCollector is a measurement: make bench-collector and make bench-clickhouse.
var (
	collectorSpans      = flag.Int("collector.spans", 0, "number of spans that TestCollector sends; 0: it is skipped")
	collectorClickHouse = flag.Bool("collector.clickhouse", false, "TestCollector keeps spans in ClickHouse")
)

// TestCollector measures a server that keeps spans on disk or in ClickHouse: what they cost, how long searches take,
// and how soon a span is found. What ClickHouse itself costs is not a part of it. The server has one processor, if the system has several and taskset.
func TestCollector(t *testing.T) {
	if *collectorSpans == 0 {
		t.Skip("a measurement: -collector.spans says how many spans to send")
	}
	dir, dsn := t.TempDir(), ""
	where, connections, freshRate := []string{"-data", dir, "-data-size", "100GiB"}, "3", "50000"
	if *collectorClickHouse { // an insert takes long, however many requests it has
		dsn = testkit.ClickHouseDatabase(t)
		where, connections, freshRate = []string{"-clickhouse", dsn}, "64", "2000"
	}
	s := startServer(t, where...)
	load := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"load", "-otlp", strings.TrimSuffix(s.otlp, "/v1/traces"), "-addr", s.page, "-connections", connections}, args...), &out, t.Output())
		testkit.Equal(t, "exit code of load", code, exitOK)
		t.Logf("%s", &out)
	}
	const seed = 7
	load("-spans", strconv.Itoa(*collectorSpans), "-seed", strconv.Itoa(seed))
	size := float64(diskUsage(t, dir))
	if dsn != "" {
		var err error
		size, err = strconv.ParseFloat(sql(t, dsn, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"), 64)
		testkit.NoError(t, err)
	}
	t.Logf("CPU of the server %.2f µs a span, resident %d MB at most, %.1f B a span on disk", s.cpu(t).Seconds()*1e6/float64(*collectorSpans), s.status(t, "VmHWM")>>20, size/float64(*collectorSpans))

	run := loadRun{seed, 512}
	random := rand.New(rand.NewPCG(1, 2))
	id := func() string {
		n, err := strconv.Atoi(connections) // each sends some ten spans a trace
		testkit.NoError(t, err)
		return run.plan(random.IntN(n), random.Uint64N(uint64(*collectorSpans/n)/14)).id.String()
	}
	search := func(q string) string {
		return "/api/search?" + url.Values{"q": {q}, "limit": {"20"}, "start": {"1"}, "end": {strconv.FormatInt(time.Now().Unix()+60, 10)}}.Encode()
	}
	rate := func(q string) string {
		now := time.Now().Unix()
		return "/api/metrics/query_range?" + url.Values{"q": {q}, "start": {strconv.FormatInt(now-900, 10)}, "end": {strconv.FormatInt(now, 10)}, "step": {"15s"}}.Encode()
	}
	var ops []*operation
	for _, e := range entries() {
		ops = append(ops, e.operation)
	}
	for _, test := range []struct {
		what string
		n    int
		path func() string
	}{
		{"trace by id", 500, func() string { return "/api/traces/" + id() }},
		{"service, operation, duration > 4 × median", 60, func() string {
			op := ops[random.IntN(len(ops))]
			return search(fmt.Sprintf(`{ resource.service.name = %q && name = %q && duration > %dus }`, op.service, op.name, int(4*op.micros)))
		}},
		{"service, operation, duration > 1 s", 20, func() string {
			op := ops[random.IntN(len(ops))]
			return search(fmt.Sprintf(`{ resource.service.name = %q && name = %q && duration > 1s }`, op.service, op.name))
		}},
		{"rare attribute", 30, func() string { return search(fmt.Sprintf(`{ span.%s = %q }`, tenantKey, run.rareTenant())) }},
		{"absent attribute", 30, func() string { return search(fmt.Sprintf(`{ span.%s = "none-%d" }`, tenantKey, random.IntN(1e6))) }},
		{"frequent attribute", 60, func() string { return search(`{ span.http.response.status_code = 200 }`) }},
		{"errors", 60, func() string { return search(`{ status = error }`) }},
		{"rate by service", 5, func() string { return rate(`{ } | rate() by(resource.service.name)`) }},
		{"quantiles by operation", 5, func() string { return rate(`{ kind = server } | quantile_over_time(duration, .5, .99) by(name)`) }},
		{"keys of attributes", 5, func() string { return "/api/v2/search/tags" }},
	} {
		var times []time.Duration
		found := 0
		for range test.n {
			began := time.Now()
			body := s.ask(t, test.path())
			times = append(times, time.Since(began))
			var answer struct{ Traces []json.RawMessage }
			if json.Unmarshal(body, &answer) == nil {
				found += len(answer.Traces)
			}
		}
		slices.Sort(times)
		t.Logf("%-45s p50 %v, p99 %v; %.1f found", test.what, times[test.n/2].Round(10*time.Microsecond), times[test.n*99/100].Round(10*time.Microsecond), float64(found)/float64(test.n))
	}
	t.Logf("resident %d MB at most after the searches", s.status(t, "VmHWM")>>20)
	load("-rate", freshRate, "-connections", "3", "-duration", "10s", "-freshness") // leaves the server some time
	t.Log(s.stop(t))
	began := time.Now()
	s = startServer(t, where...)
	t.Logf("started again in %v, with %d MB", time.Since(began).Round(time.Millisecond), s.status(t, "VmRSS")>>20)
	s.stop(t)
}

// ask returns the answer of the page.
func (s *served) ask(t *testing.T, path string) []byte {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.page+path, nil)
	testkit.NoError(t, err)
	resp, err := user.Do(req)
	testkit.NoError(t, err)
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	testkit.NoError(t, err)
	testkit.Equal(t, "status", resp.StatusCode, http.StatusOK)
	return body.Bytes()
}

// cpu returns the CPU time that the server has used.
func (s *served) cpu(t *testing.T) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	testkit.NoError(t, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const ticks = 100 // a second, on Linux
	var sum time.Duration
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		testkit.NoError(t, err)
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum
}

// diskUsage returns the size of the files in a directory.
func diskUsage(t *testing.T, dir string) (bytes int64) {
	testkit.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	}))
	return bytes
}
