package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestKeepRequests(t *testing.T) {
	hub, err := keep.NewHub(keep.HubOptions{})
	testkit.NoError(t, err)
	store := memory.New(memory.Options{})
	h := server.New(store, server.Options{Keep: hub})
	const valid = `{"service":"shop","instance":"a","keep":[{"traceId":"01000000000000000000000000000000","reason":"error"}],"report":{"ringAge":1000}}`
	for _, c := range []struct {
		handler                         http.Handler
		method, path, contentType, body string
		status                          int
	}{
		{h, "POST", "/v1/dendro/keep", "application/json", valid, http.StatusNoContent},
		{h, "POST", "/prefix/v1/dendro/keep", "application/json; charset=utf-8", valid, http.StatusNoContent},
		{h, "POST", "/v1/dendro/keep", "text/plain", valid, http.StatusUnsupportedMediaType},
		{h, "POST", "/v1/dendro/keep", "application/json", `{"instance":"a","keep":[{"traceId":"x"}]}`, http.StatusBadRequest},
		{h, "POST", "/v1/dendro/keep", "application/json", `{}`, http.StatusBadRequest},
		{h, "POST", "/v1/dendro/keep", "application/json", strings.Repeat(" ", keep.MaxMessageBytes+1), http.StatusRequestEntityTooLarge},
		{h, "PUT", "/v1/dendro/keep", "application/json", valid, http.StatusMethodNotAllowed},
		{h, "GET", "/v1/dendro/keep?wait=soon", "", "", http.StatusBadRequest},
		{h, "GET", "/v1/dendro/keep", "", "", http.StatusOK},
		{server.New(store, server.Options{}), "POST", "/v1/dendro/keep", "application/json", valid, http.StatusNotFound},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.contentType)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		testkit.Equal(t, c.method+" "+c.path+" "+c.contentType, w.Code, c.status)
	}
	counting := server.New(store, server.Options{Operations: store})
	snapshot := operations.New(operations.Options{}).TakeSnapshot(nil)
	for _, c := range []struct {
		handler                   http.Handler
		method, contentType, body string
		status                    int
	}{
		{counting, "POST", "application/octet-stream", string(snapshot), http.StatusNoContent},
		{counting, "POST", "application/octet-stream", "damaged", http.StatusBadRequest},
		{counting, "POST", "application/x-protobuf", string(snapshot), http.StatusUnsupportedMediaType},
		{counting, "GET", "", "", http.StatusMethodNotAllowed},
		{h, "POST", "application/octet-stream", string(snapshot), http.StatusNotFound},
	} {
		r := httptest.NewRequest(c.method, "/v1/dendro/operations", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.contentType)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		testkit.Equal(t, c.method+" operations, "+c.contentType, w.Code, c.status)
	}
	s := hub.Stats()
	testkit.Equal(t, "announced", s.Announced, uint64(2))
	testkit.Equal(t, "kept", s.Kept, map[string]uint64{"error": 1})
	testkit.Equal(t, "processes", len(s.Processes), 1)
}

// A request for news is answered when there is some.
func TestKeepNews(t *testing.T) {
	hub, err := keep.NewHub(keep.HubOptions{})
	testkit.NoError(t, err)
	srv := testkit.Serve(t, "HTTP/1.1", server.New(memory.New(memory.Options{}), server.Options{Keep: hub}))
	get := func(next string) keep.News {
		res, err := srv.Client().Get(srv.URL + keep.Path + "?wait=60&next=" + next)
		testkit.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		testkit.NoError(t, err)
		news, err := keep.DecodeNews(body)
		testkit.NoError(t, err)
		return news
	}
	first := get("")
	testkit.Equal(t, "restarted", first.Restarted, true)
	heard := make(chan keep.News)
	go func() { heard <- get(first.Next) }()
	want := keep.Announcement{TraceID: dendro.TraceID{1}, Reason: "error"}
	hub.Announce("shop", []keep.Announcement{want})
	testkit.Equal(t, "news", (<-heard).Keep, []keep.Announcement{want})
}
