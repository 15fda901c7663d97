package sqldriver

import (
	"slices"
	"strings"
)

// summary gathers what a statement does and to which tables, from its tokens.
// It knows the shapes that are common; of others it says less, never more than
// names and keywords.
type summary struct {
	operation string   // the first keyword: "SELECT", "CREATE"
	targets   []string // tables, each once
	several   bool     // statements, or nobody knows

	words   []string // operations and targets in order
	depth   int      // of parentheses
	started bool     // the operation of the current statement is known
	with    bool     // in the common table expressions before it
	naming  bool     // the name of such an expression follows
	ended   bool     // a semicolon was seen

	last, beforeLast string // words in upper case, as long as nothing else comes between
	selecting        uint64 // bit i: at depth i a SELECT or DELETE waits for its FROM
	expect           bool   // a table follows
	list             int    // depth+1 of a list of tables, 0: in none
	partial          string // first parts of a dotted name: "public."
	cte              []string
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
	switch t.kind {
	case punctuation:
		s.punctuation(t.text)
		s.last, s.beforeLast = "", ""
	case word:
		s.word(t.text)
	case quoted:
		name := t.text[1 : len(t.text)-1]
		if s.naming {
			s.cte, s.naming = append(s.cte, name), false
		}
		if s.expect {
			s.partial += name
		}
		s.last, s.beforeLast = name, s.last
	default: // also the end
		s.expect = false
		s.last, s.beforeLast = "", ""
	}
}

func (s *summary) punctuation(p string) {
	switch p {
	case "(":
		if s.depth++; s.depth < 64 {
			s.selecting &^= 1 << s.depth
		}
		s.expect = false
	case ")":
		s.depth = max(0, s.depth-1)
		if s.list > s.depth+1 {
			s.list = 0
		}
	case ",":
		s.expect = s.list == s.depth+1
		s.naming = s.with && s.depth == 0
	case ".":
		if s.partial != "" {
			s.partial += "."
		}
	case ";":
		s.ended, s.started, s.with, s.expect, s.depth, s.list = true, false, false, false, 0, 0
	default:
		s.expect = false
	}
}

func (s *summary) word(text string) {
	upper := text
	if len(text) <= len("MATERIALIZED") {
		upper = strings.ToUpper(text)
	}
	defer func() { s.last, s.beforeLast = upper, s.last }()
	if s.ended {
		s.several = true
	}
	if s.partial != "" { // behind a dot
		s.partial += text
		return
	}
	if s.naming {
		if upper != "RECURSIVE" {
			s.cte, s.naming = append(s.cte, text), false
		}
		return
	}
	first := !s.started
	if first && upper == "WITH" {
		s.started, s.with, s.naming = true, true, true
		return
	}
	if first {
		s.begin(upper)
	}
	switch upper {
	case "SELECT", "DELETE", "INSERT", "UPDATE", "REPLACE", "MERGE":
		if !first && s.depth == 0 && (s.with || upper == "SELECT") {
			s.begin(upper)
		}
		if (upper == "SELECT" || upper == "DELETE") && s.depth < 64 {
			s.selecting |= 1 << s.depth
		}
		s.expect = upper == "UPDATE" && s.words != nil && s.words[len(s.words)-1] == "UPDATE"
		s.list = 0
		return
	case "FROM":
		if s.depth < 64 && s.selecting&(1<<s.depth) != 0 && s.last != "DISTINCT" {
			s.selecting &^= 1 << s.depth
			s.expect, s.list = true, s.depth+1
		}
		return
	case "JOIN", "INTO":
		s.expect = true
		return
	case "TABLE", "VIEW", "INDEX":
		if len(s.words) == 1 && slices.Contains(definitions, s.operation) {
			s.words = append(s.words, upper)
			s.expect = upper != "INDEX"
		}
		return
	case "WHERE", "SET", "VALUES", "ON", "USING", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "RETURNING":
		s.expect, s.list = false, 0
		return
	case "ONLY", "IF", "NOT", "EXISTS", "LATERAL", "CONCURRENTLY", "LOW_PRIORITY", "IGNORE", "OR", "UNIQUE", "TEMP", "TEMPORARY":
		return // between a keyword and the name
	}
	if s.expect {
		s.partial = text
	}
}

// definitions are operations that are followed by the kind of their object.
var definitions = []string{"CREATE", "ALTER", "DROP", "TRUNCATE"}

// begin notes the operation of a statement.
func (s *summary) begin(operation string) {
	s.started, s.with = true, false
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
	s.partial, s.expect = "", false
	if name == "" || len(s.targets) >= maxTargets ||
		slices.ContainsFunc(s.cte, func(c string) bool { return strings.EqualFold(c, name) }) {
		return
	}
	if !slices.Contains(s.targets, name) {
		s.targets = append(s.targets, name)
		s.words = append(s.words, name)
	}
}
