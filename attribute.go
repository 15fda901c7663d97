package dendro

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of one span. What is over them is dropped and counted.
const (
	maxAttributes = 128
	maxEvents     = 128
	maxLinks      = 128
	// maxValueBytes is the longest value that is kept whole. An element of a
	// slice counts elementBytes, and the bytes of a string come on top.
	maxValueBytes = 16 << 10
	elementBytes  = 8
)

// attrSet gathers attributes with unique keys, at most maxAttributes.
type attrSet struct {
	attrs     []slog.Attr
	keys      keySet // of attrs
	dropped   uint32
	truncated uint32 // values cut to maxValueBytes
}

// keySet is a filter: a key that it may have has to be looked for, any other is
// a new one. It goes by the length, to leave the bytes of the keys alone: they are
// seldom in the cache of the processor.
type keySet uint64

// add puts a key in. It reports whether it may have been there.
func (k *keySet) add(key string) bool {
	bit := keySet(1) << (len(key) % 64)
	had := *k&bit != 0
	*k |= bit
	return had
}

// set adds a, or replaces the attribute of the same key. A group becomes its
// members with dotted keys, and a LogValuer what it resolves to.
func (s *attrSet) set(a slog.Attr) {
	if isPlain(a.Value) {
		s.put(a)
	} else {
		s.setSlow(a)
	}
}

// isPlain reports whether v can be kept as it is.
func isPlain(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindInt64, slog.KindBool, slog.KindFloat64:
		return true
	case slog.KindString:
		return len(v.String()) <= maxValueBytes
	}
	return false
}

func plain(attrs []slog.Attr) bool {
	for i := range attrs {
		if !isPlain(attrs[i].Value) {
			return false
		}
	}
	return true
}

// putAll adds plain attributes, or replaces those of the same keys.
func (s *attrSet) putAll(attrs []slog.Attr) {
	for i := range attrs {
		if a := &attrs[i]; len(s.attrs) < maxAttributes && a.Key != "" && !s.keys.add(a.Key) {
			s.attrs = append(s.attrs, *a)
		} else {
			s.put(*a)
		}
	}
}

// put adds a, or replaces the attribute of the same key, with whatever value.
func (s *attrSet) put(a slog.Attr) {
	if a.Key == "" {
		return // as slog handlers do
	}
	for i := range s.attrs {
		if s.attrs[i].Key == a.Key {
			s.attrs[i].Value = a.Value
			return
		}
	}
	if len(s.attrs) >= maxAttributes {
		s.dropped++
		return
	}
	s.keys.add(a.Key)
	s.attrs = append(s.attrs, a)
}

func (s *attrSet) setSlow(a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		var cut bool
		a.Value, cut = plainValue(v)
		if cut {
			s.truncated++
		}
		s.put(a)
		return
	}
	for _, member := range v.Group() {
		switch {
		case a.Key == "": // inlined, as slog does
		case member.Key == "" && member.Value.Resolve().Kind() == slog.KindGroup:
			member.Key = a.Key
		case member.Key == "":
			continue
		default:
			member.Key = a.Key + "." + member.Key
		}
		s.setSlow(member)
	}
}

// plainValue turns a resolved value that is no group into one of the kinds of
// [SpanData]; cut reports that it was too long.
func plainValue(v slog.Value) (_ slog.Value, cut bool) {
	switch v.Kind() {
	case slog.KindInt64, slog.KindFloat64, slog.KindBool:
		return v, false
	case slog.KindString:
		return cutString(v.String())
	case slog.KindUint64:
		if n := v.Uint64(); n > math.MaxInt64 {
			return slog.StringValue(strconv.FormatUint(n, 10)), false
		}
		return slog.Int64Value(int64(v.Uint64())), false
	case slog.KindDuration:
		return slog.Int64Value(int64(v.Duration())), false
	case slog.KindTime:
		return slog.StringValue(v.Time().Format(time.RFC3339Nano)), false
	}
	switch x := v.Any().(type) {
	case []string:
		out := make([]string, 0, min(len(x), maxValueBytes/elementBytes))
		room := maxValueBytes
		for i, s := range x {
			value, c := cutString(s)
			if room -= elementBytes + len(value.String()); room < 0 && i > 0 {
				return slog.AnyValue(out), true
			}
			out, cut = append(out, value.String()), cut || c
		}
		return slog.AnyValue(out), cut
	case []int64:
		return cutSlice(x, elementBytes)
	case []int:
		out := make([]int64, min(len(x), maxValueBytes/elementBytes))
		for i := range out {
			out[i] = int64(x[i])
		}
		return slog.AnyValue(out), len(out) < len(x)
	case []float64:
		return cutSlice(x, elementBytes)
	case []bool:
		return cutSlice(x, 1)
	case []byte:
		return cutSlice(x, 1)
	case error:
		return cutString(textOf(x, x.Error))
	case fmt.Stringer:
		return cutString(textOf(x, x.String))
	default:
		return cutString(fmt.Sprintf("%+v", x))
	}
}

// textOf calls a method of a user's value. Like fmt it survives a panic, of a
// nil pointer for example: recording never fails the request.
func textOf(v any, method func() string) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("!PANIC %T: %v", v, p)
		}
	}()
	return method()
}

// cutSlice returns a copy of x, of which each element takes that many bytes.
func cutSlice[T any](x []T, bytes int) (_ slog.Value, cut bool) {
	n := min(len(x), maxValueBytes/bytes)
	return slog.AnyValue(slices.Clone(x[:n])), n < len(x)
}

func cutString(s string) (_ slog.Value, cut bool) {
	if len(s) <= maxValueBytes {
		return slog.StringValue(s), false
	}
	n := maxValueBytes
	for n > maxValueBytes-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return slog.StringValue(strings.Clone(s[:n])), true
}

// plainAttrs returns a copy of attrs in the form of [SpanData].
func plainAttrs(attrs []slog.Attr) attrSet {
	if len(attrs) == 0 {
		return attrSet{}
	}
	s := attrSet{attrs: make([]slog.Attr, 0, len(attrs))}
	for _, a := range attrs {
		s.set(a)
	}
	return s
}
