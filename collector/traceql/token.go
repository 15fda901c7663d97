package traceql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind uint8

const (
	eof      kind = iota
	operator      // and punctuation
	word          // keyword, intrinsic or function
	field         // attribute, scoped or not
	number        // integer, float or duration
	text
)

type token struct {
	kind kind
	text string // as it is in the query
	at   int    // offset in the query
	end  int

	field Field // of a field
	value Value // of a number or a text
}

// Error is an error in a query.
type Error struct {
	Line, Column int // from 1; columns count characters
	Message      string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// errorAt returns an error at an offset in query.
func errorAt(query string, at int, format string, args ...any) *Error {
	before := query[:at]
	line := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &Error{line + 1, column + 1, fmt.Sprintf(format, args...)}
}

// operators are all operators and punctuation, longer ones before their prefixes.
var operators = []string{
	"!>>", "!<<", "&>>", "&<<",
	"&&", "||", "!=", "!~", "<=", ">=", "=~", ">>", "<<", "!>", "!<", "&>", "&<", "&~",
	"{", "}", "(", ")", ",", "|", "=", "<", ">", "+", "-", "*", "/", "%", "^", "!", "~",
}

type lexer struct {
	query string
	at    int
}

// next returns the next token.
func (l *lexer) next() (token, *Error) {
	l.at += len(l.query[l.at:]) - len(strings.TrimLeftFunc(l.query[l.at:], unicode.IsSpace))
	t := token{at: l.at, end: l.at}
	rest := l.query[l.at:]
	if rest == "" {
		return t, nil
	}
	c := rest[0]
	var err *Error
	switch {
	case c == '"' || c == '`':
		err = l.text(&t)
	case isDigit(c), c == '.' && len(rest) > 1 && isDigit(rest[1]):
		err = l.number(&t)
	case c == '.', isLetter(c):
		err = l.word(&t)
	default:
		t.kind = operator
		for _, op := range operators {
			if strings.HasPrefix(rest, op) {
				t.text = op
				break
			}
		}
		if t.text == "" {
			r, _ := utf8.DecodeRuneInString(rest)
			return t, errorAt(l.query, l.at, "unexpected %q", r)
		}
		l.at += len(t.text)
	}
	t.end = l.at
	t.text = l.query[t.at:t.end]
	return t, err
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func (l *lexer) text(t *token) *Error {
	quoted, err := strconv.QuotedPrefix(l.query[l.at:])
	if err != nil {
		end := closing(l.query[l.at:])
		if end < 0 {
			return errorAt(l.query, l.at, "this text has no closing %c", l.query[l.at])
		}
		return errorAt(l.query, l.at, "%s has an escape that is not valid", l.query[l.at:l.at+end])
	}
	l.at += len(quoted)
	s, _ := strconv.Unquote(quoted)
	t.kind, t.value = text, String(s)
	return nil
}

// closing returns the end of the quoted text that s begins with, or -1.
func closing(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1
		case s[i] == '\\' && s[0] == '"':
			i++
		}
	}
	return -1
}

// units are the units of durations, longer ones before their prefixes. Those of hours and
// less are of package time.
var units = []struct {
	name string
	ns   float64
}{
	{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"μs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {"w", 604800e9},
}

// number reads an integer, a float, or a duration such as 1h30m.
func (l *lexer) number(t *token) *Error {
	t.kind = number
	start := l.at
	digits := l.digits()
	if !l.isUnit() {
		literal := l.query[start:l.at]
		if !strings.ContainsAny(digits, ".eE") {
			n, err := strconv.ParseInt(literal, 10, 64)
			if err != nil {
				return errorAt(l.query, start, "%s is too large", literal)
			}
			t.value = Int(n)
		} else if f, err := strconv.ParseFloat(literal, 64); err == nil {
			t.value = Float(f)
		} else {
			return errorAt(l.query, start, "%s is too large", literal)
		}
		if l.at < len(l.query) && (isLetter(l.query[l.at]) || l.query[l.at] >= utf8.RuneSelf) {
			return errorAt(l.query, l.at, "unknown unit of a duration; the units are ns, us, ms, s, m, h, d and w")
		}
		return nil
	}
	var sum time.Duration
	for {
		for _, u := range units {
			rest, ok := strings.CutPrefix(l.query[l.at:], u.name)
			if !ok || rest != "" && isLetter(rest[0]) {
				continue
			}
			part, err := strconv.ParseFloat(digits, 64)
			if ns := float64(sum) + part*u.ns; err != nil || ns >= 1<<63 {
				return errorAt(l.query, start, "this duration is too long")
			}
			sum += exactDuration(digits, u.ns)
			l.at += len(u.name)
			break
		}
		if l.at == len(l.query) || !isDigit(l.query[l.at]) {
			break
		}
		at := l.at
		if digits = l.digits(); !l.isUnit() {
			return errorAt(l.query, at, "%s has no unit of a duration, such as ms", digits)
		}
	}
	t.value = Duration(sum)
	return nil
}

// exactDuration returns digits times ns, without rounding if digits is an integer.
func exactDuration(digits string, ns float64) time.Duration {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return time.Duration(n * int64(ns))
	}
	f, _ := strconv.ParseFloat(digits, 64)
	return time.Duration(f * ns)
}

