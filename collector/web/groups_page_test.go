package web_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// groupsPath returns the path of a comparison of traces at any time.
func groupsPath(q, against string, more ...string) string {
	return "/?" + url.Values{"view": {"compare"}, "q": {q}, "against": {against}, "start": {"1"}}.Encode() + strings.Join(more, "")
}

func TestCompareGroupsPage(t *testing.T) {
	store := &fakeStore{}
	server := serve(t, store, web.Options{})
	has(t, followed(t, server.URL+"/?view=compare").body, "Compare two groups of spans", "requests with errors against those without", `aria-current="page">Compare`)
	has(t, followed(t, server.URL+groupsPath("{ }", "")).body, "No span is in A")
	for n := range 20 {
		s := span(byte(n+1), 1, 0, "shop", "GET /<b>", int64(n*1000), int64(n*1000+10))
		if n < 8 {
			s.Status.Code, s.Name = dendro.StatusError, `GET /"odd"`
		}
		store.add(s)
	}
	page := followed(t, server.URL+groupsPath("{ status = error }", ""))
	testkit.Equal(t, "status", page.status, 200)
	has(t, page.body, "Of 20 traces.", "GET /&lt;b&gt;", `<svg class="pair" aria-hidden="true"><rect class="a" y="0" width="100.00%"`, "100.0 %", "−100.0", "10.4 ms",
		"%7C&#43;%7B&#43;name&#43;%3D&#43;%22GET&#43;%2F%5C%22odd%5C%22%22&#43;%7D&amp;start=1")
	has(t, followed(t, server.URL+groupsPath("{ }", "")).body, "No span is in B")
	has(t, followed(t, server.URL+"/?view=compare&since=24h&q=%7B+%7D").body, "No span is in A", `aria-current="true">24 h</a>`)
	has(t, followed(t, server.URL+groupsPath("{ status = error }", "", "&split=1700000004")).body, `A began <time datetime="2023-11-14T22:13:24Z">`, "At any time")

	// Both queries have their errors, and where they are.
	page = followed(t, server.URL+groupsPath("{ status = }", "{ } | rate()"))
	testkit.Equal(t, "status", page.status, 400)
	has(t, page.body, "<mark>}</mark>", "q: ", "against: this is a metrics query", `value="{ } | rate()"`)
	has(t, followed(t, server.URL+groupsPath("{ }", "{ x }")).body, "against: ", "<mark>x }</mark>")
	for _, bad := range []string{"&split=x", "&end=x"} {
		testkit.Equal(t, bad, followed(t, server.URL+groupsPath("{ }", "", bad)).status, 400)
	}
	store.err = errors.New("disk on fire")
	page = followed(t, server.URL+groupsPath("{ }", ""))
	testkit.Equal(t, "status", page.status, 500)
	has(t, page.body, "disk on fire")
}

func TestCompareGroupsBound(t *testing.T) {
	store := &fakeStore{}
	for n := range traceql.MaxInspected + 5 {
		s := span(1, 1, 0, "shop", fmt.Sprint("GET /", n%2), 0, 10)
		s.TraceID = dendro.TraceID{byte(n >> 16), byte(n >> 8), byte(n), 1}
		store.add(s)
	}
	server := serve(t, store, web.Options{})
	has(t, followed(t, server.URL+groupsPath(`{ name = "GET /0" }`, "")).body, "Of 20\u202f000 traces; older ones were not read")
}

// The list draws its traces, and has facets of their attributes.
func TestListDrawsTraces(t *testing.T) {
	store := memory.New(memory.Options{})
	server := serve(t, store, web.Options{})
	for n := range byte(12) {
		spans := threeCalls(n + 1)
		for i := range spans {
			testkit.NoError(t, store.Collect(&dendro.Batch{Resource: spans[i].Resource, Spans: []*dendro.SpanData{&spans[i].SpanData}}))
		}
	}
	body := followed(t, server.URL+"/?q="+url.QueryEscape(`{ kind = server }`)).body
	testkit.Equal(t, "miniatures", strings.Count(body, `<svg class="mini"`), 12)
	has(t, body, `title="Remove this condition"><bdi>{ kind = server }</bdi>`)
}
