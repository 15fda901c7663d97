package otlp

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"google.golang.org/protobuf/encoding/protowire"
)

// tag returns a length-delimited field with the given content.
func tag(num protowire.Number, content ...[]byte) []byte {
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), all)
}

// spanWith returns a request with two spans: a valid one, and one that has the given
// fields in addition to those of the valid one.
func spanWith(fields ...[]byte) []byte {
	good := AppendSpan(nil, serverSpan())
	_, n := protowire.ConsumeVarint(good[1:])
	return tag(1, tag(2, good, tag(2, append([][]byte{good[1+n:]}, fields...)...)))
}

const inSpan = "resourceSpans[0].scopeSpans[0].spans[1]"

func TestMalformed(t *testing.T) {
	good := spanWith()
	if _, err := DecodeTraces(good); err != nil {
		t.Fatal(err)
	}
	attribute := func(value ...[]byte) []byte {
		return tag(spanAttributes, tag(keyValueKey, []byte("k")), tag(keyValueValue, value...))
	}
	nested := []byte{anyInt<<3 | varint, 1}
	for range maxDepth {
		nested = tag(anyArray, tag(listValues, nested))
	}
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"not protobuf":      {[]byte("{}"), "malformed, or cut short"},
		"cut short":         {good[:len(good)-1], "malformed, or cut short"},
		"field number 0":    {[]byte{0x02, 0x00}, "malformed, or cut short"},
		"end of no group":   {[]byte{0x0c}, "malformed, or cut short"},
		"wrong wire type":   {[]byte{0x08, 0x01}, "resourceSpans[0]: want wire type bytes, got varint"},
		"cut within":        {tag(1, []byte{0x12}), "resourceSpans[0]: malformed, or cut short"},
		"second resource":   {append(tag(1), tag(1, tag(1, []byte{0x0a}))...), "resourceSpans[1].resource: malformed, or cut short"},
		"no ids":            {tag(1, tag(2, tag(2))), "resourceSpans[0].scopeSpans[0].spans[0].traceId: missing or all zeros"},
		"trace id of zeros": {spanWith(tag(spanTraceID, make([]byte, 16))), inSpan + ".traceId: missing or all zeros"},
		"span id of zeros":  {spanWith(tag(spanSpanID, make([]byte, 8))), inSpan + ".spanId: missing or all zeros"},
		"long trace id":     {spanWith(tag(spanTraceID, make([]byte, 17))), inSpan + ".traceId: want 16 bytes, got 17"},
		"short span id":     {spanWith(tag(spanSpanID, make([]byte, 5))), inSpan + ".spanId: want 8 bytes, got 5"},
		"short parent id":   {spanWith(tag(spanParentSpanID, make([]byte, 7))), inSpan + ".parentSpanId: want 8 bytes, got 7"},
		"name is a number":  {spanWith([]byte{spanName<<3 | varint, 1}), inSpan + ".name: want wire type bytes, got varint"},
		"kind is text":      {spanWith(tag(spanKind, []byte("server"))), inSpan + ".kind: want wire type varint, got bytes"},
		"start is a varint": {spanWith([]byte{spanStart<<3 | varint, 1}), inSpan + ".startTimeUnixNano: want wire type fixed64, got varint"},
		"end after 2262": {
			spanWith(protowire.AppendFixed64([]byte{spanEnd<<3 | fixed64}, math.MaxInt64+1)),
			inSpan + ".endTimeUnixNano: want at most 9223372036854775807, got 9223372036854775808",
		},
		"event time after 2262": {
			spanWith(tag(spanEvents), tag(spanEvents, protowire.AppendFixed64([]byte{eventTime<<3 | fixed64}, math.MaxUint64))),
			inSpan + ".events[1].timeUnixNano: want at most 9223372036854775807, got 18446744073709551615",
		},
		"flags are a varint":   {spanWith([]byte{0x80, 0x01, 0x01}), inSpan + ".flags: want wire type fixed32, got varint"},
		"status is a number":   {spanWith([]byte{spanStatus<<3 | varint, 1}), inSpan + ".status: want wire type bytes, got varint"},
		"link with a short id": {spanWith(tag(spanLinks, tag(linkSpanID, []byte{1}))), inSpan + ".links[0].spanId: want 8 bytes, got 1"},
		"attribute cut short":  {spanWith(tag(spanAttributes, []byte{0x0a, 0x05, 'k'})), inSpan + ".attributes[10]: malformed, or cut short"},
		"double is a varint":   {spanWith(attribute([]byte{anyDouble<<3 | varint, 1})), inSpan + ".attributes[10].value.doubleValue: want wire type fixed64, got varint"},
		"element of an array": {
			spanWith(attribute(tag(anyArray, tag(listValues), tag(listValues, tag(anyInt))))),
			inSpan + ".attributes[10].value.arrayValue.values[1].intValue: want wire type varint, got bytes",
		},
		"member of a kvlist": {
			spanWith(attribute(tag(anyKvlist, tag(listValues, tag(keyValueValue, tag(anyBool)))))),
			inSpan + ".attributes[10].value.kvlistValue.values[0].value.boolValue: want wire type varint, got bytes",
		},
		"too deep": {
			spanWith(attribute(nested)),
			inSpan + ".attributes[10].value" + strings.Repeat(".arrayValue.values[0]", maxDepth) + ": nested deeper than 64",
		},
		"attribute of a scope": {
			tag(1, tag(2, tag(1, tag(scopeAttributes, tag(keyValueKey, []byte("k")), []byte{keyValueValue<<3 | varint, 0})))),
			"resourceSpans[0].scopeSpans[0].scope.attributes[0].value: want wire type bytes, got varint",
		},
	} {
		batches, err := DecodeTraces(c.data)
		if err == nil || err.Error() != c.want || batches != nil {
			t.Errorf("%s:\n got %v\nwant %s", what, err, c.want)
		}
	}
}

