package pebblestore

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var (
	benchSpans   = flag.Int("spans", 0, "TestFigures: number of spans to store and to search")
	benchDir     = flag.String("dir", "", "TestFigures: directory to keep the store in, or to find it there")
	benchQueries = flag.Bool("queries", true, "TestFigures: search")
)

// workload makes spans of a dozen services: traces of about nine spans with ten attributes each,
// whose spans arrive mixed with those of some hundred other traces.
type workload struct {
	r         *rand.Rand
	now       int64
	resources []*dendro.Resource
	scope     *dendro.Scope
	waiting   []*dendro.SpanData
	of        []int // service of each
	traces    int
	ids       []dendro.TraceID
}

func newWorkload() *workload {
	w := &workload{r: rand.New(rand.NewPCG(1, 2)), now: 1_760_000_000_000_000_000, scope: &dendro.Scope{Name: "load", Version: "1"}}
	for i := range 12 {
		w.resources = append(w.resources, &dendro.Resource{Attributes: []slog.Attr{
			slog.String("service.name", fmt.Sprintf("service-%02d", i)), slog.String("service.version", "1.2.3"),
			slog.String("host.name", fmt.Sprintf("host-%d", i%4)), slog.String("process.runtime.name", "go"),
		}})
	}
	return w
}

func (w *workload) id(b []byte) {
	for len(b) > 0 {
		binary.LittleEndian.PutUint64(b, w.r.Uint64())
		b = b[8:]
	}
}

func (w *workload) duration(median time.Duration) int64 {
	return int64(float64(median) * math.Exp(w.r.NormFloat64()))
}

// trace adds the spans of a trace to those that wait.
func (w *workload) trace() {
	w.traces++
	w.now += 1_000_000
	var id dendro.TraceID
	w.id(id[:])
	if w.traces%100 == 0 {
		w.ids = append(w.ids, id)
	}
	n := 4 + w.r.IntN(12)
	var ids []dendro.SpanID
	for i := range n {
		s := &dendro.SpanData{Scope: w.scope, Start: w.now + int64(i)*int64(w.r.IntN(400_000))}
		s.TraceID, s.Flags = id, 1
		w.id(s.SpanID[:])
		ids = append(ids, s.SpanID)
		service := w.r.IntN(12)
		op := w.r.IntN(6)
		if i > 0 {
			s.ParentID = ids[w.r.IntN(i)]
		}
		s.End = s.Start + w.duration(time.Duration(1+op)*5*time.Millisecond)
		switch i % 3 {
		case 0:
			s.Kind, s.Name = dendro.KindServer, fmt.Sprintf("GET /service-%02d/things-%d/{id}", service, op)
			s.Attributes = []slog.Attr{
				slog.String("http.request.method", "GET"), slog.String("url.scheme", "http"), slog.String("url.path", "/things/"+strconv.Itoa(w.r.IntN(1e6))),
				slog.String("http.route", "/things/{id}"), slog.Int("http.response.status_code", 200), slog.String("network.protocol.version", "1.1"),
				slog.String("server.address", "service.internal"), slog.Int("server.port", 8080), slog.String("user_agent.original", "Go-http-client/1.1"),
				slog.String("client.address", "10.0.0."+strconv.Itoa(w.r.IntN(200))),
			}
			if w.r.IntN(50) == 0 {
				s.Status = dendro.Status{Code: dendro.StatusError, Message: "failed"}
				s.Attributes[4] = slog.Int("http.response.status_code", 500)
			}
		case 1:
			s.Kind, s.Name = dendro.KindClient, fmt.Sprintf("SELECT table_%d", op)
			s.Attributes = []slog.Attr{
				slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.query.summary", s.Name),
				slog.String("db.query.text", fmt.Sprintf("SELECT a, b, c FROM table_%d WHERE id = $1", op)), slog.String("db.operation.name", "SELECT"),
				slog.String("db.collection.name", fmt.Sprintf("table_%d", op)), slog.Int("db.response.returned_rows", w.r.IntN(100)),
				slog.String("server.address", "db.internal"), slog.Int("server.port", 5432), slog.String("peer.service", "postgres"),
			}
		default:
			s.Name = fmt.Sprintf("compute-%d", op)
			s.Attributes = []slog.Attr{
				slog.Int("user.id", w.r.IntN(1e5)), slog.String("tenant", fmt.Sprintf("tenant-%d", w.r.IntN(300))), slog.Bool("cache.hit", w.r.IntN(2) == 0),
				slog.Float64("ratio", float64(w.r.IntN(1000))/1000), slog.String("region", "eu-west-1"), slog.String("shard", strconv.Itoa(w.r.IntN(64))),
				slog.Int("items", w.r.IntN(50)), slog.String("stage", "production"), slog.String("code.function.name", "shop.compute"), slog.Int("code.line.number", 42),
			}
			if w.r.IntN(200_000) == 0 {
				s.Attributes = append(s.Attributes, slog.String("rare", "needle-"+strconv.Itoa(w.r.IntN(10))))
			}
		}
		w.waiting, w.of = append(w.waiting, s), append(w.of, service)
	}
}

