package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// With these flags, TestResidentMemory is a measurement: make memory.
var (
	loadMemory  = flag.String("load.memory", "64MiB", "-memory of the server that TestResidentMemory fills")
	loadTime    = flag.Duration("load.time", 0, "how long to send after the store is full")
	loadRate    = flag.Int("load.rate", 0, "spans per second to send; 0: as many as it takes")
	loadSenders = flag.Int("load.senders", 2, "connections to send on")
)

// asServer is a variable that makes the test binary run dendro with the arguments in
// it.
const asServer = "DENDRO_TEST_ARGS"

func TestMain(m *testing.M) {
	args := os.Getenv(asServer)
	if args == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, strings.Fields(args), os.Stdout, os.Stderr)
	stop()
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	fmt.Printf("gc %.2f s, %d cycles\n", sample[0].Value.Float64(), sample[1].Value.Uint64())
	os.Exit(code)
}

// The flag -memory bounds the memory of the process while it receives more than the
// store holds and is searched.
func TestResidentMemory(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes several times the memory")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("SKIPPED: there is no /proc here, so the memory of the process is not measured")
	}
	var limit byteSize
	testkit.NoError(t, limit.Set(*loadMemory))
	s := startServer(t, *loadMemory)
	sent := s.load(t)
	peak, last := s.status(t, "VmHWM"), s.status(t, "VmRSS")
	out := s.stop(t)
	t.Logf("sent %d spans in %v, %d a second", sent.spans, sent.took.Round(time.Millisecond), int(float64(sent.spans)/sent.took.Seconds()))
	t.Logf("resident: %.2f of %s at most, %.2f at the end", float64(peak)/float64(limit), &limit, float64(last)/float64(limit))
	cpu := s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	t.Logf("CPU of the server %v, %.2f µs a span; %s", cpu, cpu.Seconds()*1e6/float64(sent.spans), out)
	if held := regexp.MustCompile(`evicted`).FindString(out); held == "" {
		t.Errorf("the store was not full: %s", out)
	}
	if peak > int64(limit)*115/100 {
		t.Errorf("%d bytes were resident, the flag says %d", peak, limit)
	}
}

type served struct {
	cmd  *exec.Cmd
	otlp string // URL
	page string // URL
	out  *bufio.Reader
}

func startServer(t *testing.T, memory string) *served {
	s := &served{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	s.cmd.Env = append(os.Environ(), asServer+"=serve -otlp 127.0.0.1:0 -web 127.0.0.1:0 -memory "+memory)
	stdout, err := s.cmd.StdoutPipe()
	testkit.NoError(t, err)
	s.cmd.Stderr = t.Output()
	testkit.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	s.out = bufio.NewReader(stdout)
	var greeting strings.Builder
	for !strings.Contains(greeting.String(), "Ctrl-C ends.\n") {
		line, err := s.out.ReadString('\n')
		testkit.NoError(t, err)
		greeting.WriteString(line)
	}
	s.otlp = regexp.MustCompile(`http://\S+/v1/traces`).FindString(greeting.String())
	s.page = regexp.MustCompile(`shows +(http://\S+)/`).FindStringSubmatch(greeting.String())[1]
	return s
}

// status returns a number of bytes from /proc/PID/status.
func (s *served) status(t *testing.T, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	testkit.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), name+":")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	testkit.NoError(t, err)
	return kib << 10
}

// stop stops the server and returns its last lines.
func (s *served) stop(t *testing.T) string {
	testkit.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(s.out)
	testkit.NoError(t, err)
	testkit.NoError(t, s.cmd.Wait())
	return strings.ReplaceAll(strings.TrimSpace(string(rest)), "\n", "; ")
}

type load struct {
	spans int64
	took  time.Duration
}