// No prefix of a request causes a panic, and none decodes as the whole request.
func TestCutShort(t *testing.T) {
	data := AppendTraces(nil, fullTraces()...)
	whole := len(AppendTraces(nil, fullTraces()[:1]...)) // one ResourceSpans
	for n := 1; n < len(data); n++ {
		if _, err := DecodeTraces(data[:n]); err == nil && n != whole {
			t.Errorf("the first %d bytes of %d decode", n, len(data))
		}
	}
	text := AppendTracesJSON(nil, fullTraces()...)
	for n := range len(text) {
		if _, err := DecodeTracesJSON(text[:n]); err == nil {
			t.Errorf("the first %d bytes of %d decode", n, len(text))
		}
	}
}

// Unknown fields, which later versions of the protocol may add, are skipped whatever
// their type.
func TestUnknownFields(t *testing.T) {
	unknown := unhex(t, `
		98 06 01                     # varint
		99 06 0000000000000000       # fixed64
		9a 06 02 ffff                # bytes
		9b 06 08 01 9c 06            # group
		9d 06 00000000`)
	data := append(unknown, tag(1, unknown,
		tag(1, unknown, tag(3, unknown)), // resource, with an entity_ref
		tag(2, unknown, tag(1, unknown), tag(2,
			unknown,
			tag(spanTraceID, []byte("0123456789abcdef")), tag(spanSpanID, []byte("01234567")),
			[]byte{spanKind<<3 | varint, 99},
			tag(spanStatus, unknown, []byte{statusCode<<3 | varint, 99}),
			tag(spanAttributes, unknown, tag(keyValueKey, []byte("k")), tag(keyValueValue, []byte{8<<3 | varint, 1})), // string_value_strindex
		)))...)
	s := &dendro.SpanData{Scope: &dendro.Scope{}, Kind: dendro.KindUnspecified, RemoteUnknown: true, Attributes: []slog.Attr{{Key: "k"}}}
	copy(s.TraceID[:], "0123456789abcdef")
	copy(s.SpanID[:], "01234567")
	got, err := DecodeTraces(data)
	testkit.NoError(t, err)
	equal(t, "batches", got, []*dendro.Batch{{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{s}}})
}

