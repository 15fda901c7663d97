package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// shop returns a page with a trace that begins now, and its id.
func shop(t *testing.T) (addr, id string) {
	store := memory.New(memory.Options{})
	server := httptest.NewServer(web.New(store, web.Options{}))
	t.Cleanup(server.Close)
	start := time.Now().Truncate(time.Second).Add(-time.Second / 2).UnixNano() // far from the end of a step of a series
	of := func(span, parent byte, name string, from, took int64, attrs ...slog.Attr) *dendro.SpanData {
		s := &dendro.SpanData{Name: name, Start: start + from*1e6, End: start + (from+took)*1e6, Attributes: attrs}
		s.TraceID, s.SpanID = dendro.TraceID{15: 1}, dendro.SpanID{7: span}
		if parent > 0 {
			s.ParentID = dendro.SpanID{7: parent}
		}
		return s
	}
	root := of(1, 0, "GET /orders", 0, 20, slog.Int("n", 7))
	root.Kind, root.Status = dendro.KindServer, dendro.Status{Code: dendro.StatusError, Message: "no\x1b[31mway"}
	testkit.NoError(t, store.Collect(&dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}},
		Spans:    []*dendro.SpanData{root, of(2, 1, "SELECT orders", 2, 3), of(3, 1, "SELECT items", 6, 5), of(4, 3, "wait", 7, 1), of(5, 9, "lost", 8, 1)},
	}))
	return server.URL, "00000000000000000000000000000001"
}

func TestClient(t *testing.T) {
	addr, id := shop(t)
	for _, test := range []struct {
		args   []string
		code   int
		stdout []string
		stderr string
	}{
		{[]string{"query", "-since", "1h", `{ name =~ "SELECT.*" } | by(name) | select(kind)`}, exitOK,
			[]string{"TRACE ", id, "20ms", "shop GET /orders", "1 matched", "by(name)=SELECT items", "0000000000000003", "kind=internal"}, ""},
		{[]string{"query", "{ .absent = 1 }"}, exitOK, []string{"no trace matches"}, ""},
		{[]string{"query", "-o", "json", "{ }"}, exitOK, []string{`"traceID":"` + id + `"`}, ""},
		{[]string{"query", "{ name = }"}, exitError, nil, `q: 1:10: expected a value after "="`},
		{[]string{"query", "{", "}"}, exitUsage, nil, "put the query in quotes"},
		{[]string{"query", "-o", "xml", "{ }"}, exitUsage, nil, "want table or json"},
		{[]string{"query"}, exitUsage, nil, "an argument is missing"},
		{[]string{"query", "-since", "-1h", "{ }"}, exitUsage, nil, "-since -1h0m0s: want a time that is not negative"},
		{[]string{"query", "-limit", "1", "{ }"}, exitOK, []string{id}, "stopped at the limit of 1 traces; there may be more"},
		{[]string{"tail", "{"}, exitError, nil, "q: 1:2"},
		{[]string{"tail", "-help"}, exitOK, nil, "Example:"},
		{[]string{"query", "-help"}, exitOK, nil, "Example:"},
		{[]string{"metrics", "-since", "10m", "{ } | count_over_time() by(resource.service.name)"}, exitOK, []string{"SERIES", "resource.service.name=shop", "5 ", "█"}, ""},
		{[]string{"metrics", "-o", "json", "{ } | rate()"}, exitOK, []string{`"series":[`}, ""},
		{[]string{"metrics", "{ .absent = 1 } | rate()"}, exitOK, []string{"no span matches"}, ""},
		{[]string{"metrics", "{ }"}, exitError, nil, "not a metrics query"},
		{[]string{"trace", id}, exitOK, []string{"GET /orders      shop", "server", "error no [31mway", "\n  SELECT orders", "\n  SELECT items", "\n    wait", "\nlost"}, ""},
		{[]string{"trace", "-attributes", "1"}, exitOK, []string{"n=7"}, ""},
		{[]string{"trace", "2"}, exitError, nil, "no trace 00000000000000000000000000000002"},
		{[]string{"trace", "-addr", "http://127.0.0.1:1", "1"}, exitError, nil, "refused"},
		{[]string{"trace", "-addr", "127.0.0.1:8700", "1"}, exitUsage, nil, `-addr "127.0.0.1:8700": want a URL such as http://127.0.0.1:8700`},
	} {
		args := test.args
		if args[1:] != nil && len(args) > 1 && args[1] != "-addr" {
			args = append([]string{args[0], "-addr", addr}, args[1:]...)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, &stdout, &stderr)
		testkit.Equal(t, strings.Join(test.args, " ")+": exit code", code, test.code)
		for _, want := range test.stdout {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%q: stdout %q, want %q", test.args, stdout.String(), want)
			}
		}
		if got := stderr.String(); !strings.Contains(got, test.stderr) || got != "" && test.stderr == "" || stdout.Len() > 0 && test.stdout == nil {
			t.Errorf("%q: stderr %q, want %q; stdout %q", test.args, got, test.stderr, stdout.String())
		}
		if strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%q prints what controls a terminal", test.args)
		}
	}
}

// TestTail: "dendro tail" prints traces until it is interrupted.
func TestTail(t *testing.T) {
	for _, output := range []string{"table", "json"} {
		store := memory.New(memory.Options{})
		server := httptest.NewServer(web.New(store, web.Options{}))
		ctx, interrupt := context.WithCancel(t.Context())
		out, in := io.Pipe()
		code := make(chan int)
		var stderr bytes.Buffer
		go func() {
			got := run(ctx, []string{"tail", "-addr", server.URL, "-o", output, "{ }"}, in, &stderr)
			in.Close()
			code <- got
		}()
		collected := make(chan struct{})
		go func() { // a trace every now and then, as the tail opens at an unknown time
			defer close(collected)
			for n := byte(1); ctx.Err() == nil; n++ {
				now := time.Now().UnixNano()
				s := &dendro.SpanData{Name: "GET /\x1b[31m", Start: now, End: now + 1e6}
				s.TraceID, s.SpanID = dendro.TraceID{14: 9, 15: n}, dendro.SpanID{7: 1}
				_ = store.Collect(&dendro.Batch{Spans: []*dendro.SpanData{s}})
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		}()
		lines, found := bufio.NewScanner(out), ""
		for lines.Scan() {
			if found = lines.Text(); strings.Contains(found, "00000000000000000000000000000") {
				break
			}
		}
		interrupt()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		testkit.Equal(t, output+": exit code", <-code, exitOK)
		<-collected
		if !strings.Contains(found, "GET /") || strings.Contains(found, "\x1b") {
			t.Errorf("%s: %q; stderr %q", output, found, stderr.String())
		}
		server.Close()
	}
}

func TestSparkline(t *testing.T) {
	testkit.Equal(t, "line", sparkline(map[int64]float64{1000: 0, 2000: 5, 4000: 10}, 1000, 10), "▁▄ █")
	testkit.Equal(t, "zeros", sparkline(map[int64]float64{1000: 0}, 1000, 0), "▁")
	testkit.Equal(t, "nothing", sparkline(nil, 1000, 0), "")
}
