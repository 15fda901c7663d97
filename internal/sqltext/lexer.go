package sqltext

import "strings"

// kind is the kind of an SQL token, as far as it matters for redaction.
type kind uint8

const (
	end         kind = iota
	word             // keyword or name
	quoted           // name in quotes
	literal          // string or number
	placeholder      // ?, $1, :name, @p1
	punctuation
)

type token struct {
	kind  kind
	text  string
	space bool // follows white space or a comment
	names bool // opens a list of names that are compared with values
}

// lexer splits a statement into tokens. If it is not certain how the database reads
// the rest of the statement, the rest is one literal.
type lexer struct {
	text    string
	at      int
	dialect dialect
	dot     bool // the last token is a dot
	unsure  bool // how the database reads some of the tokens is uncertain
}

// dialect describes how a system differs from standard SQL.
type dialect struct {
	backslash  bool // in '…' a backslash may be an escape, depending on a mode of the server
	stringsIn2 bool // "…" may be a string, depending on a mode of the server
	fallback   bool // "…" is a string if there is no such column
	dollar     bool // $tag$…$tag$ is a string, E'…' has escapes
	brackets   bool // […] is a name
	hash       bool // # begins a comment
	nested     bool // comments nest
	dashSpace  bool // -- begins a comment only before white space
	colonParam bool // :1 is a placeholder
	unknown    bool // any of these may apply
}

func dialectOf(system string) dialect {
	unknown := dialect{backslash: true, stringsIn2: true, dollar: true, colonParam: true, unknown: true}
	switch system {
	case "postgresql", "cockroachdb":
		return dialect{dollar: true, nested: true}
	case "mysql", "mariadb":
		return dialect{backslash: true, stringsIn2: true, hash: true, dashSpace: true}
	case "sqlite":
		return dialect{stringsIn2: true, fallback: true, brackets: true, colonParam: true}
	case "microsoft.sql_server":
		// By default, "…" is a name in SQL Server (QUOTED_IDENTIFIER ON). Drivers set
		// that mode when they connect (ODBC, OLE DB, go-mssqldb).
		return dialect{brackets: true, nested: true}
	case "oracle.db":
		unknown.stringsIn2 = false
	}
	return unknown
}

// next returns the next token. p is its position.
func (l *lexer) next(p position) token {
	start := l.at
	l.skipSpace()
	t := token{space: l.at > start}
	start = l.at
	t.kind = l.scan(p)
	t.text = l.text[start:l.at]
	t.names = p == operand && t.text == "(" && l.dialect.fallback && l.namesAreCompared()
	return t
}

// peek returns the byte n bytes ahead, or 0 at the end.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

func (l *lexer) skipSpace() {
	for {
		c, d := l.peek(0), l.peek(1)
		switch {
		case isSpace(c):
			l.at++
		case c == '-' && d == '-' && (!l.dialect.dashSpace || isSpace(l.peek(2)) || l.at+2 == len(l.text)),
			c == '#' && l.dialect.hash:
			l.skipLine()
		case c == '/' && d == '*':
			l.skipComment()
		default:
			return
		}
	}
}

// skipTo moves past the next mark, or to the end if there is none.
func (l *lexer) skipTo(mark string) (found bool) {
	i := strings.Index(l.text[l.at:], mark)
	if i < 0 {
		l.at = len(l.text)
		return false
	}
	l.at += i + len(mark)
	return true
}

// skipLine moves to the next line. Databases disagree on whether a lone carriage
// return ends a line, so the text after one is skipped as well.
func (l *lexer) skipLine() {
	if i := strings.IndexAny(l.text[l.at:], "\r\n"); i >= 0 && l.text[l.at+i] == '\r' && l.peek(i+1) != '\n' {
		l.rest()
		return
	}
	l.skipTo("\n")
}

func (l *lexer) skipComment() {
	for depth := 0; l.at < len(l.text); {
		switch c, d := l.peek(0), l.peek(1); {
		case c == '/' && d == '*' && depth > 0 && l.dialect.unknown:
			l.rest()
		case c == '/' && d == '*' && (depth == 0 || l.dialect.nested):
			depth++
			l.at += 2
		case c == '*' && d == '/':
			depth--
			if l.at += 2; depth == 0 {
				return
			}
		default:
			l.at++
		}
	}
	l.unsure = true
}

