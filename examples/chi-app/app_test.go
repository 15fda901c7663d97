package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/dendrotest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var anyPort = []string{"-front=127.0.0.1:0", "-page=127.0.0.1:0", "-a=127.0.0.1:0", "-b=127.0.0.1:0"}

// startApp runs the app on free ports until the test ends.
func startApp(t *testing.T, args ...string) *app {
	t.Helper()
	o, err := parseFlags(append(anyPort, args...), t.Output())
	testkit.NoError(t, err)
	a, err := start(t.Context(), o)
	testkit.NoError(t, err)
	t.Cleanup(func() {
		if err := a.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// startTraced runs the app with the spans of a test until that ends. It returns the URL of the
// front service, and a client.
func startTraced(t testing.TB, tr *dendrotest.Recorder) (front string, client *http.Client) {
	t.Helper()
	o, err := parseFlags(anyPort, io.Discard)
	testkit.NoError(t, err)
	o.spans = tr.Collector()
	a, err := start(t.Context(), o)
	testkit.NoError(t, err)
	t.Cleanup(func() { testkit.NoError(t, a.stop(context.Background())) })
	return a.address("front"), tr.Client(user)
}

// startCollector runs what "dendro serve" runs, and returns the URLs of the receiver
// and of the query API.
func startCollector(t *testing.T) (otlp, api string) {
	t.Helper()
	store := memory.New(memory.Options{})
	receiver := httptest.NewServer(server.New(store, server.Options{}))
	page := httptest.NewServer(web.New(store, web.Options{}))
	t.Cleanup(receiver.Close)
	t.Cleanup(page.Close)
	return receiver.URL, page.URL
}

const homeTree = `front server GET /
  front client GET
    endpoint1 server GET /endpoint1
  front client GET
    endpoint2 server GET /endpoint2
  front client GET
    endpoint3 server GET /endpoint3
`

const frontTree = `front server GET /front
  front client GET
    serviceA server GET /service1
  front client GET
    serviceB server GET /service2
      serviceB client GET
        serviceB1 server GET /service3
`

// checkHome requests GET / and checks its trace.
func checkHome(t *testing.T, front, api string) {
	t.Helper()
	status, _ := do(t, "GET", front+"/", "", "")
	testkit.Equal(t, "status", status, http.StatusOK)
	tr := newestTrace(t, api, "GET /", 7)
	testkit.Equal(t, "tree", tr.tree(), homeTree)
	if tr.duration < 621*time.Millisecond {
		t.Errorf("the trace takes %v, want at least 621 ms", tr.duration)
	}
	// It takes a few milliseconds on an idle machine. A call without a span would take
	// at least endpointDelays[0].
	if self := tr.rootSelfTime(); self < 0 || self >= endpointDelays[0] {
		t.Errorf("self time of the root is %v, want less than %v", self, endpointDelays[0])
	}
}

// checkFront requests GET /front and checks its trace.
func checkFront(t *testing.T, front, api string) {
	t.Helper()
	status, body := do(t, "GET", front+"/front", "", "")
	testkit.Equal(t, "status", status, http.StatusOK)
	testkit.Equal(t, "body", body, "access serviceA ok\naccess serviceB ok\n")
	testkit.Equal(t, "tree", newestTrace(t, api, "GET /front", 7).tree(), frontTree)
}

func TestInProcess(t *testing.T) {
	testkit.NoLeaks(t)
	a := startApp(t)
	for _, api := range []string{a.address("page"), a.address("page") + "/debug/traces"} {
		checkHome(t, a.address("front"), api)
		checkFront(t, a.address("front"), api)
	}
	_, body := do(t, "GET", a.address("serviceA")+"/service1", "", "")
	testkit.Equal(t, "body of service A", body, "service1 ok")
}

// With -data, the traces are there after a restart.
func TestOnDisk(t *testing.T) {
	testkit.NoLeaks(t)
	data := t.TempDir()
	a := startApp(t, "-data", data)
	checkFront(t, a.address("front"), a.address("page"))
	o, err := parseFlags(append(anyPort, "-data", data), t.Output())
	testkit.NoError(t, err)
	if second, err := start(t.Context(), o); err == nil {
		t.Error("a second app uses the same directory", second.stop(t.Context()))
	}
	testkit.NoError(t, a.stop(t.Context()))

	a = startApp(t, "-data", data)
	testkit.Equal(t, "tree", newestTrace(t, a.address("page"), "GET /front", 7).tree(), frontTree)
}

func TestRemoteCollector(t *testing.T) {
	testkit.NoLeaks(t)
	otlp, api := startCollector(t)
	a := startApp(t, "-collector", otlp)
	testkit.Equal(t, "page", a.address("page"), "")
	checkHome(t, a.address("front"), api)
	checkFront(t, a.address("front"), api)
}

func TestRolesInProcessesOfTheirOwn(t *testing.T) {
	testkit.NoLeaks(t)
	otlp, api := startCollector(t)
	serviceA := startApp(t, "-collector", otlp, "-role", "a")
	serviceB := startApp(t, "-collector", otlp, "-role", "b")
	front := startApp(t, "-collector", otlp, "-role", "front",
		"-a", hostPort(serviceA.address("serviceA")), "-b", hostPort(serviceB.address("serviceB")))
	checkFront(t, front.address("front"), api)
}

// GET /tree calls the front services of other processes, one of which fails if asked to.
func TestTree(t *testing.T) {
	testkit.NoLeaks(t)
	otlp, api := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otlp)
	process := func(service string, next ...string) string {
		t.Setenv("OTEL_SERVICE_NAME", service)
		return startApp(t, "-role=front", "-next", strings.Join(next, ",")).address("front")
	}
	one, two := process("one"), process("two")
	root := process("root", process("middle", one), two)
	res, err := user.Get(root + "/tree?ms=1&fail=" + hostPort(one))
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "status", res.StatusCode, http.StatusOK)
	tr := newestTrace(t, api, "GET /tree", 7)
	testkit.Equal(t, "id", strings.Split(res.Header.Get("Traceresponse"), "-")[1], tr.spans[0].TraceID.String())
	var failed []string
	for _, s := range tr.spans {
		if s.attr("error.type") != "" {
			failed = append(failed, s.service+" "+s.Name)
		}
	}
	slices.Sort(failed)
	testkit.Equal(t, "failed", failed, []string{"middle GET", "one GET /tree"})
	status, _ := do(t, "GET", root+"/tree?ms=soon", "", "")
	testkit.Equal(t, "status of a wrong number", status, http.StatusBadRequest)
}

func hostPort(url string) string { return strings.TrimPrefix(url, "http://") }

func TestOrders(t *testing.T) {
	testkit.NoLeaks(t)
	tr := dendrotest.New(t)
	front, client := startTraced(t, tr)

	status, body := send(t, client, "POST", front+"/orders", "application/json",
		`{"customer":"ada","items":[{"product":"tea","quantity":2},{"product":"milk","quantity":1}]}`)
	testkit.Equal(t, "status", status, http.StatusCreated)
	want := fmt.Sprintf(`{"id":%d,"customer":"ada","state":"new","items":[{"product":"tea","quantity":2},{"product":"milk","quantity":1}]}`+"\n", seedOrders+1)
	testkit.Equal(t, "order", body, want)
	_, shown := send(t, client, "GET", fmt.Sprintf("%s/orders/%d", front, seedOrders+1), "", "")
	testkit.Equal(t, "order as shown", shown, want)
	status, _ = send(t, client, "GET", front+"/orders/1000", "", "")
	testkit.Equal(t, "status of an order that is not there", status, http.StatusNotFound)
	status, _ = send(t, client, "POST", front+"/orders", "application/x-www-form-urlencoded", "customer=ada&product=tea&quantity=2")
	testkit.Equal(t, "status of a form", status, http.StatusCreated)

	tr.NoErrors()
	tr.NoRepeats()
	tr.Golden("testdata/orders.tree", "dendro.db.transaction.outcome")
}

func TestOrdersThatAreRefused(t *testing.T) {
	testkit.NoLeaks(t)
	front := startApp(t).address("front")
	const form, object = "application/x-www-form-urlencoded", "application/json"
	for _, test := range []struct{ contentType, body, want string }{
		{form, "product=tea&quantity=2", "customer needs 1 to 80 bytes of text\n"},
		{form, "customer=ada&product=tea&quantity=two", "quantity is not a number\n"},
		{form, "customer=ada&product=tea&quantity=0", "quantity is not from 1 to 1000\n"},
		{form, "customer=ada&quantity=1", "product needs 1 to 80 bytes of text\n"},
		{form, "customer=a%00da&product=tea&quantity=1", "customer needs 1 to 80 bytes of text\n"},
		{form, "customer=ada&product=t%ffea&quantity=1", "product needs 1 to 80 bytes of text\n"},
		{object, `{"customer":"ada"}`, "an order needs 1 to 20 items\n"},
		{object, `{"customer":"ada","colour":"red"}`, "invalid order: json: unknown field \"colour\"\n"},
		{object, `{`, "invalid order: unexpected EOF\n"},
		{object, `"` + strings.Repeat("x", maxOrderBytes) + `"`, "invalid order: http: request body too large\n"},
	} {
		status, body := do(t, "POST", front+"/orders", test.contentType, test.body)
		testkit.Equal(t, "status", status, http.StatusBadRequest)
		testkit.Equal(t, "answer", body, test.want)
	}
}

func TestSlowErrorPanic(t *testing.T) {
	testkit.NoLeaks(t)
	tr := dendrotest.New(t)
	front, client := startTraced(t, tr)
	for _, test := range []struct {
		path   string
		status int
	}{
		{"/slow?ms=1", http.StatusOK},
		{"/slow?ms=10001", http.StatusBadRequest},
		{"/error", http.StatusInternalServerError},
		{"/panic", http.StatusInternalServerError},
	} {
		status, _ := send(t, client, "GET", front+test.path, "", "")
		testkit.Equal(t, "status of "+test.path, status, test.status)
	}
	tr.Golden("testdata/slow-error-panic.tree")
}

// With -flight, what happened before a request failed is saved.
func TestFlight(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	a := startApp(t, "-flight", dir)
	do(t, "GET", a.address("front")+"/error", "", "")
	var files []string
	for end := time.Now().Add(10 * time.Second); len(files) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		files, _ = filepath.Glob(filepath.Join(dir, "flight-*.trace"))
	}
	testkit.Equal(t, "recordings", len(files), 1)
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(files[0]), "flight-"), ".trace")
	body := ""
	for end := time.Now().Add(10 * time.Second); !strings.Contains(body, id+"/recording"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no link in\n%s", body)
		}
		_, body = do(t, "GET", a.address("page")+"/trace/"+id, "", "")
	}
}

