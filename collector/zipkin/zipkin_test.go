package zipkin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
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
	spans := decode(t, `[{"traceId":"1","id":"2",`+fields+`}]`)
	return spans[0]
}

func decode(t *testing.T, text string) (spans []*dendro.SpanData) {
	t.Helper()
	batches, err := Decode([]byte(text))
	testkit.NoError(t, err)
	for _, b := range batches {
		spans = append(spans, b.Spans...)
	}
	return spans
}

func TestStatus(t *testing.T) {
	for tags, want := range map[string]dendro.Status{
		`{}`:                          {},
		`{"error":""}`:                {Code: dendro.StatusError},
		`{"error":"true"}`:            {Code: dendro.StatusError},
		`{"error":true}`:              {Code: dendro.StatusError},
		`{"error":"boom"}`:            {Code: dendro.StatusError, Message: "boom"},
		`{"error":"false"}`:           {},
		`{"otel.status_code":"OK"}`:   {Code: dendro.StatusOK},
		`{"otel.status_code":"what"}`: {},
		`{"otel.status_code":"ERROR","otel.status_description":"late"}`: {Code: dendro.StatusError, Message: "late"},
		`{"otel.status_code":"ERROR","error":"late"}`:                   {Code: dendro.StatusError, Message: "late"},
	} {
		testkit.Equal(t, tags, one(t, `"tags":`+tags).Status, want)
	}
}

func TestTags(t *testing.T) {
	s := one(t, `"tags":{"b":1,"a":"x","":"y","c":[true, {}],"d":null,"peer.service":"own","otel.dropped_attributes_count":"4","otel.dropped_events_count":"many"},"remoteEndpoint":{"serviceName":"other","port":80}`)
	testkit.Equal(t, "attributes", fmt.Sprint(s.Attributes), "[a=x b=1 c=[true, {}] otel.dropped_events_count=many peer.service=own network.peer.port=80]")
	testkit.Equal(t, "dropped", s.DroppedAttributes, uint32(5))
}

func TestEvents(t *testing.T) {
	for value, want := range map[string]string{
		`cache miss`:                   `cache miss []`,
		`"quoted"`:                     `"quoted" []`,
		`"retry": {}`:                  `retry []`,
		`"a": {"n": 1.5, "b": [1, 2]}`: `a [b=[1, 2] n=1.5]`,
		`"a": {"n": 1}, "b": {}`:       `"a": {"n": 1}, "b": {} []`,
		`"a": {"n": 1}} `:              `"a": {"n": 1}}  []`,
		``:                             ` []`,
	} {
		text, err := json.Marshal(value)
		testkit.NoError(t, err)
		e := one(t, `"annotations":[{"timestamp":7,"value":`+string(text)+`}]`).Events[0]
		testkit.Equal(t, value, fmt.Sprint(e.Name, " ", e.Attributes), want)
		testkit.Equal(t, value, e.Time, int64(7000))
	}
}

func TestTimes(t *testing.T) {
	for fields, want := range map[string][2]int64{
		`"timestamp":1,"duration":2`:       {1000, 3000},
		`"timestamp":"1","duration":2.5`:   {1000, 3500},
		`"timestamp":1`:                    {1000, 1000},
		`"timestamp":null,"duration":null`: {0, 0},
		`"annotations":[{"timestamp":5,"value":"b"},{"timestamp":4,"value":"a"}],"duration":1`: {4000, 5000},
		`"timestamp":9223372036854775,"duration":9223372036854775`:                             {9223372036854775000, 1<<63 - 1},
	} {
		s := one(t, fields)
		testkit.Equal(t, fields, [2]int64{s.Start, s.End}, want)
	}
	spans := decode(t, `[{"traceId":"1","id":"2","duration":3},{"traceId":"1","id":"3","timestamp":50},{"traceId":"1","id":"4","timestamp":40}]`)
	testkit.Equal(t, "a span without a time begins with its trace", [2]int64{spans[0].Start, spans[0].End}, [2]int64{40_000, 43_000})
}

// tree shows the spans as "name id<parent", with short ids.
func tree(spans []*dendro.SpanData) string {
	names := map[dendro.SpanID]string{}
	for _, s := range spans {
		if names[s.SpanID] != "" {
			return "two spans have the id " + s.SpanID.String()
		}
		names[s.SpanID] = s.Name
	}
	var out []string
	for _, s := range spans {
		line := s.Name
		if s.ParentID.IsValid() {
			above := names[s.ParentID]
			if above == "" {
				above = strings.TrimLeft(s.ParentID.String(), "0")
			}
			line += "<" + above
		}
		out = append(out, line)
	}
	return strings.Join(out, " ")
}

