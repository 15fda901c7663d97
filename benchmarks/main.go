// Command benchmarks compares dendro with its peers: the same work, on the same
// machine, in the same run, and writes a table of it.
//
// Every library under test runs in a process of its own, so that the CPU time of
// that process, its garbage collector and its background goroutines included, is
// the price of that library. The processes work in turn, in short rounds whose
// order rotates: what slows the machine down slows all of them. Ratios are taken
// within a round.
//
// A span counts when it has been delivered: it is in a store of the process, or
// it has been encoded, written to a socket and acknowledged by a sink, which is
// another process still. The time of a round ends when the last of its spans is
// delivered; libraries that cannot be asked to hurry wait there, which is why
// ratios are those of CPU time. What was not delivered is printed as lost.
//
// Each process has a live heap of the same size, its store or ballast, so that
// the garbage collector runs as often in a byte allocated for one library as for
// another.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"time"
)

// settings are the flags, of the parent and of its children.
type settings struct {
	Rounds  int
	Time    time.Duration
	Run     string
	CPU     int
	Heap    int // MiB
	Output  string
	Profile string

	Worker string // "case/library": this process is a child
	Sink   string // where the child delivers
	E2E    bool
}

func main() {
	log.SetFlags(0)
	var s settings
	flag.IntVar(&s.Rounds, "rounds", 12, "rounds per case")
	flag.DurationVar(&s.Time, "time", 80*time.Millisecond, "length of a round of one library; 25 times that with -e2e")
	flag.StringVar(&s.Run, "run", "", "run only `case/library` that match this regular expression")
	flag.IntVar(&s.CPU, "cpu", 1, "GOMAXPROCS of the library under test, and goroutines that make spans")
	flag.IntVar(&s.Heap, "heap", 64, "`MiB` of live heap of each process: its store, or ballast")
	flag.StringVar(&s.Output, "o", "", "write the table to this file too")
	flag.StringVar(&s.Profile, "profile", "", "write a CPU profile of the rounds to this `file`; of the last library if several match")
	flag.BoolVar(&s.E2E, "e2e", false, "measure whole requests instead: sockets, chi, SQLite, an outbound call")
	flag.StringVar(&s.Worker, "worker", "", "what the program starts itself with")
	flag.StringVar(&s.Sink, "sink", "", "what the program starts itself with")
	flag.Parse()
	if err := run(s); err != nil {
		log.Fatal(err)
	}
}

func run(s settings) error {
	switch {
	case s.Worker == "sink":
		return serveSink()
	case s.Worker != "" && s.E2E:
		return serveE2E(s)
	case s.Worker != "":
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
	measure := measureCases
	if s.E2E {
		measure = measureE2E
	}
	table, err := measure(s, match)
	if err != nil {
		return err
	}
	text := header(s) + table
	fmt.Print("\n", text)
	if s.Output == "" {
		return nil
	}
	return os.WriteFile(s.Output, []byte(text), 0o644)
}
