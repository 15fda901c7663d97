package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro/collector/keep"
)

// keepMetrics are the metrics of processes that keep their spans.
type keepMetrics struct{ *keep.Hub }

var (
	keepKept      = counter("dendro_keep_traces_total", "Traces that processes and people have decided to keep.", "reason")
	keepLost      = counter("dendro_keep_lost_traces_total", "Kept traces of which a process has not sent its spans, or has not told the others.", "reason")
	keepAnnounced = counter("dendro_keep_announcements_total", "Announcements of kept traces.")
	keepRepeated  = counter("dendro_keep_repeated_announcements_total", "Announcements of traces that were announced before.")
	keepProcesses = gauge("dendro_keep_processes", "Processes that keep their spans, and have said so in the last five minutes.")
	keepRingAge   = gauge("dendro_keep_ring_age_seconds", "How far back the spans go that all of these processes still have.")
	keepHold      = gauge("dendro_keep_hold_seconds", "Time for which everything is kept from now on.")
)

// Describe implements [prometheus.Collector].
func (m keepMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []description{keepKept, keepLost, keepAnnounced, keepRepeated, keepProcesses, keepRingAge, keepHold} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m keepMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Stats()
	for reason, n := range s.Kept {
		keepKept.send(ch, float64(n), reason)
	}
	for reason, n := range s.Lost {
		keepLost.send(ch, float64(n), reason)
	}
	keepAnnounced.send(ch, float64(s.Announced))
	keepRepeated.send(ch, float64(s.Repeated))
	keepProcesses.send(ch, float64(len(s.Processes)))
	keepRingAge.send(ch, s.RingAge().Seconds())
	keepHold.send(ch, s.Hold.Seconds())
}