// digits skips the digits of a number and returns them.
func (l *lexer) digits() string {
	start := l.at
	skip := func() {
		for l.at < len(l.query) && isDigit(l.query[l.at]) {
			l.at++
		}
	}
	skip()
	if l.at < len(l.query) && l.query[l.at] == '.' {
		l.at++
		skip()
	}
	if rest := l.query[l.at:]; len(rest) > 1 && (rest[0] == 'e' || rest[0] == 'E') {
		n := 1
		if rest[n] == '+' || rest[n] == '-' {
			n++
		}
		if n < len(rest) && isDigit(rest[n]) {
			l.at += n
			skip()
		}
	}
	return l.query[start:l.at]
}

// isUnit reports whether a unit of a duration follows.
func (l *lexer) isUnit() bool {
	for _, u := range units {
		if rest, ok := strings.CutPrefix(l.query[l.at:], u.name); ok && (rest == "" || !isLetter(rest[0])) {
			return true
		}
	}
	return false
}

// endsName reports whether r cannot be part of the name of an attribute.
func endsName(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("{}()=~!<>&|^,\"`", r) }

// word reads a keyword, an intrinsic or an attribute.
func (l *lexer) word(t *token) *Error {
	start := l.at
	for l.at < len(l.query) && (isLetter(l.query[l.at]) || isDigit(l.query[l.at])) {
		l.at++
	}
	name := l.query[start:l.at]
	f := Field{}
	for {
		scope, ok := scopes[name]
		switch {
		case l.at < len(l.query) && l.query[l.at] == ':' && name != "":
			return l.intrinsic(t, start)
		case l.at == len(l.query) || l.query[l.at] != '.':
			if f != (Field{}) { // parent.span without an attribute
				return errorAt(l.query, l.at, "expected a dot and the name of an attribute after %s", l.query[start:l.at])
			}
			t.kind = word
			return nil
		case !ok:
			return errorAt(l.query, start, "unknown scope %q; the scopes are span, resource, parent, event, link and instrumentation%s", name, suggestScope(name, l.query[start:]))
		}
		l.at++ // the dot
		if scope == scopeParent && !f.Parent {
			f.Parent = true
			at := l.at
			for l.at < len(l.query) && isLetter(l.query[l.at]) {
				l.at++
			}
			if s := l.query[at:l.at]; (s == "span" || s == "resource") && l.at < len(l.query) && l.query[l.at] == '.' {
				name = s
				continue
			}
			l.at, scope = at, scopeAny
		}
		f.Scope = scope
		key, err := l.name()
		if err != nil {
			return err
		}
		f.Key = key
		t.kind, t.field = field, f
		return nil
	}
}

// name reads the name of an attribute, which may have parts in double quotes.
func (l *lexer) name() (string, *Error) {
	start := l.at
	var name strings.Builder
	for l.at < len(l.query) {
		if l.query[l.at] == '"' {
			quoted, err := strconv.QuotedPrefix(l.query[l.at:])
			if err != nil {
				return "", errorAt(l.query, l.at, "this name has no closing \"")
			}
			s, _ := strconv.Unquote(quoted)
			name.WriteString(s)
			l.at += len(quoted)
			continue
		}
		r, size := utf8.DecodeRuneInString(l.query[l.at:])
		if endsName(r) {
			break
		}
		name.WriteRune(r)
		l.at += size
	}
	if name.Len() == 0 {
		return "", errorAt(l.query, start, "expected the name of an attribute after the dot")
	}
	return name.String(), nil
}

// intrinsic reads the rest of a scoped intrinsic, such as span:duration.
func (l *lexer) intrinsic(t *token, start int) *Error {
	l.at++ // the colon
	for l.at < len(l.query) && isLetter(l.query[l.at]) {
		l.at++
	}
	name := l.query[start:l.at]
	i, ok := intrinsics[name]
	if !ok {
		return errorAt(l.query, start, "unknown intrinsic %q%s", name, suggestIntrinsic(name))
	}
	t.kind, t.field = field, Field{Intrinsic: i}
	return nil
}
