package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// user sends requests and keeps no connection.
var user = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

const span = `{"resourceSpans":[{
	"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
	"scopeSpans":[{"spans":[{
		"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
		"name":"GET /","kind":2,
		"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000"}]}]}]}`

// running is "dendro serve" in this process.
type running struct {
	t               *testing.T
	otlp, grpc, web string // URLs
	greeting        string
	stderr          *lockedBuffer
	interrupt       context.CancelFunc
	rest            chan string // what stdout has after the greeting
	code            chan int
}

// start runs "dendro serve" with free ports. At the end of the test it is interrupted, if it was not
// before.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, write := io.Pipe()
	s := &running{t: t, stderr: &lockedBuffer{}, interrupt: cancel, rest: make(chan string, 1), code: make(chan int, 1)}
	go func() {
		s.code <- run(ctx, append([]string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "127.0.0.1:0", "-web", "127.0.0.1:0", "-memory", "56MiB"}, args...), write, s.stderr)
		write.Close()
	}()
	out := bufio.NewReader(stdout)
	for !strings.HasSuffix(s.greeting, "Ctrl-C ends.\n") {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("dendro serve %q: %s", args, s.stderr)
		}
		s.greeting += line
	}
	find := func(pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(s.greeting); m != nil {
			return m[1]
		}
		return ""
	}
	s.otlp, s.grpc, s.web = find(`(https?://\S+)/v1/traces`), find(`(https?://\S+)  \(OTLP/gRPC\)`), find(`shows +(https?://\S+)/`)
	go func() {
		rest, _ := io.ReadAll(out)
		s.rest <- string(rest)
	}()
	t.Cleanup(func() {
		cancel()
		for range s.code { // closed by stop, or has the code
			break
		}
	})
	return s
}

// stop interrupts the program and returns what it prints last.
func (s *running) stop() string {
	s.t.Helper()
	s.interrupt()
	testkit.Equal(s.t, "exit code", <-s.code, exitOK)
	close(s.code)
	return <-s.rest
}

// lockedBuffer is a buffer that is read while a program writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor waits until condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// ask sends a request and returns the status and the body. A body makes it a POST.
func ask(t *testing.T, c *http.Client, to, token, body string) (int, string) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	testkit.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(r)
	testkit.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	return res.StatusCode, string(data)
}

func status(t *testing.T, c *http.Client, to, token, body string) int {
	t.Helper()
	code, _ := ask(t, c, to, token, body)
	return code
}

// file writes a file that only the user can read, and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	testkit.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// TestServe sends a span, finds it, and stops the server.
func TestServe(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t)
	for _, want := range []string{"56MiB, of which 8 MiB for the store", "OTEL_EXPORTER_OTLP_ENDPOINT=" + s.otlp} {
		if !strings.Contains(s.greeting, want) {
			t.Errorf("%q is not in %q", want, s.greeting)
		}
	}
	testkit.Equal(t, "status of the receiver", status(t, user, s.otlp+"/v1/traces", "", span), http.StatusOK)
	var found struct {
		Traces []struct{ TraceID, RootServiceName, RootTraceName string }
	}
	waitFor(t, "the span", func() bool {
		_, body := ask(t, user, s.web+"/api/search", "", "")
		testkit.NoError(t, json.Unmarshal([]byte(body), &found))
		return len(found.Traces) > 0
	})
	testkit.Equal(t, "service", found.Traces[0].RootServiceName, "shop")
	testkit.Equal(t, "name", found.Traces[0].RootTraceName, "GET /")
	testkit.Equal(t, "last line", s.stop(), "received 1 spans, held 1 in 1 traces, dropped 0\n")
}

