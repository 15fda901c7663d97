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
	// maxSteps bounds what groups and LogValuers in one call unfold to.
	maxSteps = 1024
	// maxValueBytes is the longest value, key or name that is kept whole. An element of a
	// slice counts elementBytes, and the bytes of a string come on top.
	maxValueBytes = 16 << 10
	elementBytes  = 8
)

// attrSet gathers attributes with unique keys, at most maxAttributes.
type attrSet struct {
	attrs     []slog.Attr
	keys      keySet // of attrs
	dropped   uint32
	truncated uint32
}

// keySet is a filter: a key that it may have has to be looked for, any other is
// a new one. It goes by the length and the first byte, which attributes of one span
// seldom have in common.
type keySet uint64

// add puts a key in, which is not empty. It reports whether it may have been there.
func (k *keySet) add(key string) bool {
	bit := keySet(1) << ((len(key) + 31*int(key[0])) % 64)
	had := *k&bit != 0
	*k |= bit
	return had
}

// plain reports whether attrs can be kept as they are.
func plain(attrs []slog.Attr) bool {
	for i := range attrs {
		if !isPlain(&attrs[i]) {
			return false
		}
	}
	return true
}

func isPlain(a *slog.Attr) bool {
	if len(a.Key) > maxValueBytes {
		return false
	}
	switch a.Value.Kind() {
	case slog.KindInt64, slog.KindBool, slog.KindFloat64:
		return true
	case slog.KindString:
		return len(a.Value.String()) <= maxValueBytes
	}
	return false
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

// flat is attributes without groups, of plain values, in the order in which they
// came.
type flat struct {
	attrs     []slog.Attr
	steps     int // of the way to attrs
	dropped   uint32
	truncated uint32 // keys and values that were cut
}

// flatten returns attrs as flat. It may call the user's code.
func flatten(attrs []slog.Attr) flat {
	f := flat{attrs: make([]slog.Attr, 0, min(len(attrs), maxSteps))}
	for _, a := range attrs {
		f.add(a)
	}
	return f
}

// add adds a, of a group its members with dotted keys, and of a LogValuer what it
// resolves to.
func (f *flat) add(a slog.Attr) {
	if f.steps++; f.steps > maxSteps {
		f.dropped++
		return
	}
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		var cut, keyCut bool
		a.Value, cut = plainValue(v)
		a.Key, keyCut = cutString(a.Key)
		if cut || keyCut {
			f.truncated++
		}
		f.attrs = append(f.attrs, a)
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
		if f.add(member); f.steps > maxSteps {
			return
		}
	}
}

// set returns the attributes of f with unique keys.
func (f flat) set() attrSet {
	if len(f.attrs) == 0 {
		return attrSet{dropped: f.dropped, truncated: f.truncated}
	}
	s := attrSet{attrs: make([]slog.Attr, 0, min(len(f.attrs), maxAttributes)), dropped: f.dropped, truncated: f.truncated}
	s.putAll(f.attrs)
	return s
}

// plainValue turns a resolved value that is no group into one of the kinds of
// [SpanData]; cut reports that it was too long.
func plainValue(v slog.Value) (_ slog.Value, cut bool) {
	switch v.Kind() {
	case slog.KindInt64, slog.KindFloat64, slog.KindBool:
		return v, false
	case slog.KindString:
		return cutValue(v.String())
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
			if room -= elementBytes + len(value); room < 0 && i > 0 {
				return slog.AnyValue(out), true
			}
			out, cut = append(out, value), cut || c
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
		return cutValue(textOf(x, x.Error))
	case fmt.Stringer:
		return cutValue(textOf(x, x.String))
	default:
		return cutValue(fmt.Sprintf("%+v", x))
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

func cutValue(s string) (_ slog.Value, cut bool) {
	s, cut = cutString(s)
	return slog.StringValue(s), cut
}

func cutString(s string) (_ string, cut bool) {
	if len(s) <= maxValueBytes {
		return s, false
	}
	n := maxValueBytes
	for n > maxValueBytes-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n]), true
}
