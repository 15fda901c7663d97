package sqltext

import "strings"

// position describes a place in a statement by what the grammar allows there. It
// decides whether "…" is a name, which is recorded, or a string, which is not, if the
// system may read it as either.
//
// MySQL and MariaDB read "…" as a string or, with ANSI_QUOTES, as a name. For these,
// and for unknown systems, it is a name where the grammar does not allow a value.
// SQLite reads "…" as a name, or as a string if there is no such column. For SQLite it
// is also a name where a string would be allowed but makes no sense, as in "key" = ?.
// Everywhere else it is a string.
type position uint8

const (
	anything   position = iota
	operand             // the beginning of an expression, which may be compared
	item                // an item of ORDER BY, GROUP BY or PARTITION BY
	columnName          // in parentheses, the definition of a column, or an expression in an index
	onlyName            // no value is allowed, here and in all positions below
	target              // a target of SET
	tableName
	cteName // name of a common table expression
)

// isName reports whether the "…" at p that ends at l.at is a name.
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

// operators are words that follow an operand or are between two.
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

// operator returns the next token. It skips COLLATE with a name, and -> or ->> with a
// literal.
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

// comparisons are comparison operators and the words that they consist of.
var comparisons = words("= == <> != < <= > >= IS NOT DISTINCT FROM LIKE GLOB REGEXP MATCH IN BETWEEN")

// isCompared reports whether a comparison follows whose right side consists of values,
// so that a value on the left side would make no sense.
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

// namesAreCompared reports whether only names follow up to the closing parenthesis,
// and then a comparison with values.
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

// values skips an expression of values that begins with t, or a list of such
// expressions in parentheses. It returns the token that follows.
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

// constants are words that denote values.
var constants = words("NULL TRUE FALSE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP")

// isValue reports whether t is a value, and not a name in double quotes.
func (t token) isValue() bool {
	switch t.kind {
	case placeholder:
		return true
	case literal:
		return t.text[0] != '"'
	}
	return t.kind == word && constants[strings.ToUpper(t.text)]
}
