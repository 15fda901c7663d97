package sqldriver

import "strings"

// position is a place in a statement, by what may stand there. It decides whether "…" is
// a name, which is recorded, or a string, which is not, where a system may read either.
//
// MySQL and MariaDB read a string or, with ANSI_QUOTES, a name. Of these, and of systems
// that are not known, it is a name where the grammar has no value. SQLite reads a name,
// and a string if there is no such column: it is a name there, too, where a string is
// possible and makes no sense, as in "key" = ?. Otherwise it is a string.
type position uint8

const (
	anything   position = iota
	operand             // where an expression begins, which may be compared
	item                // of ORDER BY, GROUP BY or PARTITION BY
	columnName          // in parentheses, or a definition of a column, or an expression to index
	onlyName            // no value, as in all that follow
	target              // of SET
	tableName
	cteName // of a common table expression
)

// isName reports whether "…", which stands at p and ends at l.at, is a name.
func (l *lexer) isName(p position) bool {
	look := *l
	if look.skipSpace(); look.peek(0) == '.' && !isDigit(look.peek(1)) {
		return true
	}
	switch p {
	case anything:
		return false
	case operand:
		return l.dialect.fallback && l.isCompared()
	case item:
		return l.dialect.fallback && (l.isAlone() || l.isCompared())
	case columnName:
		return l.isAlone()
	}
	return true
}

// operators are words between or behind operands.
var operators = words("AND BETWEEN DIV GLOB IN IS ISNULL LIKE MATCH MEMBER MOD NOT NOTNULL OR REGEXP RLIKE SOUNDS XOR")

// isAlone reports whether no operator follows.
func (l *lexer) isAlone() bool {
	look := *l
	t := look.operator()
	switch {
	case t.kind == punctuation:
		return t.text == "," || t.text == ")" || t.text == "(" || t.text == ";"
	case strings.EqualFold(t.text, "not"): // NOT NULL of a column
		return strings.EqualFold(look.next(anything).text, "null")
	}
	return t.kind != word || !operators[strings.ToUpper(t.text)]
}

// operator returns the token behind COLLATE with a name, and -> or ->> with a literal.
func (l *lexer) operator() token {
	for {
		t := l.next(anything)
		switch {
		case strings.EqualFold(t.text, "collate"):
			l.next(onlyName)
		case t.text == "-" && l.peek(0) == '>':
			for l.peek(0) == '>' {
				l.at++
			}
			if path := l.next(anything); path.kind != literal || !path.isValue() {
				return t
			}
		default:
			return t
		}
	}
}

// comparisons are operators that compare, and the words of which others consist.
var comparisons = words("= == <> != < <= > >= IS NOT DISTINCT FROM LIKE GLOB REGEXP MATCH IN BETWEEN")

// isCompared reports whether a comparison follows of which the right side is values alone,
// so that a value on its left makes no sense.
func (l *lexer) isCompared() bool {
	look := *l
	t := look.operator()
	op := strings.ToUpper(t.text)
	if op == "ISNULL" || op == "NOTNULL" {
		return true
	}
	for t.kind == punctuation && strings.IndexByte("=<>", look.peek(0)) >= 0 {
		op += string(look.peek(0))
		look.at++
	}
	if !comparisons[op] {
		return false
	}
	between := false
	for ; comparisons[op]; op = strings.ToUpper(t.text) {
		between = between || op == "BETWEEN"
		t = look.next(anything)
	}
	t, ok := look.values(t)
	if ok && between {
		if !strings.EqualFold(t.text, "and") {
			return false
		}
		t, ok = look.values(look.next(anything))
	}
	return ok && (t.kind == end || t.kind == word || t.text == "," || t.text == ")" || t.text == ";")
}

// namesAreCompared reports whether nothing but names follows up to the closing
// parenthesis, and then a comparison with values.
func (l *lexer) namesAreCompared() bool {
	look := *l
	for {
		if t := look.next(onlyName); t.kind != quoted && t.kind != word {
			return false
		}
		t := look.next(anything)
		for t.text == "." {
			look.next(onlyName)
			t = look.next(anything)
		}
		switch t.text {
		case ",":
		case ")":
			return look.isCompared()
		default:
			return false
		}
	}
}

// values goes behind an expression of values alone that begins with t, or a list of such
// in parentheses, and returns the token that follows.
func (l *lexer) values(t token) (behind token, ok bool) {
	list := t.text == "("
	if list {
		t = l.next(anything)
	}
	for ; ; t = l.next(anything) {
		switch {
		case t.isValue():
			ok = true
		case strings.EqualFold(t.text, "collate"):
			l.next(onlyName)
		case t.kind == punctuation && strings.Contains("+-*/%|&~", t.text), list && ok && t.text == ",":
			ok = false
		case list && ok && t.text == ")":
			return l.next(anything), true
		default:
			return t, ok && !list
		}
	}
}

// constants are words for values.
var constants = words("NULL TRUE FALSE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP")

// isValue reports whether t is a value, and no name in double quotes.
func (t token) isValue() bool {
	switch t.kind {
	case placeholder:
		return true
	case literal:
		return t.text[0] != '"'
	}
	return t.kind == word && constants[strings.ToUpper(t.text)]
}
