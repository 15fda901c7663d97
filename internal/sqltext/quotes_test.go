package sqltext

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// quotes is a statement of testdata/quotes.txt and what is recorded for it.
type quotes struct{ query, sqlite, either string }

func readQuotes(t testing.TB) (cases []quotes) {
	text, err := os.ReadFile("testdata/quotes.txt")
	testkit.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		c := &quotes{}
		if len(cases) > 0 {
			c = &cases[len(cases)-1]
		}
		result, indented := strings.CutPrefix(line, "\t")
		if result == "=" {
			result = c.query
		}
		switch {
		case line == "", line[0] == '#':
		case !indented:
			cases = append(cases, quotes{query: line})
		case c.sqlite == "":
			c.sqlite = result
		default:
			c.either = result
		}
	}
	return cases
}

func TestNamesInDoubleQuotes(t *testing.T) {
	for _, c := range readQuotes(t) {
		for system, want := range map[string]string{
			"sqlite": c.sqlite, "mysql": c.either, "mariadb": c.either, "clickhouse": c.either, "other_sql": c.either,
		} {
			if want == "-" {
				continue
			}
			got, _ := Redact(system, c.query)
			testkit.Equal(t, system+": "+c.query, got, want)
			if strings.Contains(got, "secret") {
				t.Errorf("%s: a value shows: %s", system, got)
			}
		}
		for _, system := range []string{"postgresql", "cockroachdb", "microsoft.sql_server", "oracle.db"} {
			got, _ := Redact(system, c.query)
			testkit.Equal(t, system+": quotes in "+got, strings.Count(got, `"`), strings.Count(c.query, `"`))
		}
	}
}

// Text that was read ahead is not read again for each name in it, which would take
// minutes here.
func TestLongStatements(t *testing.T) {
	for _, before := range []string{"SELECT a FROM t WHERE ", "SELECT a FROM t ORDER BY ", "INSERT INTO t ("} {
		for _, part := range []string{
			"(", `("a",`, `("a")`, `"a",`, `"a" = ? AND `, `"a" = 1 + `, `("a") = (?) AND `, `"a" IN (?) AND `, `"a" IN (?, `,
			`"a" COLLATE "b" `, `COLLATE "b" `, `"a" -> 'b' `, `-> 'b' `, `"a" /* b */ `, `"a" BETWEEN ? AND `, "CASE ",
		} {
			for _, first := range []string{"", `"a" `, `("a", "b"`} {
				for _, system := range []string{"sqlite", "mysql", "other_sql"} {
					Redact(system, before+first+strings.Repeat(part, 1<<20/len(part)))
				}
			}
		}
	}
}

// generator makes statements that contain value, a string in double quotes, wherever
// the grammar allows a value that makes sense. On SQLite, a value is not compared with
// values, and not used to sort.
type generator struct {
	choices []byte
	value   string
	sqlite  bool
}

// choose returns a number below n. At the end of the input it returns 0.
func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) oneOf(s ...string) string { return s[g.choose(len(s))] }

func (g *generator) column() string { return g.oneOf("a", `"b"`, "t.a", `"t"."b"`) }

// some calls f a few times and returns the list of its results.
func (g *generator) some(f func() string) string {
	s := f()
	for g.choose(2) > 0 {
		s += " , " + f()
	}
	return s
}

// expression is an expression with its properties.
type expression struct {
	text   string
	values bool // nothing but literals and parameters
	string bool // value, perhaps with what goes before or behind
}

func (g *generator) expression() expression {
	of := func(format string, e ...expression) expression {
		x := expression{format, len(e) > 0, len(e) == 1 && e[0].string}
		for _, e := range e {
			x.text = strings.Replace(x.text, "%", e.text, 1)
			x.values = x.values && e.values
		}
		return x
	}
	switch g.choose(14) {
	case 1, 2, 3:
		return expression{text: g.value, string: true}
	case 4:
		return expression{text: g.oneOf("?", "5", "'x'"), values: true}
	case 5:
		return of("%"+g.oneOf(" || ", " + ", " * ", " - ")+"%", g.expression(), g.expression())
	case 6:
		return of("("+g.oneOf("%", " %")+")", g.expression())
	case 7:
		return of(g.oneOf("- %", "+ %", "~ %"), g.expression())
	case 8:
		return of("% COLLATE NOCASE", g.expression())
	case 9:
		return of("% ->> 'x'", g.expression())
	case 10:
		return expression{text: g.oneOf("lower(", "max (") + g.some(g.any) + ")"}
	case 11:
		if g.choose(2) > 0 {
			return expression{text: "CASE " + g.any() + " WHEN " + g.any() + " THEN " + g.any() + " END"}
		}
		return expression{text: "CASE WHEN " + g.condition() + " THEN " + g.any() + " ELSE " + g.any() + " END"}
	case 12:
		return expression{text: "(" + g.query() + ")"}
	case 13:
		return expression{text: "(" + g.condition() + ")"}
	}
	return expression{text: g.column()}
}

func (g *generator) any() string { return g.expression().text }

// left returns the left side of a comparison with right.
func (g *generator) left(right ...expression) string {
	e := g.expression()
	values := g.sqlite
	for _, r := range right {
		values = values && r.values
	}
	if e.string && values {
		return g.column()
	}
	return e.text
}

