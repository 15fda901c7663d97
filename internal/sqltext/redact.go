// Package sqltext reads SQL statements for what is recorded of them: their text without
// literals, what they do to which tables, and how often a place in the program repeats them.
package sqltext

import (
	"strings"
	"unicode/utf8"
)

// MaxText bounds the recorded text of a statement, in bytes.
const MaxText = 2 << 10

// Redact returns query, at most MaxText bytes of it, and its summary. Literals are
// replaced by "?" and a list of values after IN by "(?)". Comments are removed, and
// white space becomes one space. Everything after IDENTIFIED BY is one literal,
// because some databases accept a password there without quotes.
func Redact(system, query string) (text string, sum Summary) {
	var b strings.Builder
	b.Grow(min(len(query), MaxText))
	l := lexer{text: query, dialect: dialectOf(system)}
	sum.levels = make([]level, 1, 8)
	in := false // the last token is IN
	for {
		password := sum.last == "BY" && sum.beforeLast == "IDENTIFIED"
		t := l.next(sum.next)
		if password && t.kind != end {
			t.kind = l.rest()
		}
		sum.add(t)
		if t.kind == end {
			break
		}
		out := t.text
		if t.kind == literal {
			out = "?"
		} else if in && out == "(" && l.skipValues() {
			out = "(?)"
			sum.add(token{kind: punctuation, text: ")"})
		}
		in = t.kind == word && strings.EqualFold(out, "in")
		if t.space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(out) > MaxText-len(cutMark) {
			b.WriteString(cutMark)
			sum.Several = true // not known
			break
		}
		b.WriteString(out)
	}
	return b.String(), sum
}

// skipValues skips a list of literals and placeholders and its closing parenthesis, if
// that is what follows.
func (l *lexer) skipValues() bool {
	look := *l
	for {
		t := look.next(anything)
		if t.text == "-" || t.text == "+" {
			t = look.next(anything)
		}
		if t.kind != literal && t.kind != placeholder {
			return false
		}
		switch t = look.next(anything); t.text {
		case ",":
		case ")":
			*l = look
			return true
		default:
			return false
		}
	}
}

// Shorten returns a copy of at most most bytes of text. It cuts between runes.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return strings.Clone(text)
	}
	n := most - len(cutMark)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + cutMark
}

const cutMark = "…"
