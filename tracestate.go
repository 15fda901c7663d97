package dendro

import (
	"errors"
	"slices"
	"strings"
)

// ErrInvalidTraceState is returned when a tracestate, a key or a value does not follow
// the grammar of W3C Trace Context, or if there are too many members.
var ErrInvalidTraceState = errors.New("dendro: invalid tracestate")

// maxTraceStateMembers is the bound of W3C Trace Context, section 3.3.1.1.
const maxTraceStateMembers = 32

// TraceState is the list of vendor members that accompanies a traceparent. It is
// immutable and comparable. The zero value is empty.
type TraceState struct {
	// list is valid text: members joined by ",", without blanks around them and
	// without empty members.
	list string
}

// ParseTraceState parses a W3C tracestate (Trace Context Level 2, section 3.3) of at
// most 32 members, including empty ones. If a key occurs more than once, only its first
// member is kept, which is the most recent one: the specification allows one member for
// each key, and its test suite expects that such a list is passed on. For any other
// violation of the grammar it returns [ErrInvalidTraceState]. The specification asks to
// discard the header then, and to keep the traceparent.
func ParseTraceState(s string) (TraceState, error) {
	if strings.Count(s, ",") >= maxTraceStateMembers {
		return TraceState{}, ErrInvalidTraceState
	}
	var list strings.Builder
	same := true // whether list equals s up to here
	for rest, more := s, true; more; {
		before := s[:len(s)-len(rest)]
		var member string
		member, rest, more = strings.Cut(rest, ",")
		trimmed := strings.Trim(member, " \t")
		keep := trimmed != ""
		if keep {
			key, value, ok := strings.Cut(trimmed, "=")
			if !ok || !validStateKey(key) || !validStateValue(value) {
				return TraceState{}, ErrInvalidTraceState
			}
			keep = !hasStateKey(before, key)
		}
		if same && (!keep || len(trimmed) < len(member)) {
			same = false
			list.WriteString(strings.TrimSuffix(before, ","))
		}
		if keep && !same {
			if list.Len() > 0 {
				list.WriteByte(',')
			}
			list.WriteString(trimmed)
		}
	}
	if same {
		return TraceState{s}, nil
	}
	return TraceState{list.String()}, nil
}

// hasStateKey reports whether a member of list has key. There may be blanks around
// members.
func hasStateKey(list, key string) bool {
	for more := list != ""; more; {
		var member string
		member, list, more = strings.Cut(list, ",")
		if k, _, ok := strings.Cut(strings.TrimLeft(member, " \t"), "="); ok && k == key {
			return true
		}
	}
	return false
}

// String returns the value of a tracestate header, or "" if ts is empty.
func (ts TraceState) String() string { return ts.list }

// Get returns the value of key, or "" if ts has none.
func (ts TraceState) Get(key string) string { return lookup(ts.list, ",", "=", key) }

// lookup returns the value of key in a list like "key=value,key=value", where separator
// is "," and equals is "=", or "" if the list has no such key.
func lookup(list, separator, equals, key string) string {
	for list != "" {
		var member string
		member, list, _ = strings.Cut(list, separator)
		if k, v, _ := strings.Cut(member, equals); k == key {
			return v
		}
	}
	return ""
}

// Set returns ts with key set to value, as the first member, where W3C Trace Context
// requires a modified member to be. If there would be more than 32 members, the last
// is removed. If key or value does not follow the grammar, Set returns ts and
// [ErrInvalidTraceState].
func (ts TraceState) Set(key, value string) (TraceState, error) {
	if !validStateKey(key) || !validStateValue(value) {
		return ts, ErrInvalidTraceState
	}
	return ts.with(key, value), nil
}

// with returns ts with key set to value as the first member, or without key if value is
// "".
func (ts TraceState) with(key, value string) TraceState {
	var members []string
	if value != "" {
		members = append(members, key+"="+value)
	}
	for rest, more := ts.list, ts.list != ""; more && len(members) < maxTraceStateMembers; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		if !strings.HasPrefix(member, key+"=") {
			members = append(members, member)
		}
	}
	return TraceState{strings.Join(members, ",")}
}

const (
	// thresholdDigits is the number of hexadecimal digits of a sampling threshold.
	thresholdDigits = 14
	// maxAdjustedCount is the number of traces of which a threshold says how many are
	// not sampled.
	maxAdjustedCount uint64 = 1 << (4 * thresholdDigits)
)

// AdjustedCount returns the number of spans, sampled or not, that a span with ts stands
// for: 2^56 / (2^56 - T), where T is the threshold in sub-key th of member "ot"
// (OpenTelemetry specification, "TraceState Handling"). It is 1 if there is no valid
// threshold, and at most 2^56.
func (ts TraceState) AdjustedCount() float64 {
	if ts.list == "" {
		return 1
	}
	threshold, _ := parseThreshold(ts.subValue("th"))
	return float64(maxAdjustedCount) / float64(maxAdjustedCount-threshold)
}

// parseThreshold parses 1 to 14 lower-case hexadecimal digits. Missing digits are zeros
// at the end.
func parseThreshold(s string) (n uint64, ok bool) {
	if s == "" || len(s) > thresholdDigits {
		return 0, false
	}
	for i := range len(s) {
		digit := unhex(s[i])
		if digit > 0x0f {
			return 0, false
		}
		n = n<<4 | uint64(digit)
	}
	return n << (4 * (thresholdDigits - len(s))), true
}

// subValue returns the value of a sub-key of member "ot", which has the form
// "key:value;key:value", or "" if there is none.
func (ts TraceState) subValue(key string) string {
	return lookup(ts.Get("ot"), ";", ":", key)
}

// withThreshold returns ts with sub-key th of member "ot" set to th, or without the
// sub-key if th is "" or the member would be too long.
func (ts TraceState) withThreshold(th string) TraceState {
	if ts.subValue("th") == th {
		return ts
	}
	subs := slices.DeleteFunc(strings.Split(ts.Get("ot"), ";"), func(sub string) bool {
		return sub == "" || strings.HasPrefix(sub, "th:")
	})
	others := strings.TrimRight(strings.Join(subs, ";"), " ;") // a value does not end with a blank
	if th != "" {
		if ot := strings.TrimSuffix("th:"+th+";"+others, ";"); validStateValue(ot) {
			return ts.with("ot", ot)
		}
	}
	return ts.with("ot", others)
}

// validStateKey follows level 2: a lower-case letter or digit, then up to 255
// of those and _ - * / @.
func validStateKey(key string) bool {
	if key == "" || len(key) > 256 {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("_-*/@", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// validStateValue follows level 2: up to 256 printable ASCII characters, no
// comma, no equals sign, no blank at the end.
func validStateValue(value string) bool {
	if value == "" || len(value) > 256 || value[len(value)-1] == ' ' {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c < 0x20 || c > 0x7e || c == ',' || c == '=' {
			return false
		}
	}
	return true
}
