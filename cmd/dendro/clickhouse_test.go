package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

const clickHousePassword = "Correct-Horse"

// withUser returns a DSN with a user, a password and a parameter.
func withUser(t *testing.T, dsn string) string {
	u, err := url.Parse(dsn)
	testkit.NoError(t, err)
	if u.User == nil {
		u.User = url.UserPassword("shop", clickHousePassword)
	}
	u.RawQuery = "dial_timeout=5s"
	return u.String()
}

// sql runs a statement in the database of a DSN and returns the answer.
func sql(t *testing.T, dsn, statement string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	testkit.NoError(t, err)
	u.RawQuery = url.Values{"database": {strings.TrimPrefix(u.Path, "/")}}.Encode()
	u.Path = "/"
	code, body := ask(t, user, u.String(), "", statement)
	if code != http.StatusOK {
		t.Errorf("%s\n%s", statement, body)
	}
	return strings.TrimSpace(body)
}

// What one server receives is in the tables, and another server shows it.
func TestClickHouse(t *testing.T) {
	testkit.NoLeaks(t)
	dsn := testkit.ClickHouseDatabase(t)
	t.Setenv("DENDRO_CLICKHOUSE", withUser(t, dsn))
	one, two := start(t), start(t)
	if _, place, _ := strings.Cut(one.greeting, "\nClickHouse       "); !strings.HasPrefix(place, dsn+"\n") {
		t.Errorf("the greeting says %q, without %s", one.greeting, dsn)
	}
	testkit.Equal(t, "status of the receiver", status(t, user, one.otlp+"/v1/traces", "", span), http.StatusOK)
	testkit.Equal(t, "status of the other one", status(t, user, two.otlp+"/v1/traces", "", span), http.StatusOK)
	testkit.Equal(t, "rows", sql(t, dsn, "SELECT ServiceName, SpanName, TraceId FROM otel_traces"), "shop\tGET /\t5b8efff798038103d269b633813fc60c")

	for _, s := range []*running{one, two} {
		for _, command := range [][]string{
			{"query", "-addr", s.web, "-since", "200000h", `{ resource.service.name = "shop" }`},
			{"trace", "-addr", s.web, "5b8efff798038103d269b633813fc60c"},
		} {
			var stdout, stderr bytes.Buffer
			testkit.Equal(t, "exit code", run(t.Context(), command, &stdout, &stderr), exitOK)
			if !strings.Contains(stdout.String(), "GET /") {
				t.Errorf("%q: %s%s", command, &stdout, &stderr)
			}
		}
		testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), 200)
		// ClickHouse counts the span, and nobody reads its trace.
		_, rate := ask(t, user, s.web+"/api/metrics/query_range?q=%7B%7D%7Crate()&start=1544712000&end=1544713000&step=1000", "", "")
		if !strings.Contains(rate, `"inspectedSpans":"1","inspectedTraces":0`) {
			t.Errorf("a rate: %s", rate)
		}
	}
	_, metrics := ask(t, user, one.web+"/metrics", "", "")
	hasMetrics(t, metrics, "dendro_store_inserted_spans_total 1", "dendro_store_insert_seconds_count 1", "dendro_store_insert_failures_total 0", "dendro_store_queue_bytes 0", "dendro_store_spans 1")
	_, metrics = ask(t, user, two.web+"/metrics", "", "")
	hasMetrics(t, metrics, "dendro_store_inserted_spans_total 0", "dendro_store_duplicate_spans_total 1", "dendro_store_spans 1")
	testkit.Equal(t, "last line", one.stop(), "received 1 spans, held 1 in 1 traces, dropped 0\n")
	two.stop()
}

// While ClickHouse is away, nothing is acknowledged, /readyz and the metrics say so, and no log has the password.
func TestClickHouseAway(t *testing.T) {
	testkit.NoLeaks(t)
	engine := testkit.ClickHouse(t)
	dsn := engine.Database(t)
	s := start(t, "-clickhouse", strings.Replace(withUser(t, dsn), ":"+clickHousePassword, "", 1), "-clickhouse-password-file", file(t, clickHousePassword+"\n"))
	engine.Kill(t)
	sent := make(chan int)
	go func() { sent <- status(t, user, s.otlp+"/v1/traces", "", span) }()
	waitFor(t, "a failure", func() bool {
		_, metrics := ask(t, user, s.web+"/metrics", "", "")
		return !strings.Contains(metrics, "\ndendro_store_insert_failures_total 0") && strings.Contains(metrics, "\ndendro_store_insert_failures_total ")
	})
	testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), 503)
	testkit.Equal(t, "alive", status(t, user, s.web+"/healthz", "", ""), 200)
	engine.Start(t)
	testkit.Equal(t, "status of the receiver", <-sent, 200)
	testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), 200)
	testkit.Equal(t, "spans", sql(t, dsn, "SELECT count() FROM otel_traces"), "1")
	said := s.greeting + s.stop() + s.stderr.String()
	if !strings.Contains(said, "refused") || strings.Contains(said, clickHousePassword) {
		t.Errorf("said:\n%s", said)
	}
}