// Users do not notice that the collector is unreachable.
func TestCollectorDown(t *testing.T) {
	testkit.NoLeaks(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	a := startApp(t, "-collector", gone.URL)
	for range 20 {
		status, _ := do(t, "GET", a.address("front")+"/orders/1", "", "")
		testkit.Equal(t, "status", status, http.StatusOK)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tracer := range a.tracers {
		tracer.Shutdown(over)
	}
	a.remote.Shutdown(over)
	s := a.stats()
	testkit.Equal(t, "recorded spans", s.Started, uint64(20*3))
	testkit.Equal(t, "delivered spans", s.Delivered, uint64(0))
	testkit.Equal(t, "dropped spans", s.DroppedSpans(), s.Started)
	testkit.Equal(t, "unfinished spans", s.Unfinished, uint64(0))
}

// TestRun covers the life of the program: the table of parts, load, and shutdown.
func TestRun(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, append(anyPort, "-load=1s"), write, t.Output())
		write.Close()
	}()

	var out bytes.Buffer
	buf := make([]byte, 4096)
	for !regexp.MustCompile(`load done: .*\n`).Match(out.Bytes()) {
		n, err := read.Read(buf)
		testkit.NoError(t, err)
		out.Write(buf[:n])
	}
	cancel()
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		io.Copy(&out, read)
	}()
	testkit.Equal(t, "exit code", <-code, exitOK)
	<-rest
	for _, want := range []string{
		`(?m)^database +sqlite +\S+s$`,
		`(?m)^front +http://127\.0\.0\.1:\d+ +\S+s$`,
		`curl http://127\.0\.0\.1:\d+/front`,
		`Traces:  http://127\.0\.0\.1:\d+/`,
		`load done: [1-9]\d* requests, [0-9] errors, p50 .*s, p99 .*s, [1-9]\d* spans`,
		`recorded [1-9]\d* spans, delivered [1-9]\d*, dropped 0, unfinished 0\n$`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("%s is not in\n%s", want, out.String())
		}
	}
}

