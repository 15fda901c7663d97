package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// parseTraceQL parses the part of TraceQL that a [collector.Query] can express: a span
// set { … } of conditions joined by &&. A condition is an attribute (span.x,
// resource.x or .x) or name = value, status = error, or a comparison of duration,
// which applies to the whole trace.
func parseTraceQL(q *collector.Query, s string) error {
	p := traceQL{rest: s}
	if !p.take("{") {
		return fmt.Errorf("a query must begin with {, as in { status = error }")
	}
	for first := true; !p.take("}"); first = false {
		if !first && !p.take("&&") {
			return fmt.Errorf("expected && or } at %q: only conditions joined by && are supported", p.rest)
		}
		if err := p.condition(q); err != nil {
			return err
		}
	}
	if p.space(); p.rest != "" {
		return fmt.Errorf("%q: only one span set { … } is supported", p.rest)
	}
	return nil
}

// traceQL is the text that is left to parse.
type traceQL struct{ rest string }

func (p *traceQL) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take skips token if it is next.
func (p *traceQL) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}

// word reads up to a space, an operator or a brace.
func (p *traceQL) word() string {
	p.space()
	i := strings.IndexAny(p.rest, " \t\r\n=!<>~&|{}()\"`")
	if i < 0 {
		i = len(p.rest)
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}

// operator reads a comparison operator.
func (p *traceQL) operator() string {
	for _, op := range []string{"=~", "!~", "!=", ">=", "<=", "=", ">", "<"} {
		if p.take(op) {
			return op
		}
	}
	return ""
}

// value reads a quoted text or a word.
func (p *traceQL) value() (string, error) {
	p.space()
	if !strings.HasPrefix(p.rest, `"`) && !strings.HasPrefix(p.rest, "`") {
		if word := p.word(); word != "" {
			return word, nil
		}
		return "", fmt.Errorf("a value is missing at %q", p.rest)
	}
	quoted, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		return "", fmt.Errorf("%s has no closing quote", p.rest)
	}
	p.rest = p.rest[len(quoted):]
	return strconv.Unquote(quoted)
}

func (p *traceQL) condition(q *collector.Query) error {
	key := p.word()
	if key == "true" {
		return nil
	}
	op := p.operator()
	if key == "" || op == "" {
		return fmt.Errorf("expected a condition such as span.http.route = \"/\" before %q", p.rest)
	}
	value, err := p.value()
	if err != nil {
		return err
	}
	switch key {
	case "duration", "span:duration", "traceDuration", "trace:duration":
		return compareDuration(q, op, value)
	}
	if op != "=" {
		return fmt.Errorf("%s %s: only = is supported here", key, op)
	}
	switch key {
	case "name", "span:name":
		return addTag(q, "name", value)
	case "status", "span:status":
		return addTag(q, "status", value)
	}
	if name, scoped := cutScope(key); scoped && name != "" {
		return addAttribute(q, name, value)
	}
	return fmt.Errorf("%s is not supported; attributes are written span.%[1]s, resource.%[1]s or .%[1]s", key)
}

// cutScope removes the scope from an attribute of TraceQL. Intrinsics have none.
func cutScope(key string) (name string, scoped bool) {
	for _, scope := range []string{"span.", "resource.", "."} {
		if name, ok := strings.CutPrefix(key, scope); ok {
			return name, true
		}
	}
	return key, false
}

func compareDuration(q *collector.Query, op, value string) error {
	d, err := parseDuration(value)
	if err != nil {
		return err
	}
	least, most := time.Duration(0), time.Duration(math.MaxInt64)
	switch op {
	case ">":
		least = d + 1
	case ">=":
		least = d
	case "<":
		most = d - 1
	case "<=":
		most = d
	case "=":
		least, most = d, d
	default:
		return fmt.Errorf("duration %s is not supported", op)
	}
	q.MinDuration = max(q.MinDuration, least)
	if q.MaxDuration > 0 {
		most = min(q.MaxDuration, most)
	}
	if most < max(q.MinDuration, 1) {
		return fmt.Errorf("no duration satisfies these conditions")
	}
	if most < math.MaxInt64 {
		q.MaxDuration = most
	}
	return nil
}
