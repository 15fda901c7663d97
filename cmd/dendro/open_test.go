package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/diagnostics"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// hangingShop is a program with a request that hangs in a function that it knows, until the test ends.
func hangingShop(t *testing.T, o diagnostics.Options) (addr, id string) {
	store := memory.New(memory.Options{})
	o.Operations = store
	d := diagnostics.New(o)
	tracer := dendro.New(dendro.Options{Service: "shop\x1b", Collector: store, Observer: d})
	server := httptest.NewServer(web.New(store, web.Options{Diagnostics: d}))
	end, done, started := make(chan struct{}), make(chan struct{}), make(chan dendro.TraceID)
	go func() {
		defer close(done)
		ctx, s := tracer.StartWith(context.Background(), "GET /hang", dendro.StartOptions{Kind: dendro.KindServer, Time: time.Now().Add(-time.Minute)})
		defer s.End()
		_, inner := tracer.Start(ctx, "SELECT items", slog.String("db.query.text", "SELECT\n1"))
		defer inner.End()
		started <- s.Context().TraceID
		waitForStock(end)
	}()
	t.Cleanup(func() {
		close(end)
		<-done
		server.Close()
	})
	return server.URL, (<-started).String()
}

func waitForStock(end chan struct{}) { <-end }

func TestOpen(t *testing.T) {
	testkit.NoLeaks(t)
	addr, id := hangingShop(t, diagnostics.Options{Open: true})
	open := func(ctx context.Context, args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = run(ctx, append([]string{"open"}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, out, errs := open(t.Context(), "-addr", addr)
	testkit.Equal(t, "exit code", code, exitOK)
	testkit.Equal(t, "stderr", errs, "")
	for _, want := range []string{"  1 open requests\n", id + "  shop \n", "  GET /hang       1m", "    SELECT items  ", "SELECT 1\n", "dendro.waitForStock\n        ", "open_test.go:"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, out, _ = open(t.Context(), "-addr", addr, "-trace", "77")
	if !strings.Contains(out, "  0 open requests\n") {
		t.Errorf("of another trace:\n%s", out)
	}
	var got diagnostics.OpenRequests
	_, out, _ = open(t.Context(), "-addr", addr, "-o", "json")
	testkit.NoError(t, json.Unmarshal([]byte(out), &got))
	testkit.Equal(t, "JSON", got.Requests[0].Spans[1].About, "SELECT\n1")

	other, _ := shop(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx    context.Context
		args   string
		code   int
		stderr string
	}{
		{t.Context(), "-addr " + other, exitError, "404 not found: this page is not that of a program"},
		{t.Context(), "-addr " + addr + " -trace x", exitError, `"x" is not a trace id`},
		{t.Context(), addr, exitUsage, "-addr has the URL of the page"},
		{t.Context(), "-watch -1s", exitUsage, "-watch -1s: want a time that is not negative"},
		{t.Context(), "-o xml", exitUsage, "want table or json"},
		{t.Context(), "-help", exitOK, "Usage: dendro open"},
		{ended, "-addr " + addr + " -watch 1s", exitOK, ""},
	} {
		code, _, errs := open(test.ctx, strings.Fields(test.args)...)
		testkit.Equal(t, test.args, code, test.code)
		if !strings.Contains(errs, test.stderr) {
			t.Errorf("%s: %s", test.args, errs)
		}
	}
}

// "dendro open -watch" prints again until it is interrupted.
func TestOpenWatch(t *testing.T) {
	asked := 0
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 3 {
			cancel()
		}
		_, _ = w.Write([]byte(`{"time":"2026-01-01T00:00:00Z","requests":[],"unknown":3,"problem":"no\u001bstacks","more":1}`))
	}))
	defer server.Close()
	var out, errs bytes.Buffer
	testkit.Equal(t, "exit code", run(ctx, []string{"open", "-addr", server.URL, "-watch", "1ms"}, &out, &errs), exitOK)
	if n := strings.Count(out.String(), "1 open requests, the first 0\n"); n < 2 { // the third may come as well
		t.Errorf("printed %d times", n)
	}
	for _, want := range []string{"3 open spans are not known", "no stacks"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in %s", want, errs.String())
		}
	}
}
