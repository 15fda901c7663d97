package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
)

// samplingRates are those of table 2 of the Dapper paper: one in so many requests is
// sampled.
var samplingRates = []int{1, 2, 4, 8, 16, 1024}

func samplingLibrary(rate int) string { return fmt.Sprintf("dendro, 1/%d", rate) }

func init() {
	for _, rate := range samplingRates {
		libraries[samplingLibrary(rate)] = func(env environment) (library, error) {
			m := memory.New(memory.Options{MaxBytes: env.maxBytes})
			l := newDendro(m, dendro.ParentSample(dendro.RatioSample(1/float64(rate))))
			l.store = m
			return storing{l}, nil
		}
	}
}

// measureSampling measures the request of measureRequests at each rate.
func measureSampling(s settings, match *regexp.Regexp, _ *results) (string, error) {
	names := []string{"bare"}
	for _, rate := range samplingRates {
		names = append(names, samplingLibrary(rate))
	}
	servers, err := loadServers(s, names, match)
	if err != nil || len(servers) == 0 {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nChanges against %s: the median of the runs, with the least and the largest.\n\n", servers[0].library)
	fmt.Fprint(&b, "| sampled | mean latency | throughput | CPU | spans per request |\n|---|--:|--:|--:|--:|\n")
	for _, l := range servers[1:] {
		change := func(f func(window) float64) string {
			runs := l.ratios(servers[0], f)
			for i := range runs {
				runs[i] = 100 * (runs[i] - 1)
			}
			return withRange("%+.1f%%", runs)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.3f |\n", strings.TrimPrefix(l.library, "dendro, "), change(meanOf), change(rateOf), change(cpuOf),
			median(l.windows(), func(w window) float64 { return w.spans }))
	}
	return b.String(), nil
}
