package sqldriver

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
)

const (
	// explainTimeout bounds the duration of an EXPLAIN, including its connection.
	explainTimeout = 5 * time.Second
	// explainPause is the shortest time between two EXPLAINs, and explainAgain between
	// two of the same statement.
	explainPause = time.Second
	explainAgain = time.Minute
	// maxPlan bounds the size of a recorded plan in bytes.
	maxPlan = 8 << 10
)

// explainPrefix returns the words that make a system return the plan of a query
// without executing it, or "" if they are not known.
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

// changes are the words of a SELECT that may write or lock something.
var changes = words("CALL DELETE FOR INSERT INTO LOCK MERGE PROCEDURE REPLACE SHARE UPDATE")

// Words before a parenthesis in MySQL and MariaDB: words that are not names of
// functions, and functions that only compute something. There must not be a space
// after the latter: "count (x)" may be a stored function.
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

// explainable reports whether query is a single SELECT that writes and locks nothing,
// however the server reads it. A backslash may escape a quote, so a semicolon may be
// anywhere. MySQL executes comments that begin with /*!, and calls stored functions
// for EXPLAIN.
func explainable(system, query string) bool {
	query = strings.TrimRight(query, "; \t\r\n")
	if explainPrefix(system) == "" || len(query) > maxCachedText || strings.ContainsAny(query, `;\`) ||
		strings.Contains(query, "/*!") || strings.Contains(query, "/*M!") {
		return false
	}
	calls := system == "mysql" || system == "mariadb"
	l := lexer{text: query, dialect: dialectOf(system)}
	last, beforeLast := "", "" // tokens, words in upper case
	for {
		t := l.next(anything)
		text := t.text
		if t.kind == word {
			text = strings.ToUpper(text)
		}
		switch {
		case t.kind == end:
			return last != "" && !l.unsure
		case last == "" && text != "SELECT" && text != "WITH",
			t.kind == word && changes[text],
			text[0] == '$' && (len(text) == 1 || !isDigit(text[1])): // may begin a string
			return false
		case text == "(" && calls && (isWord(last[0]) || last[0] == '"' || last[0] == '`'):
			if beforeLast == "." || !reserved[last] && (t.space || !pure[last]) {
				return false
			}
		}
		last, beforeLast = text, last
	}
}

// copyArgs returns copies of args, which remain valid after the call. It returns nil
// if an argument may refer to memory that it cannot copy.
func copyArgs(args []driver.NamedValue) []driver.NamedValue {
	copies := append([]driver.NamedValue{}, args...)
	for i, a := range copies {
		switch v := a.Value.(type) {
		case nil, time.Time:
		case []byte:
			copies[i].Value = bytes.Clone(v)
		default:
			t := reflect.TypeOf(v)
			for t.Kind() == reflect.Array {
				t = t.Elem()
			}
			if k := t.Kind(); k != reflect.String && (k < reflect.Bool || k > reflect.Complex128) {
				return nil
			}
		}
	}
	return copies
}

// explains manages the EXPLAINs of a database.
type explains struct {
	mu     sync.Mutex
	closed bool               // guarded by mu, like the fields below
	last   time.Time          // start of the last EXPLAIN
	cancel context.CancelFunc // cancels the running EXPLAIN
	done   chan struct{}      // closed when the running EXPLAIN has ended; nil if there is none
}

// explain asks for the plan of s, which took that long below span, unless args is nil,
// an EXPLAIN is running, or it is too early for another one. It does so in another
// goroutine and on a connection of its own. The plan is a span below span.
func (db *database) explain(span *dendro.Span, s *statement, args []driver.NamedValue, took time.Duration) {
	if args == nil || took < db.options.Explain || db.connector == nil {
		return
	}
	x, now := &db.explains, monotonic.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || x.done != nil || now.Sub(x.last) < explainPause || now.Sub(s.explained) < explainAgain {
		return
	}
	ctx, cancel := context.WithTimeout(dendro.ContextWithSpan(context.Background(), span), explainTimeout)
	x.last, s.explained = now, now
	x.cancel, x.done = cancel, make(chan struct{})
	go func() {
		defer x.end()
		ctx, span := db.start(ctx, "EXPLAIN "+s.summary, s.attrs)
		defer span.End()
		plan, err := db.plan(ctx, explainPrefix(db.system)+s.query, args)
		if err == nil && !db.options.RawStatements {
			plan, err = redactPlan(db.system, plan)
		}
		if err != nil { // not an error of the program
			plan = "no plan: " + db.message(err)
		}
		span.SetAttributes(slog.String(planKey, shortenTo(plan, maxPlan)))
	}()
}

