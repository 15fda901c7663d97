package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/dendrotest"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

// failure returns what the only failure of a test says.
func failure(t *testing.T, test func(testing.TB)) string {
	t.Helper()
	failures := testkit.Failures(t, test)
	if len(failures) != 1 {
		t.Fatalf("%d failures, want 1:\n%s", len(failures), strings.Join(failures, "\n"))
	}
	t.Log(failures[0])
	return failures[0]
}

func wantParts(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

// serve serves a request of a test.
func serve(tr *dendrotest.Recorder, name string, h http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+name, h)
	r := httptest.NewRequestWithContext(tr.Context(), "GET", name, nil)
	middleware.Trace(mux).ServeHTTP(httptest.NewRecorder(), r)
}

// GET /orders queries the items of one order after the other. A test finds that, and no longer
// when it does not.
func TestRepeatsFail(t *testing.T) {
	testkit.NoLeaks(t)
	got := failure(t, func(t testing.TB) {
		tr := dendrotest.New(t)
		front, client := startTraced(t, tr)
		send(t, client, "GET", front+"/orders", "", "")
		tr.NoRepeats()
	})
	wantParts(t, got,
		"want no repeated statements (N+1), got 20 executions\n",
		">     20 × front client SELECT shop_items db.query.text=",
		"at database.go:", " chi-app.selectItems\n", " chi-app.selectLatestOrders\n", " chi-app.orders.list")

	db, closeDB, err := openDatabase(t.Context(), "")
	testkit.NoError(t, err)
	defer closeDB()
	tr := dendrotest.New(t)
	serve(tr, "/orders", func(_ http.ResponseWriter, r *http.Request) {
		testkit.NoError(t, selectLatestOrdersAtOnce(r.Context(), db))
	})
	tr.NoRepeats()
	tr.Want("{ span.db.query.text =~ `SELECT.*` } | count() <= 2")
}

// selectLatestOrdersAtOnce is selectLatestOrders with two queries.
func selectLatestOrdersAtOnce(ctx context.Context, db *sqlxdb.DB) error {
	const latest = "SELECT id, customer, state FROM shop_orders ORDER BY id DESC LIMIT 20"
	var list []order
	if err := db.SelectContext(ctx, &list, latest); err != nil {
		return err
	}
	var items []item
	return db.SelectContext(ctx, &items, "SELECT order_id, product, quantity FROM shop_items WHERE order_id IN (SELECT id FROM ("+latest+"))")
}

// A handler forgets to end a span.
func TestForgottenSpanFails(t *testing.T) {
	reserve := func(end func(*dendro.Span)) func(testing.TB) {
		return func(t testing.TB) {
			serve(dendrotest.New(t), "/reserve", func(_ http.ResponseWriter, r *http.Request) {
				_, span := dendro.Start(r.Context(), "reserve tea")
				end(span)
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // where five seconds are none
		wantParts(t, failure(t, reserve(func(*dendro.Span) {})),
			"1 span not ended after 5s\n", ">     reserve tea (open)\n        at traces_test.go:")
		testkit.Equal(t, "failures", testkit.Failures(t, reserve((*dendro.Span).End)), []string(nil))
	})
}

// A handler no longer makes a query.
func TestChangedTreeFails(t *testing.T) {
	testkit.NoLeaks(t)
	db, closeDB, err := openDatabase(t.Context(), "")
	testkit.NoError(t, err)
	defer closeDB()
	file := filepath.Join(t.TempDir(), "order.tree")
	testkit.NoError(t, os.WriteFile(file, []byte(`TestShop
  server GET /orders/1 http.response.status_code=200
    client SELECT shop_orders db.query.text="SELECT id, customer, state FROM shop_orders WHERE id = ?"
    client SELECT shop_items db.query.text="SELECT order_id, product, quantity FROM shop_items WHERE order_id = ?"
`), 0o600))
	show := func(lookUp func(context.Context) error) func(testing.TB) {
		return func(t testing.TB) {
			tr := dendrotest.New(t)
			serve(tr, "/orders/1", func(_ http.ResponseWriter, r *http.Request) { testkit.NoError(t, lookUp(r.Context())) })
			tr.Golden(file)
		}
	}
	wantParts(t, failure(t, show(func(ctx context.Context) error { return selectItems(ctx, db, &order{ID: 1}) })),
		" (- file, + test):\n", "\n-     client SELECT shop_orders ", "\n      client SELECT shop_items ")
	testkit.Equal(t, "failures", testkit.Failures(t, show(func(ctx context.Context) error {
		_, err := selectOrder(ctx, db, 1)
		return err
	})), []string(nil))
}
