package dendro

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dendrotrace/dendro/internal/bridge"
)

// ErrInvalidBaggage is returned when a baggage header, a key or a value does not
// follow the grammar of W3C Baggage or exceeds its limits.
var ErrInvalidBaggage = errors.New("dendro: invalid baggage")

// The limits of W3C Baggage, section 3.3.2. Every implementation must propagate this
// much; this one propagates no more.
const (
	maxBaggageMembers = 64
	maxBaggageBytes   = 8192
)

// Baggage is a list of names and values that an application sends with a request
// through every service. It is not recorded in spans. It is immutable. The zero value
// is empty.
type Baggage struct {
	members []BaggageMember
}

// BaggageMember is a name with its value.
type BaggageMember struct {
	// Key is a token of RFC 7230.
	Key string
	// Value is any UTF-8 text. It is percent-encoded in headers.
	Value string
	// Properties is the metadata after the value, as it is in the header but without
	// the leading semicolon. It is "" if there is none.
	Properties string
}

// ParseBaggage parses a W3C baggage header with at most 64 members and 8192 bytes. If
// a name occurs more than once, its last value counts. It returns [ErrInvalidBaggage]
// if the header does not follow the grammar.
func ParseBaggage(s string) (Baggage, error) {
	if len(s) > maxBaggageBytes {
		return Baggage{}, ErrInvalidBaggage
	}
	var b Baggage
	for rest, more := s, strings.Trim(s, " \t") != ""; more; {
		var member string
		member, rest, more = strings.Cut(rest, ",")
		m, ok := parseBaggageMember(member)
		if !ok {
			return Baggage{}, ErrInvalidBaggage
		}
		b.members = slices.DeleteFunc(b.members, func(old BaggageMember) bool { return old.Key == m.Key })
		b.members = append(b.members, m)
		if len(b.members) > maxBaggageMembers {
			return Baggage{}, ErrInvalidBaggage
		}
	}
	return b, nil
}

func parseBaggageMember(s string) (m BaggageMember, ok bool) {
	pair, properties, hasProperties := strings.Cut(s, ";")
	key, value, ok := strings.Cut(pair, "=")
	if !ok {
		return m, false
	}
	m.Key = strings.Trim(key, " \t")
	m.Properties = strings.Trim(properties, " \t")
	if !validToken(m.Key) || hasProperties && !validBaggageProperties(m.Properties) {
		return m, false
	}
	m.Value, ok = unescapeBaggage(strings.Trim(value, " \t"))
	return m, ok
}

// validBaggageProperties checks `key` or `key=value`, separated by semicolons.
func validBaggageProperties(s string) bool {
	for more := true; more; {
		var property string
		property, s, more = strings.Cut(s, ";")
		key, value, hasValue := strings.Cut(property, "=")
		if !validToken(strings.Trim(key, " \t")) {
			return false
		}
		if hasValue {
			if _, ok := unescapeBaggage(strings.Trim(value, " \t")); !ok {
				return false
			}
		}
	}
	return true
}

// Members returns the members in their original order. The caller owns the slice.
func (b Baggage) Members() []BaggageMember { return slices.Clone(b.members) }

// Len returns the number of members.
func (b Baggage) Len() int { return len(b.members) }

// Get returns the value of key, or "" if b has none.
func (b Baggage) Get(key string) string {
	for _, m := range b.members {
		if m.Key == key {
			return m.Value
		}
	}
	return ""
}

// Set returns b with key set to value. It returns b and [ErrInvalidBaggage] if key is
// not a token of RFC 7230, if value is not UTF-8, or if the result would exceed 64
// members or 8192 bytes.
func (b Baggage) Set(key, value string) (Baggage, error) {
	if !validToken(key) || !utf8.ValidString(value) {
		return b, ErrInvalidBaggage
	}
	next := b.Delete(key)
	next.members = append(next.members, BaggageMember{Key: key, Value: value})
	if len(next.members) > maxBaggageMembers || len(next.String()) > maxBaggageBytes {
		return b, ErrInvalidBaggage
	}
	return next, nil
}

// Delete returns b without key.
func (b Baggage) Delete(key string) Baggage {
	members := make([]BaggageMember, 0, len(b.members)+1)
	for _, m := range b.members {
		if m.Key != key {
			members = append(members, m)
		}
	}
	return Baggage{members}
}

// String returns the value of a baggage header, or "" if b is empty.
func (b Baggage) String() string {
	var s strings.Builder
	for i, m := range b.members {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(m.Key)
		s.WriteByte('=')
		escapeBaggage(&s, m.Value)
		if m.Properties != "" {
			s.WriteByte(';')
			s.WriteString(m.Properties)
		}
	}
	return s.String()
}

// baggageOctet reports whether c may be in a value without escaping. The percent sign
// is part of the grammar but begins an escape.
func baggageOctet(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\'
}

func escapeBaggage(b *strings.Builder, value string) {
	const digits = "0123456789ABCDEF"
	for i := range len(value) {
		if c := value[i]; baggageOctet(c) && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&0x0f]})
		}
	}
}

// unescapeBaggage decodes percent-encoding. Bytes that are not UTF-8 become U+FFFD, as
// the specification asks. It reports false for bytes that are not a baggage-octet.
func unescapeBaggage(s string) (string, bool) {
	var out []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(lowerHex(s[i+1])), unhex(lowerHex(s[i+2]))
			if hi|lo > 0x0f {
				return "", false
			}
			if out == nil {
				out = append(make([]byte, 0, len(s)), s[:i]...)
			}
			out = append(out, hi<<4|lo)
			i += 2
		case !baggageOctet(c):
			return "", false
		case out != nil:
			out = append(out, c)
		}
	}
	if out == nil {
		return s, true
	}
	return strings.ToValidUTF8(string(out), "\uFFFD"), true
}

func lowerHex(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c + ('a' - 'A')
	}
	return c
}

// validToken reports whether s is a token of RFC 7230, section 3.2.6.
func validToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

type baggageKey struct{}

// withBaggage is a context with a value, a Baggage, for baggageKey.
type withBaggage struct {
	context.Context
	value any
}

func (w *withBaggage) Value(key any) any {
	if _, ok := key.(baggageKey); ok {
		return w.value
	}
	if api := bridge.Registered(); api != nil && key == api.BaggageKey {
		return api.Baggage(w.value)
	}
	return w.Context.Value(key)
}

// ContextWithBaggage returns a context with b, which [Inject] sends on. If b is empty,
// Inject sends no baggage and removes the header.
func ContextWithBaggage(ctx context.Context, b Baggage) context.Context {
	if b.members == nil {
		b.members = []BaggageMember{}
	}
	return &withBaggage{ctx, b}
}

// BaggageFromContext returns the baggage in ctx. While package otelbridge is in use, its members are
// ordered by name.
func BaggageFromContext(ctx context.Context) Baggage {
	api := bridge.Registered()
	if api == nil {
		b, _ := ctx.Value(baggageKey{}).(Baggage)
		return b
	}
	value := ctx.Value(api.BaggageKey) // every context with a baggageKey has that, too
	if value == nil {
		return Baggage{}
	}
	b, _ := api.CurrentBaggage(value).(Baggage)
	if b.members == nil { // another API has emptied it
		b.members = []BaggageMember{}
	}
	return b
}
