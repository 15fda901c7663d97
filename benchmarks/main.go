// Command benchmarks compares dendro with its peers. It does the same work with each
// of them, on the same machine and in the same run, and writes tables of the results.
//
// Every library runs in a process of its own, so that the CPU time of that process,
// including its garbage collector and its background goroutines, is the cost of the
// library. The processes work in turn, in short rounds whose order rotates, so that
// anything that slows the machine down slows all of them. Ratios are computed within a
// round. Everything is repeated in several runs.
//
// A span counts when it has been delivered. Then it is in a store in the process, or
// it was encoded, written to a socket and acknowledged by a sink, which is another
// process. The time of a round ends when its last span is delivered. Libraries that
// cannot be flushed wait for that, which is why ratios are those of CPU time. Spans
// that were not delivered are reported as lost.
//
// Each process has a live heap of the same size, consisting of its store or of
// ballast, so that the cost of garbage collection per allocated byte is the same for
// all libraries.
package main

import (
	"flag"
	"fmt"
	"log"
	"regexp"
	"slices"
	"strings"
	"time"
)

// settings are the flags of the parent process and of its children.
type settings struct {
	Runs    int
	Rounds  int
	Time    time.Duration
	Window  time.Duration
	Run     string
	Parts   string
	CPU     int
	Heap    int // MiB
	Output  string
	Profile string

	Worker string // what this process, a child, is for
	Sink   string // where the child delivers
}

// part is a section of the tables.
type part struct {
	name    string
	measure func(settings, *regexp.Regexp, *results) (string, error)
}

// results are what later parts need of earlier ones.
type results struct {
	cases    map[string][]row // by the name of the case
	requests []server
}

// parts are in the order in which they are measured.
var parts = []part{
	{"cases", measureCases},
	{"requests", measureRequests},
	{"sampling", measureSampling},
	{"memory", measureMemory},
	{"figures", writeFigures},
	{"dapper", writeDapper},
}

// transparencyPart measures no time and has a page of its own.
var transparencyPart = part{"transparency", compareTransparency}

func main() {
	log.SetFlags(0)
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	var s settings
	flag.IntVar(&s.Runs, "runs", 3, "runs")
	flag.IntVar(&s.Rounds, "rounds", 12, "rounds per run")
	flag.DurationVar(&s.Time, "time", 80*time.Millisecond, "length of a round of one library")
	flag.DurationVar(&s.Window, "window", time.Second, "length of a round of whole requests")
	flag.StringVar(&s.Run, "run", "", "run only `case/library` that match this regular expression")
	flag.StringVar(&s.Parts, "parts", strings.Join(names, ","), "which `parts` to measure, or transparency")
	flag.IntVar(&s.CPU, "cpu", 1, "GOMAXPROCS of the library under test, and goroutines that make spans")
	flag.IntVar(&s.Heap, "heap", 64, "`MiB` of live heap of each process: its store, or ballast")
	flag.StringVar(&s.Output, "o", "", "put the tables into this Markdown `file` too, between the comments that name the parts")
	flag.StringVar(&s.Profile, "profile", "", "write a CPU profile of the rounds to this `file`; of the last library if several match")
	flag.StringVar(&s.Worker, "worker", "", "what the program starts itself with")
	flag.StringVar(&s.Sink, "sink", "", "what the program starts itself with")
	flag.Parse()
	if err := run(s); err != nil {
		log.Fatal(err)
	}
}

func run(s settings) error {
	kind, _, _ := strings.Cut(s.Worker, ":")
	switch kind {
	case "sink":
		return serveSink()
	case "requests":
		return serveRequests(s)
	case "memory":
		return holdSpans(s)
	case "case":
		return work(s)
	}
	match, err := regexp.Compile(s.Run)
	if err != nil {
		return err
	}
	sink, err := startSink()
	if err != nil {
		return err
	}
	defer sink.stop()
	s.Sink = sink.url
	r := results{cases: map[string][]row{}}
	for _, p := range append(slices.Clone(parts), transparencyPart) {
		if !slices.Contains(strings.Split(s.Parts, ","), p.name) {
			continue
		}
		table, err := p.measure(s, match, &r)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if table == "" {
			continue
		}
		if p.name != transparencyPart.name {
			table = header(s, p.name == "cases") + table
		}
		fmt.Printf("\n## %s\n\n%s", p.name, table)
		if s.Output != "" {
			if err := replacePart(s.Output, p.name, table); err != nil {
				return err
			}
		}
	}
	return nil
}
