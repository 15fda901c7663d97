package sqltext

import (
	"strings"
	"testing"
	"unicode/utf8"

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
		got, _ := Redact(tc.system, tc.query)
		testkit.Equal(t, tc.system+": "+tc.query, got, tc.want)
	}
}

func TestRedactIsBounded(t *testing.T) {
	long := "SELECT " + strings.Repeat("größe, ", 1000) + "1"
	for _, text := range []string{first(Redact("mysql", long)), Shorten(long, MaxText)} {
		if len(text) > MaxText || !strings.HasSuffix(text, "…") || !utf8.ValidString(text) {
			t.Errorf("%d bytes, ends with %q", len(text), text[len(text)-10:])
		}
	}
}

func first(s string, _ Summary) string { return s }

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
			_, sum := Redact(system, tc.query)
			testkit.Equal(t, tc.query, sum.String(), tc.want)
			collection := ""
			if !sum.Several && len(sum.Targets) == 1 {
				collection = sum.Targets[0]
			}
			testkit.Equal(t, "collection of "+tc.query, collection, tc.collection)
		}
	}
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
			text, sum := Redact(system, before+noise+after)
			if len(text) > MaxText || len(sum.String()) > 255 {
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
			if text, sum := Redact(system, query); strings.Contains(text+sum.String(), secret) {
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
				Redact(system, query)
			}
		})
	}
}
