package dendro

import (
	"errors"
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
func (ts TraceState) Get(key string) string {
	for member := range strings.SplitSeq(ts.list, ",") {
		if k, v, _ := strings.Cut(member, "="); k == key {
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
	var b strings.Builder
	b.WriteString(key + "=" + value)
	members := 1
	for rest, more := ts.list, ts.list != ""; more && members < maxTraceStateMembers; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		if !strings.HasPrefix(member, key+"=") {
			b.WriteString("," + member)
			members++
		}
	}
	return TraceState{b.String()}, nil
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
