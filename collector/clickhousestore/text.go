package clickhousestore

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// The maps of the schema have texts. DendroTypes has what they were: a character for each entry of
// SpanAttributes, then for each event a '|' and those of its attributes, and for each link a '/'
// and those of its attributes.
const (
	typeString   = 's'
	typeInt      = 'i'
	typeFloat    = 'd'
	typeBool     = 'b'
	typeDuration = 'n' // of an event, in nanoseconds: an attribute that it does not have
	typeExact    = 'x' // DendroSpan has the value
	typeDerived  = '-' // an element or a member of the value before, for searches
	typesEvent   = '|'
	typesLink    = '/'
)

// eventDuration is the key of the duration of an event, as it is in OTLP.
const eventDuration = "dendro.event.duration_ns"

// mapColumn gathers the entries of a map, in the order of the attributes.
type mapColumn struct{ keys, values []string }

// add adds attributes, and appends their types. If derived is set, it adds the elements and members of values as
// well. exact reports whether the types and texts say all about the attributes.
func (m *mapColumn) add(attrs []slog.Attr, types []byte, derived bool) (_ []byte, exact bool) {
	exact = true
	m.keys, m.values = slices.Grow(m.keys, len(attrs)), slices.Grow(m.values, len(attrs))
	for i := range attrs {
		a := &attrs[i]
		text, typ := valueText(a.Value)
		m.put(a.Key, text)
		types = append(types, typ)
		if typ != typeExact {
			continue
		}
		exact = false
		if derived {
			from := len(m.keys)
			m.derive(a.Key, a.Value)
			for range len(m.keys) - from {
				types = append(types, typeDerived)
			}
		}
	}
	return types, exact
}

func (m *mapColumn) put(key, text string) {
	m.keys = append(m.keys, key)
	m.values = append(m.values, text)
}

// derive adds the elements of a value under its key, also those of lists in lists, and its members under dotted
// keys, as queries know them.
func (m *mapColumn) derive(key string, v slog.Value) {
	if v.Kind() != slog.KindAny {
		return
	}
	switch x := v.Any().(type) {
	case []string:
		for _, e := range x {
			m.put(key, e)
		}
	case []int64:
		for _, e := range x {
			m.element(key, slog.Int64Value(e))
		}
	case []float64:
		for _, e := range x {
			m.element(key, slog.Float64Value(e))
		}
	case []bool:
		for _, e := range x {
			m.element(key, slog.BoolValue(e))
		}
	case []slog.Value:
		members := collector.HasMembers(v)
		for i, e := range x {
			if members {
				m.member(key, strconv.Itoa(i), e)
			} else {
				m.element(key, e)
			}
		}
	case dendro.KeyValues:
		for i := range x {
			m.member(key, x[i].Key, x[i].Value)
		}
	}
}

func (m *mapColumn) element(key string, v slog.Value) {
	if text, typ := valueText(v); typ != typeExact {
		m.put(key, text)
	} else {
		m.derive(key, v)
	}
}

func (m *mapColumn) member(prefix, key string, v slog.Value) {
	if len(prefix)+1+len(key) > block.MaxKey {
		return
	}
	key = prefix + "." + key
	text, _ := valueText(v)
	m.put(key, text)
	m.derive(key, v)
}

// valueText returns a value as OpenTelemetry's exporter for ClickHouse writes it, which is as the
// Collector's pcommon.Value.AsString does, and its type.
func valueText(v slog.Value) (text string, typ byte) {
	switch v.Kind() {
	case slog.KindString:
		return v.String(), typeString
	case slog.KindInt64:
		return strconv.FormatInt(v.Int64(), 10), typeInt
	case slog.KindFloat64:
		return floatText(v.Float64()), typeFloat
	case slog.KindBool:
		return strconv.FormatBool(v.Bool()), typeBool
	}
	switch x := v.Any().(type) {
	case nil:
		return "", typeExact
	case []byte:
		return base64.StdEncoding.EncodeToString(x), typeExact
	}
	data, err := json.Marshal(jsonValue(v))
	if err != nil {
		return "", typeExact // for example NaN in a list
	}
	return string(data), typeExact
}

// jsonValue returns what package json encodes.
func jsonValue(v slog.Value) any {
	switch x := v.Any().(type) {
	case []slog.Value:
		list := make([]any, len(x))
		for i := range x {
			list[i] = jsonValue(x[i])
		}
		return list
	case dendro.KeyValues:
		object := make(map[string]any, len(x))
		for i := range x {
			object[x[i].Key] = jsonValue(x[i].Value)
		}
		return object
	default:
		return x
	}
}

// floatText returns f in the shortest form that reads back the same, with an exponent only below 1e-6 and
// from 1e21 on.
func floatText(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	text := strconv.FormatFloat(f, format, -1, 64)
	if n := len(text); format == 'e' && n >= 4 && text[n-4] == 'e' && text[n-3] == '-' && text[n-2] == '0' {
		text = text[:n-2] + text[n-1:] // e-09 is e-9
	}
	return text
}

// attributes returns the attributes that a map and their types describe. types may be empty:
// then a text that is written as a number or a boolean is one.
func attributes(keys, values []string, types string) (out []slog.Attr) {
	for i, key := range keys {
		if i < len(types) && types[i] == typeDerived {
			continue
		}
		out = append(out, slog.Attr{Key: key, Value: parseValue(values[i], types, i)})
	}
	return out
}

func parseValue(text, types string, i int) slog.Value {
	typ := byte(0)
	if i < len(types) {
		typ = types[i]
	}
	switch typ {
	case typeInt:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return slog.Int64Value(n)
		}
	case typeFloat:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return slog.Float64Value(f)
		}
	case typeBool:
		return slog.BoolValue(text == "true")
	case 0:
		return guess(text)
	}
	return slog.StringValue(text)
}

// guess returns the value whose text is text: a number or a boolean if there is one, or else the text.
func guess(text string) slog.Value {
	if text == "true" || text == "false" {
		return slog.BoolValue(text == "true")
	}
	if text == "" || len(text) > 32 || !strings.ContainsRune("-0123456789", rune(text[0])) {
		return slog.StringValue(text)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return slog.Int64Value(n)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && floatText(f) == text {
		return slog.Float64Value(f)
	}
	return slog.StringValue(text)
}

// textsOf returns the texts that a value may have that equals v. ok is false if there may be others.
func textsOf(v slog.Value) (texts []string, ok bool) {
	const exactly = 1 << 53 // integers below are floats without rounding
	number := 0.0
	switch v.Kind() {
	case slog.KindInt64:
		number = float64(v.Int64())
	case slog.KindFloat64:
		number = v.Float64()
	case slog.KindString, slog.KindBool:
		text, _ := valueText(v)
		return []string{text}, true
	default:
		return nil, false
	}
	switch {
	case number == 0:
		return []string{"0", "-0"}, true
	case number != number || math.Abs(number) >= exactly:
		return nil, false
	}
	return []string{floatText(number)}, true // an integer has the same
}

// textsLike returns the texts that a value may have whose text in a query is text.
func textsLike(text string) (texts []string, ok bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return []string{text}, true
	}
	if texts, ok = textsOf(slog.Float64Value(f)); !ok {
		return nil, false
	}
	return append(texts, text), true
}
