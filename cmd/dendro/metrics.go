package main

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/auth"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/server"
)

// newRegistry returns what /metrics exposes.
func newRegistry(receiver *server.Handler, s *store, hub *keep.Hub, a *access, endpoints ...*endpoint) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dendro_build_info", Help: "1, with the version as label.",
			ConstLabels: prometheus.Labels{"version": dendro.Version, "goversion": runtime.Version()},
		}, func() float64 { return 1 }),
		receiverMetrics{receiver},
		storeMetrics{s},
		keepMetrics{hub},
	)
	if s.metrics != nil {
		r.MustRegister(s.metrics)
	}
	if s.spool != nil {
		r.MustRegister(spoolMetrics{s.spool})
	}
	for scope, tokens := range map[string]*auth.Tokens{"write": a.writers, "read": a.readers} {
		if tokens != nil {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "dendro_unauthorized_requests_total", Help: "Requests and logins that were refused for want of a token.",
				ConstLabels: prometheus.Labels{"scope": scope},
			}, func() float64 { return float64(tokens.Refused()) }))
		}
	}
	for _, e := range endpoints {
		if !e.on() {
			continue
		}
		labels := prometheus.Labels{"address": e.flag}
		r.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "dendro_connections", Help: "Open connections.", ConstLabels: labels,
			}, func() float64 { return float64(e.listener.open.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "dendro_connections_limit", Help: "Largest number of open connections.", ConstLabels: labels,
			}, func() float64 { return float64(e.listener.most) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "dendro_connections_refused_total", Help: "Connections that were closed because there were too many.", ConstLabels: labels,
			}, func() float64 { return float64(e.listener.refused.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "dendro_connections_broken_total", Help: "Connections that ended with an error of TLS or HTTP/2, which -log-level debug logs.", ConstLabels: labels,
			}, func() float64 { return float64(e.broken.Load()) }),
		)
	}
	return r
}

// storeMetrics are the metrics that every store has.
type storeMetrics struct{ collector.Reader }

var (
	storeAccepted   = counter("dendro_store_accepted_spans_total", "Spans that the store has taken.")
	storeDuplicates = counter("dendro_store_duplicate_spans_total", "Spans that the store had already, and did not store again.")
	storeDropped    = counter("dendro_store_dropped_spans_total", "Spans that the store had taken and holds no longer.", "reason")
	storeTraces     = gauge("dendro_store_traces", "Traces that are held.")
	storeSpans      = gauge("dendro_store_spans", "Spans that are held.")
	storeBytes      = gauge("dendro_store_bytes", "Bytes that the store takes, in memory or on disk.")
	storeLimit      = gauge("dendro_store_limit_bytes", "Bound of dendro_store_bytes, or 0 for none.")
	operations      = gauge("dendro_operations", "Operations and calls between services that are counted.")
	operationsBytes = gauge("dendro_operations_bytes", "Bytes that the counts of operations take.")
	operationsLate  = counter("dendro_operations_late_spans_total", "Spans that came too late to be counted in their operation.")
)

// description is a metric with its type.
type description struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) description {
	return description{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string) description {
	return description{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue}
}

func (d description) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d.Desc, d.kind, value, labels...)
}

// Describe implements [prometheus.Collector].
func (m storeMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []description{storeAccepted, storeDuplicates, storeDropped, storeTraces, storeSpans, storeBytes, storeLimit, operations, operationsBytes, operationsLate} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m storeMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // Prometheus waits ten
	defer cancel()
	s, err := m.Stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(storeSpans.Desc, err)
		return
	}
	storeAccepted.send(ch, float64(s.Accepted))
	storeDuplicates.send(ch, float64(s.Duplicates))
	for reason, n := range s.Dropped {
		storeDropped.send(ch, float64(n), reason)
	}
	storeTraces.send(ch, float64(s.Traces))
	storeSpans.send(ch, float64(s.Spans))
	storeBytes.send(ch, float64(s.Bytes))
	storeLimit.send(ch, float64(s.MaxBytes))
	operations.send(ch, float64(s.Operations.Operations+s.Operations.Edges))
	operationsBytes.send(ch, float64(s.Operations.Bytes))
	operationsLate.send(ch, float64(s.Operations.Late))
}

// refuseMetrics responds to a request that may not read.
func refuseMetrics(w http.ResponseWriter, a *access) {
	if a.sessions == nil {
		http.Error(w, "403 forbidden: metrics are for this machine only; set -web-token-file to let others read them", http.StatusForbidden)
		return
	}
	auth.Challenge(w.Header())
	http.Error(w, "401 unauthorized: want a token that may read: Authorization: Bearer TOKEN", http.StatusUnauthorized)
}