// item returns an expression to sort or group by.
func (g *generator) item() string { return g.left() }

// key returns an expression to index, for which no system reads a string.
func (g *generator) key() string {
	e := g.expression()
	if e.string {
		return g.column()
	}
	return e.text
}

func (g *generator) condition() string {
	switch g.choose(12) {
	case 1:
		r := g.expression()
		return g.left(r) + g.oneOf(" LIKE ", " NOT LIKE ", " GLOB ", " IS ", " IS NOT ") + r.text
	case 2:
		low, high := g.expression(), g.expression()
		return g.left(low, high) + g.oneOf(" BETWEEN ", " NOT BETWEEN ") + low.text + " AND " + high.text + g.oneOf("", " = ?")
	case 3:
		var list []expression
		text := g.some(func() string {
			list = append(list, g.expression())
			return list[len(list)-1].text
		})
		return g.left(list...) + g.oneOf(" IN (", " NOT IN (") + text + ")"
	case 4:
		return g.left() + g.oneOf(" IS NULL", " ISNULL", " IS NOT NULL", " NOTNULL")
	case 5:
		return "NOT " + g.condition()
	case 6, 7:
		return g.condition() + g.oneOf(" AND ", " OR ") + g.condition()
	case 8:
		return "(" + g.condition() + ")"
	case 9:
		return "NOT " + g.any()
	case 10:
		return "(" + g.any() + " , " + g.any() + " , a+1) = (" + g.any() + " , " + g.any() + " , ?)"
	case 11:
		return "EXISTS (" + g.query() + ")"
	}
	r := g.expression()
	return g.left(r) + g.oneOf(" = ", "=", "<", " >= ", " <> ", "!=") + r.text + g.oneOf("", "", " = ?")
}

func (g *generator) query() string {
	q := g.oneOf("SELECT ", "SELECT DISTINCT ") + g.some(func() string { return g.any() + g.oneOf("", " AS x", ` AS "y"`) }) + " FROM " +
		g.oneOf("t", `"t" , u`, `main."t" JOIN "u" USING ("b")`)
	if g.choose(4) > 2 {
		q += " JOIN (" + g.query() + `) AS "s" ON ` + g.condition()
	}
	q += " WHERE " + g.condition()
	if g.choose(3) > 1 {
		q += " GROUP BY " + g.some(g.item) + " HAVING " + g.condition()
	}
	if g.choose(5) > 3 {
		q += g.oneOf(" UNION ", " EXCEPT ") + g.query()
	}
	if g.choose(3) > 1 {
		q += " ORDER BY " + g.some(g.item) + g.oneOf("", " DESC")
	}
	if g.choose(3) > 1 {
		q += " LIMIT " + g.any() + " , " + g.any()
	}
	return q
}

func (g *generator) sets() string {
	return " SET " + g.some(func() string {
		return g.oneOf(`"a" = `+g.any(), "b="+g.any(), `("a" , b) = (`+g.any()+" , "+g.any()+")")
	}) + " WHERE " + g.condition()
}

func (g *generator) statement() string {
	rows := func() string { return "(" + g.any() + " , " + g.any() + ")" }
	s := ""
	switch g.choose(8) {
	case 1:
		s = `INSERT INTO "t" ("a" , b) VALUES ` + g.some(rows) + g.oneOf("", ` ON CONFLICT ("a") DO UPDATE`+g.sets()) + " RETURNING " + g.some(g.any)
	case 2:
		s = `REPLACE INTO t (a , "b") ` + g.query()
	case 3:
		s = `UPDATE "t"` + g.sets()
	case 4:
		s = `DELETE FROM main."t" WHERE ` + g.condition()
	case 5:
		s = `WITH "x" ("a") AS (` + g.query() + `) , y AS (VALUES ` + g.some(rows) + ") " + g.query()
	case 6:
		s = `CREATE TABLE "t" ("a" TEXT DEFAULT (` + g.any() + `) , b AS (` + g.any() + ") , CHECK (" + g.condition() + "))"
	case 7:
		s = `CREATE INDEX "i" ON "t" (` + g.some(g.key) + ") WHERE " + g.condition()
	default:
		s = g.query()
	}
	return strings.ReplaceAll(s, " ", g.oneOf(" ", "\n ", "/**/", " -- '\n"))
}

const secret = "s3cr3t"

func shows(t *testing.T, choices []byte) {
	for _, system := range []string{"sqlite", "mysql", "other_sql"} {
		g := &generator{choices, `"` + secret + `"`, system == "sqlite"}
		query := g.statement()
		if text, sum := Redact(system, query); strings.Contains(text+sum.String(), secret) {
			t.Fatalf("%s: %s\nbecame %s, %s", system, query, text, sum.String())
		}
	}
}

func TestNoValueShows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	choices := make([]byte, 100)
	statements := 20000
	if testkit.Race {
		statements = 2000
	}
	for range statements {
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		shows(t, choices)
	}
}

func FuzzNoValueShows(f *testing.F) {
	f.Add([]byte("SELECT"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) < 1<<10 {
			shows(t, choices)
		}
	})
}
