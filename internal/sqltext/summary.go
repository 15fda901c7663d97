package sqltext

import (
	"slices"
	"strings"
)

// maxTargets bounds the number of tables in a summary.
const maxTargets = 8

// Summary collects from the tokens of a statement what it does and to which tables,
// and predicts what may come next. It knows the common forms. For others it may miss
// something, but it never contains more than names and keywords.
type Summary struct {
	Operation string   // the first keyword: "SELECT", "CREATE"
	Targets   []string // tables, each once
	Several   bool     // there are several statements, or that is uncertain

	words   []string // operations and targets in order
	current string   // operation of the current statement, or "WITH" while it is not known
	ended   bool     // a semicolon was seen

	next             position // position of the next token
	columns          bool     // a parenthesis there, or after the name there, begins a list of columns
	levels           []level  // nested levels, at least one
	last, beforeLast string   // tokens, words in upper case, or "" for a value
	partial          string   // beginning of a dotted table name: "public."
	cte              []string
}

// level is the state between two parentheses, or between CASE and END.
type level struct {
	list      position // position after a comma
	query     bool     // the level contains a query that reads or writes rows
	selecting bool     // a SELECT or DELETE waits for its FROM
	between   bool     // a BETWEEN waits for its AND
	choice    bool     // it began with CASE
}

// String returns the operations and tables, separated by spaces. It returns at most
// 255 bytes, as OpenTelemetry's conventions ask.
func (s *Summary) String() string {
	const maxSummary = 255
	n, length := 0, 0
	for ; n < len(s.words) && length+len(s.words[n]) <= maxSummary; n++ {
		length += len(s.words[n]) + 1
	}
	return strings.Join(s.words[:n], " ")
}

func (s *Summary) add(t token) {
	if s.partial != "" && t.text != "." && !strings.HasSuffix(s.partial, ".") {
		s.finishTarget()
	}
	p, columns := s.next, s.columns
	s.next, s.columns = anything, false
	text := ""
	switch t.kind {
	case punctuation:
		text = t.text
		s.punctuation(t, p, columns)
	case quoted:
		text = t.text
		s.name(text[1:len(text)-1], p, columns)
	case word:
		if text = t.text; len(text) <= len("MATERIALIZED") {
			text = strings.ToUpper(text)
		}
		s.Several = s.Several || s.ended
		switch {
		case s.last == "OR" && p == tableName, // UPDATE OR IGNORE
			p == cteName && text == "RECURSIVE":
			s.keep(p, columns)
		case s.last == ".", p == cteName:
			s.name(t.text, p, columns)
		default:
			s.word(text, t.text, p, columns)
		}
	}
	s.last, s.beforeLast = text, s.last
}

// name reads a name, or the part of a name after a dot.
func (s *Summary) name(text string, p position, columns bool) {
	dotted := s.last == "."
	switch {
	case dotted:
		if s.partial != "" {
			s.partial += text
		}
	case p == tableName:
		s.partial = text
	case p == cteName:
		s.cte = append(s.cte, text)
	}
	s.columns = columns && (dotted || p >= onlyName) || p == cteName
}

func (s *Summary) punctuation(t token, p position, columns bool) {
	top := s.top()
	switch t.text {
	case "(":
		switch {
		case columns:
			s.next = columnName
		case t.names:
			s.next = onlyName
		case p == target: // SET (a, b) = …
			s.next = target
		}
		s.levels = append(s.levels, level{list: s.next})
		if s.next == anything {
			s.next = operand
		}
	case "[", "{":
		s.levels = append(s.levels, level{})
	case ")", "]", "}":
		for s.close() {
		}
	case ",":
		s.next = top.list
	case ".":
		if s.partial != "" {
			s.partial += "."
		}
		s.columns = columns
	case ";":
		s.ended, s.current, s.levels = true, "", append(s.levels[:0], level{})
	case "+", "-", "~":
		if p == operand || p == item {
			s.next = p
		}
	}
}

// top returns the innermost level.
func (s *Summary) top() *level { return &s.levels[len(s.levels)-1] }

// close ends a level and reports whether it began with CASE.
func (s *Summary) close() (choice bool) {
	choice = s.top().choice
	s.levels = s.levels[:max(1, len(s.levels)-1)]
	return choice
}

// endList is called at a word after which a comma no longer has its previous meaning.
// It does not apply inside the parentheses of a list of columns.
func (l *level) endList() {
	if l.list != columnName {
		l.list = anything
	}
}

// RowOperations read or write rows.
var RowOperations = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"}

// definitions are operations that are followed by the kind of an object.
var definitions = []string{"CREATE", "ALTER", "DROP", "TRUNCATE"}

// defines reports whether the statement defines an object such as a table.
func (s *Summary) defines() bool { return slices.Contains(definitions, s.current) }

