package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var (
	retroactiveTime     = flag.Duration("retroactive.time", 6*time.Second, "how `long` TestRetroactive sends ordinary requests; each of the other parts takes a third of that")
	retroactiveInterval = flag.Duration("retroactive.interval", 5*time.Millisecond, "`time` between two requests of TestRetroactive")
)

const (
	// treeProcesses is the number of processes. Process i calls those from treeFanOut*i+1 on.
	treeProcesses = 10
	treeFanOut    = 3
	// treeSpans is the number of spans of a request: one in each process, and one for each call.
	treeSpans = 2*treeProcesses - 1
	// firstLeaf is the first process that calls no other.
	firstLeaf = (treeProcesses + treeFanOut - 2) / treeFanOut
	// treeWorkers is the number of requests under way.
	treeWorkers = 32
	// patience is how long to wait for traces.
	patience = 30 * time.Second
)

// processTree are instances of chi-app that call each other.
type processTree struct {
	t         *testing.T
	processes [treeProcesses]*running
	urls      [treeProcesses]string
	client    http.Client
}

// startProcesses starts the processes, which send their spans to the collector.
func startProcesses(t *testing.T, program, collector string, env ...string) *processTree {
	p := &processTree{t: t}
	p.client.Transport = &http.Transport{MaxIdleConnsPerHost: treeWorkers}
	t.Cleanup(p.client.CloseIdleConnections)
	for i := treeProcesses - 1; i >= 0; i-- {
		next := p.urls[min(treeFanOut*i+1, treeProcesses):min(treeFanOut*(i+1)+1, treeProcesses)]
		env := append([]string{fmt.Sprintf("OTEL_SERVICE_NAME=tree%d", i), "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector}, env...)
		p.processes[i] = startProgram(t, env, program, "-role=front", "-front=127.0.0.1:0", "-next="+strings.Join(next, ","))
		p.urls[i] = p.processes[i].find(t, `^front +(http://\S+)`)
	}
	for range 20 { // the first ones are slow
		_, err := p.send(0, 0)
		testkit.NoError(t, err)
	}
	return p
}

// request is one that the processes have served.
type request struct {
	trace  string // its id
	failed bool   // in a process
	took   time.Duration
	ended  time.Time
}

// send sends a request. Each process works for so many milliseconds. If fails is not 0, that process fails.
func (p *processTree) send(ms, fails int) (request, error) {
	query := url.Values{"ms": {strconv.Itoa(ms)}}
	if fails > 0 {
		query.Set("fail", strings.TrimPrefix(p.urls[fails], "http://"))
	}
	began := time.Now()
	res, err := p.client.Get(p.urls[0] + "/tree?" + query.Encode())
	if err != nil {
		return request{}, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	_, rest, _ := strings.Cut(res.Header.Get("Traceresponse"), "-")
	id, _, _ := strings.Cut(rest, "-")
	return request{trace: id, failed: fails > 0, took: time.Since(began), ended: time.Now()}, err
}

// load sends requests for some time. fails returns the process that fails, or 0. served is called for each, unless it is nil.
func (p *processTree) load(lasts time.Duration, fails func() int, served func(*request)) []*request {
	p.t.Helper()
	type work struct{ ms, fails int }
	works := make(chan work)
	var mu sync.Mutex
	var out []*request
	var workers sync.WaitGroup
	for range treeWorkers {
		workers.Go(func() {
			for w := range works {
				r, err := p.send(w.ms, w.fails)
				if err != nil {
					p.t.Error(err)
					continue
				}
				mu.Lock()
				out = append(out, &r)
				mu.Unlock()
				if served != nil {
					served(&r)
				}
			}
		})
	}
	tick := time.NewTicker(*retroactiveInterval)
	defer tick.Stop()
	for end := time.Now().Add(lasts); time.Now().Before(end); <-tick.C {
		select {
		case works <- work{ms: int(math.Exp(0.8 + 1.3*rand.NormFloat64())), fails: fails()}: // 2 ms, and 45 ms of one in a hundred
		default: // all are busy
		}
	}
	close(works)
	workers.Wait()
	return out
}

// sometimes returns a function for load: a share of the requests fails, each in a process that calls no other.
func sometimes(share float64) func() int {
	return func() int {
		if rand.Float64() >= share {
			return 0
		}
		return firstLeaf + rand.IntN(treeProcesses-firstLeaf)
	}
}

// resident returns the resident memory of the processes in MiB, or nil where that cannot be told.
func (p *processTree) resident() (mib []int) {
	for _, program := range p.processes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", program.Process.Pid))
		if err != nil {
			return nil
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		testkit.NoError(p.t, err)
		mib = append(mib, kib>>10)
	}
	return mib
}

// wire is between processes and a collector, which may be another one later. It counts the bytes in both directions.
type wire struct {
	address string // URL
	to      atomic.Pointer[string]
	up      atomic.Int64 // to the collector
	down    atomic.Int64
}

// bytes returns the number of bytes so far.
func (w *wire) bytes() float64 { return float64(w.up.Load() + w.down.Load()) }

func newWire(t *testing.T, to *serving) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	w := &wire{address: "http://" + l.Addr().String()}
	w.connect(to)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go w.forward(from)
		}
	}()
	return w
}

