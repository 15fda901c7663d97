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

// The limits of one span. What exceeds them is dropped and counted.
const (
	maxAttributes = 128
	maxEvents     = 128
	maxLinks      = 128
	// maxSteps bounds what the groups and LogValuers of one call expand to.
	maxSteps = 1024
	// maxValueBytes is the length of the longest value, key or name that is kept
	// whole. In slices, each element counts elementBytes, plus the bytes of a string.
	maxValueBytes = 16 << 10
	elementBytes  = 8
)

// attrSet holds up to maxAttributes attributes with unique keys.
type attrSet struct {
	attrs     []slog.Attr
	keys      keySet // keys of attrs
	dropped   uint32
	truncated uint32
}

// keySet is a filter for keys. If it may have a key, the attributes must be searched
// for it; otherwise the key is new. It uses the length and the first byte of a key,
// which seldom coincide within a span.
type keySet uint64

// add adds a key, which must not be empty, and reports whether it may have been there.
func (k *keySet) add(key string) bool {
	bit := keySet(1) << ((len(key) + 31*int(key[0])) % 64)
	had := *k&bit != 0
	*k |= bit
	return had
}

// plain reports whether attrs can be kept without conversion.
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

// putAll adds plain attributes and replaces those with the same keys.
func (s *attrSet) putAll(attrs []slog.Attr) {
	for i := range attrs {
		if a := &attrs[i]; len(s.attrs) < maxAttributes && a.Key != "" && !s.keys.add(a.Key) {
			s.attrs = append(s.attrs, *a)
		} else {
			s.put(*a)
		}
	}
}

// put adds a or replaces the attribute with the same key. The value may be of any
// kind.
func (s *attrSet) put(a slog.Attr) {
	if a.Key == "" {
		return // slog handlers ignore it, too
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

// flat holds attributes with plain values and without groups, in their original order.
type flat struct {
	attrs     []slog.Attr
	steps     int // values visited so far
	dropped   uint32
	truncated uint32 // number of keys and values that were cut
}

// flatten returns attrs as flat. It may call methods of the user's values.
func flatten(attrs []slog.Attr) flat {
	f := flat{attrs: make([]slog.Attr, 0, min(len(attrs), maxSteps))}
	for _, a := range attrs {
		f.add(a)
	}
	return f
}

// add adds a. It resolves a LogValuer, and adds the members of a group with dotted
// keys.
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
		case a.Key == "": // a group without a key is inlined, as in slog
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

// plainValue converts a resolved value that is not a group to one of the kinds of
// [SpanData]. cut reports whether it was too long.
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
	case KeyValues, []slog.Value:
		n := nested{room: maxValueBytes}
		return n.value(v, 0), n.cut
	case error:
		return cutValue(textOf(x, x.Error))
	case fmt.Stringer:
		return cutValue(textOf(x, x.String))
	default:
		return cutValue(fmt.Sprintf("%+v", x))
	}
}

// maxDepth bounds how deep values are nested.
const maxDepth = 8

// nested copies values that have values in them, until there is no room. Each value counts
// elementBytes, plus the bytes of its key and text.
type nested struct {
	room int
	cut  bool
}

func (n *nested) value(v slog.Value, depth int) slog.Value {
	v = v.Resolve()
	switch x := v.Any().(type) {
	case KeyValues:
		out := make(KeyValues, 0, min(len(x), maxValueBytes/elementBytes))
		for _, a := range x {
			key, cut := cutString(a.Key)
			n.cut = n.cut || cut
			if !n.take(depth, len(key)) {
				break
			}
			out = append(out, slog.Attr{Key: key, Value: n.value(a.Value, depth+1)})
		}
		return slog.AnyValue(out)
	case []slog.Value:
		out := make([]slog.Value, 0, min(len(x), maxValueBytes/elementBytes))
		for _, element := range x {
			if !n.take(depth, 0) {
				break
			}
			out = append(out, n.value(element, depth+1))
		}
		return slog.AnyValue(out)
	}
	v, cut := plainValue(v)
	n.room -= sizeOf(v)
	n.cut = n.cut || cut
	return v
}

// sizeOf returns what a plain value counts, besides elementBytes for itself.
func sizeOf(v slog.Value) (n int) {
	if v.Kind() == slog.KindString {
		return len(v.String())
	}
	switch x := v.Any().(type) {
	case []string:
		for _, s := range x {
			n += elementBytes + len(s)
		}
	case []int64:
		n = elementBytes * len(x)
	case []float64:
		n = elementBytes * len(x)
	case []bool:
		n = len(x)
	case []byte:
		n = len(x)
	}
	return n
}

// take reports whether there is room for an element with a key of n bytes.
func (n *nested) take(depth, bytes int) bool {
	n.room -= elementBytes + bytes
	n.cut = n.cut || n.room < 0 || depth == maxDepth
	return n.room >= 0 && depth < maxDepth
}

// textOf returns the result of a method of v, a value of the user. If the method
// panics, for example on a nil pointer, textOf returns a text that says so.
func textOf(v any, method func() string) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("!PANIC %T: %v", v, p)
		}
	}()
	return method()
}

// cutSlice returns a copy of x, cut to the limit. Each element counts the given bytes.
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
