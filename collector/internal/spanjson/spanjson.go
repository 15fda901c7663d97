// Package spanjson has what the decoders of Jaeger's and Zipkin's JSON share: ids, times,
// errors, and the tags that stand for fields that these formats do not have.
package spanjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// TraceID parses a trace id: up to 32 hexadecimal digits, of which zeros on the left may be
// missing, as in ids of 64 bits.
func TraceID(s string) (dendro.TraceID, error) {
	id, err := dendro.ParseTraceID(padded(s, 32))
	if err != nil {
		return id, wantID(s, 32)
	}
	return id, nil
}

// SpanID parses a span id: up to 16 hexadecimal digits.
func SpanID(s string) (dendro.SpanID, error) {
	id, err := dendro.ParseSpanID(padded(s, 16))
	if err != nil {
		return id, wantID(s, 16)
	}
	return id, nil
}

// ParentID parses the id of a parent. If it is missing or consists of zeros, there is none.
func ParentID(s string) (dendro.SpanID, error) {
	if strings.Trim(s, "0") == "" {
		return dendro.SpanID{}, nil
	}
	return SpanID(s)
}

func padded(s string, digits int) string {
	return strings.Repeat("0", max(0, digits-len(s))) + strings.ToLower(s)
}

func wantID(s string, digits int) error {
	return fmt.Errorf("want up to %d hexadecimal digits, not all zero, got %.40q", digits, s)
}

// Nanos converts microseconds to nanoseconds. A number that is missing is zero.
func Nanos(micros json.Number) (int64, error) {
	const most = math.MaxInt64 / 1000
	if micros == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(micros.String(), 10, 64); err == nil && 0 <= n && n <= most {
		return n * 1000, nil
	}
	if f, err := micros.Float64(); err == nil && 0 <= f && f < most {
		return int64(f * 1000), nil
	}
	return 0, fmt.Errorf("want microseconds from 0 to %d, got %.40s", int64(most), micros)
}

// End returns the end of a span, at most the last time that there is.
func End(start, duration int64) int64 { return start + min(duration, math.MaxInt64-start) }

// Elements calls visit for each element of a JSON array until visit returns an error, which
// Elements returns. A null has no elements.
func Elements(array []byte, visit func(i int, element []byte) error) error {
	d := json.NewDecoder(bytes.NewReader(array))
	switch open, err := d.Token(); {
	case err != nil:
		return truncated(err)
	case open == nil:
		return nil
	case open != json.Delim('['):
		return fmt.Errorf("want an array, got %.40v", open)
	}
	for i := 0; d.More(); i++ {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return truncated(err)
		}
		if err := visit(i, element); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return truncated(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the array")
	}
	return nil
}

// truncated makes the end of data where more must come an error.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// At adds the place in the document to err. If encoding/json found a value of the wrong type, At
// also adds the field, and says in terms of JSON what is wrong.
func At(place string, err error) error {
	if err == nil {
		return nil
	}
	wrong := (*json.UnmarshalTypeError)(nil)
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w", place, err)
	}
	if wrong.Field != "" {
		place += "." + wrong.Field
	}
	want := "a number"
	switch kind := wrong.Type.Kind(); {
	case wrong.Type == reflect.TypeFor[json.Number]():
	case kind == reflect.String:
		want = "a string"
	case kind == reflect.Slice:
		want = "an array"
	case kind == reflect.Struct || kind == reflect.Map:
		want = "an object"
	case kind == reflect.Bool:
		want = "true or false"
	}
	return fmt.Errorf("%s: want %s, got %s", place, want, wrong.Value)
}

// Value returns a JSON value as the value of an attribute. Arrays and objects become their
// text, and null the empty string.
func Value(raw json.RawMessage) slog.Value {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || d.Decode(&v) != nil {
		return slog.StringValue(string(raw))
	}
	switch x := v.(type) {
	case string:
		return slog.StringValue(x)
	case bool:
		return slog.BoolValue(x)
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return slog.Int64Value(n)
		}
		if f, err := x.Float64(); err == nil {
			return slog.Float64Value(f)
		}
		return slog.StringValue(x.String())
	}
	return slog.StringValue("") // null
}
