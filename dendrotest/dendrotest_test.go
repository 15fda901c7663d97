package dendrotest_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/dendrotest"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/transport"
)

// shop is the code under test. It knows no tracer.
type shop struct {
	db    *sql.DB
	stock string // URL of another service
}

func (s *shop) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Trace)
	r.Get("/orders", func(w http.ResponseWriter, r *http.Request) { s.answer(w, s.list(r.Context())) })
	r.Get("/orders-at-once", func(w http.ResponseWriter, r *http.Request) { s.answer(w, s.listAtOnce(r.Context())) })
	r.Get("/stock", func(w http.ResponseWriter, r *http.Request) { s.answer(w, s.checkStock(r.Context())) })
	r.Get("/leak", func(w http.ResponseWriter, r *http.Request) {
		_, _ = dendro.Start(r.Context(), "reserve stock") // never ended
	})
	return r
}

func (s *shop) answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *shop) list(ctx context.Context) error {
	ids, err := s.query(ctx, "SELECT id FROM orders")
	if err != nil {
		return err
	}
	for range ids {
		if _, err := s.query(ctx, "SELECT name FROM items WHERE order_id = ?", 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) listAtOnce(ctx context.Context) error {
	if _, err := s.query(ctx, "SELECT id FROM orders"); err != nil {
		return err
	}
	_, err := s.query(ctx, "SELECT name FROM items")
	return err
}

func (s *shop) query(ctx context.Context, query string, args ...any) (values []string, err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, rows.Err()
}

func (s *shop) checkStock(ctx context.Context) error {
	client := &http.Client{Transport: transport.New(&http.Transport{DisableKeepAlives: true}, transport.Options{})}
	req, err := http.NewRequestWithContext(ctx, "GET", s.stock+"/stock/tea", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// newShop returns a shop whose database has six orders.
func newShop(t testing.TB) *shop {
	dsn := fmt.Sprintf("%s %p", t.Name(), t)
	mocked, mock, err := sqlmock.NewWithDSN(dsn)
	testkit.NoError(t, err)
	t.Cleanup(func() { mocked.Close() })
	mock.MatchExpectationsInOrder(false)
	orders := sqlmock.NewRows([]string{"id"})
	for id := range 6 {
		orders.AddRow(fmt.Sprint(id))
		mock.ExpectQuery("FROM items").WillReturnRows(sqlmock.NewRows([]string{"name"}).AddRow("tea"))
	}
	mock.ExpectQuery("FROM orders").WillReturnRows(orders)
	db, err := sqldriver.Open("sqlmock", dsn, sqldriver.Options{})
	testkit.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return &shop{db: db}
}

func call(tr *dendrotest.Recorder, h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tr.Context(), "GET", path, nil))
	return w.Code
}

// A request that makes a query for each row, and one that does not.
func TestNoRepeats(t *testing.T) {
	t.Parallel()
	list := func(path string) []string {
		return testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			call(tr, newShop(t).routes(), path)
			tr.NoRepeats()
		})
	}
	wantFailure(t, list("/orders"),
		"want no repeated statements (N+1), got 6 executions\n",
		">     6 × client SELECT items db.query.text=\"SELECT name FROM items WHERE order_id = ?\"\n"+
			"        at dendrotest_test.go:", " dendrotest_test.(*shop).list\n")
	wantNone(t, list("/orders-at-once"))
}

// The test calls the code that queries, without a request.
func TestNoRepeatsBelowTest(t *testing.T) {
	t.Parallel()
	wantFailure(t, testkit.Failures(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		testkit.NoError(t, newShop(t).list(tr.Context()))
		tr.NoRepeats()
	}), "  TestShop\n", ">   6 × client SELECT items")
}

func TestWant(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path, query string
		want        []string // parts of the failure
	}{
		{"/orders-at-once", "{ span.db.query.text =~ `SELECT.*` } | count() <= 2", nil},
		{"/orders", "{ span.db.query.text =~ `SELECT.*` } | count() <= 2", []string{
			"want { span.db.query.text =~ `SELECT.*` } | count() <= 2, got 7 spans in a trace that does not match\n",
			"\n    server GET /orders", "\n>     client SELECT orders", "\n>     6 × client SELECT items",
		}},
		{"/orders", "{ span.db.query.text =~ `DELETE.*` } | count() <= 2", []string{"but no span matches { span.db.query.text =~ \"DELETE.*\" }\n"}},
		{"/orders", "{ name = `GET /orders` } > { name = `SELECT items` }", nil},
		{"/orders", "{ name = `SELECT items` } > { name = `GET /orders` }", []string{"no span matches"}},
		{"/orders", "{ name = }", []string{"dendrotest: query { name = }: 1:10: "}},
		{"/orders", "{ } | rate()", []string{"metrics query"}},
	} {
		got := testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			call(tr, newShop(t).routes(), test.path)
			tr.Want(test.query)
		})
		if test.want == nil {
			wantNone(t, got)
		} else {
			wantFailure(t, got, test.want...)
		}
	}
}

