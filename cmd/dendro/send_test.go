package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/klauspost/compress/zstd"
)

// receiver is a collector that a command sends to.
type receiver struct {
	url   string
	store *memory.Store
}

// newReceiver starts a collector. before, if it is not nil, may answer a request instead.
func newReceiver(t *testing.T, before func(w http.ResponseWriter, r *http.Request) bool) receiver {
	t.Helper()
	store := memory.New(memory.Options{})
	h := server.New(store, server.Options{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return receiver{s.URL, store}
}

func (r receiver) stats(t *testing.T) collector.Stats {
	t.Helper()
	s, err := r.store.Stats(context.Background())
	testkit.NoError(t, err)
	return s
}

// traceOf returns a batch with n spans of the trace with a number.
func traceOf(trace, n int) *dendro.Batch {
	b := &dendro.Batch{Resource: &dendro.Resource{}}
	scope := &dendro.Scope{}
	for i := range n {
		s := &dendro.SpanData{Name: "work", Scope: scope, Start: time.Now().UnixNano(), End: time.Now().UnixNano()}
		binary.BigEndian.PutUint64(s.TraceID[8:], uint64(trace))
		binary.BigEndian.PutUint64(s.SpanID[:], uint64(i+1))
		b.Spans = append(b.Spans, s)
	}
	return b
}

func gzipped(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, data := range parts {
		z := gzip.NewWriter(&out)
		_, err := z.Write(data)
		testkit.NoError(t, err)
		testkit.NoError(t, z.Close())
	}
	return out.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	testkit.NoError(t, err)
	defer z.Close()
	return z.EncodeAll(data, nil)
}

// framedMessages has the size of each message before it.
func framedMessages(messages ...[]byte) (out []byte) {
	for _, m := range messages {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(m))), m...)
	}
	return out
}

// Files of every format and compression arrive whole.
func TestSend(t *testing.T) {
	testkit.NoLeaks(t)
	jaeger, err := os.ReadFile("../../collector/jaeger/testdata/trace.json")
	testkit.NoError(t, err)
	zipkin, err := os.ReadFile("../../collector/zipkin/testdata/trace.json")
	testkit.NoError(t, err)
	var lines, messages []byte
	for n := 1; n <= 100; n++ {
		lines = append(otlp.AppendTracesJSON(lines, traceOf(n, 20)), '\n')
		messages = otlp.AppendTraces(messages, traceOf(n, 20))
	}
	one := otlp.AppendTraces(nil, traceOf(101, 1))
	for name, test := range map[string]struct {
		file  []byte
		spans int
	}{
		"lines":                  {lines, 2000},
		"lines, gzip":            {gzipped(t, lines[:len(lines)/2], lines[len(lines)/2:]), 2000},
		"lines, zstd":            {zstandard(t, lines), 2000},
		"protobuf":               {messages, 2000},
		"protobuf, zstd":         {zstandard(t, messages), 2000},
		"one trace":              {otlp.AppendTracesJSON(nil, traceOf(1, 3000)), 3000},
		"of a collector":         {framedMessages(one, messages), 2001},
		"of a collector, zstd":   {framedMessages(zstandard(t, lines), zstandard(t, lines)), 2000},
		"Jaeger":                 {jaeger, 2},
		"Zipkin, gzip":           {gzipped(t, zipkin), 5},
		"a list without a trace": {[]byte("[]"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			to := newReceiver(t, nil)
			path := filepath.Join(t.TempDir(), "traces")
			testkit.NoError(t, os.WriteFile(path, test.file, 0o600))
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"send", "-otlp", to.url, path}, &stdout, &stderr)
			testkit.Equal(t, "exit code", code, exitOK)
			testkit.Equal(t, "spans", to.stats(t).Spans, test.spans)
			if got := stdout.String(); !strings.HasSuffix(got, " spans accepted, 0 rejected\n") || stderr.Len() > 0 {
				t.Errorf("stdout %q, stderr %q", got, stderr.String())
			}
		})
	}
}

