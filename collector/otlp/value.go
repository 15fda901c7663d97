package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// value is the value of one field in its encoding: the next value of json, or a
// protobuf field if json is nil. A JSON value must be read exactly once, because
// reading it moves on to the next.
type value struct {
	json   *cursor
	typ    protowire.Type
	number uint64 // varint, fixed32, fixed64
	data   []byte // bytes
}

// consumeField reads the first field of data and returns its size, or a negative
// number if there is no valid field.
func consumeField(data []byte) (num int, v value, size int) {
	if len(data) > 2 && data[0] < 0x80 && data[1] < 0x80 && data[0]&7 == byte(protowire.BytesType) && data[0]>>3 > 0 && int(data[1]) <= len(data)-2 {
		size = 2 + int(data[1])
		v.typ, v.data = protowire.BytesType, data[2:size:size]
		return int(data[0] >> 3), v, size
	}
	number, typ, size := protowire.ConsumeTag(data)
	if size < 0 {
		return 0, v, size
	}
	v.typ = typ
	n := 0
	switch rest := data[size:]; typ {
	case protowire.BytesType:
		v.data, n = protowire.ConsumeBytes(rest)
	case protowire.VarintType:
		v.number, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed64Type:
		v.number, n = protowire.ConsumeFixed64(rest)
	case protowire.Fixed32Type:
		var n32 uint32
		n32, n = protowire.ConsumeFixed32(rest)
		v.number = uint64(n32)
	default:
		n = protowire.ConsumeFieldValue(number, typ, rest)
	}
	if n < 0 {
		return 0, v, n
	}
	return int(number), v, size + n
}

var wireTypes = [...]string{"varint", "fixed64", "bytes", "group", "end of group", "fixed32"}

func (v value) want(typ protowire.Type) error {
	if v.typ != typ {
		return fmt.Errorf("want wire type %s, got %s", wireTypes[typ], wireTypes[v.typ])
	}
	return nil
}

// utf8 reads a string, if possible without copying it. It replaces invalid UTF-8 by
// U+FFFD.
func (v value) utf8() ([]byte, error) {
	if v.json != nil {
		return v.json.text()
	}
	if err := v.want(protowire.BytesType); err != nil {
		return nil, err
	}
	if !utf8.Valid(v.data) {
		return bytes.ToValidUTF8(v.data, []byte("\ufffd")), nil
	}
	return v.data, nil
}

// text reads a string.
func (v value) text() (string, error) {
	b, err := v.utf8()
	return string(b), err
}

// id reads an id, which is hexadecimal in JSON, into dst. An empty id is read as
// zeros.
func (v value) id(dst []byte) error {
	clear(dst)
	if v.json != nil {
		text, err := v.json.text()
		switch {
		case err != nil:
			return err
		case len(text) == 0:
			return nil
		case len(text) != hex.EncodedLen(len(dst)):
			return fmt.Errorf("want %d hexadecimal digits, got %d", hex.EncodedLen(len(dst)), len(text))
		}
		_, err = hex.Decode(dst, text)
		return err
	}
	if len(v.data) != len(dst) && len(v.data) > 0 {
		return fmt.Errorf("want %d bytes, got %d", len(dst), len(v.data))
	}
	copy(dst, v.data)
	return v.want(protowire.BytesType)
}

// bytes reads bytes, which are base64 in JSON: in either alphabet, with or without
// padding, as the JSON mapping of protobuf requires.
func (v value) bytes() ([]byte, error) {
	if v.json == nil {
		return append([]byte{}, v.data...), v.want(protowire.BytesType)
	}
	text, err := v.json.text()
	if err != nil {
		return nil, err
	}
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(string(text), "="))
	b, err := base64.RawStdEncoding.DecodeString(standard)
	if err != nil {
		return nil, fmt.Errorf("want base64, got %.40q", text)
	}
	return b, nil
}

func (v value) bool() (bool, error) {
	if v.json == nil {
		return v.number != 0, v.want(protowire.VarintType)
	}
	switch token := v.json.token(); string(token) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, fmt.Errorf("want true or false, got %.40s", token)
	}
}

// double reads a number. In JSON it may be a string, and must be one for "NaN",
// "Infinity" and "-Infinity".
func (v value) double() (float64, error) {
	if v.json == nil {
		return math.Float64frombits(v.number), v.want(protowire.Fixed64Type)
	}
	token := v.json.token()
	f, err := strconv.ParseFloat(unquoted(token), 64)
	if err != nil {
		return 0, fmt.Errorf("want a 64-bit floating-point number, got %.40s", token)
	}
	return f, nil
}

// int64 reads a number, which may be a string in JSON.
func (v value) int64() (int64, error) {
	if v.json == nil {
		return int64(v.number), v.want(protowire.VarintType)
	}
	return integer(v.json.token(), math.MinInt64, math.MaxInt64)
}

// integer reads the number of an attribute. In JSON, one that is too large is read as a floating-point
// number: JavaScript writes all whole numbers as integers, such as 1e21.
func (v value) integer() (slog.Value, error) {
	if v.json == nil {
		n, err := v.int64()
		return slog.Int64Value(n), err
	}
	token := v.json.token()
	n, err := integer(token, math.MinInt64, math.MaxInt64)
	if err == nil {
		return slog.Int64Value(n), nil
	}
	text := unquoted(token)
	if strings.Trim(text, "+-.0123456789eE") != "" { // ParseFloat also reads infinities and hexadecimal numbers
		return slog.Value{}, err
	}
	if f, ferr := strconv.ParseFloat(text, 64); ferr == nil && f == math.Trunc(f) && math.Abs(f) >= 1<<63 {
		return slog.Float64Value(f), nil
	}
	return slog.Value{}, err
}

// uint32 reads a number with wire type typ.
func (v value) uint32(typ protowire.Type) (uint32, error) {
	if v.json == nil {
		return uint32(v.number), v.want(typ)
	}
	n, err := integer(v.json.token(), 0, math.MaxUint32)
	return uint32(n), err
}

// time reads nanoseconds since the Unix epoch.
func (v value) time() (int64, error) {
	if v.json != nil {
		return integer(v.json.token(), 0, math.MaxInt64)
	}
	if v.number > math.MaxInt64 {
		return 0, fmt.Errorf("want at most %d, got %d", int64(math.MaxInt64), v.number)
	}
	return int64(v.number), v.want(protowire.Fixed64Type)
}

// enum reads a number or, in JSON, one of names.
func (v value) enum(names []string) (int64, error) {
	if v.json == nil || !v.json.is('"') {
		return v.int64()
	}
	token := v.json.token()
	n := slices.Index(names, unquoted(token))
	if n < 0 {
		return 0, fmt.Errorf("unknown name %.40s", token)
	}
	return int64(n), nil
}

// integer parses a JSON token. Like the JSON mapping of protobuf, it accepts a string
// for a number, and 1e3 for 1000.
func integer(token []byte, least, most int64) (int64, error) {
	text := unquoted(token)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr == nil && f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			n, err = int64(f), nil
		}
	}
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want an integer from %d to %d, got %.40s", least, most, token)
	}
	return n, nil
}

// unquoted returns a scalar JSON token without the quotes of a string.
func unquoted(token []byte) string { return strings.Trim(string(token), `"`) }
