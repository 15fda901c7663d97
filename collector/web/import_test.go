package web_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// form returns a form with a file, and its media type.
func form(t testing.TB, name string, data []byte) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = new(bytes.Buffer)
	m := multipart.NewWriter(body)
	part, err := m.CreateFormFile("file", name)
	testkit.NoError(t, err)
	_, err = part.Write(data)
	testkit.NoError(t, err)
	testkit.NoError(t, m.Close())
	return body, m.FormDataContentType()
}

// upload imports a file as a browser does: it follows the redirect.
func upload(t testing.TB, to, name string, data []byte, header ...string) page {
	t.Helper()
	body, contentType := form(t, name, data)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, body)
	testkit.NoError(t, err)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Accept", "text/html")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	testkit.NoError(t, err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	return page{res.Request.URL, res.StatusCode, res.Header, string(got)}
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(data)
	testkit.NoError(t, err)
	testkit.NoError(t, z.Close())
	return out.Bytes()
}

// A trace that the page exports is the same when it is imported, and the store does not get it.
func TestImportOfExport(t *testing.T) {
	store := &fakeStore{}
	spans := threeCalls(1)
	spans[1].Status = dendro.Status{Code: dendro.StatusError, Message: "boom"}
	store.add(spans...)
	live := serve(t, store, web.Options{})
	empty := &fakeStore{}
	server := serve(t, empty, web.Options{})
	for _, path := range []string{"/api/traces/1", "/api/v2/traces/1"} {
		export := followed(t, live.URL+path).body
		for name, data := range map[string][]byte{"trace.json": []byte(export), "trace.json.gz": zipped(t, []byte(export))} {
			got := upload(t, server.URL+"/?view=import", name, data)
			testkit.Equal(t, "status", got.status, 200)
			has(t, got.body, `data-trace="`+traceOne, "Imported file <b>"+name+"</b>")
			root := strings.TrimSuffix(got.url.String(), "trace/"+traceOne)
			for _, path := range []string{"api/dendro/traces/1/events", "api/dendro/traces/1/spans/0000000000000002", "api/v2/traces/1", "api/search", "api/dendro/traces/1/perfetto"} {
				equalJSON(t, followed(t, root+path).body, followed(t, live.URL+"/"+path).body)
			}
			equalJSON(t, rowsOf(t, got), rowsOf(t, followed(t, live.URL+"/trace/1")))
		}
	}
	testkit.Equal(t, "traces in the store", len(empty.traces), 0)
	testkit.Equal(t, "in the live API", followed(t, server.URL+"/api/traces/1").status, 404)
	has(t, followed(t, server.URL+"/?limit=50").body, "No traces yet")
}

// All pages work for a file, say what they show, and link to the store. They do so wherever
// the handler is mounted.
func TestImportMounting(t *testing.T) {
	file, err := os.ReadFile("../zipkin/testdata/trace.json")
	testkit.NoError(t, err)
	for how, mount := range mounts {
		for _, prefix := range []string{"", "/debug/traces", "/import", "/x/trace"} {
			t.Run(how+" at "+prefix, func(t *testing.T) {
				server := httptest.NewServer(mount(prefix, web.New(&fakeStore{}, web.Options{})))
				defer server.Close()
				// Without a slash, the redirect keeps the method.
				overview := upload(t, server.URL+prefix+"?view=import", "trace.json", file)
				mounted, inside, ok := strings.Cut(overview.url.Path, "import/"+token(t, overview))
				if !ok || inside != "/" || overview.status != 200 || !strings.HasPrefix(mounted, prefix+"/") {
					t.Fatalf("status %d at %s", overview.status, overview.url)
				}
				has(t, overview.body, "zipkin-server", "<b>2</b> traces", "read timed out")
				seen := map[string]bool{}
				queue := []string{overview.url.String(), strings.TrimSuffix(overview.url.String(), "/")}
				for len(queue) > 0 {
					at := queue[0]
					queue = queue[1:]
					got := followed(t, at)
					if got.status != http.StatusOK {
						t.Errorf("status %d at %s", got.status, at)
					}
					if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || got.header.Get("Content-Disposition") != "" {
						continue
					}
					if !strings.Contains(got.body, `Imported file <b>trace.json</b>`) {
						t.Errorf("%s does not say that it shows a file", at)
					}
					for _, link := range got.links() {
						target, err := got.url.Parse(link)
						testkit.NoError(t, err)
						target.Fragment = ""
						switch to := target.String(); {
						case strings.HasPrefix(target.Path, overview.url.Path):
							key := strings.TrimPrefix(target.Path, overview.url.Path) + target.Query().Get("view")
							if !seen[key] {
								seen[key] = true
								queue = append(queue, to)
							}
						case target.Path != mounted || target.RawQuery != "" && target.RawQuery != "view=import":
							t.Errorf("%s at %s leads to %s", link, at, to)
						}
					}
				}
				const id = "5982fe77008310cc80f1da5e10147517"
				for _, key := range []string{"", "sql", "compare", "trace/" + id, "api/v2/traces/" + id} {
					if !seen[key] {
						t.Errorf("no link to %q among %v", key, slices.Sorted(maps.Keys(seen)))
					}
				}
			})
		}
	}
}