func (x *explains) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancel()
	close(x.done)
	x.done = nil
}

// close cancels a running EXPLAIN and waits for it. If the driver ignores the
// cancellation, it waits for at most explainTimeout. No EXPLAIN begins afterwards.
func (x *explains) close() {
	x.mu.Lock()
	x.closed = true
	cancel, done := x.cancel, x.done
	x.mu.Unlock()
	if done == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-time.After(explainTimeout):
	}
}

// plan executes query on a connection of its own and returns its rows as lines of
// text. It uses a read-only transaction, because planning may execute code: PostgreSQL
// may call functions that are declared immutable or stable, and MariaDB evaluates some
// subqueries.
func (db *database) plan(ctx context.Context, query string, args []driver.NamedValue) (text string, err error) {
	defer func() {
		if p := recover(); p != nil { // a panic of the driver
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	pool := sql.OpenDB(struct{ driver.Connector }{db.connector}) // hides Close, which would close the connector
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
			show = cells[len(cells)-1:] // the columns are id, parent, notused, detail
		}
		for _, c := range show {
			b.WriteString(c.String)
			b.WriteByte('\n')
		}
	}
	return strings.TrimRight(b.String(), "\n"), rows.Err()
}

// redactPlan replaces the literals in a plan.
func redactPlan(system, plan string) (string, error) {
	if system == "mysql" || system == "mariadb" {
		return redactJSON(system, plan)
	}
	return redactText(system, plan), nil
}

// inText matches numbers in a plan of PostgreSQL or SQLite that are not literals.
var inText = regexp.MustCompile(`^(?:\(cost=[\d.]+ rows=\d+ width=\d+\)|(?i:initplan|subplan|subquery)[ -]\d+|Workers Planned: \d+)`)

// redactText replaces the literals in a plan with lines such as "Filter: (id = 42)".
// It reads all lines as one statement, because a literal may span several.
func redactText(system, plan string) string {
	var b strings.Builder
	l := lexer{text: plan, dialect: dialectOf(system)}
	for {
		start := l.at
		l.skipSpace()
		for _, c := range []byte(plan[start:l.at]) {
			if isSpace(c) {
				b.WriteByte(c)
			}
		}
		start = l.at
		if n := len(inText.FindString(plan[start:])); n > 0 {
			l.at += n
			b.WriteString(plan[start:l.at])
			continue
		}
		switch l.scan(anything) {
		case end:
			return b.String()
		case literal:
			b.WriteByte('?')
		default:
			b.WriteString(plan[start:l.at])
		}
	}
}

// redactJSON replaces the literals in the strings of a plan. It leaves everything else
// unchanged, because an object may contain a key twice, and the order has a meaning.
func redactJSON(system, plan string) (string, error) {
	var b bytes.Buffer
	strs := json.NewEncoder(&b)
	strs.SetEscapeHTML(false)
	d := json.NewDecoder(strings.NewReader(plan))
	key, kept := "", 0 // plan[:kept] was written to b
	for {
		before := int(d.InputOffset())
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String() + plan[kept:], nil
		}
		if err != nil {
			return "", err
		}
		text, ok := t.(string)
		after := int(d.InputOffset())
		switch {
		case !ok:
		case strings.HasPrefix(strings.TrimLeft(plan[after:], " \t\r\n"), ":"):
			key = text
		case strings.HasSuffix(key, "_cost") || slices.Contains(amounts, key):
		default:
			redacted, _ := redact(system, text)
			b.WriteString(plan[kept : before+strings.IndexByte(plan[before:], '"')])
			_ = strs.Encode(redacted)
			b.Truncate(b.Len() - 1) // Encode appends a newline
			kept = after
		}
	}
}

// amounts are the keys, besides costs, of strings that are numbers.
var amounts = []string{"filtered", "key_length", "data_read_per_join"}
