package sqldriver

import (
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestRedact(t *testing.T) {
	for _, tc := range []struct{ system, query, want string }{
		{"postgresql", `SELECT * FROM orders WHERE id = 42 AND name = 'O''Brien'`, `SELECT * FROM orders WHERE id = ? AND name = ?`},
		{"postgresql", `SELECT $1, E'it\'s', 'C:\', $$a 'b' c$$, $t$x$$y$t$, N'n', x'ff', U&'\0041'`, `SELECT $1, ?, ?, ?, ?, ?, ?, ?`},
		{"postgresql", `SELECT "Id", t2.x::text, a[1:2], -1.5e-9, 0xFF, .5 FROM "T-1"`, `SELECT "Id", t2.x::text, a[?:?], -?, ?, ? FROM "T-1"`},
		{"postgresql", "SELECT 1 -- don't\n, 2 /* a /* 'b' */ c */ , 3", `SELECT ? , ? , ?`},
		{"postgresql", `SELECT a FROM t WHERE b IN (1, -2, $3)  AND c IN ('x') AND d IN (SELECT 1)`, `SELECT a FROM t WHERE b IN (?) AND c IN (?) AND d IN (SELECT ?)`},
		{"postgresql", `SELECT d #> '{a}', d ? 'k', d ->> 'x', a || 'b', true, NULL, DATE '2020-01-01'`, `SELECT d #> ?, d ? ?, d ->> ?, a || ?, true, NULL, DATE ?`},
		{"mysql", `SELECT "it's", 'it''s', 'a\\', '\n', _utf8'x', 5--1 # 'rest`, `SELECT ?, ?, ?, ?, ?, ?--?`},
		{"mysql", `SELECT 'it\'s', 'rest'`, `SELECT ?`}, // or, with NO_BACKSLASH_ESCAPES,
		{"mysql", `SELECT 'C:\', 'secret'`, `SELECT ?`}, // two strings
		{"mysql", `SELECT a FROM "t" WHERE "u"."b" = "secret" AND c IN ("x", "y")`, `SELECT a FROM "t" WHERE "u"."b" = ? AND c IN (?)`},
		{"mysql", "INSERT INTO `t`.`o` VALUES (?, 'x'), (?, 'y') -- 'z'", "INSERT INTO `t`.`o` VALUES (?, ?), (?, ?)"},
		{"sqlite", `SELECT [a'b], "c", ?1, :name, @p, $v, 'x' FROM t`, `SELECT [a'b], ?, ?1, :name, @p, $v, ? FROM t`},
		{"sqlite", `SELECT "t"."a" FROM "t", "u" WHERE a = "secret"`, `SELECT "t"."a" FROM "t", "u" WHERE a = ?`},
		{"sqlite", `PRAGMA key = "secret"`, `PRAGMA key = ?`},
		{"sqlite", "SELECT a FROM t WHERE \"key\" -- is\n\t=-- 'this'\n? AND \"a b\" /* and */ IS\nNULL", `SELECT a FROM t WHERE "key" = ? AND "a b" IS NULL`},
		{"microsoft.sql_server", `SELECT TOP 5 [a b], @p1, @@rowcount, $12.50, 'x' FROM #tmp`, `SELECT TOP ? [a b], @p1, @@rowcount, ?, ? FROM #tmp`},
		{"other_sql", `SELECT "x", 'a', 'b\'`, `SELECT ?, ?, ?`},
		{"other_sql", `SELECT 'C:\', 'secret'`, `SELECT ?`},
		{"other_sql", `SELECT 1 # 'secret'`, `SELECT ? ?`},
		{"oracle.db", `SELECT q'[don't 'secret']', :1 FROM dual`, `SELECT ?`},
		{"oracle.db", `ALTER USER bob IDENTIFIED BY secret REPLACE older`, `ALTER USER bob IDENTIFIED BY ?`},
		{"other_sql", `SELECT '''it's secret'''`, `SELECT ?`},
		{"other_sql", "/* /* */ ' */ 'x secret' --'", ""},
		{"postgresql", "SELECT E'x' --\n'it\\'s secret' , E'y' FROM t", `SELECT ? , ? FROM t`},
		{"postgresql", "SELECT 1 -- a\r, 'x\n secret'", `SELECT ?`},
		{"postgresql", "SELECT 1 -- a\r\n, 2", `SELECT ? , ?`},
		{"postgresql", `SELECT 'not closed`, `SELECT ?`},
		{"postgresql", " \n SELECT\t1\r\n;\n", `SELECT ? ;`},
		{"postgresql", "", ""},
		{"postgresql", "/* not closed", ""},
	} {
		got, _ := redact(tc.system, tc.query)
		testkit.Equal(t, tc.system+": "+tc.query, got, tc.want)
	}
}

func TestRedactIsBounded(t *testing.T) {
	long := "SELECT " + strings.Repeat("größe, ", 1000) + "1"
	for _, text := range []string{first(redact("mysql", long)), shorten(long)} {
		if len(text) > maxText || !strings.HasSuffix(text, "…") || !utf8.ValidString(text) {
			t.Errorf("%d bytes, ends with %q", len(text), text[len(text)-10:])
		}
	}
}

func first(s string, _ summary) string { return s }

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		query, want, collection string
	}{
		{"select * from orders where id = 1", "SELECT orders", "orders"},
		{`SELECT o.id FROM shop."Orders" o, public.items AS i JOIN users ON true`, "SELECT shop.Orders public.items users", ""},
		{"INSERT INTO orders (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = 2 RETURNING id", "INSERT orders", "orders"},
		{"INSERT INTO archive SELECT * FROM orders", "INSERT archive SELECT orders", ""},
		{"UPDATE ONLY orders SET a = 1 FROM b WHERE x", "UPDATE orders", "orders"},
		{"DELETE FROM orders WHERE id IN (SELECT id FROM old)", "DELETE orders old", ""},
		{"SELECT extract(year FROM at), substring(a FROM 2) FROM orders FOR UPDATE", "SELECT orders", "orders"},
		{"SELECT a FROM (SELECT b FROM orders) x", "SELECT orders", "orders"},
		{"WITH recent AS (SELECT * FROM orders) SELECT * FROM recent", "SELECT orders", "orders"},
		{"WITH a AS MATERIALIZED (SELECT * FROM orders), b (n) AS (SELECT 1) SELECT * FROM a JOIN b ON true", "SELECT orders", "orders"},
		{`WITH RECURSIVE "R" AS (SELECT id FROM orders UNION ALL SELECT id FROM "R") SELECT * FROM "R"`, "SELECT orders", "orders"},
		{"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "INSERT t SELECT", "t"},
		{"CREATE TABLE IF NOT EXISTS orders (id int)", "CREATE TABLE orders", "orders"},
		{"CREATE UNIQUE INDEX i ON orders (id)", "CREATE INDEX", ""},
		{"DROP TABLE orders; DROP TABLE items", "DROP TABLE orders DROP", ""},
		{"SELECT 1;", "SELECT", ""},
		{"(SELECT a FROM x) UNION (SELECT b FROM y)", "SELECT x y", ""},
		{"SELECT * FROM generate_series(1, 10)", "SELECT generate_series", "generate_series"},
		{"SELECT a FROM x JOIN y ON x.from = y.join, z", "SELECT x y z", ""},
		{"SELECT a FROM x, (SELECT b FROM y, z WHERE c) s, u", "SELECT x y z u", ""},
		{"UPDATE OR REPLACE orders SET a = 1", "UPDATE orders", "orders"},
		{"GRANT SELECT ON orders TO bob", "GRANT", ""},
		{"BEGIN", "BEGIN", ""},
		{"SET x = 1", "SET", ""},
		{"VALUES (1)", "VALUES", ""},
		{"FROM orders SELECT a", "FROM SELECT", ""},
		{"", "", ""},
		{"?", "", ""},
	} {
		for _, system := range []string{"postgresql", "sqlite"} {
			_, sum := redact(system, tc.query)
			testkit.Equal(t, tc.query, sum.String(), tc.want)
			collection := ""
			if !sum.several && len(sum.targets) == 1 {
				collection = sum.targets[0]
			}
			testkit.Equal(t, "collection of "+tc.query, collection, tc.collection)
		}
	}
}