// token returns the token in the address of a page of a file.
func token(t testing.TB, p page) string {
	t.Helper()
	_, rest, _ := strings.Cut(p.url.Path, "import/")
	for strings.Contains(rest, "import/") { // the handler is mounted at one
		_, rest, _ = strings.Cut(rest, "import/")
	}
	token, _, _ := strings.Cut(rest, "/")
	if len(token) != 32 {
		t.Fatalf("no token in %s: status %d, %s", p.url, p.status, p.body)
	}
	return token
}

// Jaeger's and Zipkin's traces have the spans below each other.
func TestImportFormats(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{})
	for file, test := range map[string]struct{ id, root, depths string }{
		"../jaeger/testdata/trace.json": {"7ca6e25e0b9b5b7c9d3b0f0b7f0a1c2d", "HTTP GET /dispatch", "[0,1]"},
		"../zipkin/testdata/trace.json": {"5982fe77008310cc80f1da5e10147517", "get /", "[0,1,2,3]"},
	} {
		data, err := os.ReadFile(file)
		testkit.NoError(t, err)
		got := upload(t, server.URL+"/?view=import", "trace.json", data)
		root := server.URL + "/import/" + token(t, got) + "/"
		has(t, rowsOf(t, followed(t, root+"trace/"+test.id)), `"depth":`+test.depths, `"errors":1`)
		link := `<a href="trace/` + test.id + `">` + test.root
		has(t, followed(t, root+"?limit=50").body, link)
		has(t, followed(t, root+"api/search?q="+url.QueryEscape("{ status = error }")).body, test.id)
		has(t, followed(t, root+"?error=true").body, link)
		if strings.Contains(followed(t, root+"?q="+url.QueryEscape(`{ name = "none" }`)).body, test.id) {
			t.Errorf("%s: a query does not filter", file)
		}
	}
}