// scan moves past the token at l.at.
func (l *lexer) scan(p position) kind {
	c, d := l.peek(0), l.peek(1)
	dotted := l.dot
	l.dot = c == '.' && !isDigit(d)
	switch {
	case l.at == len(l.text):
		return end
	case c == '\'':
		l.scanString(false)
		return literal
	case c == '"' && l.dialect.stringsIn2:
		if l.scanString(false) && (dotted || l.isName(p)) {
			return quoted
		}
		return literal
	case c == '"', c == '`':
		l.unsure = l.unsure || c == '`' && l.dialect.dollar // not a quote there
		return l.scanQuoted(c)
	case c == '[' && l.dialect.brackets:
		return l.scanQuoted(']')
	case c == '#' && l.dialect.unknown:
		return l.rest()
	case isDigit(c), c == '.' && isDigit(d):
		return l.scanNumber()
	case c == '$':
		return l.scanDollar()
	case c == '?':
		return l.scanParameter(1)
	case c == ':' && d == ':':
		l.at += 2
		return punctuation
	case c == ':' && (isLetter(d) || isDigit(d) && l.dialect.colonParam):
		return l.scanParameter(1)
	case c == '@' && d == '@':
		return l.scanParameter(2)
	case c == '@' && isLetter(d):
		return l.scanParameter(1)
	case isLetter(c):
		return l.scanWord()
	}
	l.at++
	return punctuation
}

// rest reads everything that is left as one literal.
func (l *lexer) rest() kind {
	l.at, l.unsure = len(l.text), true
	return literal
}

// scanString reads a string. Quotes inside it are doubled. escapes means that
// backslashes are escapes. If it is not certain where the string ends, scanString
// reads everything that is left and returns false.
func (l *lexer) scanString(escapes bool) (closed bool) {
	quote := l.peek(0)
	if l.dialect.unknown && l.peek(1) == quote && l.peek(2) == quote { // may be '''…'''
		l.rest()
		return false
	}
	for l.at++; l.at < len(l.text); l.at++ {
		switch c, d := l.peek(0), l.peek(1); {
		case c == '\\' && d == quote && l.dialect.backslash && !escapes:
			l.rest()
			return false
		case c == '\\' && (escapes || l.dialect.backslash), c == quote && d == quote:
			l.at++
		case c == quote:
			l.at++
			if !escapes {
				return true
			}
			end := l.at
			if l.skipSpace(); l.peek(0) != quote {
				l.at = end
				return true
			} // a string that follows is part of this one
		}
	}
	l.rest()
	return false
}

// scanQuoted reads a name that ends with the byte closing, which is doubled inside it.
func (l *lexer) scanQuoted(closing byte) kind {
	for l.at++; l.at < len(l.text); l.at++ {
		if l.peek(0) != closing {
			continue
		}
		l.at++
		if l.peek(0) != closing {
			return quoted
		}
	}
	return l.rest()
}

// scanNumber reads a number, including forms such as 0xff, 1e-9 and 1_000.
func (l *lexer) scanNumber() kind {
	for l.at < len(l.text) {
		c := l.peek(0)
		if (c == 'e' || c == 'E') && (l.peek(1) == '+' || l.peek(1) == '-') && isDigit(l.peek(2)) {
			l.at += 2
		} else if !isWord(c) && c != '.' {
			break
		}
		l.at++
	}
	return literal
}

// scanDollar reads $1, $name, $tag$…$tag$ or a sum of money such as $1.50.
func (l *lexer) scanDollar() kind {
	if isDigit(l.peek(1)) {
		l.scanParameter(1)
		if l.peek(0) == '.' {
			return l.scanNumber()
		}
		if l.dialect.dollar || l.dialect.colonParam {
			return placeholder
		}
		return literal
	}
	n := 1
	for isWord(l.peek(n)) {
		n++
	}
	if l.dialect.dollar && l.peek(n) == '$' {
		tag := l.text[l.at : l.at+n+1]
		l.at += len(tag)
		l.unsure = !l.skipTo(tag) || l.unsure
		return literal
	}
	l.at += n
	if n == 1 {
		return punctuation
	}
	return placeholder
}

// scanParameter reads prefix bytes and then a name or number.
func (l *lexer) scanParameter(prefix int) kind {
	for l.at += prefix; isWord(l.peek(0)); {
		l.at++
	}
	return placeholder
}

// scanWord reads a name, a keyword, or a string with a prefix: N'…', x'…', E'…',
// _utf8'…'.
func (l *lexer) scanWord() kind {
	start := l.at
	for isWord(l.peek(0)) || l.peek(0) == '$' {
		l.at++
	}
	w := l.text[start:l.at]
	if l.peek(0) == '&' && (w == "U" || w == "u") && (l.peek(1) == '\'' || l.peek(1) == '"') {
		l.at++ // U&'…'
	}
	if l.peek(0) != '\'' {
		return word
	}
	switch {
	case w == "E" || w == "e":
		l.scanString(l.dialect.dollar)
		return literal
	case (w == "q" || w == "Q" || strings.EqualFold(w, "nq")) && l.dialect.unknown:
		return l.rest() // Oracle: q'[…]'
	case len(w) == 1, w[0] == '_':
		l.scanString(false)
		return literal
	}
	return word
}

func isSpace(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func isWord(c byte) bool { return isLetter(c) || isDigit(c) }
