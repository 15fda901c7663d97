package sqldriver

import (
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestParseDSN(t *testing.T) {
	for _, tc := range []struct {
		system, dsn string
		want        source
	}{
		{"postgresql", "postgres://bob:secret@db.example:5433/shop?sslmode=disable", source{"shop", "db.example", 5433}},
		{"postgresql", "postgresql://[::1]/shop", source{"shop", "::1", 0}},
		{"postgresql", "postgres:///shop?host=/run/pg&port=5432", source{"shop", "/run/pg", 5432}},
		{"postgresql", `host=db.example port=5433 password='se cret\'s' dbname = shop user=bob`, source{"shop", "db.example", 5433}},
		{"postgresql", "host=a,b port=1,2 dbname=shop", source{"shop", "a", 1}},
		{"postgresql", "postgres://bob:12/secret@db/shop", source{}},
		{"postgresql", "postgres://bob:12#secret@db/shop", source{}},
		{"postgresql", "postgres://bob:12?secret@db/shop", source{}},
		{"postgresql", "postgres://bob:%zz@db/shop", source{}},
		{"mysql", "bob:p@ss/w(ord@tcp(db.example:3307)/shop?parseTime=true", source{"shop", "db.example", 3307}},
		{"mysql", "bob:secret@unix(/run/mysqld.sock)/shop", source{"shop", "/run/mysqld.sock", 0}},
		{"mysql", "bob:secret@/shop", source{"shop", "", 0}},
		{"mysql", "secret", source{}},
		{"mysql", "bob:12/secret?3@tcp(db:3306)/shop", source{"shop", "db", 3306}},
		{"postgresql", "host=/run/pg user=bob password=x://secret dbname=shop", source{"shop", "/run/pg", 0}},
		{"sqlite", "file:/var/lib/shop.db?cache=shared&_auth_pass=secret", source{"shop.db", "", 0}},
		{"sqlite", ":memory:", source{":memory:", "", 0}},
		{"microsoft.sql_server", "sqlserver://bob:secret@db:1433/instance?database=shop", source{"shop", "db", 1433}},
		{"other_sql", "bob/secret@db:1521/shop", source{}},
		{"other_sql", "x://bob:secret@db:99/token", source{"", "db", 99}},
		{"postgresql", "", source{}},
	} {
		testkit.Equal(t, tc.system+" "+tc.dsn, parseDSN(tc.system, tc.dsn), tc.want)
	}
}

func TestSystemOf(t *testing.T) {
	for name, want := range map[string]string{
		"postgres": "postgresql", "pgx/v5": "postgresql", "github.com/lib/pq": "postgresql", "mysql": "mysql",
		"sqlite3": "sqlite", "modernc.org/sqlite": "sqlite", "sqlserver": "microsoft.sql_server", "sqlmock": "other_sql",
	} {
		testkit.Equal(t, name, systemOf(name), want)
	}
	testkit.Equal(t, "the first that tells", systemOf("main", "github.com/lib/pq"), "postgresql")
}

func FuzzParseDSN(f *testing.F) {
	f.Add("postgres://bob:", "@db:5432/shop")
	f.Add("password='", "' host=db dbname=shop")
	f.Add("bob:", "@tcp(db:3306)/shop")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, system := range []string{"postgresql", "mysql", "sqlite", "other_sql"} {
			parseDSN(system, before+after)
		}
	})
}
