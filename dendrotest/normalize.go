package dendrotest

import (
	"regexp"
	"strings"
)

// variable is what differs from run to run, and what is written instead.
var variable = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d| [+-]\d{4}( [A-Z][A-Za-z]*)?)?( m=[+-]\d+\.\d+)?`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{16,}\b`), "<id>"},
	{regexp.MustCompile(`\b0x[0-9a-f]{6,}\b`), "<pointer>"},
	{regexp.MustCompile(`\[[0-9a-fA-F]*:[0-9a-fA-F:.]+(%\w+)?\](:\d+)?`), "<address>"}, // IPv6
	{regexp.MustCompile(`\b(\d{1,3}(\.\d{1,3}){3}|localhost:\d+)(:\d+)?\b`), "<address>"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ns|µs|us|ms|s)\b`), "<duration>"},
}

// normalized replaces what differs from run to run.
func normalized(s string) string {
	if !strings.ContainsAny(s, "0123456789:") && len(s) < 16 {
		return s
	}
	for _, v := range variable {
		s = v.pattern.ReplaceAllLiteralString(s, v.instead)
	}
	return s
}
