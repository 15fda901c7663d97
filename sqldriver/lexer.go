package sqldriver

import "strings"

// kind is what a token of SQL is, as far as it matters for redaction.
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
	space bool // white space or a comment stood before it
	names bool // it opens a list of names that are compared with values
}

// lexer splits a statement into tokens. Where it is not certain how the database
// reads the rest, the rest is one literal.
type lexer struct {
	text    string
	at      int
	dialect dialect
	dot     bool // the last token
	unsure  bool // about some of what was read
}

// dialect is how a system differs from standard SQL.
type dialect struct {
	backslash  bool // in '…' a backslash may escape, as a mode of the server says
	stringsIn2 bool // "…" may be a string, as such a mode says
	fallback   bool // or as there is no such column
	dollar     bool // $tag$…$tag$ is a string, E'…' has escapes
	brackets   bool // […] is a name
	hash       bool // # begins a comment
	nested     bool // comments nest
	dashSpace  bool // -- begins a comment only before white space
	colonParam bool // :1 is a placeholder
	unknown    bool // any of these
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
		// "…" is a name with QUOTED_IDENTIFIER ON, which is the default of the server, and
		// which drivers set when they connect (ODBC, OLE DB, go-mssqldb).
		return dialect{brackets: true, nested: true}
	case "oracle.db":
		unknown.stringsIn2 = false
	}
	return unknown
}

// next returns the next token, which stands at p.
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

// peek returns the byte n places on, 0 behind the end.
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

// skipTo goes behind the next mark, or to the end if there is none.
func (l *lexer) skipTo(mark string) (found bool) {
	i := strings.Index(l.text[l.at:], mark)
	if i < 0 {
		l.at = len(l.text)
		return false
	}
	l.at += i + len(mark)
	return true
}

// skipLine goes behind the line. Databases do not agree on whether a lone
// carriage return ends it, so that what follows one is all skipped.
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

// scan goes behind the token at l.at.
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
		l.unsure = l.unsure || c == '`' && l.dialect.dollar // which quotes nothing there
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

// rest takes all there is as a literal.
func (l *lexer) rest() kind {
	l.at, l.unsure = len(l.text), true
	return literal
}

// scanString reads a string with its quotes, which are doubled inside. escapes
// says that backslashes do escape. It returns false, and has taken all there is,
// if the end cannot be told.
func (l *lexer) scanString(escapes bool) (closed bool) {
	quote := l.peek(0)
	if l.dialect.unknown && l.peek(1) == quote && l.peek(2) == quote { // perhaps '''…'''
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
			} // a string that follows has the same escapes
		}
	}
	l.rest()
	return false
}

// scanQuoted reads a name that ends with the byte closing, doubled inside.
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

// scanNumber reads digits, and all that a number may have: 0xff, 1e-9, 1_000.
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

// scanDollar reads $1, $name, $tag$…$tag$ or the sum of money $1.50.
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

// scanParameter reads prefix bytes and a name or number.
func (l *lexer) scanParameter(prefix int) kind {
	for l.at += prefix; isWord(l.peek(0)); {
		l.at++
	}
	return placeholder
}

// scanWord reads a name or keyword, or a string with a prefix: N'…', x'…',
// E'…', _utf8'…'.
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
