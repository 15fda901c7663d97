package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// memorySizes are the sizes of the stores, in MiB.
var memorySizes = []int{64, 256}

// memoryLibraries hold spans in the process. bare holds as many bytes without spans.
var memoryLibraries = []string{"bare", "dendro", "Appdash"}

// held describes a process that holds spans.
type held struct {
	Spans uint64
	Bytes uint64 // of the heap, for them
	GC    []time.Duration
}

// holdSpans fills a store with the spans of requests and writes how much memory it
// takes.
func holdSpans(s settings) error {
	runtime.GOMAXPROCS(1)
	name := strings.TrimPrefix(s.Worker, "memory:")
	l, err := libraries[name](environment{s.Sink, int64(s.Heap) << 20})
	if err != nil {
		return err
	}
	before := liveHeap()
	var h held
	var ballast []byte
	if name == "bare" {
		ballast = make([]byte, s.Heap<<20)
	} else {
		request := l.(spanner).spans(spanWork{request: true})
		for limit := uint64(s.Heap) << 20; h.Bytes < limit*95/100; {
			request(10_000)
			l.flush(0)
			if bytes := liveHeap() - before; bytes <= h.Bytes { // it is full
				break
			} else {
				h.Bytes = bytes
			}
		}
		h.Spans = l.(holder).held()
	}
	h.Bytes = liveHeap() - before
	for range 9 {
		cpu := cpuTime()
		runtime.GC()
		h.GC = append(h.GC, cpuTime()-cpu)
	}
	runtime.KeepAlive(ballast)
	runtime.KeepAlive(l)
	return json.NewEncoder(os.Stdout).Encode(h)
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // empties what sync.Pool has kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func measureMemory(s settings, match *regexp.Regexp, _ *results) (string, error) {
	var b strings.Builder
	fmt.Fprint(&b, "\nSpans of requests, five each with about nine attributes. GC is the CPU time of a whole cycle.\n\n")
	fmt.Fprint(&b, "| store | MiB | spans | B/span | GC |\n|---|--:|--:|--:|--:|\n")
	rows := 0
	for _, size := range memorySizes {
		for _, name := range memoryLibraries {
			if !match.MatchString("memory/" + name) {
				continue
			}
			s.Heap = size
			c, err := startChild(s.args("memory:" + name)...)
			if err != nil {
				return "", err
			}
			line, err := c.line()
			if err != nil {
				return "", err
			}
			c.stop()
			var h held
			if err := json.Unmarshal([]byte(line), &h); err != nil {
				return "", err
			}
			spans, perSpan := "–", "–"
			if h.Spans > 0 {
				spans, perSpan = fmt.Sprint(h.Spans), fmt.Sprint(h.Bytes/h.Spans)
			}
			gc := median(h.GC, func(d time.Duration) float64 { return float64(d) / 1e6 })
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %.1f ms |\n", strings.Replace(name, "bare", "as many bytes", 1), h.Bytes>>20, spans, perSpan, gc)
			rows++
		}
	}
	if rows == 0 {
		return "", nil
	}
	return b.String(), nil
}
