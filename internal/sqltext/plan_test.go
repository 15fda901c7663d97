package sqltext

import (
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestExplainable(t *testing.T) {
	for query, want := range map[string]string{ // the systems for which it is
		"SELECT a FROM b WHERE c = 1 AND d = 'it''s'":                        "postgresql mysql sqlite",
		"select a from (select 1) x join y on z order by a":                  "postgresql mysql sqlite",
		"WITH x AS (SELECT 1) SELECT * FROM x;\n; ":                          "postgresql mysql sqlite",
		"SELECT \"update\" FROM b /* delete */ WHERE c = 'delete' -- delete": "postgresql mysql sqlite",
		"SELECT count(*), lower(a) FROM b WHERE c IN (1, 2) AND (d OR (e))":  "postgresql mysql sqlite",
		"SELECT f(a) FROM b":                    "postgresql sqlite",
		"SELECT b.count(a) FROM b":              "postgresql sqlite",
		"SELECT count (a) FROM b":               "postgresql sqlite",
		"SELECT count/**/(a) FROM b":            "postgresql sqlite",
		`SELECT "f"(a) FROM b`:                  "postgresql sqlite",
		"SELECT `f`(a) FROM b":                  "sqlite",
		"SELECT a FROM b WHERE c = $1":          "postgresql mysql sqlite",
		"SELECT $$a$$":                          "",
		"SELECT $a$ ' $a$":                      "",
		"SELECT 'a":                             "",
		`SELECT "a`:                             "",
		"SELECT 1 /* a":                         "",
		"SELECT 1 -- a\r DELETE":                "",
		`SELECT 'a\'`:                           "",
		`SELECT 'a\', '; DELETE FROM b; -- '`:   "",
		"SELECT ';'":                            "",
		"SELECT 1; DELETE FROM a":               "",
		"SELECT 1;;DELETE FROM a":               "",
		"SELECT 1; -- a":                        "",
		"SELECT 1 /*! INTO OUTFILE 'x' */":      "",
		"SELECT 1 /*M! INTO OUTFILE 'x' */":     "",
		"SELECT 1 /*!50000 INTO OUTFILE 'x' */": "",
		"WITH x AS (DELETE FROM y RETURNING *) SELECT * FROM x":  "",
		"WITH x AS (SELECT 1) INSERT INTO y SELECT * FROM x":     "",
		"SELECT a INTO b FROM c":                                 "",
		"SELECT a FROM b FOR UPDATE":                             "",
		"SELECT a FROM b FOR NO KEY UPDATE":                      "",
		"SELECT a FROM b LOCK IN SHARE MODE":                     "",
		"SELECT a FROM b WHERE c = (SELECT NEXT VALUE FOR d)":    "",
		"MERGE INTO a USING b ON c WHEN MATCHED THEN DO NOTHING": "",
		"REPLACE INTO a VALUES (1)":                              "",
		"INSERT INTO a SELECT 1":                                 "",
		"UPDATE a SET b = 1":                                     "",
		"CALL f()":                                               "",
		"(ANALYZE) SELECT 1":                                     "",
		"EXPLAIN SELECT 1":                                       "",
		"VALUES (1)":                                             "",
		"SELECT " + strings.Repeat("a, ", maxCachedText) + "1":   "",
		"":  "",
		";": "",
	} {
		var got []string
		for _, system := range []string{"postgresql", "mysql", "sqlite", "trino"} {
			if Explainable(system, query) {
				got = append(got, system)
			}
		}
		testkit.Equal(t, query, strings.Join(got, " "), want)
	}
}

func TestRedactPlan(t *testing.T) {
	for _, c := range [][3]string{
		{"postgresql", "Seq Scan on orders  (cost=0.00..35.50 rows=10 width=4)\n  Filter: ((name = 'Alice'::text) AND (id > 42))",
			"Seq Scan on orders  (cost=0.00..35.50 rows=10 width=4)\n  Filter: ((name = ?::text) AND (id > ?))"},
		{"postgresql", "  Filter: (a = 'x\nit''s: secret\n (cost=1.00..2.00 rows=3 width=4) secret'::text)\n  ->  Seq Scan on \"it's\"  (cost=0.00..1.50 rows=1 width=4)\n  Filter: (b = 'secret')",
			"  Filter: (a = ?::text)\n  ->  Seq Scan on \"it's\"  (cost=0.00..1.50 rows=1 width=4)\n  Filter: (b = ?)"},
		{"postgresql", "Filter: (a = E'it\\'s\nsecret' OR a = $$it's\nsecret$$ OR a = $1 OR a = 'C:\\' OR a = (SubPlan 2))\n  SubPlan 2\nWorkers Planned: 2\nPlan: 'secret",
			"Filter: (a = ? OR a = ? OR a = $1 OR a = ? OR a = (SubPlan 2))\n  SubPlan 2\nWorkers Planned: 2\nPlan: ?"},
		{"mysql", `{"rows": 10, "attached_condition": "(` + "`shop`.`orders`.`id`" + ` < 42)", "query_cost": "1.20", "key_length": "4"}`,
			`{"rows": 10, "attached_condition": "(` + "`shop`.`orders`.`id`" + ` < ?)", "query_cost": "1.20", "key_length": "4"}`},
		{"mysql", `{"a": "x = 'it\\'s \"secret\"'", "sort_key": "name = 'a\nb: \"secret\"'", "ref": ["const", "'secret'"], "a": [1, "<b2>"]}`,
			`{"a": "x = ?", "sort_key": "name = ?", "ref": ["const", "?"], "a": [1, "<b2>"]}`},
		{"mariadb", `{"query": "/* select#1 */ select 'secret' from t", "operation" : "Filter: (t.a = 42)"}`,
			`{"query": "select ? from t", "operation" : "Filter: (t.a = ?)"}`},
		{"mysql", `{"a": "x = 'secret" 'secret'"}`, ""},
		{"mysql", `{"a": "secret`, ""},
		{"sqlite", "SEARCH orders USING INDEX by_name (name=?)\nLIST SUBQUERY 1\nSCAN (subquery-2)", "SEARCH orders USING INDEX by_name (name=?)\nLIST SUBQUERY 1\nSCAN (subquery-2)"},
	} {
		got, err := RedactPlan(c[0], c[1])
		testkit.Equal(t, c[0]+": "+c[1], got, c[2])
		testkit.Equal(t, "error", err != nil, c[2] == "")
	}
}