func TestImportErrors(t *testing.T) {
	store := &fakeStore{}
	server := serve(t, store, web.Options{})
	const good = `[{"traceId":"1","id":"2"}]`
	for name, test := range map[string]struct {
		data   []byte
		status int
		want   string
	}{
		"empty":        {nil, 400, "it is empty"},
		"not JSON":     {[]byte("<html>"), 400, "line 1 is not JSON"},
		"cut":          {[]byte(good[:20]), 400, "it ends within a JSON value"},
		"no spans":     {[]byte("[]"), 400, "it has no spans"},
		"unknown":      {[]byte(`{"a":1}`), 400, "its format is not known. These are: OTLP JSON"},
		"bad span":     {[]byte(`[{"traceId":"1"}]`), 400, "as Zipkin JSON: [0].id: want up to 16"},
		"bad gzip":     {[]byte("\x1f\x8b\x00"), 400, "decompressing it"},
		"cut gzip":     {zipped(t, []byte(good))[:20], 400, "decompressing it"},
		"gzip bomb":    {bytes.Repeat(zipped(t, make([]byte, 1<<20)), 65), 413, "it has more than 64.0 MiB"}, // files in a row are one
		"many objects": {zipped(t, []byte(`[{"traceId":"1","id":"1","annotations":[{}`+strings.Repeat(",{}", 3_000_000)+`]}]`)), 413, "it has more than 3\u202f000\u202f000 JSON objects"},
		"markup":       {[]byte(`{"resourceSpans":"<script>alert(1)</script>"}`), 400, "&lt;script&gt;"},
		"within bound": {[]byte(good), 200, ""},
	} {
		got := upload(t, server.URL+"/?view=import", name, test.data)
		testkit.Equal(t, name, got.status, test.status)
		if test.want != "" {
			has(t, got.body, test.want, `role="alert"`, `type="file"`)
		}
		if strings.Contains(got.body, "<script>") {
			t.Errorf("%s: not escaped", name)
		}
	}
	for contentType, want := range map[string]string{"": "want a form", "application/json": "want a form", "multipart/form-data; boundary=x": "choose a file"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/?view=import", strings.NewReader("--x--\r\n"))
		testkit.NoError(t, err)
		r.Header.Set("Content-Type", contentType)
		res, err := http.DefaultClient.Do(r)
		testkit.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		testkit.NoError(t, err)
		res.Body.Close()
		testkit.Equal(t, contentType, res.StatusCode, 400)
		has(t, string(body), want)
	}
	testkit.Equal(t, "traces in the store", len(store.traces), 0)

	r := httptest.NewRequest(http.MethodPost, "/?view=import", nil)
	r.RemoteAddr, r.Host, r.ContentLength = "127.0.0.1:5", "localhost", 65<<20
	w := httptest.NewRecorder()
	web.New(store, web.Options{}).ServeHTTP(w, r)
	testkit.Equal(t, "too large", w.Code, 413)
	has(t, w.Body.String(), "it has more than 64.0 MiB")
}

// Only a page of this origin may import, and only who may see the traces.
func TestImportFromElsewhere(t *testing.T) {
	const file = `[{"traceId":"1","id":"2"}]`
	server := serve(t, &fakeStore{}, web.Options{})
	to := server.URL + "/?view=import"
	for _, test := range []struct {
		header []string
		status int
	}{
		{nil, 200}, // curl
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", server.URL}, 200},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
	} {
		got := upload(t, to, "f", []byte(file), test.header...)
		testkit.Equal(t, fmt.Sprint(test.header), got.status, test.status)
		if test.status == 403 {
			has(t, got.body, "comes from a page of another site")
		}
	}
	got := do(t, http.MethodPut, to, nil)
	testkit.Equal(t, "PUT", []any{got.status, got.header.Get("Allow")}, []any{405, "GET, HEAD, POST"})
	for _, path := range []string{"/", "/?view=sql", "/?view=login", "/api/search?view=import", "/trace/1?view=import"} {
		testkit.Equal(t, "POST "+path, do(t, http.MethodPost, server.URL+path, nil).status, 405)
	}

	allowed := true
	server = serve(t, &fakeStore{}, web.Options{Authorize: func(*http.Request) bool { return allowed }})
	to = server.URL + "/?view=import"
	imported := upload(t, to, "f", []byte(file)).url.String()
	testkit.Equal(t, "POST to a file", do(t, http.MethodPost, imported+"?view=import", nil).status, 405)
	allowed = false
	testkit.Equal(t, "not authorized to import", upload(t, to, "f", []byte(file)).status, 403)
	testkit.Equal(t, "not authorized to look", followed(t, imported).status, 403)
}

