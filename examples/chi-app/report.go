package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dendrotrace/dendro"
)

// greet prints the parts and what to do first.
func greet(out io.Writer, a *app, o options) {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PART\tADDRESS\tSTARTED IN")
	var total time.Duration
	for _, p := range a.parts {
		total += p.took
		fmt.Fprintf(table, "%s\t%s\t%v\n", p.name, p.address, p.took.Round(10*time.Microsecond))
	}
	fmt.Fprintf(table, "all\t\t%v\n\n", total.Round(10*time.Microsecond))
	table.Flush()

	if url := a.address("front"); url != "" {
		fmt.Fprintf(out, `First:   curl %[1]s/
then:    curl %[1]s/front
         curl -d 'customer=ada&product=tea&quantity=2' %[1]s/orders
         curl %[1]s/orders
also:    /orders/1  /slow?ms=300  /error  /panic
`, url)
	}
	if url := a.address("page"); url != "" {
		fmt.Fprintf(out, "Traces:  %s/\n", url)
	} else {
		fmt.Fprintf(out, "Traces:  go to %s; \"dendro serve\" shows them at http://127.0.0.1:8700/\n", o.collector)
	}
	fmt.Fprintln(out, "Ctrl-C ends.")
}

// stats returns the sum of the stats of all tracers. Spans that the remote client lost
// count as dropped.
func (a *app) stats() dendro.Stats {
	var total dendro.Stats
	for _, t := range a.tracers {
		total = total.Add(t.Stats())
	}
	if a.remote != nil {
		lost := dendro.Stats{Dropped: a.remote.Stats().Dropped}
		total.Delivered -= lost.DroppedSpans()
		total = total.Add(lost)
	}
	return total
}

// report prints what became of the spans.
func report(out io.Writer, a *app) {
	s := a.stats()
	fmt.Fprintf(out, "recorded %d spans, delivered %d, dropped %d", s.Started, s.Delivered, s.DroppedSpans())
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
		if n := s.Dropped[reason]; n > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
		}
	}
	if len(reasons) > 0 {
		fmt.Fprintf(out, " (%s)", strings.Join(reasons, ", "))
	}
	fmt.Fprintf(out, ", unfinished %d\n", s.Unfinished)
	if a.remote != nil {
		if err := a.remote.Stats().LastError; err != nil {
			fmt.Fprintf(out, "the collector: %v\n", err)
		}
	}
}
