package integration

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
)

func TestSQLite(t *testing.T) {
	dsn := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "shop.db")) + "?_pragma=busy_timeout(5000)"
	s := testSQL(t, sqlCase{
		driver: "sqlite", dsn: dsn, system: "sqlite", namespace: "shop.db", uniqueCode: "2067",
		slow: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0",
	})
	t.Run("backup", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "copy.db")
		conn, err := s.db.Conn(context.Background())
		testkit.NoError(t, err)
		defer conn.Close()
		testkit.NoError(t, conn.Raw(func(c any) error {
			b, err := sqldriver.Unwrap(c).(interface {
				NewBackup(string) (*sqlite.Backup, error)
			}).NewBackup(file)
			if err != nil {
				return err
			}
			if _, err := b.Step(-1); err != nil {
				return err
			}
			return b.Finish()
		}))
		backup, err := sqlx.Open("sqlite", file)
		testkit.NoError(t, err)
		defer backup.Close()
		var names []string
		testkit.NoError(t, backup.Select(&names, "SELECT name FROM orders ORDER BY id"))
		testkit.Equal(t, "copied", names, []string{"book", "pen"})
	})
}