// The program waits for a ClickHouse that starts later, and can be interrupted meanwhile. What ClickHouse refuses ends
// it at once.
func TestClickHouseStartsLater(t *testing.T) {
	testkit.NoLeaks(t)
	engine := testkit.ClickHouse(t)
	dsn := engine.Database(t)
	serve := func(dsn string) (stderr *lockedBuffer, interrupt context.CancelFunc, code chan int) {
		ctx, cancel := context.WithCancel(t.Context())
		stderr, code = &lockedBuffer{}, make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0", "-clickhouse", withUser(t, dsn)}, t.Output(), stderr)
		}()
		return stderr, cancel, code
	}
	engine.Kill(t)
	for _, starts := range []bool{false, true} {
		stderr, interrupt, code := serve(dsn)
		waitFor(t, "a line in the log", func() bool { return strings.Contains(stderr.String(), "ClickHouse does not answer") })
		if starts {
			engine.Start(t)
			waitFor(t, "the start", func() bool { return strings.Contains(stderr.String(), "msg=serving") })
		}
		interrupt()
		testkit.Equal(t, "exit code", <-code, exitOK)
		if log := stderr.String(); strings.Contains(log, clickHousePassword) || strings.Contains(log, "level=ERROR") {
			t.Errorf("the log is\n%s", log)
		}
	}
	stderr, interrupt, code := serve(dsn + "_nowhere")
	defer interrupt()
	testkit.Equal(t, "exit code", <-code, exitError)
	if log := stderr.String(); !strings.Contains(log, "_nowhere") || strings.Count(log, "\n") != 1 || strings.Contains(log, clickHousePassword) {
		t.Errorf("the log is\n%s", log)
	}
}

// Of a URL, the program shows where ClickHouse is.
func TestClickHousePlace(t *testing.T) {
	for dsn, want := range map[string]string{
		"clickhouse://shop:a@b:c/d@one:9000,two:9000/otel?password=secret&secure=true": "clickhouse://one:9000,two:9000/otel",
		"http://one:8123/otel": "http://one:8123/otel",
	} {
		testkit.Equal(t, dsn, (&clickHouseOptions{dsn: dsn}).place(), want)
	}
}

// A URL that is none is not repeated with its password.
func TestClickHouseBadURL(t *testing.T) {
	for _, dsn := range []string{"clickhouse://shop:" + clickHousePassword + "@host:port/otel", "clickhouse://shop:" + clickHousePassword + "#x@host:9000/otel", "'clickhouse://shop:" + clickHousePassword + "@host:9000/otel'", "shop:" + clickHousePassword + "@host"} {
		t.Setenv("DENDRO_CLICKHOUSE", dsn)
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0"}, t.Output(), &stderr)
		if code == exitOK || stderr.Len() == 0 || strings.Contains(stderr.String(), clickHousePassword) {
			t.Errorf("%s: exit code %d, %s", dsn, code, &stderr)
		}
	}
}

// The password comes from a file, without the end of its line.
func TestClickHousePasswordFile(t *testing.T) {
	refused := func(name string, clickHouse string) string {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0", "-clickhouse", clickHouse, "-clickhouse-password-file", name}, t.Output(), &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		return stderr.String()
	}
	var password atomic.Value
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		password.Store(given)
		http.Error(w, "Code: 516. DB::Exception: shop: Authentication failed. (AUTHENTICATION_FAILED)", http.StatusForbidden)
	}))
	defer engine.Close()
	clickHouse := "http://shop@" + engine.Listener.Addr().String() + "/otel"
	if log := refused(file(t, clickHousePassword+"\r\n"), clickHouse); !strings.Contains(log, "AUTHENTICATION_FAILED") || strings.Contains(log, clickHousePassword) {
		t.Errorf("the log is\n%s", log)
	}
	testkit.Equal(t, "password", password.Load(), any(clickHousePassword))
	if log := refused(file(t, "\n"), clickHouse); !strings.Contains(log, "has no password") {
		t.Errorf("the log is\n%s", log)
	}
	if log := refused("nowhere", clickHouse); !strings.Contains(log, "open nowhere") {
		t.Errorf("the log is\n%s", log)
	}
}

// Requests that wait for ClickHouse take memory, so there is more, and fewer bodies may be under way.
func TestClickHouseMemory(t *testing.T) {
	o, err := parseServe([]string{"-clickhouse", "clickhouse://host/otel"}, t.Output())
	testkit.NoError(t, err)
	testkit.Equal(t, "memory and bodies under way", []int64{int64(o.memory), o.receive.MaxInFlightBytes}, []int64{512 << 20, 32 << 20})
	o, err = parseServe([]string{"-clickhouse", "clickhouse://host/otel", "-memory", "256MiB", "-max-in-flight", "5MiB"}, t.Output())
	testkit.NoError(t, err)
	testkit.Equal(t, "memory and bodies under way", []int64{int64(o.memory), o.receive.MaxInFlightBytes}, []int64{256 << 20, 5 << 20})
}
