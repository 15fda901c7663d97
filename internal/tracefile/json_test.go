package tracefile

import (
	"fmt"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// decodes returns how many spans there are, or the error.
func decodes(data string) string {
	batches, err := Decode([]byte(data))
	spans := 0
	for _, b := range batches {
		spans += len(b.Spans)
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(spans)
}

func TestFormats(t *testing.T) {
	const (
		resourceSpans = `[{"scopeSpans":[{"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002"}]}]}]`
		request       = `{"resourceSpans":` + resourceSpans + `}`
		zipkinSpan    = `{"traceId":"1","id":"2"}`
		jaegerTrace   = `{"traceID":"1","spans":[{"spanID":"2"}],"processes":{}}`
	)
	for in, want := range map[string]string{
		request:                                       "1",
		"\uFEFF " + request + "\n":                    "1",
		request + "\n" + request + "\r\n":             "2",
		`{"batches":` + resourceSpans + `}`:           "1",
		`{"trace":` + request + `,"metrics":{}}`:      "1",
		`{"result":` + request + `}`:                  "1",
		`[` + zipkinSpan + `]`:                        "1",
		`[[` + zipkinSpan + `],[` + zipkinSpan + `]]`: "2",
		jaegerTrace:                                   "1",
		`{"data":[` + jaegerTrace + `,` + jaegerTrace + `],"errors":null}`: "2",
		jaegerTrace + `[` + zipkinSpan + `]`:                               "2",
		`[]`:                                                               "0",
		`{"data":[]}`:                                                      "0",
		`{"resourceSpans":[]}`:                                             "0",
		``:                                                                 "it is empty",
		" \n":                                                              "it is empty",
		"trace id,name\n":                                                  "line 1 is not JSON: invalid character 'a' in literal true (expecting 'u')",
		"[\n" + zipkinSpan + ",\n}":                                        "line 3 is not JSON: invalid character '}' looking for beginning of value",
		request + "\n" + request[:30]:                                      "it ends within a JSON value: unexpected EOF",
		`{}`:                                                               errUnknownFormat.Error(),
		`"text"`:                                                           errUnknownFormat.Error(),
		`7`:                                                                errUnknownFormat.Error(),
		`null`:                                                             errUnknownFormat.Error(),
		`{"resourceLogs":[]}`:                                              errUnknownFormat.Error(),
		`{"trace":7}`:                                                      errUnknownFormat.Error(),
		request + "\n\n{}":                                                 "line 3: " + errUnknownFormat.Error(),
		`{"resourceSpans":7}`:                                              "as OTLP JSON: resourceSpans[0]: want an array, got 7",
		`[` + zipkinSpan + `,{}]`:                                          `as Zipkin JSON: [1].traceId: want up to 32 hexadecimal digits, not all zero, got ""`,
		`{"data":[{"spans":[{"traceID":"1"}]}]}`:                           `as Jaeger JSON: data[0].spans[0].spanID: want up to 16 hexadecimal digits, not all zero, got ""`,
	} {
		testkit.Equal(t, in, decodes(in), want)
	}
}

// Tempo's API has ids in base64.
func TestTempoIDs(t *testing.T) {
	batches, err := Decode([]byte(`{"batches":[{"scopeSpans":[{"spans":[{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId": "APBnqgupArc=",` +
		`"parentSpanId":"APBnqgupArg=","name":"\"spanId\":\"APBnqgupArc=\"","kind":"SPAN_KIND_SERVER","links":[{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId":"APBnqgupArk="}]}]}]}]}`))
	testkit.NoError(t, err)
	s := batches[0].Spans[0]
	testkit.Equal(t, "ids", fmt.Sprint(s.TraceID, s.SpanID, s.ParentID, s.Links[0].TraceID, s.Links[0].SpanID),
		"4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 00f067aa0ba902b8 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b9")
	testkit.Equal(t, "a text", s.Name, `"spanId":"APBnqgupArc="`)
	const inHex = `[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}]`
	testkit.Equal(t, "in hexadecimal", string(hexIDs([]byte(inHex))), inHex)
}
