package web_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

const traceOne = "00000000000000000000000000000001"

// mounts are the ways to mount h at prefix.
var mounts = map[string]func(prefix string, h http.Handler) http.Handler{
	"ServeMux": func(prefix string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(prefix+"/", h)
		return mux
	},
	"StripPrefix": func(prefix string, h http.Handler) http.Handler {
		return http.StripPrefix(prefix, h)
	},
	"StripPrefix with slash": func(prefix string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(prefix+"/", http.StripPrefix(prefix+"/", h))
		return mux
	},
	"chi Mount": func(prefix string, h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Mount(cmp.Or(prefix, "/"), h)
		return r
	},
	"chi Mount in a Route": func(prefix string, h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Route("/outer", func(r chi.Router) { r.Mount(cmp.Or(prefix, "/"), h) })
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.URL.Path = "/outer" + req.URL.Path // like a gateway that shortens paths
			r.ServeHTTP(w, req)
		})
	},
	"itself": func(_ string, h http.Handler) http.Handler { return h },
}

// TestMounting follows every link of the page over HTTP for each way to mount the
// handler.
func TestMounting(t *testing.T) {
	store := &fakeStore{}
	store.add(threeCalls(1)...)
	for how, mount := range mounts {
		for _, prefix := range []string{"", "/debug/traces", "/x/trace", "/api/traces", "/assets", "/api", "/a%20b/ü"} {
			if strings.Contains(prefix, "%") && how != "itself" {
				continue // patterns are not escaped
			}
			t.Run(how+" at "+prefix, func(t *testing.T) {
				server := httptest.NewServer(mount(prefix, web.New(store, web.Options{})))
				defer server.Close()
				root := server.URL + prefix

				// Without the slash, there is a relative redirect that keeps the
				// query.
				list := do(t, http.MethodGet, root+"?limit=5", http.Header{"Accept": {"text/html"}})
				if got := list.url.Path; got != "" && !strings.HasSuffix(got, "/") || list.url.RawQuery != "limit=5" {
					t.Fatalf("ended at %s", list.url)
				}
				links := list.links()
				testkit.Equal(t, "has a link to the trace", slices.Contains(links, "trace/"+traceOne), true)
				trace := followed(t, root+"/trace/"+traceOne)
				if !strings.Contains(trace.body, `data-trace="`+traceOne) {
					t.Errorf("no trace page: %s", trace.body)
				}
				for _, p := range []page{list, trace} {
					for _, link := range p.links() {
						target, err := p.url.Parse(link)
						testkit.NoError(t, err)
						if !strings.HasPrefix(target.Path, list.url.Path) || target.Host != list.url.Host {
							t.Errorf("%s leads out of the mount point, to %s", link, target)
						}
						if got := followed(t, target.String()); got.status != http.StatusOK || got.url.String() != target.String() {
							t.Errorf("%s: status %d at %s", link, got.status, got.url)
						}
					}
				}
				for path, want := range map[string]int{
					"/api/echo": 200, "/api/search?limit=1": 200, "/api/search/tags": 200, "/api/v2/search/tag/.name/values": 200,
					"/api/status/buildinfo": 200, "/api/dendro/traces/1/size": 200, "/api/dendro/traces/1/spans/0000000000000001": 200,
					"/api/metrics/query_exemplars?q={}": 404, "/trace/abc": 404, "/trace/xyz": 400,
				} {
					if got := followed(t, root+path); got.status != want {
						t.Errorf("%s: status %d, want %d", path, got.status, want)
					}
				}
			})
		}
	}
}

// page is what a browser gets.
type page struct {
	url    *url.URL
	status int
	header http.Header
	body   string
}

// followed requests url and follows redirects, like a browser.
func followed(t testing.TB, url string) page {
	t.Helper()
	return do(t, http.MethodGet, url, nil)
}

func do(t testing.TB, method, url string, header http.Header) page {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	testkit.NoError(t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	req.Host = header.Get("Host")
	res, err := http.DefaultClient.Do(req)
	testkit.NoError(t, err)
	return read(t, res)
}

// read reads a response and closes it.
func read(t testing.TB, res *http.Response) page {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	return page{res.Request.URL, res.StatusCode, res.Header, string(body)}
}

var link = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)

func (p page) links() (out []string) {
	for _, m := range link.FindAllStringSubmatch(p.body, -1) {
		out = append(out, m[1])
	}
	return out
}

func serve(t testing.TB, store collector.Store, o web.Options) *httptest.Server {
	s := httptest.NewServer(web.New(store, o))
	t.Cleanup(s.Close)
	return s
}