// Standard input is a file like others, and several are sent one after the other.
func TestSendStandardInput(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]int{"in": 1, "other": 2} {
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, name), otlp.AppendTracesJSON(nil, traceOf(n, n)), 0o600))
	}
	in, err := os.Open(filepath.Join(dir, "in"))
	testkit.NoError(t, err)
	defer in.Close()
	before := os.Stdin
	defer func() { os.Stdin = before }()
	os.Stdin = in
	to := newReceiver(t, nil)
	var stdout bytes.Buffer
	code := run(t.Context(), []string{"send", "-otlp", to.url, "-", filepath.Join(dir, "other")}, &stdout, t.Output())
	testkit.Equal(t, "exit code", code, exitOK)
	testkit.Equal(t, "stdout", stdout.String(), "3 spans accepted, 0 rejected\n")
	testkit.Equal(t, "traces", to.stats(t).Traces, 2)
}

// A request has a bounded number of spans and bytes, whatever the documents of the file have.
func TestSendIsBounded(t *testing.T) {
	var largest, spans, requests atomic.Int64
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request) bool {
		var body bytes.Buffer
		_, err := body.ReadFrom(r.Body)
		batches, decodeErr := otlp.DecodeTraces(body.Bytes())
		if err != nil || decodeErr != nil {
			t.Errorf("%v, %v", err, decodeErr)
		}
		n := 0
		for _, b := range batches {
			n += len(b.Spans)
		}
		for _, m := range []struct {
			most *atomic.Int64
			n    int
		}{{&largest, body.Len()}, {&spans, n}} {
			for have := m.most.Load(); int64(m.n) > have && !m.most.CompareAndSwap(have, int64(m.n)); have = m.most.Load() {
			}
		}
		requests.Add(1)
		return true
	})
	var file []byte
	for n := range 2000 {
		file = otlp.AppendTraces(file, traceOf(n+1, 1))
	}
	large := traceOf(5000, 400)
	for _, s := range large.Spans {
		s.Name = strings.Repeat("x", 10_000)
	}
	file = otlp.AppendTraces(file, large, traceOf(6000, 3000))
	path := filepath.Join(t.TempDir(), "traces.pb")
	testkit.NoError(t, os.WriteFile(path, file, 0o600))
	code := run(t.Context(), []string{"send", "-otlp", to.url, path}, t.Output(), t.Output())
	testkit.Equal(t, "exit code", code, exitOK)
	testkit.Equal(t, "spans of a request", spans.Load(), int64(maxCopySpans))
	if n := largest.Load(); n > maxCopyBytes+4096 || n < maxCopyBytes*9/10 {
		t.Errorf("%d bytes in a request, want about %d", n, maxCopyBytes)
	}
	if n := requests.Load(); n > 5000/maxCopySpans+400*10_000/maxCopyBytes+5 {
		t.Errorf("%d requests are too many", n)
	}
}

