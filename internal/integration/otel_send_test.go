package integration

import (
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/internal/testkit"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP/HTTP receiver based on the official protocol buffers.
type receiver struct {
	t        *testing.T
	requests chan *coltracepb.ExportTraceServiceRequest
	status   int
	answer   proto.Message
}

func newReceiver(t *testing.T) (*receiver, string) {
	r := &receiver{t: t, requests: make(chan *coltracepb.ExportTraceServiceRequest, 10), status: 200, answer: &coltracepb.ExportTraceServiceResponse{}}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return r, srv.URL
}

func (h *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	testkit.Equal(h.t, "request", r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type"), "POST /v1/traces application/x-protobuf")
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			h.t.Error(err)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		h.t.Error(err)
	}
	var request coltracepb.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		h.t.Error(err)
	}
	h.requests <- &request
	data, err = proto.Marshal(h.answer)
	if err != nil {
		h.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(h.status)
	_, _ = w.Write(data)
}

func serviceResource(name string) *resourcepb.Resource {
	return &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", name)}}
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func integer(v int64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}}
}

func boolean(v bool) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
}

func list(values ...*commonpb.AnyValue) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: values}}}
}

// Every field of a span has the same meaning in the official library.
func TestSendsToOTel(t *testing.T) {
	state, err := dendro.ParseTraceState("vendor=1,other=2")
	testkit.NoError(t, err)
	scope := &dendro.Scope{Name: "library", Version: "1.2.3", SchemaURL: "https://example.com/scope", Attributes: []slog.Attr{slog.Bool("on", true)}}
	batch := &dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}, SchemaURL: "https://example.com/resource"},
		Spans: []*dendro.SpanData{{
			SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1, 15: 16}, SpanID: dendro.SpanID{1, 7: 8}, Flags: dendro.FlagSampled | dendro.FlagRandom, State: state},
			ParentID:    dendro.SpanID{2},
			Remote:      true,
			Kind:        dendro.KindServer,
			Name:        "GET /ünï",
			Scope:       scope,
			Start:       1_700_000_000_000_000_001, End: 1_700_000_001_000_000_002,
			Attributes: []slog.Attr{
				slog.String("string", "x"), slog.String("empty", ""), slog.Int64("int", -7), slog.Float64("float", 0.5), slog.Bool("false", false),
				slog.Any("strings", []string{"a", ""}), slog.Any("ints", []int64{1, 0}), slog.Any("floats", []float64{0.5}),
				slog.Any("bools", []bool{true, false}), slog.Any("bytes", []byte{0, 0xff}), slog.Any("mixed", []slog.Value{slog.IntValue(1), slog.BoolValue(true)}),
			},
			Events: []dendro.Event{
				{Name: "retry", Time: 5, Attributes: []slog.Attr{slog.Int("n", 2)}, DroppedAttributes: 3},
				{Name: "query", Time: 6, Duration: 4 * time.Microsecond},
			},
			Links: []dendro.Link{{
				SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{3}, SpanID: dendro.SpanID{4}, Flags: dendro.FlagSampled, State: state},
				Attributes:  []slog.Attr{slog.String("why", "queued")}, DroppedAttributes: 5,
			}},
			Status:            dendro.Status{Code: dendro.StatusError, Message: "it broke"},
			DroppedAttributes: 6, DroppedEvents: 7, DroppedLinks: 8,
		}, {
			SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1, 15: 16}, SpanID: dendro.SpanID{9}, Flags: dendro.FlagSampled},
			ParentID:    dendro.SpanID{1, 7: 8},
			Name:        "child", Scope: scope, Start: 1, End: 2, Kind: dendro.KindInternal, Status: dendro.Status{Code: dendro.StatusOK},
		}},
	}
	want := &coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: serviceResource("shop"), SchemaUrl: "https://example.com/resource",
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope:     &commonpb.InstrumentationScope{Name: "library", Version: "1.2.3", Attributes: []*commonpb.KeyValue{{Key: "on", Value: boolean(true)}}},
			SchemaUrl: "https://example.com/scope",
			Spans: []*tracepb.Span{{
				TraceId: []byte{1, 15: 16}, SpanId: []byte{1, 7: 8}, ParentSpanId: []byte{2, 7: 0}, TraceState: "vendor=1,other=2",
				Flags: 3 | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK|tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK),
				Name:  "GET /ünï", Kind: tracepb.Span_SPAN_KIND_SERVER,
				StartTimeUnixNano: 1_700_000_000_000_000_001, EndTimeUnixNano: 1_700_000_001_000_000_002,
				Attributes: []*commonpb.KeyValue{
					text("string", "x"), text("empty", ""), {Key: "int", Value: integer(-7)},
					{Key: "float", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 0.5}}}, {Key: "false", Value: boolean(false)},
					{Key: "strings", Value: list(text("", "a").Value, text("", "").Value)}, {Key: "ints", Value: list(integer(1), integer(0))},
					{Key: "floats", Value: list(&commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 0.5}})},
					{Key: "bools", Value: list(boolean(true), boolean(false))},
					{Key: "bytes", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte{0, 0xff}}}},
					{Key: "mixed", Value: list(integer(1), boolean(true))},
				},
				Events: []*tracepb.Span_Event{
					{Name: "retry", TimeUnixNano: 5, Attributes: []*commonpb.KeyValue{{Key: "n", Value: integer(2)}}, DroppedAttributesCount: 3},
					{Name: "query", TimeUnixNano: 6, Attributes: []*commonpb.KeyValue{{Key: "dendro.event.duration_ns", Value: integer(4000)}}},
				},
				Links: []*tracepb.Span_Link{{
					TraceId: []byte{3, 15: 0}, SpanId: []byte{4, 7: 0}, TraceState: "vendor=1,other=2", Flags: 1,
					Attributes: []*commonpb.KeyValue{text("why", "queued")}, DroppedAttributesCount: 5,
				}},
				Status:                 &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "it broke"},
				DroppedAttributesCount: 6, DroppedEventsCount: 7, DroppedLinksCount: 8,
			}, {
				TraceId: []byte{1, 15: 16}, SpanId: []byte{9, 7: 0}, ParentSpanId: []byte{1, 7: 8},
				Flags: 1 | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK),
				Name:  "child", Kind: tracepb.Span_SPAN_KIND_INTERNAL, StartTimeUnixNano: 1, EndTimeUnixNano: 2,
				Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK},
			}},
		}},
	}}}
	for _, compression := range []string{"gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			testkit.NoLeaks(t)
			receiver, url := newReceiver(t)
			client, err := remote.Dial(url, remote.Options{Compression: compression})
			testkit.NoError(t, err)
			testkit.NoError(t, client.Collect(batch))
			testkit.NoError(t, client.Shutdown(t.Context()))
			if got := <-receiver.requests; !proto.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", prototext.Format(got), prototext.Format(want))
			}
			testkit.Equal(t, "sent", client.Stats().SentSpans, uint64(2))
		})
	}
}

