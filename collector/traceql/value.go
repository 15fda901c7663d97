package traceql

import (
	"cmp"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Type is the type of a [Value].
type Type uint8

// Types of values.
const (
	TypeNil Type = iota // there is no value
	TypeInt
	TypeFloat
	TypeDuration
	TypeBool
	TypeString
	TypeStatus
	TypeKind
	TypeArray
)

// Value is a value of a field or a literal. The zero value is nil.
type Value struct {
	typ  Type
	n    int64 // of an integer, a duration, a bool, a status or a kind
	f    float64
	s    string
	list []Value
}

// Int returns an integer.
func Int(n int64) Value { return Value{typ: TypeInt, n: n} }

// Float returns a floating-point number.
func Float(f float64) Value { return Value{typ: TypeFloat, f: f} }

// Duration returns a duration.
func Duration(d time.Duration) Value { return Value{typ: TypeDuration, n: int64(d)} }

// Bool returns a boolean.
func Bool(b bool) Value {
	if b {
		return Value{typ: TypeBool, n: 1}
	}
	return Value{typ: TypeBool}
}

// String returns a text.
func String(s string) Value { return Value{typ: TypeString, s: s} }

// Status returns the status of a span.
func Status(c dendro.StatusCode) Value { return Value{typ: TypeStatus, n: int64(c)} }

// Kind returns the kind of a span.
func Kind(k dendro.Kind) Value { return Value{typ: TypeKind, n: int64(k)} }

// Array returns a list of values. It is nil if there are none.
func Array(list ...Value) Value {
	if len(list) == 0 {
		return Value{}
	}
	return Value{typ: TypeArray, list: list}
}

// ValueOf returns the value of an attribute.
func ValueOf(v slog.Value) Value {
	switch v.Kind() {
	case slog.KindInt64:
		return Int(v.Int64())
	case slog.KindFloat64:
		return Float(v.Float64())
	case slog.KindBool:
		return Bool(v.Bool())
	case slog.KindString:
		return String(v.String())
	}
	switch x := v.Any().(type) {
	case nil, dendro.KeyValues: // whose members have values
		return Value{}
	case []string:
		return arrayOf(x, String)
	case []int64:
		return arrayOf(x, Int)
	case []float64:
		return arrayOf(x, Float)
	case []bool:
		return arrayOf(x, Bool)
	case []slog.Value:
		if slices.ContainsFunc(x, collector.HasMembers) {
			return Value{}
		}
		return arrayOf(x, ValueOf)
	}
	return String(v.String())
}

// slog returns a text, a number or a boolean as the value of an attribute.
func (v Value) slog() (slog.Value, bool) {
	switch v.typ {
	case TypeString:
		return slog.StringValue(v.s), true
	case TypeInt, TypeDuration:
		return slog.Int64Value(v.n), true
	case TypeFloat:
		return slog.Float64Value(v.f), true
	case TypeBool:
		return slog.BoolValue(v.n != 0), true
	}
	return slog.Value{}, false
}

func arrayOf[T any](list []T, value func(T) Value) Value {
	out := make([]Value, len(list))
	for i, x := range list {
		out[i] = value(x)
	}
	return Value{typ: TypeArray, list: out}
}

// Type returns the type of v.
func (v Value) Type() Type { return v.typ }

// Elements returns the elements of an array. They must not be modified.
func (v Value) Elements() []Value { return v.list }

// IsNil reports whether there is no value.
func (v Value) IsNil() bool { return v.typ == TypeNil }

// IsTrue reports whether v is the boolean true.
func (v Value) IsTrue() bool { return v.typ == TypeBool && v.n != 0 }

func (v Value) isNumber() bool {
	return v.typ == TypeInt || v.typ == TypeFloat || v.typ == TypeDuration
}

// float returns a number as a float.
func (v Value) float() float64 {
	if v.typ == TypeFloat {
		return v.f
	}
	return float64(v.n)
}

// Text returns v as text: the digits of an integer, the way a status, a kind or another number is written in
// a query, and a text without quotes.
func (v Value) Text() string {
	switch v.typ {
	case TypeInt:
		return strconv.FormatInt(v.n, 10)
	case TypeString:
		return v.s
	case TypeArray:
		out := "["
		for i, e := range v.list {
			if i > 0 {
				out += " "
			}
			out += e.Text()
		}
		return out + "]"
	}
	return v.String()
}

// String returns v as it is written in a query.
func (v Value) String() string {
	switch v.typ {
	case TypeInt:
		if v.n == math.MinInt64 {
			return "minInt" // its digits would be read as a number that is too large, and a minus
		}
		return strconv.FormatInt(v.n, 10)
	case TypeFloat:
		s := strconv.FormatFloat(v.f, 'g', -1, 64)
		if _, err := strconv.ParseInt(s, 10, 64); err == nil {
			s += ".0" // so that it stays a float
		}
		return s
	case TypeDuration:
		return time.Duration(v.n).String()
	case TypeBool:
		return strconv.FormatBool(v.n != 0)
	case TypeString:
		return strconv.Quote(v.s)
	case TypeStatus:
		return dendro.StatusCode(v.n).String()
	case TypeKind:
		return dendro.Kind(v.n).String()
	case TypeArray:
		return v.Text()
	}
	return "nil"
}

// compare orders two values of comparable types. Numbers are compared by value, whether
// they are integers, floats or durations.
func compare(a, b Value) (order int, ok bool) {
	switch {
	case a.isNumber() && b.isNumber():
		if a.typ != TypeFloat && b.typ != TypeFloat {
			return cmp.Compare(a.n, b.n), true
		}
		if x, y := a.float(), b.float(); x == x && y == y { // not NaN
			return cmp.Compare(x, y), true
		}
		return 0, false
	case a.typ != b.typ:
		return 0, false
	case a.typ == TypeString:
		return cmp.Compare(a.s, b.s), true
	case a.typ == TypeBool, a.typ == TypeStatus, a.typ == TypeKind:
		return cmp.Compare(a.n, b.n), true
	}
	return 0, false
}

// satisfies reports whether a op b. It is false if a or b is nil. An array satisfies a
// comparison if one of its elements does, and a negated one (!=, !~) if all of them do.
func satisfies(a Value, op Op, b Value, re *regexp.Regexp) bool {
	if a.typ == TypeArray {
		return anyElement(a.list, op, func(e Value) bool { return satisfies(e, op, b, re) })
	}
	if b.typ == TypeArray && re == nil {
		return anyElement(b.list, op, func(e Value) bool { return satisfies(a, op, e, nil) })
	}
	if a.IsNil() || b.IsNil() {
		return false
	}
	switch op {
	case OpMatch:
		return re.MatchString(a.Text())
	case OpNotMatch:
		return !re.MatchString(a.Text())
	}
	order, ok := compare(a, b)
	switch op {
	case OpEqual:
		return ok && order == 0
	case OpNotEqual:
		return !ok || order != 0
	case OpLess:
		return ok && order < 0
	case OpLessEqual:
		return ok && order <= 0
	case OpGreater:
		return ok && order > 0
	case OpGreaterEqual:
		return ok && order >= 0
	}
	return false
}

func anyElement(list []Value, op Op, holds func(Value) bool) bool {
	all := op == OpNotEqual || op == OpNotMatch
	for _, e := range list {
		if holds(e) != all {
			return !all
		}
	}
	return all
}
