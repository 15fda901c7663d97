package jaeger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestTrace compares a trace with what it is in OTLP.
func TestTrace(t *testing.T) {
	in, err := os.ReadFile("testdata/trace.json")
	testkit.NoError(t, err)
	batches, err := Decode(in)
	testkit.NoError(t, err)
	var got bytes.Buffer
	testkit.NoError(t, json.Indent(&got, otlp.AppendTracesJSON(nil, batches...), "", "  "))
	testkit.Golden(t, "testdata/trace.otlp.json", got.String())
}

// one decodes the fields of one span, besides its ids.
func one(t *testing.T, fields string) *dendro.SpanData {
	t.Helper()
	batches, err := Decode([]byte(`{"spans":[{"traceID":"1","spanID":"2",` + fields + `}]}`))
	testkit.NoError(t, err)
	return batches[0].Spans[0]
}

func TestValues(t *testing.T) {
	for tag, want := range map[string]any{
		`"type":"string","value":"1"`:                   "1",
		`"type":"string","value":1`:                     "1",
		`"type":"string","value":null`:                  "",
		`"type":"string"`:                               "",
		`"type":"bool","value":true`:                    true,
		`"type":"bool","value":"true"`:                  true,
		`"type":"bool","value":"maybe"`:                 "maybe",
		`"type":"int64","value":5`:                      int64(5),
		`"type":"int64","value":"-9223372036854775808"`: int64(-1 << 63),
		`"type":"int64","value":"99999999999999999999"`: "99999999999999999999",
		`"type":"float64","value":5`:                    5.0,
		`"type":"float64","value":0.5`:                  0.5,
		`"type":"float64","value":"x"`:                  "x",
		`"type":"binary","value":"aGk="`:                []byte("hi"),
		`"type":"binary","value":"?"`:                   "?",
		`"value":7`:                                     int64(7),
		`"value":7.5`:                                   7.5,
		`"type":"list","value":[1, "a"]`:                `[1, "a"]`,
	} {
		testkit.Equal(t, tag, one(t, `"tags":[{"key":"k",`+tag+`}]`).Attributes[0].Value.Any(), want)
	}
	s := one(t, `"tags":[{"key":"k","value":1},{"key":"","value":1},{"key":"k","value":2}]`)
	testkit.Equal(t, "the same key again", fmt.Sprint(s.Attributes, s.DroppedAttributes), "[k=2] 1")
}

func TestStatus(t *testing.T) {
	for tags, want := range map[string]dendro.Status{
		``: {},
		`{"key":"error","type":"bool","value":true}`:                                            {Code: dendro.StatusError},
		`{"key":"error","type":"string","value":"true"}`:                                        {Code: dendro.StatusError},
		`{"key":"error","type":"bool","value":false}`:                                           {},
		`{"key":"error","type":"int64","value":3}`:                                              {},
		`{"key":"otel.status_code","type":"string","value":"OK"}`:                               {Code: dendro.StatusOK},
		`{"key":"otel.status_code","value":"error"}`:                                            {Code: dendro.StatusError},
		`{"key":"otel.status_description","value":"x"},{"key":"error","value":true}`:            {Code: dendro.StatusError, Message: "x"},
		`{"key":"otel.status_description","value":"x"},{"key":"otel.status_code","value":"OK"}`: {Code: dendro.StatusOK},
	} {
		testkit.Equal(t, tags, one(t, `"tags":[`+tags+`]`).Status, want)
	}
}

func TestKinds(t *testing.T) {
	for value, want := range map[string]dendro.Kind{
		"server": dendro.KindServer, "CLIENT": dendro.KindClient, "producer": dendro.KindProducer, "consumer": dendro.KindConsumer,
		"internal": dendro.KindInternal, "proxy": dendro.KindInternal,
	} {
		testkit.Equal(t, value, one(t, `"tags":[{"key":"span.kind","value":"`+value+`"}]`).Kind, want)
	}
}

func TestReferences(t *testing.T) {
	ref := func(typ, trace, span string) string {
		return fmt.Sprintf(`{"refType":%q,"traceID":%q,"spanID":%q}`, typ, trace, span)
	}
	for fields, want := range map[string]string{
		``:                      "0000000000000000 []",
		`"parentSpanID":"7"`:    "0000000000000007 []",
		`"parentSpanID":"0000"`: "0000000000000000 []",
		`"references":null`:     "0000000000000000 []",
		`"references":[` + ref("CHILD_OF", "1", "7") + `]`:                                                                         "0000000000000007 []",
		`"references":[` + ref("FOLLOWS_FROM", "1", "7") + `]`:                                                                     "0000000000000007 []",
		`"references":[` + ref("FOLLOWS_FROM", "1", "7") + "," + ref("CHILD_OF", "1", "8") + "," + ref("CHILD_OF", "1", "9") + `]`: "0000000000000008 [7 follows_from 9 child_of]",
		`"references":[` + ref("FOLLOWS_FROM", "5", "7") + `]`:                                                                     "0000000000000000 [7 follows_from]",
		`"references":[` + ref("CHILD_OF", "5", "7") + `],"parentSpanID":"6"`:                                                      "0000000000000006 [7 child_of]",
	} {
		s := one(t, `"operationName":"x"`+map[bool]string{true: "," + fields}[fields != ""])
		links := "["
		for i, l := range s.Links {
			links += fmt.Sprintf("%s%x %s", map[bool]string{true: " "}[i > 0], l.SpanID[7], l.Attributes[0].Value)
		}
		testkit.Equal(t, fields, s.ParentID.String()+" "+links+"]", want)
	}
}