func TestPortTaken(t *testing.T) {
	testkit.NoLeaks(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	defer taken.Close()
	flags := []string{"-otlp", "-otlp-grpc", "-web"}
	for _, name := range flags {
		args := []string{"serve"}
		for _, other := range flags {
			args = append(args, other, "127.0.0.1:0")
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append(args, name, taken.Addr().String()), &stdout, &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		testkit.Equal(t, "stdout", stdout.String(), "")
		for _, want := range []string{taken.Addr().String(), name + " host:port"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q is not in %q", want, stderr.String())
			}
		}
	}
}

// An address that is empty is not listened to.
func TestAddressesOff(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-otlp", "", "-web", "")
	testkit.Equal(t, "addresses", []string{s.otlp, s.web}, []string{"", ""})
	if s.grpc == "" || !strings.Contains(s.greeting, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc") {
		t.Errorf("the start says %q", s.greeting)
	}
	s.stop()
}

// fixed is a listener with an address.
type fixed struct {
	net.Listener
	net.IP
}

func (f fixed) Addr() net.Addr { return &net.TCPAddr{IP: f.IP, Port: 8700} }

func TestWarnsOfOtherMachines(t *testing.T) {
	tokens := file(t, "writer-0123456789abcdef")
	for _, test := range []struct {
		ip       net.IP
		options  serveOptions
		tls      bool
		warnings []string // of otlp and web
	}{
		{net.IPv4zero, serveOptions{}, false, []string{"whoever reaches 0.0.0.0:8700 can send spans", "the page answers this one only"}},
		{net.IPv6loopback, serveOptions{}, false, nil},
		{net.IPv4zero, serveOptions{tokenFile: tokens, webTokenFile: tokens}, false, []string{"unencrypted", "unencrypted"}},
		{net.IPv4zero, serveOptions{tokenFile: tokens}, true, []string{"the page answers this one only"}},
		{net.IPv4zero, serveOptions{tokenFile: tokens, webTokenFile: tokens}, true, nil},
		{net.IPv4zero, serveOptions{tls: certificateFiles{clientCA: "x"}}, true, nil},
	} {
		a, err := openAccess(test.options, slog.New(slog.DiscardHandler))
		testkit.NoError(t, err)
		if test.tls {
			a.certificates = &certificates{}
		}
		e := &endpoint{scheme: "http", listener: &limitedListener{Listener: fixed{IP: test.ip}}}
		web := &endpoint{scheme: "http", listener: e.listener}
		var out bytes.Buffer
		greet(&out, "", a, e, &endpoint{}, web)
		_, warnings, _ := strings.Cut(out.String(), "Ctrl-C ends.\n")
		testkit.Equal(t, "warnings", strings.Count(warnings, "Warning:"), len(test.warnings))
		for i, line := range strings.SplitAfter(warnings, "\n")[:len(test.warnings)] {
			if !strings.Contains(line, test.warnings[i]) {
				t.Errorf("%+v: %q", test, line)
			}
		}
		if test.ip.IsUnspecified() && !strings.Contains(out.String(), "http://localhost:8700/") { // http://0.0.0.0:8700/ is forbidden
			t.Errorf("no URL that the page answers to in\n%s", out.String())
		}
	}
}

// Who has a token may do what it is for, and nothing else.
func TestTokens(t *testing.T) {
	testkit.NoLeaks(t)
	const writer, reader = "writer-0123456789abcdef", "reader-0123456789abcdef"
	tokens := file(t, "# services\n"+writer+"\n")
	s := start(t, "-token-file", tokens, "-web-token-file", file(t, reader))
	for _, test := range []struct {
		token              string
		send, search, page int
	}{
		{"", 401, 401, 401},
		{writer, 200, 401, 401},
		{reader, 401, 200, 200},
		{writer + "x", 401, 401, 401},
	} {
		testkit.Equal(t, test.token+": send", status(t, user, s.otlp+"/v1/traces", test.token, span), test.send)
		testkit.Equal(t, test.token+": search", status(t, user, s.web+"/api/search", test.token, ""), test.search)
		testkit.Equal(t, test.token+": page", status(t, user, s.web+"/", test.token, ""), test.page)
		testkit.Equal(t, test.token+": metrics", status(t, user, s.web+"/metrics", test.token, ""), test.search)
		testkit.Equal(t, test.token+": healthz", status(t, user, s.web+"/healthz", test.token, ""), 200)
		testkit.Equal(t, test.token+": readyz", status(t, user, s.web+"/readyz", test.token, ""), 200)
	}
	_, metrics := ask(t, user, s.web+"/metrics", reader, "")
	hasMetrics(t, metrics, `dendro_unauthorized_requests_total{scope="write"} 3`, "dendro_store_accepted_spans_total 1")

	// gRPC has its own way to say so.
	h2 := plainHTTP2(t)
	for token, want := range map[string]string{"": "16", reader: "16", writer: "0"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.grpc+"/opentelemetry.proto.collector.trace.v1.TraceService/Export", strings.NewReader("\x00\x00\x00\x00\x00"))
		testkit.NoError(t, err)
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := h2.Do(r)
		testkit.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		testkit.NoError(t, err)
		res.Body.Close()
		testkit.Equal(t, "HTTP", []any{res.StatusCode, res.ProtoMajor}, []any{200, 2})
		testkit.Equal(t, token+": status of gRPC", res.Header.Get("Grpc-Status")+res.Trailer.Get("Grpc-Status"), want)
	}
	h2.CloseIdleConnections()

	// A token that is taken out of the file is refused after SIGHUP.
	if runtime.GOOS == "windows" {
		return
	}
	const next = "next-writer-0123456789"
	testkit.NoError(t, os.WriteFile(tokens, []byte(next), 0o644))
	hangUp(t)
	waitFor(t, "the new token", func() bool { return status(t, user, s.otlp+"/v1/traces", next, span) == 200 })
	testkit.Equal(t, "the old token", status(t, user, s.otlp+"/v1/traces", writer, span), 401)
	testkit.NoError(t, os.WriteFile(tokens, nil, 0o600))
	hangUp(t)
	waitFor(t, "an error in the log", func() bool { return strings.Contains(s.stderr.String(), "there is no token in it") })
	testkit.Equal(t, "a token, after an invalid file", status(t, user, s.otlp+"/v1/traces", next, span), 200)
	s.stop()
}

