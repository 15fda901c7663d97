package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/web"
)

// health is what /healthz and /readyz say.
type health struct {
	store    *store
	draining atomic.Bool // the program is ending
}

// alive says that the program runs.
func (h *health) alive(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("ok\n"))
}

// ready says whether spans can be received and read.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := h.store.ready(ctx); err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// timedPaths are the paths for which the time of requests is measured: those that read the store. A
// path that ends in a slash is for all that are below it.
var timedPaths = []string{
	"/", "/trace/", "/import/",
	"/api/search", "/api/search/", "/api/v2/search/", "/api/traces/", "/api/v2/traces/", "/api/metrics/", "/api/dendro/",
}

// newPage returns the handler of -web: the page with its API, and what operators need.
func newPage(s collector.Store, hub *keep.Hub, a *access, h *health, metrics *prometheus.Registry) http.Handler {
	page := web.New(s, web.Options{Authorize: a.authorize, Sessions: a.sessions, Keep: hub})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "dendro_http_request_duration_seconds", Help: "Time of requests to the page and the query API, by the beginning of the path.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"path"})
	metrics.MustRegister(seconds)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", h.alive)
	mux.HandleFunc("GET /readyz", h.ready)
	exposition := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 30 * time.Second,
		ErrorHandling: promhttp.ContinueOnError, // without those of a store that does not answer
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !a.authorize(r) {
			refuseMetrics(w, a)
			return
		}
		exposition.ServeHTTP(w, r)
	})
	mux.Handle("/dendro-assets/", page)
	mux.Handle("/api/dendro/tail", page) // open until the client goes
	for _, path := range timedPaths {
		took := seconds.WithLabelValues(path)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			page.ServeHTTP(w, r)
			took.Observe(time.Since(start).Seconds())
		})
	}
	return mux
}
