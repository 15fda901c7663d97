package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// exported returns the response of api/dendro/export, and the names of the spans in each line.
func exported(t *testing.T, server *httptest.Server, query string) (res page, lines [][]string, err error) {
	t.Helper()
	r, err := server.Client().Get(server.URL + "/api/dendro/export?" + query)
	testkit.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	res = page{r.Request.URL, r.StatusCode, r.Header, string(body)}
	if res.status != http.StatusOK {
		return res, nil, err
	}
	for line := range strings.Lines(res.body) {
		batches, err := otlp.DecodeTracesJSON([]byte(line))
		testkit.NoError(t, err)
		var names []string
		for _, b := range batches {
			for _, s := range b.Spans {
				names = append(names, s.Name)
			}
		}
		lines = append(lines, names)
	}
	return res, lines, err
}

// An export has the traces that a query selects, with all of their spans.
func TestExportOfAll(t *testing.T) {
	store := &fakeStore{}
	server := serve(t, store, web.Options{})
	res, lines, err := exported(t, server, "")
	testkit.Equal(t, "nothing", []any{res.status, res.header.Get("Content-Type"), len(lines), err}, []any{200, "application/x-ndjson", 0, error(nil)})

	store.add(span(1, 1, 0, "shop", "GET /", 0, 5), span(1, 2, 1, "stock", "count", 1, 2))
	store.add(span(2, 1, 0, "shop", "POST /", 60_000, 60_005))
	large := make([]collector.Span, 2500)
	for i := range large {
		large[i] = span(3, byte(i), 0, "shop", "work", 120_000, 120_001)
		large[i].SpanID[6] = byte(i>>8) + 1
	}
	store.add(large...)
	all := func(n int) []string { return strings.Fields(strings.Repeat("work ", n)) }
	for query, want := range map[string][][]string{
		"": {all(1000), all(1000), all(500), {"POST /"}, {"GET /", "count"}},
		"q=" + url.QueryEscape(`{ name = "count" }`): {{"GET /", "count"}},
		"limit=1&end=" + fmt.Sprint(base/1e9+61):     {{"POST /"}, {"GET /", "count"}},
		"start=" + fmt.Sprint(base/1e9+60):           {all(1000), all(1000), all(500), {"POST /"}},
	} {
		_, lines, err := exported(t, server, query)
		testkit.NoError(t, err)
		testkit.Equal(t, query, lines, want)
		if !store.asked.AllAttributes || !store.asked.Details {
			t.Errorf("%s: not everything is asked for: %+v", query, store.asked)
		}
	}
	res, _, _ = exported(t, server, "q={")
	testkit.Equal(t, "a wrong query", res.status, 400)
	head, err := server.Client().Head(server.URL + "/api/dendro/export")
	testkit.NoError(t, err)
	head.Body.Close()
	testkit.Equal(t, "HEAD", head.StatusCode, 200)
	other := serve(t, store, web.Options{Authorize: func(*http.Request) bool { return false }})
	res, _, _ = exported(t, other, "")
	testkit.Equal(t, "somebody else", res.status, 403)
}

// brokenStore fails after some traces.
type brokenStore struct {
	fakeStore
	traces int
}

func (b *brokenStore) Scan(ctx context.Context, s collector.Scan, visit func(*collector.Trace) bool) error {
	err := b.fakeStore.Scan(ctx, s, func(t *collector.Trace) bool {
		b.traces--
		return b.traces >= 0 && visit(t)
	})
	if b.traces < 0 {
		return errors.New("no such \"block\"")
	}
	return err
}

// A client notices that an export has failed, and why.
func TestExportFails(t *testing.T) {
	store := &brokenStore{}
	for range 3 {
		store.add(span(1, 1, 0, "shop", strings.Repeat("long ", 20_000), 0, 5))
	}
	server := serve(t, store, web.Options{})
	res, _, err := exported(t, server, "")
	testkit.NoError(t, err)
	testkit.Equal(t, "before the first trace", []any{res.status, res.body}, []any{500, "no such \"block\"\n"})
	store.traces = 2
	res, lines, err := exported(t, server, "")
	if err == nil || len(lines) != 3 || !strings.HasSuffix(res.body, "\n"+`{"error":"no such \"block\""}`+"\n") {
		t.Errorf("after two traces: %d lines, %v, status %d", len(lines), err, res.status)
	}
}

// An export may take longer than the timeouts of the server.
func TestExportTakesLong(t *testing.T) {
	store := &slowStore{}
	for n := range 3 {
		store.add(span(byte(n+1), 1, 0, "shop", strings.Repeat("long ", 20_000), 0, 5))
	}
	server := httptest.NewUnstartedServer(web.New(store, web.Options{}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 20*time.Millisecond, 20*time.Millisecond
	server.Start()
	defer server.Close()
	_, lines, err := exported(t, server, "")
	testkit.NoError(t, err)
	testkit.Equal(t, "traces", len(lines), 3)
}

// slowStore takes longer for a trace than the server for a request.
type slowStore struct{ fakeStore }

func (s *slowStore) Scan(ctx context.Context, q collector.Scan, visit func(*collector.Trace) bool) error {
	return s.fakeStore.Scan(ctx, q, func(t *collector.Trace) bool {
		<-time.After(30 * time.Millisecond)
		return visit(t)
	})
}