// load sends spans until the store was filled three times, and then for loadTime.
func (s *served) load(t *testing.T) load {
	var limit byteSize
	testkit.NoError(t, limit.Set(*loadMemory))
	least := 3 * int64(limit) / 60 // a span takes some sixty bytes in the store
	began := time.Now()
	var sent atomic.Int64
	var end atomic.Int64 // of loadTime
	var wg sync.WaitGroup
	for range *loadSenders {
		wg.Go(func() {
			client := &http.Client{Transport: new(http.Transport), Timeout: time.Minute}
			defer client.CloseIdleConnections()
			requests := newRequests()
			var body []byte
			for {
				if n := sent.Load(); n >= least {
					end.CompareAndSwap(0, int64(time.Since(began)+*loadTime))
					if int64(time.Since(began)) >= end.Load() {
						return
					}
				}
				var n int
				body, n = requests.next(body[:0])
				if *loadRate > 0 {
					time.Sleep(time.Duration(float64(sent.Load())/float64(*loadRate)*1e9) - time.Since(began))
				}
				resp, err := client.Post(s.otlp, "application/x-protobuf", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %s", resp.Status)
					return
				}
				sent.Add(int64(n))
			}
		})
	}
	done := make(chan struct{})
	var searching sync.WaitGroup
	searching.Go(func() { s.search(t, done) })
	wg.Wait()
	took := time.Since(began)
	close(done)
	searching.Wait()
	return load{sent.Load(), took}
}

// search searches once a second for an attribute that no span has, which reads all
// spans.
func (s *served) search(t *testing.T, done chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			resp, err := user.Get(s.page + "/api/search?tags=url.path%3Dnone")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			testkit.Equal(t, "search", resp.StatusCode, http.StatusOK)
		}
	}
}

// requests makes the spans of requests, five each with about nine attributes, a
// hundred requests in a batch.
type requests struct {
	random *rand.Rand
	batch  *dendro.Batch
}

func newRequests() *requests {
	r := &requests{rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), &dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop"), slog.String("host.name", "till-1")}},
	}}
	scope := &dendro.Scope{Name: "load"}
	for i := range 500 {
		s := &dendro.SpanData{Name: "GET /orders/{id}", Scope: scope, Kind: dendro.KindServer}
		s.Attributes = []slog.Attr{
			slog.String("http.request.method", "GET"), slog.String("url.scheme", "http"), slog.String("url.path", ""),
			slog.String("network.protocol.version", "1.1"), slog.String("server.address", "shop.example"), slog.Int("server.port", 8080),
			slog.String("user_agent.original", "curl/8.5.0"), slog.Int("http.response.status_code", 200), slog.String("http.route", "/orders/{id}"),
		}
		if i%5 < 4 { // the root comes last
			s.Name, s.Kind = "SELECT items", dendro.KindClient
			s.Attributes = []slog.Attr{
				slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.query.summary", "SELECT items"),
				slog.String("db.query.text", "SELECT id, name, price FROM items WHERE order_id = $1"), slog.String("db.operation.name", "SELECT"),
				slog.String("db.collection.name", "items"), slog.Int("db.response.returned_rows", i), slog.String("server.address", "db.example"),
			}
		}
		r.batch.Spans = append(r.batch.Spans, s)
	}
	return r
}

// next appends another encoded batch and returns its number of spans.
func (r *requests) next(body []byte) ([]byte, int) {
	now := time.Now().UnixNano()
	for i, s := range r.batch.Spans {
		root := r.batch.Spans[i-i%5+4]
		if i%5 == 0 {
			binary.LittleEndian.PutUint64(root.TraceID[:], r.random.Uint64())
			binary.LittleEndian.PutUint64(root.TraceID[8:], r.random.Uint64())
			binary.LittleEndian.PutUint64(root.SpanID[:], r.random.Uint64()|1)
			root.Start, root.End = now, now+int64(r.random.Uint32())
			root.Attributes[2] = slog.String("url.path", "/orders/"+strconv.Itoa(int(r.random.Uint32())))
		}
		if s != root {
			s.TraceID, s.ParentID = root.TraceID, root.SpanID
			binary.LittleEndian.PutUint64(s.SpanID[:], r.random.Uint64()|1)
			s.Start, s.End = now+int64(1000*i), now+int64(1000*i)+int64(r.random.Uint32()>>8)
		}
	}
	return otlp.AppendTraces(body, r.batch), len(r.batch.Spans)
}