// A trace of its own that makes no queries does not matter; one that makes too many does.
func TestWantSeveralTraces(t *testing.T) {
	t.Parallel()
	work := func(names ...string) []string {
		return testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			for _, name := range names {
				ctx, root := tr.Tracer().Start(context.Background(), name)
				for range len(name) {
					_, s := dendro.Start(ctx, "query")
					s.End()
				}
				root.End()
			}
			tr.Want("{ name = `query` } | count() <= 2")
		})
	}
	wantNone(t, work("", "a", "bb"))
	wantFailure(t, work("", "a", "bbb"), "got 3 spans", "\n  a\n    query\n", "\n  bbb\n>   3 × query\n")
	wantFailure(t, work(""), "no span matches")
}

func TestNone(t *testing.T) {
	t.Parallel()
	none := func(path string) []string {
		return testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			call(tr, newShop(t).routes(), path)
			tr.None("{ span.db.query.text != nil } | count() > 2")
		})
	}
	wantNone(t, none("/nowhere"))
	wantNone(t, none("/orders-at-once"))
	wantFailure(t, none("/orders"), "want no { span.db.query.text != nil } | count() > 2, got 7 spans\n", ">     client SELECT orders")
}

func TestNoErrors(t *testing.T) {
	t.Parallel()
	wantFailure(t, testkit.Failures(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		s := newShop(t)
		call(tr, s.routes(), "/orders-at-once")
		s.db.Close()
		call(tr, s.routes(), "/orders")
		tr.NoErrors()
	}), "want no errors, got 1 failed span\n", "\n    server GET /orders-at-once", "\n>   server GET /orders http.response.status_code=500 error.type=500 status=error")
}

// The line that began a span that is never ended is named. In a bubble that takes no time.
func TestNeverEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := func(path string) []string {
			return testkit.Failures(t, func(t testing.TB) {
				tr := dendrotest.New(t)
				call(tr, (&shop{}).routes(), path)
			})
		}
		wantFailure(t, end("/leak"), "1 span not ended after 5s\n",
			"\n    server GET /leak http.response.status_code=200\n>     reserve stock (open)\n        at dendrotest_test.go:", "dendrotest_test.(*shop).routes.func")
		wantNone(t, end("/nowhere"))
	})
}

// An assertion waits for what goes on, and says what does not end. A test that failed does not
// wait again.
func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		wantFailure(t, testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			for _, takes := range []time.Duration{3 * time.Second, time.Second, time.Minute} {
				_, s := dendro.Start(tr.Context(), "mail", slog.String("to", "ada"))
				time.AfterFunc(takes, s.End)
				tr.Want("{ name = `mail` }")
			}
		}), "1 span not ended after 5s\n", "  2 × mail\n>   mail (open)\n")
		testkit.Equal(t, "took", time.Since(began).Round(time.Second), 9*time.Second)
	})
}

// Without a change to the code under test, a server that uses the default tracer records into
// the tests of its clients, whichever run in parallel.
func TestParallelServers(t *testing.T) {
	t.Parallel()
	stock := httptest.NewServer(middleware.Trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, s := dendro.Start(r.Context(), "count")
		defer s.End()
	})))
	defer stock.Close()
	front := httptest.NewServer((&shop{stock: stock.URL}).routes())
	defer front.Close()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			var ok bool
			failures := testkit.Failures(t, func(t testing.TB) {
				tr := dendrotest.New(t)
				client := tr.Client(front.Client())
				for range n + 1 {
					resp, err := client.Get(front.URL + "/stock")
					if err != nil {
						t.Errorf("%v", err)
						return
					}
					resp.Body.Close()
				}
				tr.Want(fmt.Sprintf("{ name = `count` } | count() = %d", n+1))
				tr.Want("{ name = `GET /stock` } > { kind = client } > { kind = server } > { name = `count` }")
				tr.NoErrors()
				ok = true
			})
			wantNone(t, failures)
			testkit.Equal(t, "ran", ok, true)
		})
	}
	all.Wait()
	if resp, err := front.Client().Get(front.URL + "/stock"); err != nil { // of no test
		t.Error(err)
	} else {
		resp.Body.Close()
	}
	front.Client().CloseIdleConnections()
}

