//go:build unix

package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/otelbridge"
	"github.com/dendrotrace/dendro/sqldriver"
)

// openPGX opens a pool of pgx's own, with one connection, whose calls are traced.
func openPGX(t *testing.T, dsn string, api otelAPI) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	testkit.NoError(t, err)
	config.MaxConns = 1
	config.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(api.provider))
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	testkit.NoError(t, err)
	t.Cleanup(pool.Close)
	testkit.NoError(t, pool.Ping(t.Context()))
	return pool
}

// Statements of pgx's own pool, without database/sql, are in the tree of the request that executes them.
func TestBridgePGX(t *testing.T) {
	dsn := startPostgres(t)
	t.Run("tree", func(t *testing.T) { testPGXTree(t, dsn) })
	t.Run("literals and repeats", func(t *testing.T) { testPGXStatements(t, dsn) })
	t.Run("below sqldriver", func(t *testing.T) { testPGXBelowSQLDriver(t, dsn) })
}

func testPGXTree(t *testing.T, dsn string) {
	spans := likeSDK(t, func(t *testing.T, shop otelAPI) {
		pool := openPGX(t, dsn, shop)
		ctx, end := shop.start(t.Context(), "order")
		defer end()
		_, err := pool.Exec(ctx, "CREATE TEMPORARY TABLE items (id int PRIMARY KEY, name text)")
		testkit.NoError(t, err)
		_, err = pool.Exec(ctx, "INSERT INTO items VALUES ($1, $2)", 1, "cup")
		testkit.NoError(t, err)
		if _, err := pool.Exec(ctx, "INSERT INTO items VALUES ($1, $2)", 1, "tea"); err == nil {
			t.Error("no error")
		}
		var name string
		testkit.NoError(t, pool.QueryRow(ctx, "SELECT name FROM items WHERE id = $1", 1).Scan(&name))
		testkit.Equal(t, "name", name, "cup")
		_, err = pool.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{2, "tea"}}))
		testkit.NoError(t, err)
		batch := &pgx.Batch{}
		batch.Queue("DELETE FROM items WHERE id = $1", 1)
		batch.Queue("SELECT count(*) FROM items")
		testkit.NoError(t, pool.SendBatch(ctx, batch).Close())
	})
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  client pool.acquire
  client CREATE
  client pool.acquire
  client INSERT
    client INSERT
  client pool.acquire
  client INSERT
  client pool.acquire
  client SELECT
    client SELECT
  client pool.acquire
  client copy_from "items"
    client SELECT
  client pool.acquire
  client batch start
    client DELETE
    client SELECT`) // a client span below another of that name prepares the statement
}

// Statements of pgx's own pool have no literals, and a loop of them is found.
func testPGXStatements(t *testing.T, dsn string) {
	store := memory.New(memory.Options{})
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store, Sampler: dendro.AlwaysSample})
	config, err := pgxpool.ParseConfig(dsn)
	testkit.NoError(t, err)
	config.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(otelbridge.NewTracerProvider(tracer)))
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	testkit.NoError(t, err)
	defer pool.Close()
	ctx, root := tracer.Start(t.Context(), "order")
	for id := range 6 {
		var name string
		testkit.NoError(t, pool.QueryRow(ctx, fmt.Sprintf("SELECT 'secret' FROM generate_series(1, 10) i WHERE i = %d", id+1), pgx.QueryExecModeExec).Scan(&name))
		testkit.Equal(t, "name", name, "secret")
	}
	if err := pool.QueryRow(ctx, "SELECT 'secret'::int").Scan(new(int)); err == nil {
		t.Error("no error")
	}
	root.End()
	testkit.NoError(t, tracer.Shutdown(t.Context()))

	trace, err := store.Trace(t.Context(), root.Context().TraceID, collector.TimeRange{})
	testkit.NoError(t, err)
	if all := fmt.Sprint(trace.Spans); strings.Contains(all, "secret") {
		t.Errorf("a literal is recorded: %s", all)
	}
	order := trace.Spans[slices.IndexFunc(trace.Spans, func(s collector.Span) bool { return s.Name == "order" })]
	testkit.Equal(t, "repeats", fmt.Sprint(order.Attributes), "[dendro.db.repeated=true dendro.db.repeated.SELECT generate_series=6]")
	event := testkit.Span{SpanData: dendro.SpanData{Attributes: order.Events[0].Attributes}}
	testkit.Equal(t, "place", event.Attr("code.function.name"), any("github.com/dendrotrace/dendro/internal/integration.testPGXStatements"))

	server := httptest.NewServer(web.New(store, web.Options{}))
	defer server.Close()
	response, err := http.Get(server.URL + "/?view=sql")
	testkit.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	testkit.NoError(t, err)
	testkit.NoError(t, response.Body.Close())
	for _, want := range []string{"SELECT ? FROM generate_series(?, ?) i WHERE i = ?", "6 ×"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the page of statements does not have %q", want)
		}
	}
}

// If pgx is below sqldriver, sqldriver makes the spans, and otelpgx, which ends the span in the context, does
// not end them.
func testPGXBelowSQLDriver(t *testing.T, dsn string) {
	var recorder testkit.Recorder
	api := newBridge(t, &recorder, "shop")
	config, err := pgx.ParseConfig(dsn)
	testkit.NoError(t, err)
	config.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(api.provider))
	db := sql.OpenDB(sqldriver.WrapConnector(stdlib.GetConnector(*config), sqldriver.Options{Tracer: api.tracer}))
	defer db.Close()
	testkit.NoError(t, db.PingContext(t.Context()))
	ctx, end := api.start(t.Context(), "order")
	rows, err := db.QueryContext(ctx, "SELECT * FROM generate_series(1, 3)")
	testkit.NoError(t, err)
	for rows.Next() {
	}
	testkit.NoError(t, errors.Join(rows.Err(), rows.Close()))
	end()
	spans := recorder.Spans()
	testkit.Equal(t, "tree", treeOf(spans), "internal order\n  client SELECT generate_series")
	testkit.Equal(t, "rows", spans[1].Attr("db.response.returned_rows"), any(int64(3)))
}
