package integration

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// otlpBatches and otlpRequest have the same content.
func otlpBatches() []*dendro.Batch {
	resource := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}, SchemaURL: "https://example.com/resource"}
	state, _ := dendro.ParseTraceState("vendor=1")
	full := &dendro.SpanData{
		SpanContext: dendro.SpanContext{
			TraceID: dendro.TraceID{0: 0xfb, 1: 0xff, 15: 1},
			SpanID:  dendro.SpanID{0: 0xfe, 7: 2},
			Flags:   dendro.FlagSampled | dendro.FlagRandom,
			State:   state,
		},
		ParentID: dendro.SpanID{7: 3},
		Remote:   true,
		Kind:     dendro.KindConsumer,
		Name:     "receive ☃",
		Start:    1_795_000_000_123_456_789,
		End:      math.MaxInt64,
		Attributes: []slog.Attr{
			slog.String("string", "x"), slog.String("empty", ""), slog.Bool("true", true), slog.Bool("false", false),
			slog.Int64("int", math.MinInt64), slog.Int("zero", 0), slog.Float64("double", -0.1), slog.Float64("infinite", math.Inf(-1)),
			slog.Any("null", nil), slog.Any("bytes", []byte{0xfb, 0xff}), slog.Any("strings", []string{"a", ""}),
			slog.Any("ints", []int64{-1, 1 << 60}), slog.Any("doubles", []float64{1.5}), slog.Any("bools", []bool{false, true}),
			slog.Any("list", []slog.Value{slog.IntValue(1), slog.AnyValue([]string{"below"}), {}}),
		},
		DroppedAttributes: 1,
		Events: []dendro.Event{
			{Name: "took", Time: 5, Duration: time.Second, Attributes: []slog.Attr{slog.Int("n", 1)}, DroppedAttributes: 2},
		},
		DroppedEvents: math.MaxUint32,
		Links: []dendro.Link{{
			SpanContext:       dendro.SpanContext{TraceID: dendro.TraceID{15: 9}, SpanID: dendro.SpanID{7: 8}, Flags: dendro.FlagSampled, State: state},
			Attributes:        []slog.Attr{slog.String("why", "queued")},
			DroppedAttributes: 4,
		}},
		DroppedLinks: 5,
		Status:       dendro.Status{Code: dendro.StatusError, Message: "failed"},
	}
	full.Scope = &dendro.Scope{Name: "lib", Version: "1", Attributes: []slog.Attr{slog.Int("a", 1)}, SchemaURL: "https://example.com/scope"}
	small := func(sc *dendro.Scope) *dendro.SpanData {
		return &dendro.SpanData{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}}, Scope: sc}
	}
	return []*dendro.Batch{
		{Resource: resource, Spans: []*dendro.SpanData{full, small(full.Scope), small(&dendro.Scope{Name: "other"})}},
		{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{small(&dendro.Scope{})}},
	}
}

func stringValue(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func intValue(n int64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}
}

func doubleValue(f float64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: f}}
}

func boolValue(b bool) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: b}}
}

func arrayValue(values ...*commonpb.AnyValue) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: values}}}
}

