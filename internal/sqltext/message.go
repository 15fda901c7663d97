package sqltext

import "strings"

// RedactMessage replaces what message quotes, because databases quote values of the
// statement in error messages. Names are quoted as well. They are kept if the word
// before them announces a name. A value may contain quotes itself, so everything up to
// the last quote is replaced.
func RedactMessage(message string) string {
	for _, m := range valueMarks {
		before, rest, _ := strings.Cut(message, m.begin)
		if i := strings.LastIndex(rest, m.end); i >= 0 {
			message = before + m.begin + "?" + rest[i:]
		}
	}
	kept := 0 // message[:kept] was processed
	for {
		i := strings.IndexAny(message[kept:], `'"`)
		if i < 0 {
			return message
		}
		i += kept
		if strings.HasSuffix(message[:i], "n") && strings.HasPrefix(message[i:], "'t ") { // doesn't
			kept = i + 1
			continue
		}
		quote := message[i]
		if end := strings.IndexByte(message[i+1:], quote); end >= 0 && namesFollow[lastWord(message[:i])] {
			kept = i + end + 2
			continue
		}
		rest := ""
		if last := strings.LastIndexByte(message, quote); last > i {
			rest = message[last:]
		}
		message = message[:i+1] + "?" + rest
		kept = min(i+3, len(message))
	}
}

// valueMarks are other marks around values: in messages of SQL Server, PostgreSQL and
// pgx, and the quotes of other languages.
var valueMarks = []struct{ begin, end string }{
	{"value is (", ")"}, {")=(", ")"}, {"unable to encode ", " into "},
	{"«", "»"}, {"»", "«"}, {"„", "“"}, {"“", "”"}, {"「", "」"},
}

// namesFollow are words that precede a name.
var namesFollow = map[string]bool{
	"relation": true, "table": true, "column": true, "constraint": true, "index": true, "key": true,
	"database": true, "schema": true, "role": true, "user": true, "type": true, "function": true,
}

func lastWord(s string) string {
	s = strings.TrimRight(s, " ")
	return strings.ToLower(s[strings.LastIndexByte(s, ' ')+1:])
}