func TestAuthorize(t *testing.T) {
	h := web.New(&fakeStore{}, web.Options{})
	ask := func(h http.Handler, remote, host string, header ...string) int {
		r := httptest.NewRequest(http.MethodGet, "/api/echo", nil)
		r.RemoteAddr, r.Host = remote, host
		for _, name := range header {
			r.Header.Set(name, "127.0.0.1")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusForbidden && !strings.Contains(w.Body.String(), "web.Options.Authorize") {
			t.Errorf("403 does not say what to do: %q", w.Body)
		}
		return w.Code
	}
	for _, test := range []struct {
		remote, host, header string
		want                 int
	}{
		{"127.0.0.1:5", "localhost:8700", "", 200},
		{"127.8.8.8:5", "LOCALHOST", "", 200},
		{"[::1]:5", "[::1]:8700", "", 200},
		{"[::1]:5", "[::1]", "", 200},
		{"[::ffff:127.0.0.1]:5", "127.0.0.1:80", "", 200},
		{"192.0.2.1:5", "localhost", "", 403},
		{"@", "localhost", "", 403},
		{"", "localhost", "", 403},
		{"127.0.0.1:5", "evil.example:8700", "", 403},
		{"127.0.0.1:5", "127.0.0.1.evil.example", "", 403},
		{"127.0.0.1:5", "localhost.evil.example", "", 403},
		{"127.0.0.1:5", "10.0.0.1", "", 403},
		{"127.0.0.1:5", "", "", 403},
		{"127.0.0.1:5", "localhost", "X-Forwarded-For", 403},
		{"127.0.0.1:5", "localhost", "Forwarded", 403},
		{"127.0.0.1:5", "localhost", "X-Real-IP", 403},
		{"127.0.0.1:5", "localhost", "True-Client-IP", 403},
		{"127.0.0.1:5", "localhost", "X-Forwarded-Proto", 403},
		{"127.0.0.1:5", "localhost", "CF-Connecting-IP", 403},
		{"127.0.0.1:5", "localhost", "Via", 403},
		{"[::1%lo]:5", "[::1]", "", 200},
		{"[fe80::1%eth0]:5", "localhost", "", 403},
		{"127.0.0.1", "localhost", "", 403},
		{"/run/app.sock", "localhost", "", 403},
	} {
		var header []string
		if test.header != "" {
			header = []string{test.header}
		}
		if got := ask(h, test.remote, test.host, header...); got != test.want {
			t.Errorf("%+v: status %d", test, got)
		}
	}
	testkit.Equal(t, "own rule, yes", ask(web.New(&fakeStore{}, web.Options{Authorize: func(*http.Request) bool { return true }}), "192.0.2.1:5", "traces.example", "X-Forwarded-For"), 200)
	testkit.Equal(t, "own rule, no", ask(web.New(&fakeStore{}, web.Options{Authorize: func(*http.Request) bool { return false }}), "127.0.0.1:5", "localhost"), 403)
}

func TestMethodsAndHeaders(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		got := do(t, method, server.URL+"/api/search", nil)
		testkit.Equal(t, method, []any{got.status, got.header.Get("Allow")}, []any{405, "GET, HEAD"})
	}
	testkit.Equal(t, "HEAD", do(t, "HEAD", server.URL+"/api/echo", nil).status, 200)
	for _, path := range []string{"/", "/api/search", "/trace/1", "/nothing/api/x"} {
		got := followed(t, server.URL+path).header
		testkit.Equal(t, path+": sniffing", got.Get("X-Content-Type-Options"), "nosniff")
		testkit.Equal(t, path+": referrer", got.Get("Referrer-Policy"), "same-origin") // "no-referrer" would take the origin from forms
		testkit.Equal(t, path+": caching", got.Get("Cache-Control"), "no-store")
		if csp := got.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; style-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

func TestAssets(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{})
	list := followed(t, server.URL+"/")
	i := slices.IndexFunc(list.links(), func(s string) bool { return strings.HasSuffix(s, ".js") })
	current := server.URL + "/" + strings.TrimPrefix(list.links()[i], "./")
	got := followed(t, current)
	testkit.Equal(t, "type", got.header.Get("Content-Type"), "text/javascript; charset=utf-8")
	testkit.Equal(t, "caching", got.header.Get("Cache-Control"), "private, max-age=31536000, immutable")
	again := do(t, "GET", current, http.Header{"If-None-Match": {got.header.Get("Etag")}})
	testkit.Equal(t, "asked again", again.status, 304)
	old := followed(t, server.URL+"/dendro-assets/0123456789abcdef/list.js")
	testkit.Equal(t, "caching of an old version", old.header.Get("Cache-Control"), "no-cache")
	for _, name := range []string{"nothing.js", "..%2flist.html", "%2e%2e", "."} {
		testkit.Equal(t, name, followed(t, server.URL+"/dendro-assets/x/"+name).status, 404)
	}
}

func TestTempoSearch(t *testing.T) {
	const mailed = `{"matched":1,"spans":[{"spanID":"0000000000000007","name":"send","startTimeUnixNano":"1700000000005000000","durationNanos":"2000000"}]}`
	const shopped = `{"matched":7,"spans":[
		{"spanID":"0000000000000001","name":"GET /","startTimeUnixNano":"1700000000000000000","durationNanos":"640000000"},
		{"spanID":"0000000000000002","name":"GET","startTimeUnixNano":"1700000000002000000","durationNanos":"203000000"},
		{"spanID":"0000000000000003","name":"GET /work","startTimeUnixNano":"1700000000003000000","durationNanos":"201000000"}]}`
	store := &fakeStore{}
	store.add(threeCalls(1)...)
	failed := span(2, 7, 9, "mailer", "send", 5, 7)
	failed.Status.Code = dendro.StatusError
	store.add(failed)
	server := serve(t, store, web.Options{})

	testkit.Equal(t, "echo", followed(t, server.URL+"/api/echo").body, "echo")
	got := followed(t, server.URL+"/api/search?limit=10")
	testkit.Equal(t, "type", got.header.Get("Content-Type"), "application/json")
	equalJSON(t, got.body, `{"traces":[
		{"traceID":"00000000000000000000000000000002","rootServiceName":"mailer","rootTraceName":"<root span not yet received>",
		 "startTimeUnixNano":"1700000000005000000","durationMs":2,"durationNanos":"2000000","spanCount":1,"errorCount":1,
		 "spanSet":`+mailed+`,"spanSets":[`+mailed+`],
		 "serviceStats":{"mailer":{"spanCount":1,"errorCount":1}}},
		{"traceID":"`+traceOne+`","rootServiceName":"shop","rootTraceName":"GET /",
		 "startTimeUnixNano":"1700000000000000000","durationMs":640,"durationNanos":"640000000","spanCount":7,"errorCount":0,
		 "spanSet":`+shopped+`,"spanSets":[`+shopped+`],
		 "serviceStats":{"shop":{"spanCount":4},"service1":{"spanCount":1},"service2":{"spanCount":1},"service3":{"spanCount":1}}}],
		"metrics":{"inspectedTraces":2,"inspectedSpans":"8"}}`)
	equalJSON(t, followed(t, server.URL+"/api/search?minDuration=10s").body, `{"traces":[],"metrics":{"inspectedTraces":2,"inspectedSpans":"8"}}`)

	if got := followed(t, server.URL+"/api/search?limit=1").body; !strings.Contains(got, `"message":"stopped at the limit of 1 traces; there may be more"`) {
		t.Errorf("a search that stopped at its limit does not say so: %s", got)
	}
	for window, status := range map[string]int{"": 200, "?start=1700000000": 200, "?start=1700000001": 404, "?end=1699999999": 404, "?start=x": 400, "?start=1699999990&end=1700000010": 200} {
		for _, path := range []string{"/api/traces/1", "/api/v2/traces/1"} {
			testkit.Equal(t, path+window, followed(t, server.URL+path+window).status, status)
		}
	}
	followed(t, server.URL+"/api/search?q="+url.QueryEscape(`{ span.http.route = "/x" && status = error }`))
	testkit.Equal(t, "the store is asked", fmt.Sprintf("%+v", store.asked.Hints), fmt.Sprintf("%+v", collector.Hints{Spans: []collector.SpanHints{{Values: []slog.Attr{slog.String("http.route", "/x")}, Errors: true}}}))

	var found struct {
		Traces []struct{ SpanSets []json.RawMessage }
	}
	body := followed(t, server.URL+"/api/search?q="+url.QueryEscape(`{ .service.name =~ "service.*" } | by(resource.service.name) | count() > 0 | select(kind)`)).body
	testkit.NoError(t, json.Unmarshal([]byte(body), &found))
	equalJSON(t, string(found.Traces[0].SpanSets[0]), `{"matched":1,"spans":[{"spanID":"0000000000000003","name":"GET /work","startTimeUnixNano":"1700000000003000000",
		"durationNanos":"201000000","attributes":[{"key":"service.name","value":{"stringValue":"service1"}},{"key":"kind","value":{"stringValue":"server"}}]}],
		"attributes":[{"key":"by(resource.service.name)","value":{"stringValue":"service1"}},{"key":"count()","value":{"intValue":"1"}}]}`)

	for _, query := range []string{"limit=none", "q={", "tags=x", "start=a"} {
		got := followed(t, server.URL+"/api/search?"+query)
		testkit.Equal(t, query, []any{got.status, got.header.Get("Content-Type")}, []any{400, "text/plain; charset=utf-8"})
	}
	store.err = errors.New("disk on fire")
	for _, path := range []string{"/", "/api/search", "/api/search/tags", "/api/v2/search/tags", "/api/search/tag/x/values", "/api/v2/search/tag/x/values", "/api/traces/1", "/trace/1"} {
		got := followed(t, server.URL+path)
		if got.status != 500 || !strings.Contains(got.body, "disk on fire") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestTempoTags(t *testing.T) {
	const intrinsics = `"childCount","duration","event:name","event:timeSinceStart","instrumentation:name","instrumentation:version","kind",
		"link:spanID","link:traceID","name","nestedSetLeft","nestedSetParent","nestedSetRight","rootName","rootServiceName"`
	const scoped = `"span:childCount","span:duration","span:id","span:kind","span:name","span:parentID","span:status","span:statusMessage",
		"status","statusMessage","trace:duration","trace:id","trace:rootName","trace:rootService","traceDuration"`
	store := &fakeStore{}
	spans := threeCalls(1)
	spans[0].Attributes = []slog.Attr{slog.String("http.route", "/"), slog.Int("n", 7), slog.Float64("half", 0.5), slog.Bool("yes", true), slog.Any("list", []int64{1, 2})}
	spans[0].Events = []dendro.Event{{Name: "e", Attributes: []slog.Attr{slog.Int("attempt", 1)}}}
	store.add(spans...)
	server := serve(t, store, web.Options{})
	for path, want := range map[string]string{
		"/api/search/tags":            strings.NewReplacer(`"instrumentation:name"`, `"half","http.route","instrumentation:name"`, `"name"`, `"list","n","name"`).Replace(`{"tagNames":["attempt",` + intrinsics + `,"service.name",` + scoped + `,"yes"],"metrics":{}}`),
		"/api/search/tags?scope=span": `{"tagNames":["half","http.route","list","n","yes"],"metrics":{}}`,
		"/api/v2/search/tags": `{"scopes":[{"name":"resource","tags":["service.name"]},{"name":"span","tags":["half","http.route","list","n","yes"]},{"name":"event","tags":["attempt"]},
			{"name":"intrinsic","tags":[` + intrinsics + `,` + scoped + `]}],"metrics":{}}`,
		"/api/v2/search/tags?scope=event":                                                               `{"scopes":[{"name":"event","tags":["attempt"]}],"metrics":{}}`,
		"/api/v2/search/tags?scope=link":                                                                `{"scopes":[],"metrics":{}}`,
		"/api/v2/search/tags?scope=span&q=" + url.QueryEscape(`{ kind = client }`):                      `{"scopes":[],"metrics":{}}`,
		"/api/v2/search/tags?scope=span&start=1&end=2":                                                  `{"scopes":[],"metrics":{}}`,
		"/api/v2/search/tag/span.n/values":                                                              `{"tagValues":[{"type":"int","value":"7"}],"metrics":{}}`,
		"/api/v2/search/tag/span.half/values":                                                           `{"tagValues":[{"type":"float","value":"0.5"}],"metrics":{}}`,
		"/api/v2/search/tag/.yes/values":                                                                `{"tagValues":[{"type":"bool","value":"true"}],"metrics":{}}`,
		"/api/v2/search/tag/span.list/values":                                                           `{"tagValues":[{"type":"int","value":"1"},{"type":"int","value":"2"}],"metrics":{}}`,
		"/api/v2/search/tag/event.attempt/values":                                                       `{"tagValues":[{"type":"int","value":"1"}],"metrics":{}}`,
		"/api/v2/search/tag/span:duration/values":                                                       `{"tagValues":[],"metrics":{}}`,
		"/api/v2/search/tag/kind/values":                                                                `{"tagValues":[{"type":"keyword","value":"internal"},{"type":"keyword","value":"server"},{"type":"keyword","value":"client"},{"type":"keyword","value":"producer"},{"type":"keyword","value":"consumer"},{"type":"keyword","value":"unspecified"}],"metrics":{}}`,
		"/api/v2/search/tag/name/values?q=" + url.QueryEscape(`{ resource.service.name = "service1" }`): `{"tagValues":[{"type":"string","value":"GET /work"}],"metrics":{}}`,
		"/api/search/tag/service.name/values":                                                           `{"tagValues":["service1","service2","service3","shop"],"metrics":{}}`,
		"/api/search/tag/no%2Fsuch/values":                                                              `{"tagValues":[],"metrics":{}}`,
		"/api/v2/search/tag/name/values":                                                                `{"tagValues":[{"type":"string","value":"GET"},{"type":"string","value":"GET /"},{"type":"string","value":"GET /work"}],"metrics":{}}`,
		"/api/v2/search/tag/status/values":                                                              `{"tagValues":[{"type":"keyword","value":"error"},{"type":"keyword","value":"ok"},{"type":"keyword","value":"unset"}],"metrics":{}}`,
		"/api/v2/search/tag/resource.service.name/values":                                               `{"tagValues":[{"type":"string","value":"service1"},{"type":"string","value":"service2"},{"type":"string","value":"service3"},{"type":"string","value":"shop"}],"metrics":{}}`,
		"/api/v2/search/tag/.service.name/values?q=%7B%7D":                                              `{"tagValues":[{"type":"string","value":"service1"},{"type":"string","value":"service2"},{"type":"string","value":"service3"},{"type":"string","value":"shop"}],"metrics":{}}`,
	} {
		got := followed(t, server.URL+path)
		testkit.Equal(t, path, got.status, 200)
		var of struct{ Metrics json.RawMessage }
		testkit.NoError(t, json.Unmarshal([]byte(got.body), &of))
		equalJSON(t, strings.Replace(got.body, string(of.Metrics), "{}", 1), want)
	}
}

func TestTempoTrace(t *testing.T) {
	store := &fakeStore{}
	store.add(threeCalls(1)...)
	server := serve(t, store, web.Options{})

	var v1 struct{ Batches []json.RawMessage }
	testkit.NoError(t, json.Unmarshal([]byte(followed(t, server.URL+"/api/traces/"+traceOne).body), &v1))
	testkit.Equal(t, "v1 batches", len(v1.Batches) > 0, true)
	var v2 struct{ Trace json.RawMessage }
	testkit.NoError(t, json.Unmarshal([]byte(followed(t, server.URL+"/api/v2/traces/1").body), &v2))
	batches, err := otlp.DecodeTracesJSON(v2.Trace)
	testkit.NoError(t, err)
	testkit.Equal(t, "v2 spans", countSpans(batches), 7)

	protobuf := http.Header{"Accept": {"application/protobuf"}}
	got := do(t, "GET", server.URL+"/api/traces/1", protobuf)
	testkit.Equal(t, "type", got.header.Get("Content-Type"), "application/protobuf")
	batches, err = otlp.DecodeTraces([]byte(got.body))
	testkit.NoError(t, err)
	testkit.Equal(t, "v1 protobuf spans", countSpans(batches), 7)
	wrapped := do(t, "GET", server.URL+"/api/v2/traces/1", protobuf).body
	testkit.Equal(t, "v2 is v1 in a field", strings.HasSuffix(wrapped, got.body) && wrapped[0] == 0x0a, true)

	for path, want := range map[string]int{
		"/api/traces/2": 404, "/api/traces/0": 400, "/api/traces/xyz": 400, "/api/traces/" + strings.Repeat("1", 33): 400,
		"/api/v2/traces/" + strings.ToUpper("abc"): 404, "/api/v2/traces/%2e%2e": 400,
		"/api/dendro/traces/2/size": 404, "/api/dendro/traces/xyz/size": 400, "/api/dendro/traces/1/spans/1": 400, "/api/dendro/traces/1/spans/00000000000000ff": 404,
	} {
		got := followed(t, server.URL+path)
		testkit.Equal(t, path, []any{got.status, got.header.Get("Content-Type")}, []any{want, "text/plain; charset=utf-8"})
	}
}

func countSpans(batches []*dendro.Batch) (n int) {
	for _, b := range batches {
		n += len(b.Spans)
	}
	return n
}

var preload = regexp.MustCompile(`<link rel="preload" as="fetch" crossorigin href="([^"]*)">`)

// rowsOf returns the rows of the page of a trace.
func rowsOf(t testing.TB, p page) string {
	t.Helper()
	link := preload.FindStringSubmatch(p.body)
	if link == nil {
		t.Fatalf("no link to rows: %s", p.body)
	}
	rows, err := p.url.Parse(html.UnescapeString(link[1]))
	testkit.NoError(t, err)
	return followed(t, rows.String()).body
}

func TestSkeleton(t *testing.T) {
	store := &fakeStore{}
	child := span(1, 2, 1, "db", "SELECT", 1, 4)
	child.Kind, child.Status.Code = dendro.KindClient, dendro.StatusError
	child.Events = []dendro.Event{{Name: "wait", Time: child.Start + 5, Duration: 7}}
	store.add(span(1, 1, 0, "shop", "GET /", 0, 10), child, span(1, 3, 9, "shop", "GET /", 6, 8))
	server := serve(t, store, web.Options{})
	equalJSON(t, followed(t, server.URL+"/api/dendro/traces/1/size").body, `{"spans":3}`)
	equalJSON(t, rowsOf(t, followed(t, server.URL+"/trace/1")), `{
		"traceId":"`+traceOne+`","start":"1700000000000000000","duration":10000000,"spans":3,"errors":1,"missing":1,
		"services":[{"name":"shop","colour":5,"spans":2,"errors":0},{"name":"db","colour":7,"spans":1,"errors":1}],
		"names":["GET /","SELECT","wait","parent span not received"],
		"id":["0000000000000001","0000000000000002","0000000000000009","0000000000000003"],
		"parent":[-1,0,-1,2],"depth":[0,1,0,1],"size":[2,1,2,1],
		"offset":[0,1000000,6000000,6000000],"length":[10000000,3000000,2000000,2000000],"self":[7000000,3000000,0,2000000],
		"name":[0,1,3,0],"service":[0,1,-1,0],"kind":[0,2,0,0],"status":[0,2,0,0],"detached":[],"late":[],"twice":[],"skewRow":[],"skewShift":[],"straight":false,
		"foldRow":[],"foldSpans":[],"foldErrors":[],"foldTotal":[],"foldCaller":[],
		"eventRow":[1],"eventName":[2],"eventOffset":[1000005],"eventLength":[7],
		"criticalRow":[0,1,0],"criticalOffset":[0,1000000,4000000],"criticalLength":[1000000,3000000,6000000]}`)
}

func TestSpanDetails(t *testing.T) {
	store := &fakeStore{}
	s := span(1, 1, 5, "shop", "GET /", 0, 10)
	s.Kind, s.Remote, s.Status = dendro.KindServer, true, dendro.Status{Code: dendro.StatusError, Message: "boom"}
	s.Attributes = []slog.Attr{
		slog.String("text", "a"), slog.Int64("big", 1<<62), slog.Float64("half", 0.5), slog.Bool("yes", true),
		slog.Any("bytes", []byte("hi")), slog.Any("list", []string{"a", `"b"`}), slog.Any("ints", []int64{1, 1 << 62}),
		slog.Any("mixed", []slog.Value{slog.StringValue("x"), slog.IntValue(2), slog.AnyValue([]bool{true})}),
	}
	s.Events = []dendro.Event{{Name: "e", Time: s.Start + 3, Duration: 4, DroppedAttributes: 2}}
	s.Links = []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{15: 2}, SpanID: dendro.SpanID{7: 3}}}}
	s.DroppedEvents = 6
	store.add(s)
	server := serve(t, store, web.Options{})
	equalJSON(t, followed(t, server.URL+"/api/dendro/traces/1/spans/0000000000000001").body, `{"spans":[{
		"traceId":"`+traceOne+`","spanId":"0000000000000001","parentId":"0000000000000005","remote":true,"name":"GET /",
		"kind":"server","status":"error","message":"boom","start":"1700000000000000000","duration":10000000,"service":"shop",
		"attributes":[{"key":"text","type":"string","value":"a"},{"key":"big","type":"int","value":"4611686018427387904"},
			{"key":"half","type":"double","value":"0.5"},{"key":"yes","type":"bool","value":"true"},
			{"key":"bytes","type":"bytes","value":"aGk="},{"key":"list","type":"array","value":"[\"a\",\"\\\"b\\\"\"]"},
			{"key":"ints","type":"array","value":"[1,4611686018427387904]"},{"key":"mixed","type":"array","value":"[\"x\",2,[true]]"}],
		"events":[{"name":"e","offset":3,"duration":4,"attributes":[],"droppedAttributes":2}],
		"links":[{"traceId":"00000000000000000000000000000002","spanId":"0000000000000003","attributes":[]}],
		"resource":[{"key":"service.name","type":"string","value":"shop"}],
		"scope":{"name":"test","version":"","attributes":[]},"droppedEvents":6}]}`)
}

