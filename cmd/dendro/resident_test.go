package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	s := startServer(t, "-memory", *loadMemory)
	spans, took := s.load(t)
	peak, last := s.status(t, "VmHWM"), s.status(t, "VmRSS")
	out := s.stop(t)
	t.Logf("sent %d spans in %v, %d a second", spans, took.Round(time.Millisecond), int(float64(spans)/took.Seconds()))
	t.Logf("resident: %.2f of %s at most, %.2f at the end", float64(peak)/float64(limit), &limit, float64(last)/float64(limit))
	cpu := s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	t.Logf("CPU of the server %v, %.2f µs a span; %s", cpu, cpu.Seconds()*1e6/float64(spans), out)
	if held := regexp.MustCompile(`evicted`).FindString(out); held == "" {
		t.Errorf("the store was not full: %s", out)
	}
	if peak > int64(limit)*110/100 {
		t.Errorf("%d bytes were resident, the flag says %d", peak, limit)
	}
}

type served struct {
	cmd  *exec.Cmd
	otlp string // URL
	page string // URL
	out  *bufio.Reader
}

// startServer runs "dendro serve" with some flags, on one processor if it is measured.
func startServer(t *testing.T, args ...string) *served {
	s := &served{cmd: exec.CommandContext(t.Context(), os.Args[0])}
	if taskset, err := exec.LookPath("taskset"); err == nil && *collectorSpans > 0 && runtime.NumCPU() > 1 {
		s.cmd = exec.CommandContext(t.Context(), taskset, "-c", "1", os.Args[0])
		s.cmd.Env = []string{"GOMAXPROCS=1"}
	}
	s.cmd.Env = append(append(os.Environ(), s.cmd.Env...), asServer+"=serve -otlp 127.0.0.1:0 -otlp-grpc= -web 127.0.0.1:0 "+strings.Join(args, " "))
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

// load sends spans until the store was filled three times, and then for loadTime.
func (s *served) load(t *testing.T) (spans int64, took time.Duration) {
	var limit byteSize
	testkit.NoError(t, limit.Set(*loadMemory))
	least := 3 * int64(limit) / 100 // a span takes about a hundred bytes in the store
	began := time.Now()
	var sent atomic.Int64
	var end atomic.Int64 // of loadTime
	var wg sync.WaitGroup
	run := loadRun{rand.Uint64(), 512}
	for n := range *loadSenders {
		wg.Go(func() {
			client := &http.Client{Transport: new(http.Transport), Timeout: time.Minute}
			defer client.CloseIdleConnections()
			g := newGenerator(run, n, -1)
			for {
				if n := sent.Load(); n >= least {
					end.CompareAndSwap(0, int64(time.Since(began)+*loadTime))
					if int64(time.Since(began)) >= end.Load() {
						return
					}
				}
				r, _ := g.next()
				if *loadRate > 0 {
					time.Sleep(time.Duration(float64(sent.Load())/float64(*loadRate)*1e9) - time.Since(began))
				}
				resp, err := client.Post(s.otlp, "application/x-protobuf", bytes.NewReader(bytes.Join(r.parts, nil)))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("status %s", resp.Status)
					return
				}
				sent.Add(int64(r.spans))
			}
		})
	}
	done := make(chan struct{})
	var searching sync.WaitGroup
	searching.Go(func() { s.search(t, done) })
	wg.Wait()
	took = time.Since(began)
	close(done)
	searching.Wait()
	return sent.Load(), took
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