// request returns 512 spans of many traces.
func (w *workload) request() []*dendro.Batch {
	for len(w.waiting) < 3000 {
		w.trace()
	}
	batches := make([]*dendro.Batch, len(w.resources))
	for range 512 {
		at := w.r.IntN(len(w.waiting)/3 + 1)
		s, service := w.waiting[at], w.of[at]
		w.waiting, w.of = slices.Delete(w.waiting, at, at+1), slices.Delete(w.of, at, at+1)
		if batches[service] == nil {
			batches[service] = &dendro.Batch{Resource: w.resources[service]}
		}
		batches[service].Spans = append(batches[service].Spans, s)
	}
	return slices.DeleteFunc(batches, func(b *dendro.Batch) bool { return b == nil })
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func status(t *testing.T, name string) int {
	text, err := os.ReadFile("/proc/self/status")
	testkit.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), name+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	testkit.NoError(t, err)
	return kib >> 10
}

// TestFigures measures a store of many spans: go test -run TestFigures -v -spans 2000000 .
func TestFigures(t *testing.T) {
	if *benchSpans == 0 {
		t.Skip("a measurement: -spans says of how many spans")
	}
	dir := *benchDir
	if dir == "" {
		dir = t.TempDir()
	}
	s, err := Open(dir, Options{MaxBytes: 100 << 30})
	testkit.NoError(t, err)
	w := newWorkload()
	var spent time.Duration
	began := time.Now()
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	n := st.Spans
	for len(w.ids) == 0 || n < *benchSpans {
		var requests [][]*dendro.Batch
		for range 32 {
			requests = append(requests, w.request())
		}
		before := cpu()
		done := make(chan struct{})
		for i := range 4 {
			go func() {
				for _, r := range requests[8*i : 8*i+8] {
					if err := s.Write(context.Background(), r); err != nil {
						t.Error(err)
					}
				}
				done <- struct{}{}
			}()
		}
		for range 4 {
			<-done
		}
		spent += cpu() - before
		n += 32 * 512
	}
	before := cpu()
	s.mu.Lock()
	s.o.headBytes = 1
	s.mu.Unlock()
	settle(s)
	spent += cpu() - before
	took := time.Since(began)
	m := s.Metrics()
	var size int64
	testkit.NoError(t, filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			size += info.Size()
		}
		return err
	}))
	var runs int64
	var meta, chunks int
	for _, r := range s.runs {
		runs += r.bytes
		meta += 8*len(r.ids) + 40*len(r.chunks)
		chunks += len(r.chunks)
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d spans, %.2f µs of CPU a span (writing), %d commits of %v to %v, %d runs of %v, %d split of %d traces; %v in all", n, float64(spent.Microseconds())/float64(n), int(m.Commits.Count()), m.Commits.Quantile(.5), m.Commits.Quantile(.99), len(s.runs), m.Runs.Quantile(.5), len(s.split.parts), w.traces, took)
	t.Logf("%.1f B a span in runs, %.1f in the directory; %d chunks; index in memory %d kB; heap %d MB, resident %d MB, peak %d MB", float64(runs)/float64(n), float64(size)/float64(n), chunks, meta>>10, mem.HeapAlloc>>20, status(t, "VmRSS"), status(t, "VmHWM"))
	if *benchQueries {
		queries(t, s, w)
	}
	testkit.NoError(t, s.Close())
	began = time.Now()
	s, err = Open(dir, Options{MaxBytes: 100 << 30})
	testkit.NoError(t, err)
	t.Logf("opened in %v", time.Since(began))
	t.Logf("resident %d MB, peak %d MB", status(t, "VmRSS"), status(t, "VmHWM"))
	testkit.NoError(t, s.Close())
}

func queries(t *testing.T, s *Store, w *workload) {
	measure := func(what string, n int, f func(i int) int) {
		var times []time.Duration
		found := 0
		for i := range n {
			began := time.Now()
			found += f(i)
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		t.Logf("%-40s p50 %8v p99 %8v found %d", what, times[n/2], times[n*99/100], found/n)
	}
	measure("by id", 300, func(int) int {
		got, err := s.Trace(t.Context(), w.ids[w.r.IntN(len(w.ids))], collector.TimeRange{})
		testkit.NoError(t, err)
		if got == nil {
			return 0
		}
		return 1
	})
	search := func(format string, args ...func() any) func(int) int {
		return func(int) int {
			var values []any
			for _, a := range args {
				values = append(values, a())
			}
			q, err := traceql.Parse(fmt.Sprintf(format, values...))
			testkit.NoError(t, err)
			found, _, err := q.Search(t.Context(), s, traceql.SearchOptions{Limit: 20})
			testkit.NoError(t, err)
			return len(found)
		}
	}
	number := func(n int) func() any { return func() any { return w.r.IntN(n) } }
	measure("service and operation and duration", 60, search(`{ resource.service.name = "service-%02d" && name = "SELECT table_%d" && duration > 100ms }`, number(12), number(6)))
	measure("service and operation and long duration", 60, search(`{ resource.service.name = "service-%02d" && name = "SELECT table_%d" && duration > 400ms }`, number(12), number(6)))
	measure("rare attribute", 30, search(`{ span.rare = "needle-%d" }`, number(10)))
	measure("absent attribute", 30, search(`{ span.user.id = %d && span.tenant = "none" }`, number(1000)))
	measure("frequent attribute", 60, search(`{ span.tenant = "tenant-%d" }`, number(300)))
	measure("errors", 60, search(`{ status = error }`))
	measure("all", 60, search(`{ }`))
}