// The span in the context of a request is the one that is propagated.
func TestClientWithSpan(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	server := httptest.NewServer(middleware.Trace(http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound)))
	defer server.Close()
	client := tr.Client(server.Client())
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ctx, span := dendro.Start(tr.Context(), "caller")
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	testkit.NoError(t, err)
	resp, err := client.Do(req)
	testkit.NoError(t, err)
	resp.Body.Close()
	span.End()
	testkit.Equal(t, "request", resp.Request, req)
	testkit.Equal(t, "headers", len(req.Header), 0)
	testkit.Equal(t, "tree", tr.Tree(), "TestClientWithSpan\n  caller\n    server GET http.response.status_code=302\n")
	server.Client().CloseIdleConnections()
}

// Requests are in the order in which a goroutine made them, whatever goroutines serve them.
func TestOrderOfRequests(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	server := httptest.NewUnstartedServer((&shop{}).routes())
	server.Config.SetKeepAlivesEnabled(false)
	server.Start()
	defer server.Close()
	client := tr.Client(server.Client())
	get := func(path string) {
		resp, err := client.Get(server.URL + path)
		testkit.NoError(t, err)
		resp.Body.Close()
	}
	get("/stock")
	get("/nowhere")
	get("/stock")
	var all sync.WaitGroup
	for _, path := range []string{"/stock", "/nowhere", "/stock"} {
		all.Go(func() { get(path) })
	}
	all.Wait()
	lines := regexp.MustCompile(`(?m)^ {2,4}(\d × )?(server|client) \w+( /stock)?`).FindAllString(tr.Tree(), -1)
	testkit.Equal(t, "requests", lines, []string{
		"  server GET /stock", "    client GET", "  server GET", "  server GET /stock", "    client GET",
		"  server GET", "  2 × server GET /stock", "    client GET",
	})
}

// Code that makes its tracers gets the collector of the test.
func TestCollector(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	front := dendro.New(dendro.Options{Service: "front", Collector: tr.Collector()})
	stock := dendro.New(dendro.Options{Service: "stock", Collector: tr.Collector()})
	ctx, root := front.Start(context.Background(), "order")
	go func() {
		_, s := stock.Start(ctx, "count")
		defer root.End()
		defer s.End()
	}()
	tr.Want("{ resource.service.name = `stock` }")
	testkit.Equal(t, "tree", tr.Tree(), "front order\n  stock count\n")
}

// What the default tracer makes of requests without headers, and of contexts without a span.
func TestSetDefault(t *testing.T) {
	before := dendro.Default()
	wantNone(t, testkit.Failures(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		tr.SetDefault()
		front := httptest.NewServer((&shop{}).routes())
		defer front.Close()
		resp, err := front.Client().Get(front.URL + "/nowhere")
		testkit.NoError(t, err)
		resp.Body.Close()
		_, s := dendro.Start(context.Background(), "nightly")
		s.End()
		if got, want := tr.Tree(), "server GET http.response.status_code=404\nnightly\n"; got != want {
			t.Errorf("tree: %s", got)
		}
	}))
	if before != nil && dendro.Default() != before {
		t.Error("the default tracer is not the one before the test")
	}
}

// It is refused in a test that runs in parallel.
func TestSetDefaultInParallel(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	defer func() {
		if recover() == nil {
			t.Error("SetDefault does not panic")
		}
	}()
	tr.SetDefault()
}

// Goroutines run in any order. The tree does not depend on it.
func TestConcurrentSiblings(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T) {
		tr := dendrotest.New(t)
		step := func(name string) {
			_, s := dendro.Start(tr.Context(), name)
			s.End()
		}
		step("z before")
		var all sync.WaitGroup
		for _, name := range []string{"c", "a", "b", "a"} {
			all.Go(func() { step(name) })
		}
		all.Wait()
		step("after")
		all.Go(func() { // in an order of its own
			step("y")
			step("x")
		})
		all.Wait()
		testkit.Equal(t, "tree", tr.Tree(), t.Name()+"\n  z before\n  2 × a\n  b\n  c\n  after\n  y\n  x\n")
	}
	test(t)
	synctest.Test(t, test)
}

// Work that outlives its request has a trace of its own, which is also of the test.
func TestDetached(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	ctx := dendro.Detach(tr.Context())
	go func() {
		_, s := dendro.Start(ctx, "mail")
		s.End()
	}()
	for tr.Tree() == "" { // until it has begun
		time.Sleep(time.Millisecond)
	}
	testkit.Equal(t, "tree", tr.Tree(), "mail\n")
}

// The environment may turn tracing off. Then assertions would have nothing to say.
func TestDisabled(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	wantFailure(t, testkit.Failures(t, func(t testing.TB) { dendrotest.New(t) }), "OTEL_SDK_DISABLED is set")
}

// Spans that the program discards are neither waited for nor shown.
func TestDiscarded(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	_, s := tr.Tracer().Start(context.Background(), "poll")
	s.Discard()
	s.End()
	tr.None("{ name = `poll` }")
	testkit.Equal(t, "tree", tr.Tree(), "")
}