// Requests for the page are not traced, unless they are refused.
func TestPageIsNotTraced(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	app := chi.NewRouter()
	app.Use(middleware.New(middleware.Options{Tracer: tracer}))
	app.Mount("/debug/traces", web.New(&fakeStore{}, web.Options{}))
	app.Mount("/closed", web.New(&fakeStore{}, web.Options{Authorize: func(*http.Request) bool { return false }}))
	server := httptest.NewServer(app)
	defer server.Close()
	for _, path := range []string{"/debug/traces/", "/debug/traces/api/search", "/closed/"} {
		followed(t, server.URL+path)
	}
	spans := recorder.Wait(t, 1)
	testkit.Equal(t, "spans", testkit.Names(spans), []string{"GET /closed"})
	testkit.Equal(t, "discarded", tracer.Stats().Discarded, uint64(2))
}

// Of many tracers the footer shows the sum, and each tracer that lost spans.
func TestManyTracers(t *testing.T) {
	var tracers []*dendro.Tracer
	for _, service := range []string{"quiet", "teller", "idle"} {
		tracers = append(tracers, dendro.New(dendro.Options{Service: service}))
	}
	_, s := tracers[1].Start(context.Background(), "lost")
	s.End()
	server := serve(t, &fakeStore{}, web.Options{Tracers: tracers})
	body := followed(t, server.URL+"/").body
	has(t, body, "<dt>3 tracers</dt>", "Tracer teller", "no_collector 1")
	for _, service := range []string{"Tracer quiet", "Tracer idle"} {
		if strings.Contains(body, service) {
			t.Errorf("%s is shown although it lost nothing", service)
		}
	}
}