// The program is started while it is already running.
func TestPortTaken(t *testing.T) {
	testkit.NoLeaks(t)
	first := startApp(t)
	front, page := hostPort(first.address("front")), hostPort(first.address("page"))
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append(anyPort, "-front", front, "-page", page), &stdout, &stderr)
	testkit.Equal(t, "exit code", code, exitError)
	testkit.Equal(t, "stdout", stdout.String(), "")
	for _, want := range []string{front, "-front host:port", page, "-page host:port"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not in %q", want, stderr.String())
		}
	}
}

// Errors that are found after some parts have started.
func TestStartFails(t *testing.T) {
	testkit.NoLeaks(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, test := range []struct{ flag, value, want string }{
		{"-collector", "localhost:4318", `-collector: remote: endpoint "localhost:4318" has no scheme`},
		{"-flight", "run.go", "-flight: diagnostics: the directory for flight recordings: mkdir run.go: "},
		{"-db", "postgres://shop@" + hostPort(gone.URL) + "/shop", "database: failed to connect"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append(anyPort, test.flag, test.value), &stdout, &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		testkit.Equal(t, "stdout", stdout.String(), "")
		if !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%q is not in %q", test.want, stderr.String())
		}
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-help"}, exitOK, "Usage of chi-app"},
		{[]string{"-colour", "red"}, exitUsage, "-colour"},
		{[]string{"now"}, exitUsage, `unexpected argument "now"`},
		{[]string{"-role", "c"}, exitUsage, `-role "c" is not one of`},
		{[]string{"-db", "shop.db"}, exitUsage, "-db is not a URL"},
		{[]string{"-data", "traces", "-collector", "http://127.0.0.1:4318"}, exitUsage, "leave out -collector"},
		{[]string{"-load", "-1s"}, exitUsage, "-load -1s is not between"},
		{[]string{"-load", "30s", "-role", "a"}, exitUsage, "-load needs the front service"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), test.args, t.Output(), &stderr)
		testkit.Equal(t, fmt.Sprint("exit code of ", test.args), code, test.code)
		if !strings.Contains(stderr.String(), test.want) || !strings.Contains(stderr.String(), "-front address") {
			t.Errorf("%v: neither %q nor the usage in %q", test.args, test.want, stderr.String())
		}
	}
}