// The rules of the package comment hold in both encodings.
func TestDecodeRules(t *testing.T) {
	span := func(fields string) string {
		return `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7",` + fields + `}]}]}]}`
	}
	attributes := func(s *dendro.SpanData) string {
		var b strings.Builder
		dumpAttrs(&b, s.Attributes)
		return strings.Join(strings.Fields(b.String()), " ")
	}
	for _, c := range []struct {
		fields string
		got    func(*dendro.SpanData) string
		want   string
	}{
		{`"attributes":[{"key":"a","value":{"kvlistValue":{"values":[
			{"key":"b","value":{"intValue":1}},
			{"key":"c","value":{"kvlistValue":{"values":[{"key":"d","value":{"boolValue":true}}]}}},
			{"key":"","value":{"kvlistValue":{"values":[{"key":"e","value":{"stringValue":"x"}}]}}}]}}}]`,
			attributes, `"a" = {"b" = int64 1 "c" = {"d" = bool true}}`},
		{`"attributes":[{"key":"m","value":{"arrayValue":{"values":[
			{"stringValue":"x"},{"kvlistValue":{"values":[{"key":"role","value":{"stringValue":"user"}}]}},{"arrayValue":{"values":[{"intValue":1},{"intValue":2}]}}]}}}]`,
			attributes, `"m" = [string "x", {"role" = string "user"}, []int64 []int64{1, 2}]`},
		{`"attributes":[{"key":"none","value":{"kvlistValue":{}}},{"key":"array","value":{"arrayValue":{}}}]`, attributes, `"none" = {} "array" = []`},
		{`"droppedAttributesCount":4,"attributes":[{"value":{"intValue":1}},{"key":"k","value":{"kvlistValue":{"values":[{"value":{"intValue":1}}]}}}]`,
			func(s *dendro.SpanData) string { return fmt.Sprint(s.DroppedAttributes, len(s.Attributes)) }, "6 1"},
		{`"events":[{},{"name":"e"}],"links":[{"attributes":[{"key":"k"}]},{}],"droppedLinksCount":1`,
			func(s *dendro.SpanData) string {
				return fmt.Sprint(len(s.Events), s.DroppedEvents, len(s.Links), s.DroppedLinks)
			}, "1 1 1 2"},
		{`"events":[{"attributes":[{"key":"dendro.event.duration_ns","value":{"intValue":"5"}},{"key":"dendro.event.duration_ns","value":{"intValue":"-5"}}]}]`,
			func(s *dendro.SpanData) string { return fmt.Sprint(s.Events[0].Duration, len(s.Events[0].Attributes)) }, "5ns 1"},
		{`"flags":4294967039`, func(s *dendro.SpanData) string { return fmt.Sprint(s.Flags, s.Remote, s.RemoteUnknown) }, "255 false true"},
		{`"flags":512`, func(s *dendro.SpanData) string { return fmt.Sprint(s.Flags, s.Remote, s.RemoteUnknown) }, "0 false true"},
		{`"flags":768`, func(s *dendro.SpanData) string { return fmt.Sprint(s.Flags, s.Remote, s.RemoteUnknown) }, "0 true false"},
		{`"traceState":"a=1, b=2"`, func(s *dendro.SpanData) string { return s.State.String() }, "a=1,b=2"},
		{`"traceState":"no tracestate","name":"kept"`, func(s *dendro.SpanData) string { return s.State.String() + s.Name }, "kept"},
		{`"parentSpanId":"0000000000000000"`, func(s *dendro.SpanData) string { return fmt.Sprint(s.ParentID.IsValid()) }, "false"},
		{`"startTimeUnixNano":9,"endTimeUnixNano":8`, func(s *dendro.SpanData) string { return fmt.Sprint(s.Start, s.End) }, "9 8"},
		{`"kind":0`, func(s *dendro.SpanData) string { return s.Kind.String() }, "unspecified"},
		{`"name":"no kind"`, func(s *dendro.SpanData) string { return s.Kind.String() }, "unspecified"},
		{`"kind":1`, func(s *dendro.SpanData) string { return s.Kind.String() }, "internal"},
		{`"kind":5`, func(s *dendro.SpanData) string { return s.Kind.String() }, "consumer"},
		{`"kind":6`, func(s *dendro.SpanData) string { return s.Kind.String() }, "unspecified"},
		{`"kind":-1,"status":{"code":-1}`, func(s *dendro.SpanData) string { return s.Kind.String() + s.Status.Code.String() }, "unspecifiedunset"},
		{`"status":{"code":1}`, func(s *dendro.SpanData) string { return s.Status.Code.String() }, "ok"},
	} {
		batches, err := DecodeTracesJSON([]byte(span(c.fields)))
		testkit.NoError(t, err)
		testkit.Equal(t, c.fields, c.got(batches[0].Spans[0]), c.want)
		batches, err = DecodeTraces(AppendTraces(nil, batches...))
		testkit.NoError(t, err)
		testkit.Equal(t, "again: "+c.fields, c.got(batches[0].Spans[0]), c.want)
	}
}

