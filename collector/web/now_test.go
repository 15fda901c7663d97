package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/diagnostics"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// program is a server with its page at /debug/traces.
type program struct {
	t    *testing.T
	url  string
	diag *diagnostics.Diagnostics
	end  chan struct{} // closed when GET /hang/{id} shall end
}

func startProgram(t *testing.T, o diagnostics.Options) *program {
	store := memory.New(memory.Options{})
	o.Operations = store
	p := &program{t: t, diag: diagnostics.New(o), end: make(chan struct{})}
	tracer := dendro.New(dendro.Options{Service: "shop<b>", Collector: store, Observer: p.diag})
	r := chi.NewRouter()
	r.Use(middleware.New(middleware.Options{Tracer: tracer, TraceResponse: true}))
	r.Get("/fail/{id}", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of stock", http.StatusInternalServerError)
	})
	r.Get("/fine", func(http.ResponseWriter, *http.Request) {})
	r.Get("/hang/{id}", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, span := dendro.Start(r.Context(), "reserve <i>")
		defer span.End()
		waitForStock(p.end)
	})
	r.Mount("/debug/traces", web.New(store, web.Options{Diagnostics: p.diag}))
	server := httptest.NewServer(r)
	p.url = server.URL
	t.Cleanup(func() {
		close(p.end)
		server.Close()
	})
	return p
}

// waitForStock is where a request hangs.
func waitForStock(end chan struct{}) { <-end }

// get returns the response to a request, and the id of its trace.
func (p *program) get(path string) (status int, body, id string, header http.Header) {
	p.t.Helper()
	res, err := http.Get(p.url + path)
	testkit.NoError(p.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	testkit.NoError(p.t, err)
	if parts := strings.Split(res.Header.Get("Traceresponse"), "-"); len(parts) == 4 {
		id = parts[1]
	}
	return res.StatusCode, string(data), id, res.Header
}

// page returns the text of a page, which must have some texts.
func (p *program) page(path string, want ...string) string {
	p.t.Helper()
	_, body, _, _ := p.get("/debug/traces" + path)
	for _, w := range want {
		if !strings.Contains(body, w) {
			p.t.Errorf("%s: %q is not in\n%s", path, w, body)
		}
	}
	return body
}

// A request fails. Its page has a link to the seconds before, which go tool trace reads, with the task and the region of
// the operation.
func TestFlightRecording(t *testing.T) {
	p := startProgram(t, diagnostics.Options{})
	testkit.NoError(t, p.diag.StartFlightRecorder(diagnostics.FlightOptions{Dir: t.TempDir()}))
	defer p.diag.StopFlightRecorder()
	_, _, fine, _ := p.get("/fine")
	_, _, id, _ := p.get("/fail/7")
	p.get("/fail/8")
	for end := time.Now().Add(10 * time.Second); p.diag.FlightStats().Saved == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no recording")
		}
	}
	link := regexp.MustCompile(`<a href="\.\./(api/dendro/traces/` + id + `/recording)" title="go tool trace flight-` + id + `.trace opens it">[0-9.]+ KiB, [0-9.]+ .?s</a>`).FindStringSubmatch(p.page("/trace/" + id))
	if link == nil {
		t.Fatalf("no link in\n%s", p.page("/trace/"+id))
	}
	p.page("/trace/"+fine, id+`/recording`, `, made for <a href="`+id+`">another request</a> at that time`)
	p.page("/?view=open", `GET /fail/{id}`, `<td>error</td>`, "Not saved: rate 1", "Open spans are not remembered")

	status, body, _, header := p.get("/debug/traces/" + link[1])
	testkit.Equal(t, "status", status, http.StatusOK)
	testkit.Equal(t, "disposition", header.Get("Content-Disposition"), `attachment; filename="flight-`+id+`.trace"`)
	file := filepath.Join(t.TempDir(), "flight.trace")
	testkit.NoError(t, os.WriteFile(file, []byte(body), 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "tool", "trace", "-d=parsed", file)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	events, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	for _, want := range []string{`TaskBegin .* Type="GET /fail/\{id\}"`, `RegionBegin .* Type="GET /fail/\{id\}"`, `Category="trace_id" Message="` + id + `"`, `TaskEnd`} {
		if !regexp.MustCompile(want).Match(events) {
			t.Errorf("%s is not in the events", want)
		}
	}

	for path, want := range map[string]int{"x": 400, fine: 404} {
		status, _, _, _ := p.get("/debug/traces/api/dendro/traces/" + path + "/recording")
		testkit.Equal(t, "recording of "+path, status, want)
	}
}