// What a collector refuses for a while is sent again, and what it never takes is counted.
func TestSendIsRefused(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "traces.json")
	testkit.NoError(t, os.WriteFile(path, otlp.AppendTracesJSON(nil, traceOf(1, 3)), 0o600))
	broken := filepath.Join(t.TempDir(), "broken.json")
	testkit.NoError(t, os.WriteFile(broken, append(otlp.AppendTracesJSON(nil, traceOf(1, 3)), "\n{"...), 0o600))
	token := filepath.Join(t.TempDir(), "token")
	testkit.NoError(t, os.WriteFile(token, []byte("# of the shop\n\ns3cret\nother\n"), 0o600))
	var requests atomic.Int64
	refuse := func(status int, times int64) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if requests.Add(1) > times {
				return false
			}
			http.Error(w, "no", status)
			return true
		}
	}
	authorized := func(w http.ResponseWriter, r *http.Request) bool {
		if requests.Add(1); r.Header.Get("Authorization") == "Bearer s3cret" {
			return false
		}
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return true
	}
	for name, test := range map[string]struct {
		before         func(http.ResponseWriter, *http.Request) bool
		args           string
		env            string
		code           int
		requests       int64
		stdout, stderr string
	}{
		"busy":          {refuse(503, 1), path, "", exitOK, 2, "3 spans accepted, 0 rejected", ""},
		"rejected":      {refuse(400, 1), path, "", exitError, 1, "0 spans accepted, 3 rejected (400 Bad Request: no)", ""},
		"no token":      {authorized, path, "", exitError, 1, "0 spans accepted, 0 rejected", "401 Unauthorized: who are you?"},
		"token":         {authorized, "-token-file " + token + " " + path, "wrong", exitOK, 1, "3 spans accepted", ""},
		"variable":      {authorized, path, "s3cret", exitOK, 1, "3 spans accepted", ""},
		"no such token": {nil, "-token-file " + token + "2 " + path, "", exitError, 0, "", "no such file"},
		"bad token":     {nil, path, "two words", exitError, 0, "", "DENDRO_TOKEN: a token has no spaces"},
		"broken":        {refuse(0, 0), broken, "", exitError, 1, "3 spans accepted, 0 rejected", broken + ": it ends within a JSON value"},
		"no such file":  {refuse(0, 0), path + " " + path + "2", "", exitError, 0, "", "no such file"},
		"no file":       {nil, "", "", exitUsage, 0, "", "a file is missing"},
		"a wrong URL":   {nil, "-otlp localhost:4318 " + path, "", exitError, 0, "", "has no scheme"},
		"a late flag":   {nil, path + " -otlp http://127.0.0.1:1", "", exitUsage, 0, "", `unexpected argument "-otlp": put flags before the files`},
		"help":          {nil, "-help", "", exitOK, 0, "", "Usage: dendro send [flags] FILE…"},
		"a wrong flag":  {nil, "-colour", "", exitUsage, 0, "", "Usage:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DENDRO_TOKEN", test.env)
			requests.Store(0)
			to := newReceiver(t, test.before)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.url)
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"send"}, strings.Fields(test.args)...), &stdout, &stderr)
			testkit.Equal(t, "exit code", code, test.code)
			testkit.Equal(t, "requests", requests.Load(), test.requests)
			if got := stdout.String(); !strings.Contains(got, test.stdout) || got != "" && test.stdout == "" {
				t.Errorf("stdout %q, want %q", got, test.stdout)
			}
			if got := stderr.String(); !strings.Contains(got, test.stderr) || got != "" && test.stderr == "" {
				t.Errorf("stderr %q, want %q", got, test.stderr)
			}
		})
	}
}

// While it takes long, a line says how far it is. Ctrl-C ends it.
func TestSendProgress(t *testing.T) {
	testkit.NoLeaks(t)
	progressInterval = time.Millisecond
	defer func() { progressInterval = 2 * time.Second }()
	path := filepath.Join(t.TempDir(), "traces.json")
	data := otlp.AppendTracesJSON(nil, traceOf(1, 3))
	testkit.NoError(t, os.WriteFile(path, data, 0o600))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	to := newReceiver(t, func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = new(bytes.Buffer).ReadFrom(r.Body) // so that the server notices when the client goes
		<-r.Context().Done()
		return true
	})
	stderr := &awaited{want: fmt.Sprintf("%s: %d B of %[2]d B, 0 spans accepted, 0 rejected, 0 a second\n", path, len(data)), found: interrupt}
	var stdout bytes.Buffer
	code := run(ctx, []string{"send", "-otlp", to.url, path}, &stdout, stderr)
	testkit.Equal(t, "exit code", code, exitError)
	testkit.Equal(t, "stdout", stdout.String(), "0 spans accepted, 0 rejected\n")
	if got := stderr.text.String(); !strings.HasSuffix(got, "dendro send: interrupted\n") {
		t.Errorf("stderr %q", got)
	}
}

// While there is no collector, a line says so.
func TestSendWithoutCollector(t *testing.T) {
	testkit.NoLeaks(t)
	progressInterval = time.Millisecond
	defer func() { progressInterval = 2 * time.Second }()
	path := filepath.Join(t.TempDir(), "traces.json")
	testkit.NoError(t, os.WriteFile(path, otlp.AppendTracesJSON(nil, traceOf(1, 3)), 0o600))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stderr := &awaited{want: ", 1 × not answered (dial tcp 127.0.0.1:1: ", found: interrupt}
	testkit.Equal(t, "exit code", run(ctx, []string{"send", "-otlp", "http://127.0.0.1:1", path}, t.Output(), stderr), exitError)
}

// awaited calls found when want has been written.
type awaited struct {
	text  bytes.Buffer
	want  string
	found func()
}

func (a *awaited) Write(p []byte) (int, error) {
	n, err := a.text.Write(p)
	if strings.Contains(a.text.String(), a.want) {
		a.found()
	}
	return n, err
}