func (w *wire) connect(to *serving) {
	address := strings.TrimPrefix(to.otlp, "http://")
	w.to.Store(&address)
}

func (w *wire) forward(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", *w.to.Load())
	if err != nil {
		return
	}
	copyTo := func(to, from net.Conn, n *atomic.Int64) {
		_, _ = io.Copy(counted{to, n}, from)
		to.Close()
	}
	go copyTo(from, to, &w.down)
	copyTo(to, from, &w.up)
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.Writer.Write(p)
}

// spans returns how many spans of a trace the collector has.
func (s *serving) spans(t *testing.T, trace string) int {
	t.Helper()
	var size struct{ Spans int }
	if code, body := get(t, s.web+"/api/dendro/traces/"+trace+"/size"); code == http.StatusOK {
		testkit.NoError(t, json.Unmarshal([]byte(body), &size))
	}
	return size.Spans
}

// receivedBytes returns the size of the bodies that the collector has received.
func (s *serving) receivedBytes(t *testing.T) float64 {
	t.Helper()
	_, metrics := get(t, s.web+"/metrics")
	_, rest, _ := strings.Cut(metrics, "\ndendro_received_bytes_total{protocol=\"otlp_http_protobuf\"} ")
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(text, 64)
	testkit.NoError(t, err)
	return n
}

// kept returns the number of traces by the reason for which they were kept.
func (s *serving) kept(t *testing.T) map[string]any {
	t.Helper()
	query := url.Values{"q": {"{ span.dendro.keep.reason != nil } | count_over_time() by (span.dendro.keep.reason)"}}
	_, body := get(t, s.web+"/api/metrics/query?"+query.Encode())
	var found struct {
		Series []struct {
			PromLabels string
			Value      any
		}
	}
	testkit.NoError(t, json.Unmarshal([]byte(body), &found))
	reasons := map[string]any{}
	for _, s := range found.Series {
		reasons[s.PromLabels] = s.Value
	}
	return reasons
}

// whole waits until the collector has all spans of the requests, and returns how many of them it has all spans of if some are
// missing after the time.
func (s *serving) whole(t *testing.T, requests []*request, within time.Duration) int {
	t.Helper()
	left := slices.Clone(requests)
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		left = slices.DeleteFunc(left, func(r *request) bool { return s.spans(t, r.trace) == treeSpans })
		if len(left) == 0 || time.Now().After(end) {
			return len(requests) - len(left)
		}
	}
}

func failed(requests []*request) []*request {
	return slices.DeleteFunc(slices.Clone(requests), func(r *request) bool { return !r.failed })
}

// slowest returns the slowest hundredth of the requests.
func slowest(requests []*request) []*request {
	sorted := slices.SortedFunc(slices.Values(requests), func(a, b *request) int { return cmp.Compare(b.took, a.took) })
	return sorted[:len(sorted)/100]
}

// Ten processes keep their spans until they are wanted. Then the collector has whole traces of what matters.
func TestRetroactive(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of other processes")
	}
	testkit.NoLeaks(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dendro, app := buildProgram(t, "../../cmd/dendro"), buildProgram(t, "../../examples/chi-app")
	data := t.TempDir()
	collector := startServing(t, dendro, "-data", data)

	everything := map[string]float64{} // bytes of a request, by compression
	for _, compression := range []string{"none", "gzip"} {
		line := newWire(t, collector)
		all := startProcesses(t, app, line.address, "OTEL_TRACES_SAMPLER=always_on", "OTEL_EXPORTER_OTLP_COMPRESSION="+compression)
		requests := all.load(*retroactiveTime/3, sometimes(0.01), nil)
		for _, program := range all.processes {
			program.stop(t)
		}
		everything[compression] = line.bytes() / float64(len(requests))
	}
	t.Logf("%.0f bytes of a request of which everything is sent, %.0f if compressed", everything["none"], everything["gzip"])

	line := newWire(t, collector)
	p := startProcesses(t, app, line.address, "OTEL_TRACES_SAMPLER=dendro_retroactive")
	perRequest := p.ordinary(t, collector, line)
	t.Logf("%.0f bytes of a request: %.1f %% of everything, and %.1f %% of everything compressed", perRequest,
		100*perRequest/everything["none"], 100*perRequest/everything["gzip"])
	collector = p.restart(t, collector, line, func() *serving { return startServing(t, dendro, "-data", data) })
	p.storm(t, collector)
	p.killed(t, collector)
}