func TestTooManySpans(t *testing.T) {
	t.Parallel()
	wantFailure(t, testkit.Failures(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		for range 10_000 {
			_, s := dendro.Start(tr.Context(), "x")
			s.End()
		}
		tr.Want("{ }")
	}), "the test has more than 10000 spans")
}

// What a test leaves behind does not disturb it, or the tests after it.
func TestSpansAfterTest(t *testing.T) {
	t.Parallel()
	var ctx context.Context
	var tracer *dendro.Tracer
	wantNone(t, testkit.Failures(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		ctx, tracer = tr.Context(), tr.Tracer()
	}))
	_, s := dendro.Start(ctx, "late")
	s.End()
	_, s = tracer.Start(context.Background(), "late")
	s.End()
	h := httptest.NewRequest("GET", "/", nil)
	dendro.Inject(ctx, h.Header)
	middleware.Trace(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), h)
	testkit.Equal(t, "spans", tracer.Stats().Started, uint64(1))
}

func TestGolden(t *testing.T) { // not in parallel, because of the flags
	file := filepath.Join(t.TempDir(), "testdata", "orders.tree")
	golden := func(path string) []string {
		return testkit.Failures(t, func(t testing.TB) {
			tr := dendrotest.New(t)
			call(tr, newShop(t).routes(), path)
			tr.Golden(file, "db.system.name")
		})
	}
	wantFailure(t, golden("/orders-at-once"), "orders.tree: no such file", "\n    client SELECT items", "\nTo accept the tree: go test -run '^TestShop$' -dendrotest.update")
	for _, name := range []string{"dendrotest.update", "update"} { // the second is that of testkit
		os.Remove(file)
		testkit.NoError(t, flag.Set(name, "true"))
		wantNone(t, golden("/orders-at-once"))
		testkit.NoError(t, flag.Set(name, "false"))
		wantNone(t, golden("/orders-at-once"))
	}
	got, err := os.ReadFile(file)
	testkit.NoError(t, err)
	testkit.Equal(t, "file", string(got), `TestShop
  server GET /orders-at-once http.response.status_code=200
    client SELECT orders db.query.text="SELECT id FROM orders" db.system.name=other_sql
    client SELECT items db.query.text="SELECT name FROM items" db.system.name=other_sql
`)
	wantFailure(t, golden("/orders"), "the tree is not that of "+file+" (- file, + test):\n", `
  TestShop
-   server GET /orders-at-once http.response.status_code=200
+   server GET /orders http.response.status_code=200
`, `
      client SELECT orders db.query.text="SELECT id FROM orders" db.system.name=other_sql
-     client SELECT items db.query.text="SELECT name FROM items" db.system.name=other_sql
+     6 × client SELECT items db.query.text="SELECT name FROM items WHERE order_id = ?" db.system.name=other_sql
        at dendrotest_test.go:`)
}

// The words of a failure are the same each time.
func TestNormalized(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"GET /orders/{id}": "GET /orders/{id}",
		"dial tcp 127.0.0.1:35123: connection refused":         "dial tcp <address>: connection refused",
		"read tcp [::1]:35123->[fe80::1%eth0]:80: i/o timeout": "read tcp <address>-><address>: i/o timeout",
		"http://localhost:35123/stock":                         "http://<address>/stock",
		"at 2026-11-30T19:02:45.123Z and 2026-11-30 19:02:45":  "at <time> and <time>",
		time.Unix(0, 0).UTC().String():                         "<time>",
		"order 5f0c6a0e-8b0e-4b0a-9d0f-1c2d3e4f5a6b":           "order <id>",
		"trace 4bf92f3577b34da6a3ce929d0e0e4736":               "trace <id>",
		"took 1.5ms of 1m30s":                                  "took <duration> of <duration>",
		"at 0xc000012345":                                      "at <pointer>",
		"two\n  lines\tof text":                                "two lines of text",
		"order 42 of 7 items, HTTP/1.1, v1.2.3":                "order 42 of 7 items, HTTP/1.1, v1.2.3",
	} {
		tr := dendrotest.New(t)
		_, s := dendro.Start(tr.Context(), text)
		s.End()
		testkit.Equal(t, text, tr.Tree(), "TestNormalized\n  "+want+"\n")
	}
}

// wantFailure fails unless there is one failure, and it has all parts.
func wantFailure(t *testing.T, got []string, parts ...string) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%d failures, want 1:\n%s", len(got), strings.Join(got, "\n"))
	}
	for _, part := range parts {
		if !strings.Contains(got[0], part) {
			t.Errorf("%q is not in\n%s", part, got[0])
		}
	}
}

func wantNone(t *testing.T, got []string) {
	t.Helper()
	if len(got) > 0 {
		t.Errorf("%d failures, want none:\n%s", len(got), strings.Join(got, "\n"))
	}
}
