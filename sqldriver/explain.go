package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
)

const (
	// explainTimeout is how long an EXPLAIN may take, with its connection.
	explainTimeout = 5 * time.Second
	// Between two of them there is explainPause, and explainAgain if it is the
	// same statement.
	explainPause = time.Second
	explainAgain = time.Minute
	// maxPlan is how many bytes of a plan are kept.
	maxPlan = 8 << 10
)

// explainPrefix returns what asks a system for the plan of a query, "" if that is
// not known. None of them executes the query.
func explainPrefix(system string) string {
	switch system {
	case "postgresql", "cockroachdb":
		return "EXPLAIN "
	case "mysql", "mariadb":
		return "EXPLAIN FORMAT=JSON "
	case "sqlite":
		return "EXPLAIN QUERY PLAN "
	}
	return ""
}

// changes are the words of a SELECT that writes or locks, or may.
var changes = words("CALL DELETE FOR INSERT INTO LOCK MERGE PROCEDURE REPLACE SHARE UPDATE")

// Words before a parenthesis in MySQL and MariaDB: what no function can be called,
// and functions that do nothing but compute. Those have no space behind them:
// "count (x)" may be a stored function.
var (
	reserved = words("ALL AND AS BETWEEN BY CASE DISTINCT ELSE EXCEPT EXISTS FROM HAVING IN INDEX INTERSECT " +
		"IS JOIN KEY LIKE NOT ON OR SELECT THEN UNION USING VALUES WHEN WHERE XOR")
	pure = words("ABS AVG CAST CEIL CEILING CHAR CHAR_LENGTH COALESCE CONCAT CONCAT_WS COUNT CURDATE CURRENT_DATE " +
		"CURRENT_TIMESTAMP DATE DATEDIFF DATE_ADD DATE_FORMAT DATE_SUB DAY DECIMAL FIELD FIND_IN_SET FLOOR " +
		"FROM_UNIXTIME GREATEST GROUP_CONCAT HOUR IF IFNULL INSTR LEAST LEFT LENGTH LOCATE LOWER MAX MIN MINUTE " +
		"MOD MONTH NOW NULLIF RIGHT ROUND SECOND SIGN SUBSTR SUBSTRING SUM TIME TIMESTAMPDIFF TRIM TRUNCATE " +
		"UNIX_TIMESTAMP UPPER VARCHAR YEAR")
)

func words(list string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}

// explainable reports whether query is one SELECT that certainly writes and locks
// nothing, however the server reads it: a backslash may escape a quote, and a
// semicolon may be anywhere then. MySQL executes comments that begin with /*!, and
// calls stored functions for EXPLAIN.
func explainable(system, query string) bool {
	query = strings.TrimRight(query, "; \t\r\n")
	if explainPrefix(system) == "" || len(query) > maxCachedText || strings.ContainsAny(query, `;\`) ||
		strings.Contains(query, "/*!") || strings.Contains(query, "/*M!") {
		return false
	}
	calls := system == "mysql" || system == "mariadb"
	l := lexer{text: query, dialect: dialectOf(system)}
	last, beforeLast := "", "" // words in upper case, else the token
	for {
		t := l.next(false)
		text := t.text
		if t.kind == word {
			text = strings.ToUpper(text)
		}
		switch {
		case t.kind == end:
			return last != "" && !l.unsure
		case last == "" && text != "SELECT" && text != "WITH",
			t.kind == word && changes[text],
			text[0] == '$' && (len(text) == 1 || !isDigit(text[1])): // perhaps the quote of a string
			return false
		case text == "(" && calls && (isWord(last[0]) || last[0] == '"' || last[0] == '`'):
			if beforeLast == "." || !reserved[last] && (t.space || !pure[last]) {
				return false
			}
		}
		last, beforeLast = text, last
	}
}

// explain asks for the plan of s, which took that long below span, unless it is too
// early to ask again. It goes on in another goroutine, on a connection of its own;
// the answer is a span below span.
func (db *database) explain(span *dendro.Span, s *statement, args []driver.NamedValue, took time.Duration) {
	if took < db.options.Explain || !s.explainable || db.connector == nil {
		return
	}
	now := time.Now().UnixNano()
	last, lastOfAll := s.explained.Load(), db.explained.Load()
	if now-last < int64(explainAgain) || now-lastOfAll < int64(explainPause) ||
		!db.explained.CompareAndSwap(lastOfAll, now) {
		return
	}
	s.explained.Store(now)
	ctx := dendro.ContextWithSpan(context.Background(), span)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, explainTimeout)
		defer cancel()
		ctx, span := db.start(ctx, "EXPLAIN "+s.summary, s.attrs)
		defer span.End()
		plan, err := db.plan(ctx, explainPrefix(db.system)+s.query, args)
		switch {
		case err != nil: // nothing that the program did
			plan = "no plan: " + db.message(err)
		case !db.options.RawStatements:
			plan = redactPlan(db.system, plan)
		}
		span.SetAttributes(slog.String(planKey, plan))
	}()
}

// plan executes query on a connection of its own, and returns its rows as lines of
// text. It does so in a read-only transaction: to plan, PostgreSQL may call functions
// that are declared immutable or stable, and MariaDB evaluates some subqueries.
func (db *database) plan(ctx context.Context, query string, args []driver.NamedValue) (text string, err error) {
	defer func() {
		if p := recover(); p != nil { // of the driver
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	pool := sql.OpenDB(struct{ driver.Connector }{db.connector}) // whose Close would close the connector
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	values := make([]any, len(args))
	for i, a := range args {
		if values[i] = a.Value; a.Name != "" {
			values[i] = sql.Named(a.Name, a.Value)
		}
	}
	tx, err := pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.QueryContext(ctx, query, values...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	var b strings.Builder
	for rows.Next() && b.Len() < maxPlan {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		show := cells
		if db.system == "sqlite" {
			show = cells[len(cells)-1:] // of id, parent, notused, detail
		}
		for _, c := range show {
			b.WriteString(c.String)
			b.WriteByte('\n')
		}
	}
	return strings.TrimRight(b.String(), "\n"), rows.Err()
}

// redactPlan replaces the literals in the conditions of a plan: of lines such as
// "Filter: (id = 42)" and "attached_condition": "(`id` = 42)".
func redactPlan(system, plan string) string {
	lines := strings.Split(plan, "\n")
	for i, line := range lines {
		head, condition, ok := strings.Cut(line, ": ")
		if !ok || system == "mysql" && !strings.Contains(head, "condition") || system == "mariadb" && !strings.Contains(head, "condition") {
			continue
		}
		quoted := strings.HasPrefix(condition, `"`)
		comma := strings.HasSuffix(condition, ",")
		if quoted {
			condition = strings.Trim(condition, `",`)
		}
		condition, _ = redact(system, condition)
		if quoted {
			condition = `"` + condition + `"`
			if comma {
				condition += ","
			}
		}
		lines[i] = head + ": " + condition
	}
	return shortenTo(strings.Join(lines, "\n"), maxPlan)
}