func TestRedactMessage(t *testing.T) {
	for message, want := range map[string]string{
		`ERROR: relation "orders" does not exist (SQLSTATE 42P01)`:                                   `ERROR: relation "orders" does not exist (SQLSTATE 42P01)`,
		`ERROR: invalid input syntax for type integer: "top "secret"" (SQLSTATE 22P02)`:              `ERROR: invalid input syntax for type integer: "?" (SQLSTATE 22P02)`,
		`ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`:       `ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`,
		`Error 1062 (23000): Duplicate entry 'bob' for key 'email'`:                                  `Error 1062 (23000): Duplicate entry '?'`,
		`Error 1452 (23000): a foreign key constraint fails (` + "`d`.`t`, CONSTRAINT `c`" + `)`:     `Error 1452 (23000): a foreign key constraint fails (` + "`d`.`t`, CONSTRAINT `c`" + `)`,
		`Error 1146 (42S02): Table 'shop.t' doesn't exist`:                                           `Error 1146 (42S02): Table 'shop.t' doesn't exist`,
		`mssql: Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (secret).`: `mssql: Cannot insert duplicate key in object '?'. The duplicate key value is (?).`,
		`ERROR: duplicate key: Key (email)=(se(cre)t) already exists.`:                               `ERROR: duplicate key: Key (email)=(?) already exists.`,
		`ungültige Eingabesyntax für Typ integer: »secret« (SQLSTATE 22P02)`:                         `ungültige Eingabesyntax für Typ integer: »?« (SQLSTATE 22P02)`,
		`failed to encode args[0]: unable to encode main.T{N:7, S:"x"} into text format`:             `failed to encode args[0]: unable to encode ? into text format`,
		`unexpected '`:                  `unexpected '?`,
		`column "a" is not a "secr'et"`: `column "a" is not a "?"`,
		`plain`:                         `plain`,
		``:                              ``,
	} {
		testkit.Equal(t, message, redactMessage(message), want)
	}
}

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

