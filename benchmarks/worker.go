package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
)

// cost is what one op takes.
type cost struct {
	NS     float64 // of the clock
	CPU    float64 // nanoseconds, of all threads of the process
	Bytes  float64
	Allocs float64
}

func (c cost) minus(o cost) cost {
	return cost{c.NS - o.NS, c.CPU - o.CPU, c.Bytes - o.Bytes, c.Allocs - o.Allocs}
}

func (c cost) times(f float64) cost { return cost{c.NS * f, c.CPU * f, c.Bytes * f, c.Allocs * f} }

// message is what a worker writes, one per line.
type message struct {
	Cost cost // of a round, the base taken off
	Base cost
	// Made and Delivered count spans since the beginning.
	Made, Delivered uint64
}

// work runs a round of one case and one library for each line of standard input.
func work(s settings) error {
	runtime.GOMAXPROCS(s.CPU)
	caseName, libraryName, _ := strings.Cut(strings.TrimPrefix(s.Worker, "case:"), "/")
	bench, err := findCase(caseName)
	if err != nil {
		return err
	}
	l, err := libraries[libraryName](environment{s.Sink, int64(s.Heap) << 20})
	if err != nil {
		return err
	}
	w := worker{library: l, settings: s}
	w.fill(bench.op(l))
	work := w.prepare(bench.op(l))
	var base *task
	if bench.base != nil {
		base = w.prepare(bench.base(l))
	}
	stop, err := s.profile()
	if err != nil {
		return err
	}
	defer stop()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(message{}); err != nil { // ready
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var m message
		if base != nil {
			m.Base = w.measure(base)
		}
		m.Cost = w.measure(work).minus(m.Base).times(1 / float64(max(bench.per, 1)))
		m.Made, m.Delivered = uint64(w.made+0.5), l.delivered()
		if err := out.Encode(m); err != nil {
			return err
		}
	}
	return nil
}

// profile starts the requested profile.
func (s settings) profile() (stop func(), err error) {
	if s.Profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(s.Profile)
	if err != nil {
		return nil, err
	}
	return pprof.StopCPUProfile, pprof.StartCPUProfile(f)
}

func findCase(name string) (benchmark, error) {
	for _, b := range benchmarks() {
		if b.name == name {
			return b, nil
		}
	}
	return benchmark{}, fmt.Errorf("no case %q", name)
}

type worker struct {
	library  library
	settings settings
	ballast  []byte
	made     float64 // spans
}

// task is an op with its measurements.
type task struct {
	op op
	n  int // that take the time of a round
	// A call makes fixed spans plus perOp for each op.
	fixed, perOp float64
}

// fill makes the live heap as large as the settings say.
func (w *worker) fill(o op) {
	s, ok := w.library.(store)
	if !ok {
		w.ballast = make([]byte, w.settings.Heap<<20)
		return
	}
	for !s.full() {
		o(100)
		if w.library.delivered() == 0 { // not about spans
			w.ballast = make([]byte, w.settings.Heap<<20)
			return
		}
	}
	w.library.flush(0)
	w.made = float64(w.library.delivered())
}

// minOps is the least number of ops in a round, so that many share the flush at its
// end.
const minOps = 64

// prepare measures what must be known about o.
func (w *worker) prepare(o op) *task {
	w.countSpans(o, 1) // may open a connection, with a span of its own
	one, three := w.countSpans(o, 1), w.countSpans(o, 3)
	t := &task{op: o, n: 1, perOp: (three - one) / 2}
	t.fixed = one - t.perOp
	for {
		if took := w.run(t); took > w.settings.Time/2 && t.n >= minOps {
			t.n = max(minOps, int(float64(t.n)*float64(w.settings.Time)/float64(took)))
			return t
		}
		t.n *= 2
	}
}

// countSpans returns the number of spans that o(n) makes.
func (w *worker) countSpans(o op, n int) float64 {
	before := w.library.delivered()
	o(n)
	for stable := 0; stable < 2; {
		seen := w.library.delivered()
		w.library.flush(0)
		time.Sleep(50 * time.Millisecond)
		if w.library.delivered() == seen {
			stable++
		} else {
			stable = 0
		}
	}
	made := float64(w.library.delivered() - before)
	w.made += made
	return made
}

// run runs the task until its spans are delivered, and returns how long that took.
func (w *worker) run(t *task) time.Duration {
	began := time.Now()
	pace := t.n
	if p, ok := w.library.(paced); ok {
		pace = min(pace, p.pace())
	}
	for left := t.n; left > 0; left -= pace {
		w.runPart(t, min(left, pace))
	}
	return time.Since(began)
}

func (w *worker) runPart(t *task, n int) {
	goroutines := w.settings.CPU
	each := (n + goroutines - 1) / goroutines
	if goroutines == 1 {
		t.op(n)
	} else {
		var all sync.WaitGroup
		for range goroutines {
			all.Go(func() { t.op(each) })
		}
		all.Wait()
	}
	w.made += (t.fixed + t.perOp*float64(each)) * float64(goroutines)
	w.library.flush(uint64(w.made + 0.5))
}

// measure runs a round.
func (w *worker) measure(t *task) cost {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := cpuTime()
	wall := w.run(t)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(w.ballast)
	return cost{
		NS:     float64(wall),
		CPU:    float64(cpu),
		Bytes:  float64(after.TotalAlloc - before.TotalAlloc),
		Allocs: float64(after.Mallocs - before.Mallocs),
	}.times(1 / float64(t.n))
}

// cpuTime returns the CPU time of the process, in user and kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