// keep keeps the prediction that a name follows.
func (s *Summary) keep(p position, columns bool) {
	if p >= onlyName {
		s.next, s.columns = p, columns
	}
}

// word reads a word that may be a keyword. upper is text in upper case.
func (s *Summary) word(upper, text string, p position, columns bool) {
	top := s.top()
	begins := s.current == ""
	switch {
	case begins && upper == "WITH":
		s.current, s.next, top.list = upper, cteName, cteName
		return
	case s.current == "GRANT", s.current == "REVOKE": // SELECT is a privilege there
		return
	case len(s.levels) == 1 && (upper == "SELECT" || s.current == "WITH" && slices.Contains(RowOperations, upper)):
		begins = true
	}
	if begins {
		s.begin(upper)
	}
	switch upper {
	case "SELECT", "DELETE", "INSERT", "UPDATE", "REPLACE", "MERGE":
		if begins || upper == "SELECT" {
			*top = level{query: true, choice: top.choice}
		}
		top.selecting = top.selecting || upper == "SELECT" || upper == "DELETE"
		if upper == "UPDATE" && begins {
			s.next = tableName
		} else if upper == "UPDATE" && s.last == "KEY" { // ON DUPLICATE KEY UPDATE
			s.next, top.list = target, target
		}
	case "FROM":
		switch {
		case s.last == "DISTINCT":
		case top.selecting:
			top.selecting = false
			s.next, top.list = tableName, tableName
		case top.list == target: // UPDATE … FROM
			s.next, top.list = onlyName, onlyName
		}
	case "JOIN":
		s.next = tableName
	case "INTO":
		if s.current != "VACUUM" { // INTO a file
			s.next, s.columns = tableName, true
		}
	case "TABLE", "VIEW", "INDEX":
		if !s.defines() {
			s.keep(p, columns) // INTO TABLE t
			break
		}
		s.next, s.columns = onlyName, true
		if len(s.words) == 1 {
			s.words = append(s.words, upper)
			if upper != "INDEX" {
				s.next = tableName
			}
		}
	case "ON":
		if s.next = operand; s.current == "CREATE" && s.words[len(s.words)-1] == "INDEX" {
			s.next, s.columns = onlyName, true
		}
	case "USING":
		top.endList()
		s.columns = top.query
	case "SET":
		top.endList()
		if top.query {
			s.next, top.list = target, target
		}
	case "WHERE", "HAVING":
		top.endList()
		s.next = operand
	case "GROUP", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "RETURNING":
		top.endList()
	case "VALUES":
		top.list = anything
	case "BY":
		switch s.last {
		case "GROUP", "ORDER", "PARTITION":
			s.next, top.list = item, item
		case "INDEXED":
			s.next = onlyName
		}
	case "AS":
		if top.query {
			s.next = onlyName
		}
	case "COLLATE", "CONSTRAINT", "OVER", "SAVEPOINT", "WINDOW":
		s.next = onlyName
	case "REFERENCES":
		s.next, s.columns = onlyName, true
	case "COLUMN":
		if s.defines() {
			s.next = onlyName
		}
	case "KEY", "UNIQUE":
		s.columns = s.defines()
	case "CONFLICT":
		s.columns = s.last == "ON"
	case "BETWEEN":
		top.between = true
	case "AND":
		if top.between {
			top.between = false
		} else {
			s.next = operand
		}
	case "OR":
		if s.next = operand; p == tableName { // UPDATE OR IGNORE t
			s.next = p
		}
	case "WHEN":
		s.next = operand
	case "NOT":
		s.next, s.columns = p, columns
	case "CASE":
		s.levels = append(s.levels, level{choice: true})
	case "END":
		if top.choice {
			s.close()
		}
	case "ONLY", "IF", "EXISTS", "LATERAL", "CONCURRENTLY", "LOW_PRIORITY", "IGNORE", "TEMP", "TEMPORARY":
		s.keep(p, columns)
	default:
		s.name(text, p, columns)
	}
}

// begin records the operation of a statement.
func (s *Summary) begin(operation string) {
	s.current = operation
	switch {
	case s.Operation == "": // there may be tables of WITH already
		s.Operation = operation
		s.words = slices.Insert(s.words, 0, operation)
	case len(s.words) < 2*maxTargets:
		s.words = append(s.words, operation)
	}
}

// finishTarget records the name that was read as a table.
func (s *Summary) finishTarget() {
	name := strings.TrimSuffix(s.partial, ".")
	s.partial = ""
	if name == "" || len(s.Targets) >= maxTargets ||
		slices.ContainsFunc(s.cte, func(c string) bool { return strings.EqualFold(c, name) }) {
		return
	}
	if !slices.Contains(s.Targets, name) {
		s.Targets = append(s.Targets, name)
		s.words = append(s.words, name)
	}
}
