//go:build unix

package integration

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
)

const explained = "SELECT name FROM plans WHERE id = $1 AND name <> 'secret!'"

func TestPostgres(t *testing.T) {
	dsn := startPostgres(t)
	c := sqlCase{dsn: dsn, system: "postgresql", namespace: "postgres", uniqueCode: "23505", slow: "SELECT pg_sleep(30)"}
	t.Run("pgx", func(t *testing.T) {
		c := c
		c.driver = "pgx"
		s := testSQL(t, c)
		t.Run("explain", func(t *testing.T) { testExplain(t, c.driver, dsn, explained, "on plans", "Cond: (id = ") })
		t.Run("explain of what writes", func(t *testing.T) {
			testExplainWrites(t, c.driver, dsn, "SELECT 1 WHERE declared() = 1",
				"CREATE FUNCTION note() RETURNS int LANGUAGE sql AS 'INSERT INTO calls VALUES (1) RETURNING 1'",
				"CREATE FUNCTION declared() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN note(); END'")
		})
		t.Run("CopyFrom", func(t *testing.T) {
			conn, err := s.db.Conn(context.Background())
			testkit.NoError(t, err)
			defer conn.Close()
			testkit.NoError(t, conn.Raw(func(c any) error {
				n, err := sqldriver.Unwrap(c).(*stdlib.Conn).Conn().CopyFrom(context.Background(), pgx.Identifier{"orders"},
					[]string{"id", "name"}, pgx.CopyFromRows([][]any{{10, "cup"}, {11, "tea"}}))
				testkit.Equal(t, "copied", n, int64(2))
				return err
			}))
			var names []string
			testkit.NoError(t, s.db.Select(&names, "SELECT name FROM orders WHERE id >= 10 ORDER BY id"))
			testkit.Equal(t, "names", names, []string{"cup", "tea"})
		})
		t.Run("slice as argument", func(t *testing.T) {
			spans := s.request(t, func(ctx context.Context) {
				var n int
				testkit.NoError(t, s.db.GetContext(ctx, &n, "SELECT count(*) FROM orders WHERE id = ANY($1)", []int{1, 2}))
				testkit.Equal(t, "orders", n, 2)
			})
			testkit.Equal(t, "server", spans[0].Attr("server.address"), any("127.0.0.1"))
		})
	})
	t.Run("pq", func(t *testing.T) {
		c := c
		c.driver = "postgres"
		s := testSQL(t, c)
		t.Run("explain", func(t *testing.T) { testExplain(t, c.driver, dsn, explained, "on plans", "Cond: (id = ") })
		t.Run("CopyIn", func(t *testing.T) {
			spans := s.request(t, func(ctx context.Context) {
				tx, err := s.db.BeginTx(ctx, nil)
				testkit.NoError(t, err)
				stmt, err := tx.PrepareContext(ctx, pq.CopyIn("orders", "id", "name"))
				testkit.NoError(t, err)
				for id, name := range map[int]string{10: "cup", 11: "tea"} {
					_, err := stmt.ExecContext(ctx, id, name)
					testkit.NoError(t, err)
				}
				_, err = stmt.ExecContext(ctx)
				testkit.NoError(t, err)
				testkit.NoError(t, stmt.Close())
				testkit.NoError(t, tx.Commit())
			})
			for _, span := range spans {
				testkit.Equal(t, "status of "+span.Name, span.Status.Message, "")
			}
			var names []string
			testkit.NoError(t, s.db.Select(&names, "SELECT name FROM orders WHERE id >= 10 ORDER BY id"))
			testkit.Equal(t, "names", names, []string{"cup", "tea"})
		})
		t.Run("SetNoticeHandler", func(t *testing.T) { // wants its own connection
			conn, err := s.db.Conn(context.Background())
			testkit.NoError(t, err)
			defer conn.Close()
			var notice string
			testkit.NoError(t, conn.Raw(func(c any) error {
				pq.SetNoticeHandler(sqldriver.Unwrap(c).(driver.Conn), func(e *pq.Error) { notice = e.Message })
				return nil
			}))
			_, err = conn.ExecContext(context.Background(), "DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
			testkit.NoError(t, err)
			testkit.Equal(t, "notice", notice, "hello")
		})
	})
}
