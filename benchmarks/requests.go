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

// requestLibraries trace the server, the client and the database.
var requestLibraries = []string{
	"bare", "dendro", "dendro, remote", "dendro, retroactive", "dendro, never sampled", "OpenTelemetry", "OpenTelemetry, one span", "OpenTelemetry, NeverSample",
}

const (
	stockPath = "/stock"
	// clients is the number of concurrent requests.
	clients = 2
)

// usage is what a server has used since its start.
type usage struct {
	CPU           time.Duration
	Bytes, Allocs uint64
	GCs           uint32
	Delivered     uint64
	Sent          uint64 // see sentBytes
}

// serveRequests is a server whose requests each make a query and a call. It writes its
// address and then, for each line of standard input, its usage.
func serveRequests(s settings) error {
	runtime.GOMAXPROCS(s.CPU)
	opened, err := libraries[strings.TrimPrefix(s.Worker, "requests:")](environment{s.Sink, int64(s.Heap) << 20})
	if err != nil {
		return err
	}
	var ballast []byte
	if l, ok := opened.(filler); ok {
		l.fill()
	} else {
		ballast = make([]byte, s.Heap<<20)
	}
	handler, err := requestHandler(opened, s.Sink)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stop, err := s.profile()
	if err != nil {
		return err
	}
	defer stop()
	go func() { _ = http.Serve(l, handler) }()
	fmt.Println("http://" + l.Addr().String())
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		opened.flush(0)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if err := out.Encode(usage{cpuTime(), m.TotalAlloc, m.Mallocs, m.NumGC, opened.delivered(), sentBytes.Load()}); err != nil {
			return err
		}
	}
	runtime.KeepAlive(ballast)
	return nil
}

func requestHandler(l library, stock string) (http.Handler, error) {
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
	client := http.Client{Transport: l.(clienter).wrapTransport(context.Background(), &http.Transport{MaxIdleConnsPerHost: clients})}
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

// window is the measurement of a server during some time. All figures are per request,
// except the first four and the last.
type window struct {
	rate               float64 // requests per second
	mean, p50, p99     float64 // microseconds
	cpu, bytes, allocs float64 // of the server, CPU in microseconds
	spans              float64 // delivered
	sent               float64 // bytes
	gcs                float64
}

// server is the measurement of a library.
type server struct {
	library string
	runs    [][]window
}

// windows returns the windows of all runs.
func (s server) windows() []window { return slices.Concat(s.runs...) }

// ratios returns, for each run, the median of the ratios of a figure.
func (s server) ratios(to server, figure func(window) float64) (runs []float64) {
	for i, windows := range s.runs {
		all := make([]float64, len(windows))
		for j := range all {
			all[j] = figure(windows[j]) / figure(to.runs[i][j])
		}
		runs = append(runs, quantile(all, 0.5))
	}
	return runs
}

func cpuOf(w window) float64  { return w.cpu }
func rateOf(w window) float64 { return w.rate }
func meanOf(w window) float64 { return w.mean }

// loadServers runs the servers of the libraries that match, and loads them in turn.
func loadServers(s settings, names []string, match *regexp.Regexp) ([]server, error) {
	var out []server
	for run := range s.Runs {
		windows, matched, err := loadOnce(s, names, match)
		if err != nil {
			return nil, err
		}
		for i, name := range matched {
			if run == 0 {
				out = append(out, server{library: name})
			}
			out[i].runs = append(out[i].runs, windows[i])
		}
	}
	return out, nil
}

// loadOnce is one run.
func loadOnce(s settings, names []string, match *regexp.Regexp) (windows [][]window, matched []string, err error) {
	var servers []*child
	var urls []string
	defer func() {
		for _, c := range servers {
			c.stop()
		}
	}()
	for _, name := range names {
		if !match.MatchString("request/" + name) {
			continue
		}
		c, err := startChild(s.args("requests:" + name)...)
		if err != nil {
			return nil, nil, err
		}
		servers = append(servers, c)
		url, err := c.line()
		if err != nil {
			return nil, nil, err
		}
		matched, urls = append(matched, name), append(urls, url)
	}
	windows = make([][]window, len(matched))
	for round := -1; round < s.Rounds; round++ { // the first warms up
		for i := range servers {
			at := (max(round, 0) + i) % len(servers)
			w, err := load(servers[at], urls[at], s.Window)
			if err != nil {
				return nil, nil, err
			}
			if round >= 0 {
				windows[at] = append(windows[at], w)
				fmt.Fprintf(os.Stderr, "%2d %-32s %6.0f requests/s %6.1f µs CPU\n", round, matched[at], w.rate, w.cpu)
			}
		}
	}
	return windows, matched, nil
}

// load sends requests, one at a time from each client.
func load(server *child, url string, long time.Duration) (window, error) {
	before, err := server.usage()
	if err != nil {
		return window{}, err
	}
	var all sync.WaitGroup
	took := make([][]float64, clients)
	errs := make([]error, clients)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	began := time.Now()
	for i := range clients {
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
		mean:   sum(requests) / n,
		p50:    quantile(requests, 0.5),
		p99:    quantile(requests, 0.99),
		cpu:    float64(after.CPU-before.CPU) / 1e3 / n,
		bytes:  float64(after.Bytes-before.Bytes) / n,
		allocs: float64(after.Allocs-before.Allocs) / n,
		spans:  float64(after.Delivered-before.Delivered) / n,
		sent:   float64(after.Sent-before.Sent) / n,
		gcs:    float64(after.GCs - before.GCs),
	}, err
}

func sum(all []float64) (total float64) {
	for _, x := range all {
		total += x
	}
	return total
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

func measureRequests(s settings, match *regexp.Regexp, r *results) (string, error) {
	servers, err := loadServers(s, requestLibraries, match)
	if err != nil || len(servers) == 0 {
		return "", err
	}
	r.requests = servers
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d clients, windows of %v. CPU is that of the server, per request; its ratio is the median of the runs, with the least and the largest.\n\n", clients, s.Window)
	fmt.Fprintf(&b, "| library | requests/s | p50 | p99 | CPU | ÷ %s | B | allocs | GCs | spans | sent B |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", servers[0].library)
	for _, l := range servers {
		m := func(f func(window) float64) float64 { return median(l.windows(), f) }
		fmt.Fprintf(&b, "| %s | %.0f | %.0f µs | %.0f µs | %.0f µs | %s | %.0f | %.0f | %.1f | %.2f | %.0f |\n", l.library,
			m(rateOf), m(func(w window) float64 { return w.p50 }), m(func(w window) float64 { return w.p99 }), m(cpuOf),
			withRange("%.3f", l.ratios(servers[0], cpuOf)),
			m(func(w window) float64 { return w.bytes }), m(func(w window) float64 { return w.allocs }),
			m(func(w window) float64 { return w.gcs }), m(func(w window) float64 { return w.spans }),
			m(func(w window) float64 { return w.sent }))
	}
	return b.String(), nil
}

// withRange returns the median, the minimum and the maximum of the runs.
func withRange(format string, runs []float64) string {
	text := fmt.Sprintf(format, quantile(slices.Clone(runs), 0.5))
	if len(runs) > 1 {
		text += fmt.Sprintf(" ["+format+"–"+format+"]", slices.Min(runs), slices.Max(runs))
	}
	return text
}
