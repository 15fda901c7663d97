package otlp

import (
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// Requests in the way other senders write them. See the files.
func TestDecodeOtherSenders(t *testing.T) {
	text, err := os.ReadFile("testdata/senders.json")
	testkit.NoError(t, err)
	batches, err := DecodeTracesJSON(text)
	testkit.NoError(t, err)
	testkit.Golden(t, "testdata/senders.txt", dump(batches))
}

// JavaScript writes whole numbers as integers, however large they are.
func TestLargeIntegers(t *testing.T) {
	for text, want := range map[string]slog.Value{
		"1e3":                   slog.Int64Value(1000),
		"9223372036854775807":   slog.Int64Value(math.MaxInt64),
		"-9223372036854775808":  slog.Int64Value(math.MinInt64),
		"-9223372036854776000":  slog.Float64Value(-1 << 63),
		`"9223372036854775808"`: slog.Float64Value(1 << 63),
		"1e21":                  slog.Float64Value(1e21),
	} {
		batches, err := DecodeTracesJSON([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7",` +
			`"attributes":[{"key":"k","value":{"intValue":` + text + `}}]}]}]}]}`))
		testkit.NoError(t, err)
		if got := batches[0].Spans[0].Attributes[0].Value; !got.Equal(want) || got.Kind() != want.Kind() {
			t.Errorf("%s is read as %v %v, want %v %v", text, got.Kind(), got, want.Kind(), want)
		}
	}
}

func TestMalformedJSON(t *testing.T) {
	const ids = `"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"`
	span := func(fields string) string {
		return `{"resourceSpans":[{"scopeSpans":[{"spans":[{` + ids + `},{` + ids + `,` + fields + `}]}]}]}`
	}
	value := func(v string) string { return span(`"attributes":[{"key":"k","value":{` + v + `}}]`) }
	const inValue = inSpan + ".attributes[0].value"
	for _, c := range []struct{ text, want string }{
		{``, "unexpected end of JSON input"},
		{`{"resourceSpans":[]}x`, "invalid character 'x' after top-level value"},
		{`{"resourceSpans":[]}{}`, "invalid character '{' after top-level value"},
		{`{"resourceSpans":[}`, "invalid character '}' looking for beginning of value"},
		{strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "exceeded max depth"},
		{`[]`, "want an object, got ["},
		{`"x"`, `want an object, got "x"`},
		{`{"resourceSpans":{}}`, "resourceSpans[0]: want an array, got {"},
		{`{"resourceSpans":[1]}`, "resourceSpans[0]: want an object, got 1"},
		{`{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}`, "resourceSpans[0].scopeSpans[0].spans[0].traceId: missing or all zeros"},
		{`{"resourceSpans":[{"scopeSpans":[{"spans":[null]}]}]}`, "resourceSpans[0].scopeSpans[0].spans[0].traceId: missing or all zeros"},
		{span(`"traceId":""`), inSpan + ".traceId: missing or all zeros"},
		{span(`"spanId":"0000000000000000"`), inSpan + ".spanId: missing or all zeros"},
		{span(`"spanId":"00f067aa0b"`), inSpan + ".spanId: want 16 hexadecimal digits, got 10"},
		{span(`"traceId":"S/kvNXezTaajzpKdDg5HNg=="`), inSpan + ".traceId: want 32 hexadecimal digits, got 24"},
		{span(`"spanId":"00f067aa0ba902bx"`), inSpan + ".spanId: encoding/hex: invalid byte: U+0078 'x'"},
		{span(`"parentSpanId":7`), inSpan + ".parentSpanId: want a string, got 7"},
		{span(`"name":{"a":1}`), inSpan + ".name: want a string, got {"},
		{span(`"name":["a"]`), inSpan + ".name: want a string, got ["},
		{span(`"kind":"SERVER"`), inSpan + `.kind: unknown name "SERVER"`},
		{span(`"kind":1.5`), inSpan + ".kind: want an integer from -9223372036854775808 to 9223372036854775807, got 1.5"},
		{span(`"startTimeUnixNano":"9223372036854775808"`), inSpan + `.startTimeUnixNano: want an integer from 0 to 9223372036854775807, got "9223372036854775808"`},
		{span(`"endTimeUnixNano":-1`), inSpan + ".endTimeUnixNano: want an integer from 0 to 9223372036854775807, got -1"},
		{span(`"endTimeUnixNano":""`), inSpan + `.endTimeUnixNano: want an integer from 0 to 9223372036854775807, got ""`},
		{span(`"flags":4294967296`), inSpan + ".flags: want an integer from 0 to 4294967295, got 4294967296"},
		{span(`"status":"STATUS_CODE_OK"`), inSpan + `.status: want an object, got "STATUS_CODE_OK"`},
		{span(`"attributes":{"key":"k"}`), inSpan + ".attributes[0]: want an array, got {"},
		{span(`"attributes":[[]]`), inSpan + ".attributes[0]: want an object, got ["},
		{value(`"boolValue":"true"`), inValue + `.boolValue: want true or false, got "true"`},
		{value(`"intValue":1.5`), inValue + ".intValue: want an integer from -9223372036854775808 to 9223372036854775807, got 1.5"},
		{value(`"intValue":"Infinity"`), inValue + `.intValue: want an integer from -9223372036854775808 to 9223372036854775807, got "Infinity"`},
		{value(`"intValue":"0x1p70"`), inValue + `.intValue: want an integer from -9223372036854775808 to 9223372036854775807, got "0x1p70"`},
		{value(`"doubleValue":"much"`), inValue + `.doubleValue: want a 64-bit floating-point number, got "much"`},
		{value(`"bytesValue":"a*b="`), inValue + `.bytesValue: want base64, got "a*b="`},
		{value(`"arrayValue":{"values":[{},{"stringValue":1}]}`), inValue + ".arrayValue.values[1].stringValue: want a string, got 1"},
		{value(strings.Repeat(`"kvlistValue":{"values":[{"value":{`, 64) + strings.Repeat("}}]}", 64)), strings.Repeat(".kvlistValue.values[0].value", 64) + ": nested deeper than 64"},
	} {
		batches, err := DecodeTracesJSON([]byte(c.text))
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || batches != nil {
			t.Errorf("%.200s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}
