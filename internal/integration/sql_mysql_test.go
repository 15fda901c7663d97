//go:build unix

package integration

import (
	"context"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestMariaDB(t *testing.T) {
	dsn := startMariaDB(t)
	s := testSQL(t, sqlCase{
		driver: "mysql", dsn: dsn + "?multiStatements=true", system: "mysql", namespace: "test", uniqueCode: "1062",
		slow: "SELECT SLEEP(30)", preparesArgs: true,
	})
	t.Run("explain", func(t *testing.T) {
		testExplain(t, "mysql", dsn, "SELECT name FROM plans WHERE id = ? AND name <> 'secret!'", `"table_name": "plans"`)
	})
	t.Run("explain of what writes", func(t *testing.T) {
		testExplainWrites(t, "mysql", dsn, "SELECT 1 FROM (SELECT n FROM noted) x WHERE n = (SELECT n FROM noted)",
			"CREATE OR REPLACE FUNCTION note() RETURNS INT DETERMINISTIC BEGIN INSERT INTO calls VALUES (1); RETURN 1; END",
			"CREATE OR REPLACE VIEW noted AS SELECT note() AS n")
	})
	t.Run("several result sets", func(t *testing.T) {
		var got []int
		spans := s.request(t, func(ctx context.Context) {
			rows, err := s.db.QueryContext(ctx, "SELECT id FROM orders ORDER BY id; SELECT 42")
			testkit.NoError(t, err)
			defer rows.Close()
			for more := true; more; more = rows.NextResultSet() {
				for rows.Next() {
					var n int
					testkit.NoError(t, rows.Scan(&n))
					got = append(got, n)
				}
			}
			testkit.NoError(t, rows.Err())
		})
		testkit.Equal(t, "rows", got, []int{1, 2, 42})
		testkit.Equal(t, "returned", spans[0].Attr("db.response.returned_rows"), any(int64(3)))
		testkit.Equal(t, "status", spans[0].Status.Message, "")
	})
	t.Run("error in the second result set", func(t *testing.T) {
		spans := s.request(t, func(ctx context.Context) {
			rows, err := s.db.QueryContext(ctx, "SELECT 1; SELECT * FROM nowhere")
			testkit.NoError(t, err)
			defer rows.Close()
			for more := true; more; more = rows.NextResultSet() {
				for rows.Next() {
				}
			}
			if rows.Err() == nil {
				t.Error("no error")
			}
		})
		testkit.Equal(t, "code", spans[0].Attr("db.response.status_code"), any("1146"))
	})
}