// The values of a kvlist are decoded in the same way from protobuf.
func TestDecodeKvlist(t *testing.T) {
	member := tag(listValues, tag(keyValueKey, []byte("b")), tag(keyValueValue, []byte{anyInt<<3 | varint, 5}))
	list := tag(spanAttributes, tag(keyValueKey, []byte("a")), tag(keyValueValue, tag(anyKvlist, member, member)))
	batches, err := DecodeTraces(spanWith(list))
	testkit.NoError(t, err)
	attrs := batches[0].Spans[1].Attributes
	var b strings.Builder
	dumpAttrs(&b, attrs[len(attrs)-1:])
	testkit.Equal(t, "attributes, both kept", b.String(), "  \"a\" = {\"b\" = int64 5 \"b\" = int64 5}\n")
}

// Requests with text that is not UTF-8 are accepted.
func TestDecodeInvalidUTF8(t *testing.T) {
	batches, err := DecodeTraces(spanWith(tag(spanName, []byte("caf\xe9"))))
	testkit.NoError(t, err)
	testkit.Equal(t, "protobuf", batches[0].Spans[1].Name, "caf\ufffd")
	text := strings.Replace(string(AppendTracesJSON(nil, testBatch(1))), "GET /orders", "GET caf\xe9", 1)
	batches, err = DecodeTracesJSON([]byte(text))
	testkit.NoError(t, err)
	testkit.Equal(t, "JSON", batches[0].Spans[0].Name, "GET caf\ufffd/{id}")
}

// A small request cannot take much memory, however it is constructed.
func TestAmplification(t *testing.T) {
	const size = 1 << 20
	fill := func(part []byte) []byte { return spanWith([]byte(strings.Repeat(string(part), size/len(part)))) }
	inValue := func(num protowire.Number, part []byte) []byte {
		return spanWith(tag(spanAttributes, tag(keyValueKey, []byte("k")), tag(keyValueValue, tag(num, []byte(strings.Repeat(string(part), size/len(part)))))))
	}
	for what, data := range map[string][]byte{
		"attributes":          fill(tag(spanAttributes)),
		"attributes with key": fill(tag(spanAttributes, tag(keyValueKey, []byte("k")))),
		"empty events":        fill(tag(spanEvents)),
		"events":              fill(tag(spanEvents, tag(eventName, []byte("e")))),
		"empty links":         fill(tag(spanLinks)),
		"links":               fill(tag(spanLinks, []byte{linkDroppedAttributes << 3, 1})),
		"empty spans":         tag(1, tag(2, []byte(strings.Repeat("\x12\x00", size/2)))),
		"empty scopes":        tag(1, []byte(strings.Repeat("\x12\x00", size/2))),
		"empty resources":     []byte(strings.Repeat("\x0a\x00", size/2)),
		"array":               inValue(anyArray, tag(listValues)),
		"array of strings":    inValue(anyArray, tag(listValues, tag(anyString))),
		"array of arrays":     inValue(anyArray, tag(listValues, tag(anyArray))),
		"kvlist":              inValue(anyKvlist, tag(listValues)),
		"kvlist with keys":    inValue(anyKvlist, tag(listValues, tag(keyValueKey, []byte("k")))),
		"long prefix": spanWith(tag(spanAttributes, tag(keyValueKey, make([]byte, size/2)), tag(keyValueValue,
			tag(anyKvlist, []byte(strings.Repeat(string(tag(listValues, tag(keyValueKey, []byte("k")))), size/10)))))),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeTraces(data)
		runtime.ReadMemStats(&after)
		took := (after.TotalAlloc - before.TotalAlloc) / uint64(len(data))
		t.Logf("%s: %d times its size, error %v", what, took, err)
		if took > 128 {
			t.Errorf("%s: %d times its size", what, took)
		}
	}
}
