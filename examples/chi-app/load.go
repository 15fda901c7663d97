package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the load.
const (
	loadWorkers  = 8                     // concurrent requests
	loadInterval = 20 * time.Millisecond // least time between the starts of two requests
)

// panicEvery is the number of requests of which one panics. There are few, because
// Recoverer prints the stack of each.
const panicEvery = 500

// loadRequests are the requests of the load, which are repeated in this order.
var loadRequests = []loadRequest{
	{"GET", "/", ""},
	{"GET", "/orders/1", ""},
	{"POST", "/orders", "customer=ada&product=tea&quantity=2"},
	{"GET", "/orders/7", ""}, // waits until the order before it is placed
	{"GET", "/front", ""},
	{"GET", "/orders", ""},
	{"GET", "/slow?ms=40", ""},
	{"POST", "/orders", "customer=grace&product=coffee&quantity=1"},
	{"GET", "/orders/1000000", ""},
	{"GET", "/front", ""},
	{"GET", "/orders", ""},
	{"GET", "/error", ""},
}

type loadRequest struct{ method, path, form string }

// load is the result of the load so far.
type load struct {
	mu     sync.Mutex
	took   []time.Duration // guarded by mu
	errors int             // no response, or a status of 500 or more; guarded by mu
}

// makeLoad sends requests to the front service for the given time or until ctx is
// done. It prints a line each second.
func makeLoad(ctx context.Context, a *app, lasts time.Duration, out io.Writer) {
	var l load
	base := &http.Transport{MaxIdleConnsPerHost: loadWorkers}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: base} // not traced, because it represents users

	requests := make(chan int)
	var workers sync.WaitGroup
	for range loadWorkers {
		workers.Go(func() {
			for n := range requests {
				l.send(ctx, client, a.address("front"), n)
			}
		})
	}
	fmt.Fprintf(out, "load for %v: at most %d requests a second, %d at a time; on purpose, one in %d fails and one in %d panics\n",
		lasts, time.Second/loadInterval, loadWorkers, len(loadRequests), panicEvery)
	began := time.Now()
	pace(ctx, lasts, requests, func() {
		l.report(out, fmt.Sprintf("load %.0fs", time.Since(began).Seconds()), a.stats().Ended)
	})
	close(requests)
	workers.Wait()
	l.report(out, "load done", a.stats().Ended)
}

// pace sends the numbers of requests to requests. It skips a request when all workers
// are busy.
func pace(ctx context.Context, lasts time.Duration, requests chan<- int, progress func()) {
	next, second, end := time.NewTicker(loadInterval), time.NewTicker(time.Second), time.NewTimer(lasts)
	defer next.Stop()
	defer second.Stop()
	defer end.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-second.C:
			progress()
		case <-next.C:
			select {
			case requests <- n:
				n++
			default:
			}
		}
	}
}

func (l *load) send(ctx context.Context, client *http.Client, url string, n int) {
	what := loadRequests[n%len(loadRequests)]
	if n%panicEvery == 0 {
		what = loadRequest{"GET", "/panic", ""}
	}
	req, err := http.NewRequestWithContext(ctx, what.method, url+what.path, strings.NewReader(what.form))
	if err != nil {
		panic(err) // loadRequests is wrong
	}
	if what.form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	began := time.Now()
	res, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if ctx.Err() != nil {
		return // we closed the connection
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, time.Since(began))
	if err != nil || res.StatusCode >= http.StatusInternalServerError {
		l.errors++
	}
}

// report prints the result so far.
func (l *load) report(out io.Writer, when string, spans uint64) {
	l.mu.Lock()
	took, errors := slices.Clone(l.took), l.errors
	l.mu.Unlock()
	slices.Sort(took)
	fmt.Fprintf(out, "%s: %d requests, %d errors, p50 %v, p99 %v, %d spans\n",
		when, len(took), errors, percentile(took, 50), percentile(took, 99), spans)
}

// percentile returns the smallest of the sorted values that at least p percent of them
// do not exceed, or zero if there are none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*p+99)/100-1].Round(100 * time.Microsecond)
}