// Of many recordings, the page lists the newest.
func TestManyRecordings(t *testing.T) {
	p, dir := startProgram(t, diagnostics.Options{Open: true}), t.TempDir()
	for i := range 150 {
		name := filepath.Join(dir, fmt.Sprintf("flight-%032x.trace", i+1))
		testkit.NoError(t, os.WriteFile(name, nil, 0o600))
		at := time.Unix(1_700_000_000+int64(i), 0)
		testkit.NoError(t, os.Chtimes(name, at, at))
	}
	testkit.NoError(t, p.diag.StartFlightRecorder(diagnostics.FlightOptions{Dir: dir}))
	defer p.diag.StopFlightRecorder()
	page := p.page("/?view=open", fmt.Sprintf("flight-%032x.trace", 150), fmt.Sprintf("flight-%032x.trace", 51), "50 more are not shown.")
	testkit.Equal(t, "recordings", strings.Count(page, "/recording\""), 100)
	p.page("/api/dendro/open", `"moreRecordings":50`)
}

// A request hangs. The page says for how long, and where.
func TestOpenRequests(t *testing.T) {
	p := startProgram(t, diagnostics.Options{Open: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/hang/7", nil)
	testkit.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	testkit.NoError(t, err)
	defer res.Body.Close()
	id := strings.Split(res.Header.Get("Traceresponse"), "-")[1]

	var now diagnostics.OpenRequests
	for end := time.Now().Add(10 * time.Second); len(now.Requests) == 0 || len(now.Requests[0].Stacks) == 0; {
		if time.Now().After(end) {
			t.Fatalf("no stacks: %+v", now)
		}
		testkit.NoError(t, json.Unmarshal([]byte(p.page("/api/dendro/open")), &now))
	}
	testkit.Equal(t, "requests", len(now.Requests), 1) // none for the page
	testkit.Equal(t, "function", now.Requests[0].Stacks[0].Frames[0].Function, "github.com/dendrotrace/dendro/collector/web_test.waitForStock")

	p.page("/?view=open", "shop&lt;b&gt;", "GET /hang/{id}</b> <small>/hang/7</small>", `<i class="indent"></i>reserve &lt;i&gt;`, "web_test.waitForStock", "now_test.go:", `href="trace/`+id+`"`, `<details id="open-`)
	p.page("/?view=open&trace="+id, "waitForStock", ` open>`)
	p.page("/?view=open&trace=77", ">None.<")
	p.page("/?view=open&trace=x", "is not a trace id")
	p.page("/trace/"+id, `href="../?view=open&amp;trace=`+id+`">2 open spans</a>`)
	p.page("/", `href="./?view=open">Now</a>`)
	status, _, _, _ := p.get("/debug/traces/api/dendro/open?trace=x")
	testkit.Equal(t, "not a trace id", status, http.StatusBadRequest)
}

// Without diagnostics there is nothing to see, and without permission neither.
func TestNowWithout(t *testing.T) {
	refusing := web.New(memory.New(memory.Options{}), web.Options{
		Authorize: func(*http.Request) bool { return false }, Diagnostics: diagnostics.New(diagnostics.Options{}),
	})
	for _, path := range []string{"/?view=open", "/api/dendro/open", "/api/dendro/traces/1/recording"} {
		testkit.Equal(t, path, ask(refusing, http.MethodGet, path, nil).Code, http.StatusForbidden)
	}
	h := web.New(memory.New(memory.Options{}), web.Options{})
	for path, want := range map[string]int{"/api/dendro/open": 404, "/api/dendro/traces/1/recording": 404} {
		testkit.Equal(t, path, ask(h, http.MethodGet, path, nil).Code, want)
	}
	if body := ask(h, http.MethodGet, "/", nil).Body.String(); strings.Contains(body, "view=open") {
		t.Error("there is a link")
	}
}
