//go:build cgo

package integration

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

func TestSQLiteInC(t *testing.T) {
	folder := t.TempDir()
	s := testSQL(t, sqlCase{
		driver: "sqlite3", dsn: "file:" + filepath.ToSlash(filepath.Join(folder, "shop.db")) + "?_busy_timeout=5000",
		system: "sqlite", namespace: "shop.db", uniqueCode: "2067",
		slow: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0",
	})
	t.Run("explain", func(t *testing.T) {
		testExplain(t, "sqlite3", filepath.Join(folder, "plans.db"),
			"SELECT name FROM plans WHERE id = ? AND name <> 'x'", "SEARCH plans", "PRIMARY KEY")
	})
	t.Run("backup", func(t *testing.T) {
		dest, err := sqlxdb.Open("sqlite3", filepath.Join(folder, "copy.db"), sqldriver.Options{Tracer: s.tracer})
		testkit.NoError(t, err)
		defer dest.Close()
		to, err := dest.Conn(context.Background())
		testkit.NoError(t, err)
		defer to.Close()
		from, err := s.db.Conn(context.Background())
		testkit.NoError(t, err)
		defer from.Close()
		testkit.NoError(t, to.Raw(func(to any) error {
			return from.Raw(func(from any) error {
				b, err := sqldriver.Unwrap(to).(*sqlite3.SQLiteConn).Backup("main", sqldriver.Unwrap(from).(*sqlite3.SQLiteConn), "main")
				if err != nil {
					return err
				}
				done, err := b.Step(-1)
				testkit.Equal(t, "done", done, true)
				if err != nil {
					return err
				}
				return b.Finish()
			})
		}))
		var names []string
		testkit.NoError(t, to.Close())
		testkit.NoError(t, dest.Select(&names, "SELECT name FROM orders ORDER BY id"))
		testkit.Equal(t, "copied", names, []string{"book", "pen"})
	})
}
