package sqltext

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
)

// ExplainPrefix returns the words that make a system return the plan of a query
// without executing it, or "" if they are not known.
func ExplainPrefix(system string) string {
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

// Explainable reports whether query is a single SELECT that writes and locks nothing,
// however the server reads it. A backslash may escape a quote, so a semicolon may be
// anywhere. MySQL executes comments that begin with /*!, and calls stored functions
// for EXPLAIN.
func Explainable(system, query string) bool {
	query = strings.TrimRight(query, "; \t\r\n")
	if ExplainPrefix(system) == "" || len(query) > maxCachedText || strings.ContainsAny(query, `;\`) ||
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

// RedactPlan replaces the literals in a plan.
func RedactPlan(system, plan string) (string, error) {
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
			redacted, _ := Redact(system, text)
			b.WriteString(plan[kept : before+strings.IndexByte(plan[before:], '"')])
			_ = strs.Encode(redacted)
			b.Truncate(b.Len() - 1) // Encode appends a newline
			kept = after
		}
	}
}

// amounts are the keys, besides costs, of strings that are numbers.
var amounts = []string{"filtered", "key_length", "data_read_per_join"}