// ordinary sends requests of which some fail, and checks what becomes of them. It returns how many bytes were sent for each.
func (p *processTree) ordinary(t *testing.T, collector *serving, line *wire) float64 {
	var watching sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration // from the end of a failed request until its trace is whole
	received := collector.receivedBytes(t)
	requests := p.load(*retroactiveTime, sometimes(0.01), func(r *request) {
		if r.failed {
			watching.Go(func() {
				collector.whole(t, []*request{r}, patience)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(r.ended))
			})
		}
	})
	watching.Wait()
	errors := failed(requests)
	if len(errors) == 0 {
		t.Fatalf("of %d requests, none has failed", len(requests))
	}
	whole := collector.whole(t, errors, patience)
	if float64(whole) < 0.99*float64(len(errors)) {
		t.Errorf("%d of %d traces with an error are whole", whole, len(errors))
	}
	slices.SortFunc(requests, func(a, b *request) int { return a.ended.Compare(b.ended) })
	slow := slowest(requests[len(requests)/3:]) // before, the process learns what is slow
	wholeSlow := collector.whole(t, slow, time.Second)
	slices.Sort(took)
	t.Logf("%d requests: of %d with an error, %d are whole; of the slowest %d, %d are", len(requests), len(errors), whole, len(slow), wholeSlow)
	t.Logf("kept: %v; %.0f bytes of a request are in bodies with spans", collector.kept(t), (collector.receivedBytes(t)-received)/float64(len(requests)))
	t.Logf("from the end of a request to its whole trace: p50 %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
	return line.bytes() / float64(len(requests))
}

// restart kills the collector during requests, and starts another one with its data. What failed around that time becomes whole.
func (p *processTree) restart(t *testing.T, collector *serving, line *wire, start func() *serving) *serving {
	lasts := *retroactiveTime / 3
	ended := make(chan []*request)
	go func() { ended <- p.load(lasts, sometimes(0.1), nil) }()
	<-time.After(lasts / 3)
	collector.kill(t)
	killed := time.Now()
	<-time.After(lasts / 3)
	collector = start()
	line.connect(collector)
	away := time.Since(killed)
	requests := failed(<-ended)
	whole := collector.whole(t, requests, patience)
	t.Logf("the collector was away for %v: of %d traces with an error, %d are whole %v after it was killed", away, len(requests), whole, time.Since(killed))
	if whole < len(requests) {
		t.Error("traces are not whole")
	}
	return collector
}

// storm sends requests that all fail. Memory stays bounded, and of those that are kept all spans arrive.
func (p *processTree) storm(t *testing.T, collector *serving) {
	before := p.resident()
	requests := p.load(*retroactiveTime/3, func() int { return firstLeaf }, nil)
	after := p.resident()
	t.Logf("resident MiB of the processes: %v before, %v after", before, after)
	for i := range after {
		if after[i] > before[i]+64 {
			t.Errorf("process %d has grown from %d to %d MiB", i, before[i], after[i])
		}
	}
	whole, parts := 0, 0
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		before := whole
		whole, parts = 0, 0
		for _, r := range requests {
			switch collector.spans(t, r.trace) {
			case 0:
			case treeSpans:
				whole++
			default:
				parts++
			}
		}
		if whole > 0 && whole == before && parts == 0 {
			break
		}
	}
	t.Logf("of %d requests that all fail, %d traces are whole", len(requests), whole)
	if whole == 0 || parts > 0 {
		t.Errorf("%d traces are whole, and of %d there are parts", whole, parts)
	}
}

// killed asks for a trace after one of its processes is gone.
func (p *processTree) killed(t *testing.T, collector *serving) {
	const gone, its = 1, 1 + treeFanOut // a process that calls others, and the number of its spans
	var r request
	for r.trace == "" || collector.spans(t, r.trace) > 0 { // kept, for once
		var err error
		r, err = p.send(0, 0)
		testkit.NoError(t, err)
	}
	p.processes[gone].kill(t)
	message, err := json.Marshal(map[string]any{"service": "test", "instance": "test", "keep": []map[string]string{{"traceId": r.trace, "reason": keep.ReasonRequest}}})
	testkit.NoError(t, err)
	res, err := p.client.Post(collector.otlp+keep.Path, "application/json", bytes.NewReader(message))
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "status", res.StatusCode, http.StatusNoContent)
	for end := time.Now().Add(patience); collector.spans(t, r.trace) < treeSpans-its; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("trace %s has %d spans, want %d", r.trace, collector.spans(t, r.trace), treeSpans-its)
		}
	}
	_, page := get(t, collector.web+"/trace/"+r.trace)
	if want := fmt.Sprintf(`Missing parents</dt><dd class="lost">%d<`, treeFanOut); !strings.Contains(page, want) {
		t.Errorf("the page does not have %q", want)
	}
}
