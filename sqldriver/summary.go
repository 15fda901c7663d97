package sqldriver

import (
	"slices"
	"strings"
)

// summary gathers what a statement does and to which tables, from its tokens, and tells
// what may stand next. It knows the shapes that are common; of others it says less, never
// more than names and keywords.
type summary struct {
	operation string   // the first keyword: "SELECT", "CREATE"
	targets   []string // tables, each once
	several   bool     // statements, or nobody knows

	words   []string // operations and targets in order
	current string   // operation of the statement at hand, "WITH" before it is known
	ended   bool     // a semicolon was seen

	next             position // of the next token
	columns          bool     // a parenthesis there, or behind the name there, begins a list of columns
	levels           []level  // of parentheses, at least one
	last, beforeLast string   // tokens, words in upper case, "" for a value
	partial          string   // first parts of a dotted name of a table: "public."
	cte              []string
}

// level is what is known between two parentheses, or CASE and END.
type level struct {
	list      position // what stands behind a comma
	query     bool     // it reads or writes rows
	selecting bool     // a SELECT or DELETE waits for its FROM
	between   bool     // a BETWEEN waits for its AND
	choice    bool     // it began with CASE
}

// String returns operations and tables, separated by spaces, at most 255 bytes
// as OpenTelemetry wants.
func (s *summary) String() string {
	const maxSummary = 255
	n, length := 0, 0
	for ; n < len(s.words) && length+len(s.words[n]) <= maxSummary; n++ {
		length += len(s.words[n]) + 1
	}
	return strings.Join(s.words[:n], " ")
}

func (s *summary) add(t token) {
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
		s.several = s.several || s.ended
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

// name takes a name, or what follows a dot in one.
func (s *summary) name(text string, p position, columns bool) {
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

func (s *summary) punctuation(t token, p position, columns bool) {
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
func (s *summary) top() *level { return &s.levels[len(s.levels)-1] }

// close ends a level, and reports whether it began with CASE.
func (s *summary) close() (choice bool) {
	choice = s.top().choice
	s.levels = s.levels[:max(1, len(s.levels)-1)]
	return choice
}

// endList says that what stands behind a comma is not what it was, unless that is in
// the parentheses of a list of columns.
func (l *level) endList() {
	if l.list != columnName {
		l.list = anything
	}
}

// rowOperations read and write rows.
var rowOperations = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"}

// definitions are operations that are followed by the kind of their object.
var definitions = []string{"CREATE", "ALTER", "DROP", "TRUNCATE"}

// defines reports whether the statement is about a table or the like.
func (s *summary) defines() bool { return slices.Contains(definitions, s.current) }

// keep says that a name follows if it did before.
func (s *summary) keep(p position, columns bool) {
	if p >= onlyName {
		s.next, s.columns = p, columns
	}
}

// word takes a word that may be a keyword: upper is text in upper case.
func (s *summary) word(upper, text string, p position, columns bool) {
	top := s.top()
	begins := s.current == ""
	switch {
	case begins && upper == "WITH":
		s.current, s.next, top.list = upper, cteName, cteName
		return
	case s.current == "GRANT", s.current == "REVOKE": // SELECT is a privilege there
		return
	case len(s.levels) == 1 && (upper == "SELECT" || s.current == "WITH" && slices.Contains(rowOperations, upper)):
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

// begin notes the operation of a statement.
func (s *summary) begin(operation string) {
	s.current = operation
	switch {
	case s.operation == "": // tables of WITH may be there already
		s.operation = operation
		s.words = slices.Insert(s.words, 0, operation)
	case len(s.words) < 2*maxTargets:
		s.words = append(s.words, operation)
	}
}

// finishTarget takes the name that was gathered as a table.
func (s *summary) finishTarget() {
	name := strings.TrimSuffix(s.partial, ".")
	s.partial = ""
	if name == "" || len(s.targets) >= maxTargets ||
		slices.ContainsFunc(s.cte, func(c string) bool { return strings.EqualFold(c, name) }) {
		return
	}
	if !slices.Contains(s.targets, name) {
		s.targets = append(s.targets, name)
		s.words = append(s.words, name)
	}
}