// SIGHUP, which "systemctl reload" sends, ends no program that has no files to read again.
func TestHangUpWithoutFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	s := start(t)
	hangUp(t)
	waitFor(t, "a line in the log", func() bool { return strings.Contains(s.stderr.String(), "no files with tokens") })
	testkit.Equal(t, "ready", status(t, http.DefaultClient, s.web+"/readyz", "", ""), 200)
	s.stop()
}

// hangUp sends SIGHUP to this process.
func hangUp(t *testing.T) {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	testkit.NoError(t, err)
	testkit.NoError(t, self.Signal(syscall.SIGHUP))
}

// plainHTTP2 returns a client that speaks HTTP/2 without TLS, as gRPC does.
func plainHTTP2(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func hasMetrics(t *testing.T, metrics string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains("\n"+metrics, "\n"+want) {
			name, _, _ := strings.Cut(want, " ")
			t.Errorf("%q is not in %q", want, regexp.MustCompile(regexp.QuoteMeta(name)+".*").FindAllString(metrics, -1))
		}
	}
}

func TestMetrics(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-max-connections", "7")
	for range 2 {
		testkit.Equal(t, "send", status(t, user, s.otlp+"/v1/traces", "", span), 200)
	}
	testkit.Equal(t, "send what is not OTLP", status(t, user, s.otlp+"/v1/traces", "", "["), 400)
	testkit.Equal(t, "search", status(t, user, s.web+"/api/search", "", ""), 200)
	testkit.Equal(t, "page", status(t, user, s.web+"/", "", ""), 200)
	code, metrics := ask(t, user, s.web+"/metrics", "", "")
	testkit.Equal(t, "status", code, 200)
	hasMetrics(t, metrics,
		`dendro_requests_total{protocol="otlp_http_json"} 3`, `dendro_refused_requests_total{protocol="otlp_http_json",reason="invalid"} 1`,
		`dendro_received_spans_total{protocol="otlp_http_json"} 2`, `dendro_stored_spans_total{protocol="otlp_http_json"} 2`,
		`dendro_rejected_spans_total{protocol="otlp_grpc",reason="rejected"} 0`, `dendro_limited_total{protocol="zipkin_json",what="texts"} 0`, "dendro_in_flight_bytes 0",
		"dendro_store_accepted_spans_total 1", "dendro_store_duplicate_spans_total 1", "dendro_store_spans 1", "dendro_store_traces 1",
		"dendro_store_bytes ", "dendro_store_limit_bytes 8.388608e+06", "dendro_operations 0", "dendro_operations_late_spans_total 1",
		`dendro_connections{address="web"} `, `dendro_connections_limit{address="otlp"} 7`, `dendro_connections_refused_total{address="otlp-grpc"} 0`,
		`dendro_http_request_duration_seconds_count{path="/api/search"} 1`, `dendro_http_request_duration_seconds_count{path="/"} 1`,
		"dendro_build_info{", "go_goroutines ", "go_memstats_heap_alloc_bytes ")
	if runtime.GOOS == "linux" {
		hasMetrics(t, metrics, "process_resident_memory_bytes ")
	}
	// Without tokens, other machines cannot read it.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.web+"/metrics", nil)
	testkit.NoError(t, err)
	r.Host = "traces.example"
	res, err := user.Do(r)
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "status for another machine", res.StatusCode, http.StatusForbidden)
	s.stop()
}

// The flags for what is received reach the receiver. A browser that asks whether its script may send
// has no token yet.
func TestLimits(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-max-body", "100B", "-cors-origin", "HTTPS://Shop.example.com:443", "-token-file", file(t, "writer-0123456789abcdef"))
	testkit.Equal(t, "status of a large body", status(t, user, s.otlp+"/v1/traces", "writer-0123456789abcdef", span), 413)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.otlp+"/v1/traces", nil)
	testkit.NoError(t, err)
	r.Header.Set("Origin", "https://shop.example.com")
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	res, err := user.Do(r)
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "preflight", []any{res.StatusCode, res.Header.Get("Access-Control-Allow-Origin")}, []any{204, "https://shop.example.com"})
	s.stop()
}