func TestSharedIDs(t *testing.T) {
	span := func(name, id, parent, service, more string) string {
		return fmt.Sprintf(`{"traceId":"1","id":%q,"parentId":%q,"name":%q,"localEndpoint":{"serviceName":%q}%s}`, id, parent, name, service, more)
	}
	const client, server, joins = `,"kind":"CLIENT"`, `,"kind":"SERVER"`, `,"kind":"SERVER","shared":true`
	for name, test := range map[string]struct{ in, want string }{
		"client first": {
			span("root", "1", "", "a", server) + "," + span("call", "2", "1", "a", client) + "," + span("serve", "2", "1", "b", joins) + "," + span("query", "3", "2", "b", client),
			"root call<root serve<call query<serve"},
		"children first": {
			span("query", "3", "2", "b", client) + "," + span("serve", "2", "1", "b", joins) + "," + span("call", "2", "1", "a", client) + "," + span("root", "1", "", "a", server),
			"query<serve serve<call call<root root"},
		"the server does not say so": {
			span("call", "2", "", "a", client) + "," + span("serve", "2", "", "b", server) + "," + span("query", "3", "2", "b", ""),
			"call serve<call query<serve"},
		"a child of the client": {
			span("call", "2", "", "a", client) + "," + span("serve", "2", "", "b", joins) + "," + span("connect", "3", "2", "a", ""),
			"call connect<call serve<call"},
		"two servers": {
			span("call", "2", "", "a", client) + "," + span("serve b", "2", "", "b", joins) + "," + span("serve c", "2", "", "c", joins) + "," + span("query", "3", "2", "c", ""),
			"call serve b<call serve c<call query<serve c"},
		"the client is missing": {
			span("serve", "2", "1", "b", joins) + "," + span("query", "3", "2", "b", ""),
			"serve<2 query<serve"},
		"ids of their own": {
			span("call", "2", "", "a", client) + "," + span("serve", "3", "2", "b", server),
			"call serve<call"},
		"its own parent": {span("root", "2", "2", "a", ""), "root"},
	} {
		testkit.Equal(t, name, tree(decode(t, "["+test.in+"]")), test.want)
	}
	// The two halves may come in two requests, each of them more than once.
	half := "[" + span("serve", "2", "1", "b", joins) + "]"
	a, b := decode(t, half)[0], decode(t, half)[0]
	testkit.Equal(t, "the same id again", a.SpanID, b.SpanID)
	testkit.Equal(t, "below the client", a.ParentID, dendro.SpanID{7: 2})
	testkit.Equal(t, "remote", a.Remote, true)
}

func TestLists(t *testing.T) {
	const span = `{"traceId":"1","id":"2"}`
	for in, want := range map[string]int{
		`[]`: 0, `[[]]`: 0, `null`: 0, `[` + span + `]`: 1, `[[` + span + `],[` + span + `,` + span + `]]`: 3, ` [ ` + span + `] `: 1,
	} {
		testkit.Equal(t, in, len(decode(t, in)), want)
	}
}

func TestErrors(t *testing.T) {
	const good = `{"traceId":"1","id":"2"}`
	for in, want := range map[string]string{
		``:                            "unexpected EOF",
		`{}`:                          "want an array, got {",
		`[` + good:                    "unexpected EOF",
		`[` + good + `] x`:            "there is more after the array",
		`[1]`:                         "[0]: want an object, got number",
		`[` + good + `,{"id":"2"}]`:   `[1].traceId: want up to 32 hexadecimal digits, not all zero, got ""`,
		`[{"traceId":"x","id":"2"}]`:  `[0].traceId: want up to 32 hexadecimal digits, not all zero, got "x"`,
		`[{"traceId":"1","id":"00"}]`: `[0].id: want up to 16 hexadecimal digits, not all zero, got "00"`,
		`[{"traceId":"1","id":"2","parentId":"-"}]`:                                   `[0].parentId: want up to 16 hexadecimal digits, not all zero, got "-"`,
		`[{"traceId":1,"id":"2"}]`:                                                    "[0].traceId: want a string, got number",
		`[{"traceId":"1","id":"2","timestamp":-1}]`:                                   "[0].timestamp: want microseconds from 0 to 9223372036854775, got -1",
		`[{"traceId":"1","id":"2","timestamp":1e300}]`:                                "[0].timestamp: want microseconds from 0 to 9223372036854775, got 1e300",
		`[{"traceId":"1","id":"2","duration":[]}]`:                                    "[0].duration: want a number, got array",
		`[{"traceId":"1","id":"2","tags":[]}]`:                                        "[0].tags: want an object, got array",
		`[{"traceId":"1","id":"2","shared":"yes"}]`:                                   "[0].shared: want true or false, got string",
		`[{"traceId":"1","id":"2","annotations":{}}]`:                                 "[0].annotations: want an array, got object",
		`[{"traceId":"1","id":"2","remoteEndpoint":{"port":70000}}]`:                  "[0].remoteEndpoint.port: want a number, got number 70000",
		`[[],[{"traceId":"1","id":"2","annotations":[{"timestamp":-5,"value":""}]}]]`: "[1][0].annotations[0].timestamp: want microseconds from 0 to 9223372036854775, got -5",
		`[{"traceId":"1","id":"2","binaryAnnotations":[]}]`:                           "[0]: a span of Zipkin's version 1, which is not understood: want version 2",
	} {
		_, err := Decode([]byte(in))
		testkit.Equal(t, in, fmt.Sprint(err), want)
	}
}

func FuzzDecode(f *testing.F) {
	in, err := os.ReadFile("testdata/trace.json")
	testkit.NoError(f, err)
	f.Add(in)
	f.Add([]byte(`[[{"traceId":"1","id":"2","shared":true,"tags":{"":1,"error":null}},{"traceId":"1","id":"3","parentId":"2","annotations":[{"value":"\"a\":{\"b\":[]}"}]}]]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, err := Decode(data)
		if err == nil {
			_, err = otlp.DecodeTraces(otlp.AppendTraces(nil, batches...))
			testkit.NoError(t, err)
		}
		for _, b := range batches {
			for _, s := range b.Spans {
				if b.Resource == nil || s.Scope == nil || s.End < s.Start || s.Start < 0 || s.ParentID == s.SpanID {
					t.Errorf("%+v of %+v", s, b.Resource)
				}
			}
		}
	})
}