func TestList(t *testing.T) {
	store := &fakeStore{}
	tracer := dendro.New(dendro.Options{Service: "teller"})
	_, s := tracer.Start(context.Background(), "lost")
	s.End()
	server := serve(t, store, web.Options{Tracers: []*dendro.Tracer{tracer}})
	list := func(query string) page { return followed(t, server.URL+"/?limit=50&"+query) }

	has(t, list("").body, "No traces yet", "curl -i", "of 256 MiB", "evicted 12", "Tracer teller", "no_collector 1")
	store.add(threeCalls(1)...)
	has(t, list("").body, `href="trace/`+traceOne+`">GET /</a>`, "640 ms", `datetime="2023-11-14T22:13:20Z"`, `<option value="service3">`)
	has(t, list("minDuration=5s&q={}").body, "No trace matches", `value="5s"`, `name="q" value="{}"`)
	has(t, list("q="+url.QueryEscape(`{ name = }`)).body, "This filter cannot be used", "<pre><code>{ name = <mark>}</mark></code></pre>")
	bad := list("minDuration=fast&name=x")
	testkit.Equal(t, "status", bad.status, 400)
	has(t, bad.body, `role="alert"`, "minDuration: &#34;fast&#34; is not a duration", `value="x"`)

	missing := followed(t, server.URL+"/trace/77")
	testkit.Equal(t, "status", missing.status, 404)
	has(t, missing.body, "There is no such trace", "has not arrived yet")
}