// Of a file that is dropped, the page says what to do, and links back.
func TestImportIsDropped(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{})
	const file = `[{"traceId":"1","id":"2"},{"traceId":"2","id":"2"}]`
	first := upload(t, server.URL+"/?view=import", "first", []byte(file)).url.String()
	for range 3 {
		upload(t, server.URL+"/?view=import", "other", []byte(file))
	}
	testkit.Equal(t, "four are held", followed(t, first).status, 200)
	for range 4 {
		upload(t, server.URL+"/?view=import", "other", []byte(file))
	}
	html := http.Header{"Accept": {"text/html"}}
	for _, path := range []string{"", "trace/1", "api/v2/traces/1", "?view=sql"} {
		got := do(t, http.MethodGet, first+path, html)
		testkit.Equal(t, path, got.status, 404)
		has(t, got.body, "it is no longer held: import it again", `type="file"`)
		for _, link := range got.links() {
			target, err := got.url.Parse(link)
			testkit.NoError(t, err)
			if got := followed(t, target.String()); got.status != 200 {
				t.Errorf("%s at %q: status %d", link, path, got.status)
			}
		}
	}
	got := followed(t, first+"api/search")
	testkit.Equal(t, "without text/html", []any{got.status, strings.HasPrefix(got.header.Get("Content-Type"), "text/plain")}, []any{404, true})
}

// Markup in every text of a file, and in its name, stays text.
func TestImportEscaping(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}` + "\u202e\u0000"
	quoted := func(s string) string { return strings.ReplaceAll(fmt.Sprintf("%+q", s), `\x00`, `\u0000`) }
	e := quoted(evil)
	server := serve(t, &fakeStore{}, web.Options{})
	for format, file := range map[string]string{
		"otlp":   `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":` + e + `}}]},"scopeSpans":[{"scope":{"name":` + e + `},"spans":[{"traceId":"` + traceOne + `","spanId":"0000000000000001","name":` + e + `,"attributes":[{"key":` + e + `,"value":{"stringValue":` + e + `}}],"status":{"code":2,"message":` + e + `}}]}]}]}`,
		"jaeger": `{"data":[{"traceID":"1","spans":[{"spanID":"1","operationName":` + e + `,"processID":` + e + `,"tags":[{"key":` + e + `,"type":` + e + `,"value":` + e + `},{"key":"error","value":` + e + `}],"logs":[{"fields":[{"key":"event","value":` + e + `}]}],"references":[{"refType":` + e + `,"traceID":"2","spanID":"3"}],"warnings":[` + e + `]}],"processes":{` + e + `:{"serviceName":` + e + `}}}]}`,
		"zipkin": `[{"traceId":"1","id":"1","name":` + e + `,"kind":` + e + `,"localEndpoint":{"serviceName":` + e + `,"ipv4":` + e + `},"remoteEndpoint":{"serviceName":` + e + `},"tags":{` + e + `:` + e + `,"error":` + e + `},"annotations":[{"timestamp":1,"value":` + e + `}]}]`,
	} {
		got := upload(t, server.URL+"/?view=import", strings.ReplaceAll(evil, "\u0000", "")+".json", []byte(file))
		testkit.Equal(t, format, got.status, 200)
		root := server.URL + "/import/" + token(t, got) + "/"
		for _, path := range []string{"", "?limit=50", "?view=sql", "?view=compare&a=1&b=1", "trace/1"} {
			got := followed(t, root+path)
			has(t, got.body, "alert(1)")
			if strings.Contains(got.body, "<script>") || strings.Contains(got.body, "<img") {
				t.Errorf("%s, %s: not escaped:\n%s", format, path, got.body)
			}
		}
		has(t, followed(t, root+"api/dendro/traces/1/spans/0000000000000001").body, `onerror=alert(1)\u003e{{.}}`+"\u202e"+`\u0000`)
		if bad := followed(t, root+"trace/1"); !slices.ContainsFunc(bad.links(), func(s string) bool { return strings.HasSuffix(s, "?view=import") }) {
			t.Errorf("%s: no link to import another file", format)
		}
	}
}
