//go:build unix

package integration

import (
	"testing"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dendrotrace/dendro/internal/testkit"
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