// TestEscaping puts markup into every text of a span and looks for it in the pages.
// The browser test does the same for what scripts draw.
func TestEscaping(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`
	store := &fakeStore{}
	s := span(1, 1, 0, evil, evil, 0, 10)
	s.Status = dendro.Status{Code: dendro.StatusError, Message: evil}
	s.Attributes = []slog.Attr{slog.String(evil, evil)}
	store.add(s)
	server := serve(t, store, web.Options{Tracers: []*dendro.Tracer{dendro.New(dendro.Options{Service: evil})}})
	for _, path := range []string{"/", "/trace/1", "/?name=" + url.QueryEscape(evil), "/?tags=" + url.QueryEscape(evil), "/?q=" + url.QueryEscape(evil), "/trace/" + url.PathEscape(evil)} {
		got := followed(t, server.URL+path)
		has(t, got.body, "alert(1)")
		if strings.Contains(got.body, "<script>") || strings.Contains(got.body, "<img") {
			t.Errorf("%s: not escaped:\n%s", path, got.body)
		}
	}
	if rows := rowsOf(t, followed(t, server.URL+"/trace/1")); strings.Contains(rows, "<") {
		t.Errorf("not escaped: %s", rows)
	}
	for _, path := range []string{"/api/dendro/traces/1/spans/0000000000000001", "/api/search"} {
		got := followed(t, server.URL+path)
		if strings.Contains(got.body, "<") || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %s %s", path, got.header.Get("Content-Type"), got.body)
		}
	}
}

func has(t testing.TB, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in\n%s", want, body)
		}
	}
}

func equalJSON(t testing.TB, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	testkit.NoError(t, json.Unmarshal([]byte(want), &w))
	testkit.Equal(t, "JSON "+got, g, w)
}

func ExampleNew() {
	store := &fakeStore{} // memory.New(memory.Options{}) in a program
	r := chi.NewRouter()
	r.Mount("/debug/traces", web.New(store, web.Options{
		Authorize: func(r *http.Request) bool {
			user, password, _ := r.BasicAuth()
			return user == "operator" && password == "correct horse"
		},
	}))

	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/debug/traces/api/echo", nil)
	req.SetBasicAuth("operator", "correct horse")
	r.ServeHTTP(w, req)
	fmt.Println(w.Code, w.Body)
	// Output: 200 echo
}

func TestTempoMetrics(t *testing.T) {
	store := &fakeStore{}
	store.add(threeCalls(1)...) // begins at base, in Unix seconds 1_700_000_000
	server := serve(t, store, web.Options{})
	ask := func(path string, v url.Values) page { return followed(t, server.URL+path+"?"+v.Encode()) }

	got := ask("/api/metrics/query_range", url.Values{"q": {"{ kind = server } | rate() by(resource.service.name)"}, "start": {"1699999995"}, "end": {"1700000005"}, "step": {"5s"}})
	testkit.Equal(t, "type", got.header.Get("Content-Type"), "application/json")
	series := func(service, first, second, span, at string) string {
		return `{"labels":[{"key":"resource.service.name","value":{"stringValue":"` + service + `"}}],"promLabels":"{resource.service.name=\"` + service + `\"}",
			"samples":[{"timestampMs":"1700000000000","value":` + first + `},{"timestampMs":"1700000005000","value":` + second + `}],
			"exemplars":[{"labels":[{"key":"trace:id","value":{"stringValue":"` + traceOne + `"}},{"key":"span:id","value":{"stringValue":"` + span + `"}}],"value":1,"timestampMs":"` + at + `"}]}`
	}
	equalJSON(t, got.body, `{"series":[`+series("service1", "0", "0.2", "0000000000000003", "1700000000003")+`,`+series("service2", "0", "0.2", "0000000000000005", "1700000000207")+`,`+
		series("service3", "0", "0.2", "0000000000000007", "1700000000412")+`,`+series("shop", "0.2", "0", "0000000000000001", "1700000000000")+`],"metrics":{"inspectedTraces":1,"inspectedSpans":"7"}}`)

	equalJSON(t, ask("/api/metrics/query", url.Values{"q": {"{ } | max_over_time(duration)"}, "start": {"1699999999500000000"}, "end": {"1700000001"}}).body,
		`{"series":[{"labels":null,"promLabels":"{}","value":0.64}],"metrics":{"inspectedTraces":1,"inspectedSpans":"7"}}`)
	equalJSON(t, ask("/api/metrics/query_range", url.Values{"q": {"{ } | rate()"}, "since": {"1h"}}).body, `{"series":[],"metrics":{"inspectedTraces":1,"inspectedSpans":"7"}}`)

	for name, v := range map[string]url.Values{
		"q: 1:1: ":        {},
		"not a metrics":   {"q": {"{ }"}},
		"start: ":         {"q": {"{ } | rate()"}, "start": {"yesterday"}},
		"not before":      {"q": {"{ } | rate()"}, "start": {"20"}, "end": {"10"}},
		"step: ":          {"q": {"{ } | rate()"}, "step": {"0s"}},
		"exemplars: ":     {"q": {"{ } | rate()"}, "exemplars": {"many"}},
		"choose a longer": {"q": {"{ } | rate()"}, "start": {"10"}, "end": {"100000"}, "step": {"1"}},
		"finds no traces": nil,
	} {
		got := ask("/api/metrics/query_range", v)
		if v == nil {
			got = ask("/api/search", url.Values{"q": {"{ } | rate()"}})
		}
		testkit.Equal(t, name, got.status, 400)
		if !strings.Contains(got.body, name) {
			t.Errorf("%s: %s", name, got.body)
		}
	}
}

// What Grafana's Traces Drilldown asks when it starts.
func TestDrilldown(t *testing.T) {
	store := &fakeStore{}
	spans := threeCalls(1)
	spans[1].Status.Code = dendro.StatusError
	store.add(spans...)
	server := serve(t, store, web.Options{})
	for path, queries := range map[string][]string{
		"/api/metrics/query_range": {
			`{nestedSetParent<0 && true } | rate() by(resource.service.name)`,
			`{nestedSetParent<0 && true && status=error} | rate() by(resource.service.name) with(sample=true)`,
			`{nestedSetParent<0 && true} | histogram_over_time(duration)`,
			`{nestedSetParent<0 && true} | quantile_over_time(duration, 0.9)`,
			`{nestedSetParent<0 && true} | compare({status = error}, 10)`,
			`{nestedSetParent<0 && true} | compare({duration >= 100ms}, 10, 1700000000000000000, 1700000010000000000)`,
			`{true && true} | rate() by(name)`,
		},
		"/api/search": {
			`{nestedSetParent<0 && true} | select(span.http.route, resource.service.name, name, nestedSetLeft, nestedSetRight, nestedSetParent, status, duration)`,
			`{nestedSetParent<0 && true && status = error} &>> { status = error } | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)`,
			`{} | select(event:name)`,
			`{nestedSetParent<0 && true && event.exception.message != nil} | select(resource.service.name, event.exception.message)`,
		},
		"/api/v2/search/tag/resource.service.name/values": {`{nestedSetParent<0}`},
		"/api/v2/search/tags":                             {`{nestedSetParent<0}`},
	} {
		for _, q := range queries {
			got := followed(t, server.URL+path+"?start=1699999990&end=1700000010&limit=100&spss=10&q="+url.QueryEscape(q))
			testkit.Equal(t, path+" "+q, []any{got.status, got.header.Get("Content-Type")}, []any{200, "application/json"})
		}
	}
}

// The page says that clocks differ, and shows straight times if asked.
func TestClocks(t *testing.T) {
	store := &fakeStore{}
	client, server := span(1, 1, 0, "shop", "GET", 0, 100), span(1, 2, 1, "stock", "GET /stock", -30, 30)
	client.Kind, server.Kind = dendro.KindClient, dendro.KindServer
	store.add(client, server)
	store.add(span(2, 1, 0, "shop", "GET", 0, 100))
	at := serve(t, store, web.Options{}).URL
	recorded := followed(t, at+"/trace/1?start=1&clocks=")
	has(t, recorded.body, "differ by up to 50.0 ms", `<a href="`+traceOne+`?clocks=straight&amp;start=1">straighten</a>`, "<dd>130 ms</dd>")
	has(t, rowsOf(t, recorded), `"skewRow":[1],"skewShift":[50000000]`, `"straight":false`, `"offset":[30000000,0]`)
	straight := followed(t, at+"/trace/1?start=1&clocks=straight")
	has(t, straight.body, "straightened by up to 50.0 ms", `<a href="`+traceOne+`?start=1">as recorded</a>`, "<dd>100 ms</dd>")
	has(t, rowsOf(t, straight), `"skewRow":[1],"skewShift":[50000000]`, `"straight":true`, `"offset":[0,20000000]`)
	for _, body := range []string{followed(t, at+"/trace/2").body, followed(t, at+"/trace/2?clocks=straight").body} {
		if strings.Contains(body, "Clocks") {
			t.Errorf("one clock cannot differ: %s", body)
		}
	}
	wrong := followed(t, at+"/trace/1?clocks=round")
	testkit.Equal(t, "status", wrong.status, 400)
	has(t, wrong.body, "use straight")
}