func TestStatementsAreBounded(t *testing.T) {
	parsed := 0
	c := statements{parse: func(string) *statement { parsed++; return &statement{} }}
	hot := c.get("SELECT hot")
	for i := range 10 * generation {
		c.get("SELECT " + strings.Repeat("x", i%5000))
		if got := c.get("SELECT hot"); got != hot {
			t.Fatal("a statement in use was forgotten")
		}
	}
	if n := len(c.newer) + len(c.older); n > 2*generation {
		t.Errorf("%d statements are kept", n)
	}
	large := "SELECT large" + strings.Repeat(" ", 1<<20)
	c.get(large[:12])
	for text := range c.newer {
		if text == "SELECT large" && unsafe.StringData(text) == unsafe.StringData(large) {
			t.Error("a statement keeps the text that it was cut from")
		}
	}
	before := parsed
	c.get(strings.Repeat("x", maxCachedText+1))
	c.get(strings.Repeat("x", maxCachedText+1))
	testkit.Equal(t, "parsed", parsed-before, 2)
}

// FuzzRedact builds statements around a secret, in each form of literal that the
// dialect has and in double quotes wherever a value is allowed. The secret must not be
// in what is recorded.
func FuzzRedact(f *testing.F) {
	f.Add("SELECT * FROM t WHERE a = ", " AND b = 1", "it's", uint8(0))
	f.Add("INSERT INTO t VALUES (", ")", `back\slash`, uint8(1))
	f.Add("SELECT a -- ", "\n", `$$ "x" '`, uint8(2))
	templates := readQuotes(f)
	f.Fuzz(func(t *testing.T, before, after, noise string, n uint8) {
		// Arbitrary input does not panic, and the result is bounded.
		for _, system := range []string{"postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "other_sql"} {
			text, sum := redact(system, before+noise+after)
			if len(text) > maxText || len(sum.String()) > 255 {
				t.Fatalf("%d bytes, summary %d", len(text), len(sum.String()))
			}
		}
		value := noise + secret + noise
		forms := []struct{ system, literal string }{
			{"postgresql", "'" + strings.ReplaceAll(value, "'", "''") + "'"},
			{"sqlite", "'" + strings.ReplaceAll(value, "'", "''") + "'"},
			{"mysql", "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(value) + "'"},
			{"mysql", "'" + strings.ReplaceAll(value, "'", "''") + "'"}, // NO_BACKSLASH_ESCAPES
			{"sqlite", `"` + strings.ReplaceAll(value, `"`, `""`) + `"`},
			{"mysql", `"` + strings.NewReplacer(`\`, `\\`, `"`, `""`).Replace(value) + `"`},
			{"postgresql", "E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(value) + "'"},
			{"other_sql", "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(value) + "'"},
			{"other_sql", "'" + strings.ReplaceAll(value, "'", "''") + "'"},
			{"postgresql", "/*" + strings.NewReplacer("*", "", "/", "").Replace(value) + "*/"},
		}
		if !strings.Contains(noise, "$") {
			forms = append(forms, struct{ system, literal string }{"postgresql", "$q$" + value + "$q$"})
		}
		form := forms[int(n)%len(forms)]
		check := func(system, query string) {
			if text, sum := redact(system, query); strings.Contains(text+sum.String(), secret) {
				t.Fatalf("%s: %s\nbecame %s, %s", system, query, text, sum.String())
			}
		}
		check(form.system, "SELECT a, "+form.literal+", "+form.literal+" FROM t")
		doubled := `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
		for _, c := range templates {
			if c.sqlite != "-" {
				check("sqlite", strings.ReplaceAll(c.query, `"secret"`, doubled))
			}
			query := strings.ReplaceAll(c.query, `"secret"`, strings.ReplaceAll(doubled, `\`, `\\`))
			check("mysql", query)
			check("other_sql", query)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	const query = `SELECT "o"."id", "name", count(*) FROM "orders" AS "o" JOIN "items" USING ("order_id") ` +
		`WHERE "user_id" = ? AND ("state" IN ('a', 'b') OR "deleted" IS NULL) ORDER BY "created" DESC LIMIT 50`
	for _, system := range []string{"postgresql", "mysql", "sqlite"} {
		b.Run(system, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				redact(system, query)
			}
		})
	}
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
