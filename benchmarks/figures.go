package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// figure is a target for dendro in a case.
type figure struct {
	work, name string // name of the case
	own        []string
	peer       string
	// factor is the least ratio of the peer's CPU time to dendro's. ns bounds the CPU
	// time of dendro. 0 means no bound. allocs bounds dendro's allocations.
	factor, ns, allocs float64
}

var delivering = []string{"dendro", "dendro, remote"}

var bridge = []string{"dendro, OpenTelemetry's API"}

var figures = []figure{
	{"root span", "root span", delivering, "OpenTelemetry", 6, 0, 1},
	{"child span", "child span", delivering, "OpenTelemetry", 6, 0, 1},
	{"root span, 5 attributes", "root span, 5 attributes", delivering, "OpenTelemetry", 8, 0, 2},
	{"child span, 5 attributes", "child span, 5 attributes", delivering, "OpenTelemetry", 8, 0, 2},
	{"root span and 10 children, 5 attributes each", "root span and 10 children, 5 attributes each", delivering, "OpenTelemetry", 8, 0, 22},
	{"root span, OpenTelemetry's API", "root span", bridge, "OpenTelemetry", 4, 0, 2},
	{"child span, OpenTelemetry's API", "child span", bridge, "OpenTelemetry", 4, 0, 2},
	{"child span, 5 attributes, OpenTelemetry's API", "child span, 5 attributes", bridge, "OpenTelemetry", 4, 0, 3},
	{"span without a tracer", "span without a tracer", []string{"dendro, no tracer"}, "OpenTelemetry, no-op API", 0, 10, 0},
	{"root span, not sampled", "root span, not sampled", []string{"dendro, never sampled"}, "OpenTelemetry, NeverSample", 0, 120, 1},
	{"child span, not sampled", "child span, not sampled", []string{"dendro, never sampled"}, "OpenTelemetry, NeverSample", 0, 20, 0},
	{"an attribute", "one of 8 attributes", delivering, "OpenTelemetry", 0, 40, 0},
	{"server middleware over chi", "server, sampled", delivering, "OpenTelemetry", 8, 0, 6},
	{"server middleware over chi", "server, sampled", delivering, "zipkin-go", 1, 0, 6},
	{"RoundTripper", "client, sampled", delivering, "OpenTelemetry", 7, 0, 8},
	{"database/sql QueryRow", "QueryRow and Scan, sampled", delivering, "OpenTelemetry", 8, 0, 5},
	{"database/sql QueryRow", "QueryRow and Scan, sampled", delivering, "OpenTelemetry, one span", 5, 0, 5},
	{"OTLP encoding, 11 attributes", "OTLP encoding of a span with 11 attributes", []string{"dendro"}, "OpenTelemetry, discarding", 10, 0, 0},
}

// requestFactors bound the ratio of the CPU time of a whole request to that without
// tracing.
var requestFactors = map[string]float64{"dendro": 1.06, "dendro, remote": 1.06, "dendro, retroactive": 1.12}

// writeFigures writes the table of targets.
func writeFigures(_ settings, _ *regexp.Regexp, r *results) (string, error) {
	var b strings.Builder
	fmt.Fprint(&b, "\n| work | dendro | against | to reach | measured | allocs | |\n|---|---|---|--:|--:|--:|---|\n")
	rows := 0
	for _, f := range figures {
		peer := find(r.cases[f.name], f.peer)
		for _, name := range f.own {
			own := find(r.cases[f.name], name)
			if own == nil || peer == nil {
				continue
			}
			rows++
			c, _ := own.median()
			p, _ := peer.median()
			var goal, measured string
			met := c.Allocs < f.allocs+0.5
			if f.factor > 0 {
				runs := peer.ratios(*own)
				goal, measured = fmt.Sprintf("%.0f× less", f.factor), withRange("%.1f×", runs)
				met = met && quantile(slices.Clone(runs), 0.5) >= f.factor
			} else {
				goal, measured = fmt.Sprintf("%.0f ns", f.ns), fmt.Sprintf("%s, against %s", nanos(c.CPU), nanos(p.CPU))
				met = met && c.CPU <= f.ns
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.1f | %s |\n", f.work, strings.TrimPrefix(name, "dendro, "), f.peer, goal, measured, c.Allocs, mark(met))
		}
	}
	if len(r.requests) > 0 && r.requests[0].library == "bare" {
		for _, l := range r.requests[1:] {
			if factor, ok := requestFactors[l.library]; ok {
				rows++
				runs := l.ratios(r.requests[0], cpuOf)
				fmt.Fprintf(&b, "| whole request | %s | bare | %.2f× | %s | – | %s |\n", strings.TrimPrefix(l.library, "dendro, "), factor,
					withRange("%.3f×", runs), mark(quantile(slices.Clone(runs), 0.5) <= factor))
			}
		}
	}
	if rows == 0 {
		return "", nil
	}
	return b.String(), nil
}

// dapper is table 1 of the Dapper paper, in section 4.1: "2.2GHz x86", 2010.
var dapper = []struct {
	work, ns, name, library string
}{
	{"root span, begun and ended", "204 ns", "root span", "dendro"},
	{"other span, begun and ended", "176 ns", "child span", "dendro"},
	{"annotation, sampled", "40 ns", "one of 8 attributes", "dendro"},
	{"annotation, not sampled", "9 ns", "one of 8 attributes, not sampled", "dendro, never sampled"},
}

// writeDapper writes that table with a column for dendro.
func writeDapper(_ settings, _ *regexp.Regexp, r *results) (string, error) {
	var b strings.Builder
	fmt.Fprint(&b, "\n| work | Dapper, 2010 | dendro, stored in the process |\n|---|--:|--:|\n")
	rows := 0
	for _, d := range dapper {
		if own := find(r.cases[d.name], d.library); own != nil {
			rows++
			c, _ := own.median()
			fmt.Fprintf(&b, "| %s | %s | %s |\n", d.work, d.ns, nanos(c.CPU))
		}
	}
	if rows == 0 {
		return "", nil
	}
	return b.String(), nil
}

func mark(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

func find(rows []row, library string) *row {
	for i := range rows {
		if rows[i].library == library {
			return &rows[i]
		}
	}
	return nil
}
