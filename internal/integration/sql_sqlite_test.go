package integration

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// What a span shows in double quotes is a name to SQLite. The statements are those of
// a table about this.
func TestSQLiteNamesInDoubleQuotes(t *testing.T) {
	text, err := os.ReadFile("../sqltext/testdata/quotes.txt")
	testkit.NoError(t, err)
	tracer, recorder := testkit.NewTracer(t)
	db, err := sqldriver.Open("sqlite", ":memory:", sqldriver.Options{Tracer: tracer, Roots: true})
	testkit.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, table := range []string{
		`settings ("key" PRIMARY KEY, value, name, "order", doc, a, b)`, "t (a, b, c)", "u (id PRIMARY KEY, a, b, value)", "one (a)",
	} {
		_, err := db.Exec("CREATE TABLE " + table)
		testkit.NoError(t, err)
	}
	_, err = db.Exec("CREATE INDEX settings_name ON settings (name)")
	testkit.NoError(t, err)
	prepare := func(query string) error {
		stmt, err := db.Prepare(query)
		if err == nil {
			err = stmt.Close()
		}
		return err
	}
	inQuotes := regexp.MustCompile(`"(\w+)"`)
	names := 0
	for query, result := range statements(string(text)) {
		if result == "-" {
			continue
		}
		recorder.Reset()
		if err := prepare(query); err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		shown := recorder.Spans()[0].Attr("db.query.text").(string)
		for _, name := range inQuotes.FindAllString(shown, -1) {
			names++
			if err := prepare(strings.ReplaceAll(query, name, "["+name[1:len(name)-1]+"]")); err != nil {
				t.Errorf("%s shows %s, which is no name: %v", shown, name, err)
			}
		}
	}
	testkit.Equal(t, "names", names > 100, true)
}

// statements returns the lines of text that are not indented, each with the lines
// below it.
func statements(text string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		lines := strings.Split(text, "\n")
		for i, line := range lines[:len(lines)-1] {
			result, indented := strings.CutPrefix(lines[i+1], "\t")
			if indented && !strings.HasPrefix(line, "\t") && !yield(line, result) {
				return
			}
		}
	}
}