// Spans of the same process are in one batch, even if they belong to several traces.
func TestProcesses(t *testing.T) {
	const trace = `{"traceID":"%d","spans":[{"spanID":"1","processID":"p1"},{"spanID":"2","processID":"p2"},{"spanID":"3","process":{"serviceName":"inline"}},{"spanID":"4"}],
		"processes":{"p1":{"serviceName":"shop","tags":[{"key":"service.name","value":"other"},{"key":"","value":"x"}]},"p2":{"tags":null}}}`
	batches, err := Decode([]byte(`{"data":[` + fmt.Sprintf(trace, 1) + `,` + fmt.Sprintf(trace, 2) + `]}`))
	testkit.NoError(t, err)
	var got []string
	for _, b := range batches {
		got = append(got, fmt.Sprint(b.Resource.Service(), " ", len(b.Spans), " ", b.Resource.DroppedAttributes))
	}
	testkit.Equal(t, "batches", got, []string{"shop 2 1", " 2 0", "inline 2 0", " 2 0"})
	testkit.Equal(t, "the id of the trace", batches[0].Spans[1].TraceID, dendro.TraceID{15: 2})
}

func TestErrors(t *testing.T) {
	span := func(fields string) string {
		return `{"data":[{"spans":[{"traceID":"1","spanID":"2",` + fields + `}]}]}`
	}
	for in, want := range map[string]string{
		``:                        "trace: unexpected end of JSON input",
		`[]`:                      "trace: want an object, got array",
		`{}`:                      `want "data" or "spans"`,
		`{"data":{}}`:             "want an array, got {",
		`{"data":[1]}`:            "data[0]: want an object, got number",
		`{"data":[{"spans":{}}]}`: "want an array, got {",
		`{"data":[{"spans":[]},{"spans":[{"spanID":"1"}]}]}`: `data[1].spans[0].traceID: want up to 32 hexadecimal digits, not all zero, got ""`,
		`{"data":[{"processes":{"p":[]},"spans":[]}]}`:       `data[0].processes["p"]: want an object, got array`,
		`{"spans":[{"traceID":"1","spanID":"zz"}]}`:          `spans[0].spanID: want up to 16 hexadecimal digits, not all zero, got "zz"`,
		span(`"startTime":-1`):                               "data[0].spans[0].startTime: want microseconds from 0 to 9223372036854775, got -1",
		span(`"duration":"soon"`):                            `data[0].spans[0]: json: invalid number literal, trying to unmarshal "\"soon\"" into Number`,
		span(`"processID":"p9"`):                             `data[0].spans[0].processID: there is no process "p9"`,
		span(`"process":7`):                                  "data[0].spans[0].process: want an object, got number",
		span(`"parentSpanID":"?"`):                           `data[0].spans[0].parentSpanID: want up to 16 hexadecimal digits, not all zero, got "?"`,
		span(`"references":[{"traceID":"1","spanID":""}]`):   `data[0].spans[0].references[0].spanID: want up to 16 hexadecimal digits, not all zero, got ""`,
		span(`"references":[{}]`):                            `data[0].spans[0].references[0].traceID: want up to 32 hexadecimal digits, not all zero, got ""`,
		span(`"tags":{}`):                                    "data[0].spans[0].tags: want an array, got object",
		span(`"logs":[{"timestamp":true}]`):                  "data[0].spans[0].logs.timestamp: want a number, got bool",
		span(`"logs":[{"timestamp":-1}]`):                    "data[0].spans[0].logs[0].timestamp: want microseconds from 0 to 9223372036854775, got -1",
	} {
		_, err := Decode([]byte(in))
		testkit.Equal(t, in, fmt.Sprint(err), want)
	}
}

func FuzzDecode(f *testing.F) {
	in, err := os.ReadFile("testdata/trace.json")
	testkit.NoError(f, err)
	f.Add(in)
	f.Add([]byte(`{"traceID":"1","spans":[{"spanID":"2","parentSpanID":"3","tags":[{"key":"error","type":"bool","value":"x"},{"key":"","type":"binary","value":7}],"process":{"serviceName":""}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, err := Decode(data)
		if err == nil {
			_, err = otlp.DecodeTraces(otlp.AppendTraces(nil, batches...))
			testkit.NoError(t, err)
		}
		for _, b := range batches {
			for _, s := range b.Spans {
				if b.Resource == nil || s.Scope == nil || s.End < s.Start || s.Start < 0 {
					t.Errorf("%+v of %+v", s, b.Resource)
				}
			}
		}
	})
}