func otlpRequest() *coltracepb.ExportTraceServiceRequest {
	small := &tracepb.Span{
		TraceId: append([]byte{1}, make([]byte, 15)...), SpanId: append([]byte{1}, make([]byte, 7)...),
		Kind: tracepb.Span_SPAN_KIND_INTERNAL, Flags: uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK),
	}
	full := &tracepb.Span{
		TraceId:           []byte{0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		SpanId:            []byte{0xfe, 0, 0, 0, 0, 0, 0, 2},
		ParentSpanId:      []byte{0, 0, 0, 0, 0, 0, 0, 3},
		TraceState:        "vendor=1",
		Flags:             3 | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK|tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK),
		Name:              "receive ☃",
		Kind:              tracepb.Span_SPAN_KIND_CONSUMER,
		StartTimeUnixNano: 1_795_000_000_123_456_789,
		EndTimeUnixNano:   math.MaxInt64,
		Attributes: []*commonpb.KeyValue{
			{Key: "string", Value: stringValue("x")}, {Key: "empty", Value: stringValue("")},
			{Key: "true", Value: boolValue(true)}, {Key: "false", Value: boolValue(false)},
			{Key: "int", Value: intValue(math.MinInt64)}, {Key: "zero", Value: intValue(0)},
			{Key: "double", Value: doubleValue(-0.1)}, {Key: "infinite", Value: doubleValue(math.Inf(-1))},
			{Key: "null", Value: &commonpb.AnyValue{}},
			{Key: "bytes", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte{0xfb, 0xff}}}},
			{Key: "strings", Value: arrayValue(stringValue("a"), stringValue(""))},
			{Key: "ints", Value: arrayValue(intValue(-1), intValue(1<<60))},
			{Key: "doubles", Value: arrayValue(doubleValue(1.5))},
			{Key: "bools", Value: arrayValue(boolValue(false), boolValue(true))},
			{Key: "list", Value: arrayValue(intValue(1), arrayValue(stringValue("below")), &commonpb.AnyValue{})},
		},
		DroppedAttributesCount: 1,
		Events: []*tracepb.Span_Event{{
			Name: "took", TimeUnixNano: 5, DroppedAttributesCount: 2,
			Attributes: []*commonpb.KeyValue{{Key: "n", Value: intValue(1)}, {Key: "dendro.event.duration_ns", Value: intValue(1e9)}},
		}},
		DroppedEventsCount: math.MaxUint32,
		Links: []*tracepb.Span_Link{{
			TraceId: append(make([]byte, 15), 9), SpanId: append(make([]byte, 7), 8), TraceState: "vendor=1", Flags: 1,
			Attributes:             []*commonpb.KeyValue{{Key: "why", Value: stringValue("queued")}},
			DroppedAttributesCount: 4,
		}},
		DroppedLinksCount: 5,
		Status:            &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "failed"},
	}
	return &coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{
		{
			Resource:  &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: stringValue("shop")}}},
			SchemaUrl: "https://example.com/resource",
			ScopeSpans: []*tracepb.ScopeSpans{
				{
					Scope:     &commonpb.InstrumentationScope{Name: "lib", Version: "1", Attributes: []*commonpb.KeyValue{{Key: "a", Value: intValue(1)}}},
					SchemaUrl: "https://example.com/scope",
					Spans:     []*tracepb.Span{full, small},
				},
				{Scope: &commonpb.InstrumentationScope{Name: "other"}, Spans: []*tracepb.Span{small}},
			},
		},
		{Resource: &resourcepb.Resource{}, ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{}, Spans: []*tracepb.Span{small}}}},
	}}
}

func protoEqual(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, prototext.Format(got), prototext.Format(want))
	}
}

func unmarshalRequest(t *testing.T, data []byte) *coltracepb.ExportTraceServiceRequest {
	t.Helper()
	got := &coltracepb.ExportTraceServiceRequest{}
	testkit.NoError(t, proto.Unmarshal(data, got))
	return got
}

func TestOTLPProtobuf(t *testing.T) {
	protoEqual(t, "what dendro encodes", unmarshalRequest(t, otlp.AppendTraces(nil, otlpBatches()...)), otlpRequest())

	data, err := proto.Marshal(otlpRequest())
	testkit.NoError(t, err)
	batches, err := otlp.DecodeTraces(data)
	testkit.NoError(t, err)
	testkit.Equal(t, "batches", len(batches), 2)
	spans := batches[0].Spans
	testkit.Equal(t, "the scope is shared", spans[0].Scope == spans[1].Scope && spans[1].Scope != spans[2].Scope, true)
	testkit.Equal(t, "duration", batches[0].Spans[0].Events[0].Duration, time.Second)
	protoEqual(t, "what dendro decodes", unmarshalRequest(t, otlp.AppendTraces(nil, batches...)), otlpRequest())
}

