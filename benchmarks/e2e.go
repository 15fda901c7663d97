package main

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite"
)

// e2eLibraries trace the server, the client and the database.
var e2eLibraries = []string{
	"bare", "dendro", "dendro, remote", "dendro, never sampled", "OpenTelemetry", "OpenTelemetry, one span", "OpenTelemetry, NeverSample",
}

const (
	stockPath = "/stock"
	// e2eClients is how many requests are under way.
	e2eClients = 2
	// e2eWindow is how many times the length of a round a window takes.
	e2eWindow = 25
)

// usage is what a server has used since it began.
type usage struct {
	CPU           time.Duration
	Bytes, Allocs uint64
	GCs           uint32
	Delivered     uint64
}

// serveE2E is a server whose requests each make a query and a call. It writes its
// address, and its usage for each line of standard input.
func serveE2E(s settings) error {
	runtime.GOMAXPROCS(s.CPU)
	opened, err := libraries[s.Worker](environment{s.Sink, int64(s.Heap) << 20})
	if err != nil {
		return err
	}
	ballast := make([]byte, s.Heap<<20)
	handler, err := e2eHandler(opened, s.Sink)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, handler) }()
	fmt.Println("http://" + l.Addr().String())
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		opened.flush(0)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if err := out.Encode(usage{cpuTime(), m.TotalAlloc, m.Mallocs, m.NumGC, opened.delivered()}); err != nil {
			return err
		}
	}
	runtime.KeepAlive(ballast)
	return nil
}

func e2eHandler(l library, stock string) (http.Handler, error) {
	plain, err := sql.Open("sqlite", "")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "benchmarks")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the open file stays
	db := l.(databaser).openDB(fileConnector{plain.Driver(), dir + "/orders.db"})
	db.SetMaxOpenConns(1) // which has the file
	for _, q := range []string{"CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)", "INSERT INTO orders VALUES (42, 7)"} {
		if _, err := db.Exec(q); err != nil {
			return nil, err
		}
	}
	client := http.Client{Transport: l.(clienter).wrapTransport(context.Background(), &http.Transport{MaxIdleConnsPerHost: e2eClients})}
	return l.(serverer).serve(route, func(w http.ResponseWriter, r *http.Request) {
		var id, total int64
		if err := db.QueryRowContext(r.Context(), statement, 42).Scan(&id, &total); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, stock+stockPath, nil)
		if err != nil {
			panic(err)
		}
		resp, err := client.Do(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		left, err := io.ReadAll(resp.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, `{"id":%d,"total":%d,"left":%s}`, id, total, left)
	}), nil
}

type fileConnector struct {
	driver driver.Driver
	path   string
}

func (c fileConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.path) }
func (c fileConnector) Driver() driver.Driver                        { return c.driver }

// window is what was seen of one server for a while, per request but for the
// first and the last.
type window struct {
	rate               float64 // requests per second
	p50, p99           float64 // microseconds
	cpu, bytes, allocs float64 // of the server, CPU in microseconds
	spans              float64 // delivered
	gcs                float64
}

// measureE2E loads one server after the other and returns the table.
func measureE2E(s settings, match *regexp.Regexp) (string, error) {
	var names []string
	var windows [][]window
	var servers []*child
	var urls []string
	defer func() {
		for _, c := range servers {
			c.stop()
		}
	}()
	for _, name := range e2eLibraries {
		if !match.MatchString("e2e/" + name) {
			continue
		}
		c, err := startChild(s.args(name)...)
		if err != nil {
			return "", err
		}
		servers = append(servers, c)
		url, err := c.line()
		if err != nil {
			return "", err
		}
		names, urls = append(names, name), append(urls, url)
	}
	windows = make([][]window, len(names))
	for round := -1; round < s.Rounds; round++ { // the first warms up
		for i := range servers {
			at := (max(round, 0) + i) % len(servers)
			w, err := load(servers[at], urls[at], e2eWindow*s.Time)
			if err != nil {
				return "", err
			}
			if round >= 0 {
				windows[at] = append(windows[at], w)
				fmt.Fprintf(os.Stderr, "%2d %-32s %6.0f requests/s %6.1f µs CPU\n", round, names[at], w.rate, w.cpu)
			}
		}
	}
	return e2eTable(s, names, windows), nil
}

// load sends requests, one after the other from each client.
func load(server *child, url string, long time.Duration) (window, error) {
	before, err := server.usage()
	if err != nil {
		return window{}, err
	}
	var all sync.WaitGroup
	took := make([][]float64, e2eClients)
	errs := make([]error, e2eClients)
	transport := &http.Transport{MaxIdleConnsPerHost: e2eClients}
	defer transport.CloseIdleConnections()
	began := time.Now()
	for i := range e2eClients {
		all.Go(func() {
			for time.Since(began) < long && errs[i] == nil {
				start := time.Now()
				errs[i] = get(transport, url+strings.Replace(route, "{id}", "42", 1))
				took[i] = append(took[i], float64(time.Since(start))/1e3)
			}
		})
	}
	all.Wait()
	lasted := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return window{}, err
		}
	}
	after, err := server.usage()
	requests := slices.Concat(took...)
	n := float64(len(requests))
	return window{
		rate:   n / lasted.Seconds(),
		p50:    quantile(requests, 0.5),
		p99:    quantile(requests, 0.99),
		cpu:    float64(after.CPU-before.CPU) / 1e3 / n,
		bytes:  float64(after.Bytes-before.Bytes) / n,
		allocs: float64(after.Allocs-before.Allocs) / n,
		spans:  float64(after.Delivered-before.Delivered) / n,
		gcs:    float64(after.GCs - before.GCs),
	}, err
}

func get(transport http.RoundTripper, url string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

func (c *child) usage() (u usage, err error) {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return u, err
	}
	line, err := c.line()
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(line), &u)
}

func e2eTable(s settings, names []string, windows [][]window) string {
	var b strings.Builder
	fmt.Fprint(&b, "\n### A request: sockets, chi, a query of SQLite, a call\n\n")
	fmt.Fprintf(&b, "%d clients, windows of %v. CPU is that of the server, per request.\n\n", e2eClients, e2eWindow*s.Time)
	fmt.Fprintf(&b, "| library | requests/s | p50 | p99 | CPU | ÷ %s [range] | B | allocs | GCs | spans |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", names[0])
	for i, name := range names {
		median := func(f func(window) float64) float64 {
			all := make([]float64, len(windows[i]))
			for j, w := range windows[i] {
				all[j] = f(w)
			}
			return quantile(all, 0.5)
		}
		ratios := make([]float64, len(windows[i]))
		for j, w := range windows[i] {
			ratios[j] = w.cpu / windows[0][j].cpu
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f µs | %.0f µs | %.0f µs | %.2f [%.2f–%.2f] | %.0f | %.0f | %.0f | %.1f |\n", name,
			median(func(w window) float64 { return w.rate }), median(func(w window) float64 { return w.p50 }),
			median(func(w window) float64 { return w.p99 }), median(func(w window) float64 { return w.cpu }),
			quantile(ratios, 0.5), quantile(ratios, 0), quantile(ratios, 1),
			median(func(w window) float64 { return w.bytes }), median(func(w window) float64 { return w.allocs }),
			median(func(w window) float64 { return w.gcs }), median(func(w window) float64 { return w.spans }))
	}
	return b.String()
}
