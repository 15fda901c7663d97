package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
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

// TestServe sends a span, finds it, and stops the server.
func TestServe(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, write := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "-otlp", "127.0.0.1:0", "-web", "127.0.0.1:0", "-memory", "48MiB"}, write, t.Output())
		write.Close()
	}()
	out := readUntil(t, stdout, "Ctrl-C ends.\n")
	otlp := regexp.MustCompile(`http://\S+/v1/traces`).FindString(out)
	page := regexp.MustCompile(`shows +(http://\S+)/`).FindStringSubmatch(out)[1]
	if !strings.Contains(out, "48MiB, of which 12 MiB for the store") || !strings.Contains(out, "OTEL_EXPORTER_OTLP_ENDPOINT="+strings.TrimSuffix(otlp, "/v1/traces")) {
		t.Errorf("the start says %q", out)
	}

	res, err := user.Post(otlp, "application/json", strings.NewReader(span))
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "status of the receiver", res.StatusCode, http.StatusOK)

	var found struct {
		Traces []struct{ TraceID, RootServiceName, RootTraceName string }
	}
	for deadline := time.Now().Add(10 * time.Second); len(found.Traces) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the span was not found")
		}
		res, err := user.Get(page + "/api/search")
		testkit.NoError(t, err)
		err = json.NewDecoder(res.Body).Decode(&found)
		res.Body.Close()
		testkit.NoError(t, err)
	}
	testkit.Equal(t, "service", found.Traces[0].RootServiceName, "shop")
	testkit.Equal(t, "name", found.Traces[0].RootTraceName, "GET /")

	cancel()
	rest, err := io.ReadAll(stdout)
	testkit.NoError(t, err)
	testkit.Equal(t, "last line", string(rest), "received 1 spans, held 1 in 1 traces, dropped 0\n")
	testkit.Equal(t, "exit code", <-code, exitOK)
}

func readUntil(t *testing.T, r io.Reader, end string) string {
	t.Helper()
	var out bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.HasSuffix(out.String(), end) {
		n, err := r.Read(buf)
		testkit.NoError(t, err)
		out.Write(buf[:n])
	}
	return out.String()
}

func TestPortTaken(t *testing.T) {
	testkit.NoLeaks(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.NoError(t, err)
	defer taken.Close()
	for _, test := range []struct{ flag, other string }{{"-otlp", "-web"}, {"-web", "-otlp"}} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"serve", test.flag, taken.Addr().String(), test.other, "127.0.0.1:0"}, &stdout, &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		testkit.Equal(t, "stdout", stdout.String(), "")
		for _, want := range []string{taken.Addr().String(), test.flag + " host:port"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q is not in %q", want, stderr.String())
			}
		}
	}
}

func TestWarnsOfOtherMachines(t *testing.T) {
	var out bytes.Buffer
	greet(&out, 1<<30, 1<<29, &net.TCPAddr{IP: net.IPv4zero, Port: 4318}, &net.TCPAddr{IP: net.IPv4zero, Port: 8700})
	testkit.Equal(t, "warnings", strings.Count(out.String(), "Warning:"), 2)
	if !strings.Contains(out.String(), "http://localhost:8700/") { // http://0.0.0.0:8700/ is forbidden
		t.Errorf("no URL that the page answers to in\n%s", out.String())
	}
	out.Reset()
	greet(&out, 1<<30, 1<<29, &net.TCPAddr{IP: net.IPv6loopback, Port: 4318}, &net.TCPAddr{IP: net.IPv6loopback, Port: 8700})
	testkit.Equal(t, "warnings on loopback", strings.Count(out.String(), "Warning:"), 0)
}

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", exitUsage, "", "Usage:"},
		{"help", exitOK, "Usage:", ""},
		{"--help", exitOK, "Usage:", ""},
		{"version", exitOK, "dendro " + dendro.Version, ""},
		{"sreve", exitUsage, "", `unknown command "sreve"`},
		{"serve -help", exitOK, "", "-memory size"},
		{"serve -colour", exitUsage, "", "-memory size"},
		{"serve now", exitUsage, "", `unexpected argument "now"`},
		{"serve -memory 1MB", exitUsage, "", "want a size such as"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), &stdout, &stderr)
		testkit.Equal(t, "exit code of "+test.args, code, test.code)
		if got := stdout.String(); !strings.Contains(got, test.stdout) || got != "" && test.stdout == "" {
			t.Errorf("%s: stdout %q, want %q", test.args, got, test.stdout)
		}
		if got := stderr.String(); !strings.Contains(got, test.stderr) || got != "" && test.stderr == "" {
			t.Errorf("%s: stderr %q, want %q", test.args, got, test.stderr)
		}
	}
}