// Dendro does not send text that official receivers would refuse.
func TestOTLPInvalidUTF8(t *testing.T) {
	batches := otlpBatches()
	batches[0].Spans[0].Name = "caf\xe9"
	request := unmarshalRequest(t, otlp.AppendTraces(nil, batches...))
	testkit.Equal(t, "name", request.ResourceSpans[0].ScopeSpans[0].Spans[0].Name, "caf\ufffd")
}

// recodeIDs returns JSON with the ids in another encoding: the JSON mapping of
// protobuf uses base64 where OTLP uses hexadecimal.
func recodeIDs(t *testing.T, data []byte, recode func(string) (string, error)) []byte {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				if id, ok := e.(string); ok && (key == "traceId" || key == "spanId" || key == "parentSpanId") {
					var err error
					v[key], err = recode(id)
					testkit.NoError(t, err)
				} else {
					walk(e)
				}
			}
		}
	}
	var root any
	testkit.NoError(t, json.Unmarshal(data, &root))
	walk(root)
	out, err := json.Marshal(root)
	testkit.NoError(t, err)
	return out
}

func TestOTLPJSON(t *testing.T) {
	got := &coltracepb.ExportTraceServiceRequest{}
	data := recodeIDs(t, otlp.AppendTracesJSON(nil, otlpBatches()...), func(id string) (string, error) {
		b, err := hex.DecodeString(id)
		return base64.StdEncoding.EncodeToString(b), err
	})
	testkit.NoError(t, protojson.Unmarshal(data, got))
	protoEqual(t, "what dendro encodes", got, otlpRequest())

	for what, options := range map[string]protojson.MarshalOptions{
		"names":            {},
		"numbers":          {UseEnumNumbers: true},
		"with zero values": {UseEnumNumbers: true, EmitUnpopulated: true, Multiline: true},
	} {
		data, err := options.Marshal(otlpRequest())
		testkit.NoError(t, err)
		batches, err := otlp.DecodeTracesJSON(recodeIDs(t, data, func(id string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(id)
			return hex.EncodeToString(b), err
		}))
		testkit.NoError(t, err)
		protoEqual(t, "what dendro decodes: "+what, unmarshalRequest(t, otlp.AppendTraces(nil, batches...)), otlpRequest())
	}
}

func TestOTLPAnswers(t *testing.T) {
	for _, r := range []otlp.Result{{}, {Rejected: 3}, {Message: "slow down"}, {Rejected: math.MaxInt64, Message: "ž"}} {
		want := &coltracepb.ExportTraceServiceResponse{}
		if r != (otlp.Result{}) {
			want.PartialSuccess = &coltracepb.ExportTracePartialSuccess{RejectedSpans: r.Rejected, ErrorMessage: r.Message}
		}
		got := &coltracepb.ExportTraceServiceResponse{}
		testkit.NoError(t, proto.Unmarshal(r.AppendProto(nil), got))
		protoEqual(t, "protobuf", got, want)
		got.Reset()
		testkit.NoError(t, protojson.Unmarshal(r.AppendJSON(nil), got))
		protoEqual(t, "JSON", got, want)

		data, err := proto.Marshal(want)
		testkit.NoError(t, err)
		back, err := otlp.DecodeResult(data)
		testkit.NoError(t, err)
		testkit.Equal(t, "from protobuf", back, r)
		data, err = protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(want)
		testkit.NoError(t, err)
		back, err = otlp.DecodeResultJSON(data)
		testkit.NoError(t, err)
		testkit.Equal(t, "from JSON", back, r)
	}
	want := &rpcstatus.Status{Code: 3, Message: "spans[0].spanId: want 8 bytes, got 5"}
	got := &rpcstatus.Status{}
	testkit.NoError(t, proto.Unmarshal(otlp.AppendStatus(nil, want.Code, want.Message), got))
	protoEqual(t, "status", got, want)
	got.Reset()
	testkit.NoError(t, protojson.Unmarshal(otlp.AppendStatusJSON(nil, want.Code, want.Message), got))
	protoEqual(t, "status, JSON", got, want)
}
