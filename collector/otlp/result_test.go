package otlp

import (
	"math"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestResult(t *testing.T) {
	for _, c := range []struct {
		result Result
		proto  string
		text   string
	}{
		{Result{}, ``, `{}`},
		{Result{Rejected: 300}, `0a 03 08 ac 02`, `{"partialSuccess":{"rejectedSpans":"300"}}`},
		{Result{Message: "slow \"down\""}, `0a 0d 12 0b 736c6f772022646f776e22`, `{"partialSuccess":{"rejectedSpans":"0","errorMessage":"slow \"down\""}}`},
		{Result{Rejected: math.MaxInt64, Message: "ž"}, `0a 0e 08 ffffffffffffffff7f 12 02 c5be`, `{"partialSuccess":{"rejectedSpans":"9223372036854775807","errorMessage":"ž"}}`},
	} {
		proto := unhex(t, c.proto)
		testkit.Equal(t, "protobuf", string(c.result.AppendProto([]byte("<"))), "<"+string(proto))
		testkit.Equal(t, "JSON", string(c.result.AppendJSON([]byte("<"))), "<"+c.text)
		got, err := DecodeResult(proto)
		testkit.NoError(t, err)
		testkit.Equal(t, "from protobuf", got, c.result)
		got, err = DecodeResultJSON([]byte(c.text))
		testkit.NoError(t, err)
		testkit.Equal(t, "from JSON", got, c.result)
	}
}

func TestResultMalformed(t *testing.T) {
	for proto, want := range map[string]string{
		`0a 05 08`:    "malformed, or cut short",
		`0a 02 08 ff`: "partialSuccess: malformed, or cut short",
		`0a 02 0a 00`: "partialSuccess.rejectedSpans: want wire type varint, got bytes",
		`08 01`:       "partialSuccess: want wire type bytes, got varint",
	} {
		got, err := DecodeResult(unhex(t, proto))
		if err == nil || err.Error() != want || got != (Result{}) {
			t.Errorf("%s: %v, %v, want %s", proto, got, err, want)
		}
	}
	for text, want := range map[string]string{
		``:                      "unexpected end of JSON input",
		`{}{}`:                  "invalid character '{' after top-level value",
		`{"partialSuccess":[]}`: "partialSuccess: want an object, got [",
		`{"partialSuccess":{"rejectedSpans":"1","errorMessage":2}}`: "partialSuccess.errorMessage: want a string, got 2",
	} {
		got, err := DecodeResultJSON([]byte(text))
		if err == nil || err.Error() != want || got != (Result{}) {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestStatus(t *testing.T) {
	testkit.Equal(t, "protobuf", AppendStatus(nil, 3, "bad"), unhex(t, `08 03 12 03 626164`))
	testkit.Equal(t, "protobuf, below zero", AppendStatus(nil, -1, ""), unhex(t, `08 ffffffffffffffffff01`))
	testkit.Equal(t, "JSON", string(AppendStatusJSON(nil, 3, "bad \xff\n")), `{"code":3,"message":"bad `+"\ufffd"+`\u000a"}`)
}