// The client understands the responses of an OpenTelemetry collector.
func TestUnderstandsOTelAnswers(t *testing.T) {
	const message = "span too old, this store keeps no more than a day"
	for _, c := range []struct {
		name     string
		status   int
		answer   proto.Message
		rejected uint64
		says     string
	}{
		{"partial success", 200, &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: message}}, 1, "1 of 2 spans: " + message},
		{"warning", 200, &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{ErrorMessage: message}}, 0, message},
		{"status", 400, &rpcstatus.Status{Code: 3, Message: message}, 2, "400 Bad Request: " + message},
	} {
		t.Run(c.name, func(t *testing.T) {
			testkit.NoLeaks(t)
			receiver, url := newReceiver(t)
			receiver.status, receiver.answer = c.status, c.answer
			client, err := remote.Dial(url, remote.Options{})
			testkit.NoError(t, err)
			tracer := dendro.New(dendro.Options{Collector: client, Sampler: dendro.AlwaysSample})
			ctx, root := tracer.Start(t.Context(), "root")
			_, child := tracer.Start(ctx, "child")
			child.End()
			root.End()
			testkit.NoError(t, client.Shutdown(t.Context()))
			testkit.Equal(t, "rejected", client.Stats().Dropped["rejected"], c.rejected)
			testkit.Equal(t, "sent", client.Stats().SentSpans, 2-c.rejected)
			testkit.Equal(t, "error", client.Stats().LastError.Error(), c.says)
		})
	}
}