// With little -memory, the bodies under way are bounded to what is left beside the store.
func TestInFlight(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-memory", "56MiB", "-max-body", "1MiB", "-shutdown-timeout", "1ms")
	to, err := url.Parse(s.otlp)
	testkit.NoError(t, err)
	part := strings.Repeat(" ", 1e6)
	for range 7 { // of an eighth of 56 MiB
		c, err := net.Dial("tcp", to.Host)
		testkit.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(part)+1, part)
	}
	waitFor(t, "seven bodies", func() bool {
		_, metrics := ask(t, user, s.web+"/metrics", "", "")
		return strings.Contains(metrics, "dendro_in_flight_bytes 7.028672e+06\n") // and 4 KiB for each
	})
	testkit.Equal(t, "status of another body", status(t, user, s.otlp+"/v1/traces", "", part), http.StatusTooManyRequests)
	testkit.Equal(t, "status of a small one", status(t, user, s.otlp+"/v1/traces", "", span), http.StatusOK)
	s.stop()
}

// When the program is interrupted, it is not ready any more, takes no new requests, and lets
// those that have begun go on.
func TestDrain(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t)
	to, err := url.Parse(s.otlp)
	testkit.NoError(t, err)
	slow, err := net.Dial("tcp", to.Host)
	testkit.NoError(t, err)
	defer slow.Close()
	half := len(span) / 2
	fmt.Fprintf(slow, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(span), span[:half])
	waitFor(t, "the request to begin", func() bool {
		_, metrics := ask(t, user, s.web+"/metrics", "", "")
		return strings.Contains(metrics, `dendro_connections{address="otlp"} 1`)
	})
	testkit.Equal(t, "ready", status(t, user, s.web+"/readyz", "", ""), 200)

	s.interrupt()
	waitFor(t, "readyz to say no", func() bool { return status(t, user, s.web+"/readyz", "", "") == 503 })
	testkit.Equal(t, "alive", status(t, user, s.web+"/healthz", "", ""), 200)
	waitFor(t, "the receiver to stop listening", func() bool {
		c, err := net.Dial("tcp", to.Host)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	fmt.Fprint(slow, span[half:])
	res, err := http.ReadResponse(bufio.NewReader(slow), nil)
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "status of the open request", res.StatusCode, 200)
	testkit.Equal(t, "last line", s.stop(), "received 1 spans, held 1 in 1 traces, dropped 0\n")
}

// A live tail does not keep the program from ending.
func TestTailEnds(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-shutdown-timeout", "20s") // user waits longer
	res, err := user.Get(s.web + "/api/dendro/tail?q=%7B%7D")
	testkit.NoError(t, err)
	defer res.Body.Close()
	testkit.Equal(t, "status", res.StatusCode, 200)
	s.stop()
	testkit.Equal(t, "cut off", strings.Contains(s.stderr.String(), "did not end in time"), false)
}

// A request that does not end is cut off after -shutdown-timeout.
func TestShutdownTimeout(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-shutdown-timeout", "1ms", "-log-format", "json")
	to, err := url.Parse(s.otlp)
	testkit.NoError(t, err)
	stuck, err := net.Dial("tcp", to.Host)
	testkit.NoError(t, err)
	defer stuck.Close()
	fmt.Fprint(stuck, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
	waitFor(t, "the request to begin", func() bool {
		_, metrics := ask(t, user, s.web+"/metrics", "", "")
		return strings.Contains(metrics, `dendro_connections{address="otlp"} 1`)
	})
	s.stop()
	found := false
	for line := range strings.Lines(s.stderr.String()) {
		var entry struct{ Level, Msg string }
		testkit.NoError(t, json.Unmarshal([]byte(line), &entry))
		found = found || entry.Level == "WARN" && entry.Msg == "open requests did not end in time"
	}
	testkit.Equal(t, "logged as JSON", found, true)
}

// Connections above the limit are closed and counted.
func TestMaxConnections(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-max-connections", "1")
	to, err := url.Parse(s.otlp)
	testkit.NoError(t, err)
	first, err := net.Dial("tcp", to.Host)
	testkit.NoError(t, err)
	second, err := net.Dial("tcp", to.Host)
	testkit.NoError(t, err)
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a connection above the limit was served")
	}
	_, metrics := ask(t, user, s.web+"/metrics", "", "")
	hasMetrics(t, metrics, `dendro_connections{address="otlp"} 1`, `dendro_connections_refused_total{address="otlp"} 1`)
	first.Close()
	waitFor(t, "room for another", func() bool {
		res, err := user.Post(s.otlp+"/v1/traces", "application/json", strings.NewReader(span))
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	})
	s.stop()
}
