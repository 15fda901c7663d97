package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// header describes the machine and, if peers is set, the versions of the peers.
func header(s settings, peers bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, GOMAXPROCS=%d and %d MiB of live heap unless said otherwise, %d runs of %d rounds.\n", processor(), runtime.Version(), s.CPU, s.Heap, s.Runs, s.Rounds)
	if peers {
		fmt.Fprintf(&b, "\nPeers: %s.\n", linked(versions))
	}
	return b.String()
}

// linked lists the modules that are part of this program, with their versions.
func linked(modules []string) string {
	var list []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(modules, m.Path) {
				list = append(list, m.Path+" "+m.Version)
			}
		}
	}
	return strings.Join(list, ", ")
}

// processor describes the processor of this machine.
func processor() string {
	model := runtime.GOARCH
	info, _ := os.ReadFile("/proc/cpuinfo") // absent elsewhere than on Linux
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%s, %d CPUs", model, runtime.NumCPU())
}

// writeCase writes the table of one case.
func writeCase(w io.Writer, b benchmark, rows []row) {
	var owns []int // rows of dendro
	for i, r := range rows {
		if strings.HasPrefix(r.library, "dendro") {
			owns = append(owns, i)
		}
	}
	fmt.Fprintf(w, "\n### %s%s\n\n", strings.ToUpper(b.name[:1]), b.name[1:])
	if b.base != nil {
		_, base := rows[0].median()
		fmt.Fprintf(w, "Over %s, which takes %s.\n\n", b.baseName, nanos(base.NS))
	}
	fmt.Fprint(w, "| library | time | ± | CPU | B | allocs | lost |")
	for _, i := range owns {
		fmt.Fprintf(w, " ÷ %s |", rows[i].library)
	}
	fmt.Fprintf(w, "\n|---|--:|--:|--:|--:|--:|--:|%s\n", strings.Repeat("--:|", len(owns)))
	for _, r := range rows {
		c, _ := r.median()
		fmt.Fprintf(w, "| %s | %s | %.0f%% | %s | %.0f | %.1f | %s |", r.library, nanos(c.NS), r.spread(), nanos(c.CPU), c.Bytes, c.Allocs, r.lost())
		for _, i := range owns {
			fmt.Fprintf(w, " %s |", ratio(r, rows[i]))
		}
		fmt.Fprintln(w)
	}
}

func nanos(ns float64) string {
	switch {
	case math.Abs(ns) < 100:
		return fmt.Sprintf("%.1f ns", ns)
	case math.Abs(ns) < 1000:
		return fmt.Sprintf("%.0f ns", ns)
	}
	return fmt.Sprintf("%.2f µs", ns/1000)
}

// rounds returns the rounds of all runs.
func (r row) rounds() []message { return slices.Concat(r.runs...) }

// median returns the median of each figure.
func (r row) median() (c, base cost) {
	return medianCost(r.rounds(), func(m message) cost { return m.Cost }), medianCost(r.rounds(), func(m message) cost { return m.Base })
}

func medianCost(rounds []message, of func(message) cost) cost {
	figure := func(f func(cost) float64) float64 {
		return median(rounds, func(m message) float64 { return f(of(m)) })
	}
	return cost{
		NS:     figure(func(c cost) float64 { return c.NS }),
		CPU:    figure(func(c cost) float64 { return c.CPU }),
		Bytes:  figure(func(c cost) float64 { return max(0, c.Bytes) }),
		Allocs: figure(func(c cost) float64 { return max(0, c.Allocs) }),
	}
}

func median[T any](of []T, figure func(T) float64) float64 {
	all := make([]float64, len(of))
	for i, x := range of {
		all[i] = figure(x)
	}
	return quantile(all, 0.5)
}

// spread returns half of the distance between the quartiles, in percent of the median.
func (r row) spread() float64 {
	var all []float64
	for _, m := range r.rounds() {
		all = append(all, m.Cost.NS)
	}
	return 50 * (quantile(all, 0.75) - quantile(all, 0.25)) / math.Abs(quantile(all, 0.5))
}

// lost returns how many spans have not arrived.
func (r row) lost() string {
	lost, made := int64(0), uint64(0)
	for _, rounds := range r.runs {
		last := rounds[len(rounds)-1]
		made += last.Made
		lost += int64(last.Made) - int64(last.Delivered)
	}
	if made == 0 {
		return "–"
	}
	return fmt.Sprint(lost)
}

// ratios returns, for each run, the median of the ratios of CPU time in its rounds. It
// returns none if the time of to is too small to be measured.
func (r row) ratios(to row) (runs []float64) {
	if c, _ := to.median(); c.CPU <= 0 {
		return nil
	}
	for i, rounds := range r.runs {
		all := make([]float64, len(rounds))
		for j := range all {
			all[j] = rounds[j].Cost.CPU / to.runs[i][j].Cost.CPU
		}
		runs = append(runs, quantile(all, 0.5))
	}
	return runs
}

// ratio returns the median of the ratios of the runs.
func ratio(r, to row) string {
	if r.library == to.library {
		return "1"
	}
	runs := r.ratios(to)
	if runs == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f", quantile(runs, 0.5))
}

// quantile sorts all.
func quantile(all []float64, q float64) float64 {
	slices.Sort(all)
	at := q * float64(len(all)-1)
	low := int(at)
	high := min(low+1, len(all)-1)
	return all[low] + (at-float64(low))*(all[high]-all[low])
}
