package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// spanSender sends requests of one span each, one after the other on several connections, and knows which were
// acknowledged.
type spanSender struct {
	t       *testing.T
	stopped chan struct{}
	sending sync.WaitGroup

	mu           sync.Mutex
	sent         int
	acknowledged []string // names of spans
	slowest      time.Duration
}

func newSpanSender(t *testing.T) *spanSender { return &spanSender{t: t} }

// start sends to a URL until stop is called or mayFail is set and a request fails.
func (s *spanSender) start(to string, mayFail bool) {
	s.stopped = make(chan struct{})
	client := &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{}} // without a spool, requests take ten seconds
	for range 4 {
		s.sending.Go(func() {
			defer client.CloseIdleConnections()
			for {
				select {
				case <-s.stopped:
					return
				default:
				}
				if err := s.send(client, to); err != nil {
					if !mayFail {
						s.t.Error(err)
					}
					return
				}
			}
		})
	}
}

func (s *spanSender) send(client *http.Client, to string) error {
	s.mu.Lock()
	s.sent++
	n := s.sent
	s.mu.Unlock()
	name := fmt.Sprint("span ", n)
	began := time.Now()
	res, err := client.Post(to, "application/json", strings.NewReader(strings.NewReplacer(
		"5b8efff798038103d269b633813fc60c", fmt.Sprintf("%032x", n), "GET /", name,
		"1544712660000000000", fmt.Sprint(began.UnixNano()), "1544712661000000000", fmt.Sprint(began.UnixNano()+1)).Replace(span)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		s.t.Errorf("%s: %s: %s", name, res.Status, text)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acknowledged = append(s.acknowledged, name)
	s.slowest = max(s.slowest, time.Since(began))
	return nil
}

// wait waits until some more requests are acknowledged.
func (s *spanSender) wait(more int) {
	s.t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.acknowledged)
	}
	until := count() + more
	waitFor(s.t, "acknowledgements", func() bool { return count() >= until })
}

// stop waits until the last requests have been answered.
func (s *spanSender) stop() {
	close(s.stopped)
	s.sending.Wait()
}

// While ClickHouse is away, and although the program is killed meanwhile, each request is acknowledged and is in
// ClickHouse once in the end.
func TestSpool(t *testing.T) {
	testkit.NoLeaks(t)
	engine := testkit.ClickHouse(t)
	dsn, dir := engine.Database(t), t.TempDir()
	s := startServer(t, "-clickhouse", dsn, "-spool", dir)
	senders := newSpanSender(t)
	senders.start(s.otlp, true)
	senders.wait(20)
	engine.Kill(t)
	senders.wait(200)
	_, metrics := ask(t, user, s.page+"/metrics", "", "")
	hasMetrics(t, metrics, "dendro_spool_store_away 1", "dendro_spool_delivered_spans_total 0", "dendro_spool_errors_total 0", "dendro_spool_limit_bytes 1.073741824e+09")
	testkit.Equal(t, "ready", status(t, user, s.page+"/readyz", "", ""), http.StatusOK)
	testkit.NoError(t, s.cmd.Process.Kill())
	senders.stop()
	_ = s.cmd.Wait()

	engine.Start(t)
	s = startServer(t, "-clickhouse", dsn, "-spool", dir)
	senders.start(s.otlp, false)
	senders.wait(20)
	engine.Kill(t)
	senders.wait(200)
	engine.Start(t)
	drained := func() bool {
		_, metrics = ask(t, user, s.page+"/metrics", "", "")
		return strings.Contains(metrics, "\ndendro_spool_spans 0\n") && strings.Contains(metrics, "\ndendro_spool_store_away 0\n")
	}
	waitFor(t, "the spool to be empty", drained)
	senders.wait(20)
	senders.stop()
	waitFor(t, "the spool to be empty", drained)
	t.Logf("%d requests, the slowest was acknowledged after %v", senders.sent, senders.slowest.Round(time.Millisecond))

	stored := strings.Split(sql(t, dsn, "SELECT SpanName FROM otel_traces"), "\n")
	slices.Sort(stored)
	testkit.Equal(t, "spans that are stored twice", len(stored)-len(slices.Compact(slices.Clone(stored))), 0)
	for _, name := range senders.acknowledged {
		if _, found := slices.BinarySearch(stored, name); !found {
			t.Errorf("%s was acknowledged, and is lost", name)
		}
	}
	if strings.Contains(metrics, "dendro_spool_dropped_spans_total") {
		t.Errorf("spans of the spool are lost:\n%s", metrics)
	}
}

// A spool that is full is not ready, and what it refuses is said to come again.
func TestSpoolFull(t *testing.T) {
	testkit.NoLeaks(t)
	engine := testkit.ClickHouse(t)
	s := start(t, "-clickhouse", engine.Database(t), "-spool", t.TempDir(), "-spool-size", "4KiB")
	engine.Kill(t)
	send := func() int { return status(t, user, s.otlp+"/v1/traces", "", span) }
	testkit.Equal(t, "first", send(), http.StatusOK)
	testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), http.StatusOK)
	testkit.Equal(t, "second", send(), http.StatusServiceUnavailable)
	testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), http.StatusServiceUnavailable)
	_, metrics := ask(t, user, s.web+"/metrics", "", "")
	hasMetrics(t, metrics, "dendro_spool_spans 1", "dendro_spool_bytes 4096", "dendro_spool_errors_total 1",
		`dendro_refused_requests_total{protocol="otlp_http_json",reason="full"} 1`)
	s.stop()
	if log := s.stderr.String(); !strings.Contains(log, "spans are left in the spool") {
		t.Errorf("the log is\n%s", log)
	}
}

// A directory that cannot be a spool ends the program with an error, and so does one that another process has.
func TestSpoolIsLocked(t *testing.T) {
	testkit.NoLeaks(t)
	dsn, dir := testkit.ClickHouseDatabase(t), t.TempDir()
	s := start(t, "-clickhouse", dsn, "-spool", dir)
	if !strings.Contains(s.greeting, "\nspool            "+dir+", at most 1GiB\n") {
		t.Errorf("the greeting is %s", s.greeting)
	}
	var stderr lockedBuffer
	code := run(t.Context(), []string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0", "-clickhouse", dsn, "-spool", dir}, t.Output(), &stderr)
	testkit.Equal(t, "exit code", code, exitError)
	if log := stderr.String(); !strings.Contains(log, "is in use by another process") {
		t.Errorf("the log is\n%s", log)
	}
}
