package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/dendrotrace/dendro/collector"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// jsFolder has what npm ci installs.
const jsFolder = "otel-js"

// Everything that OpenTelemetry's SDK for JavaScript sends, by each of its exporters, comes back field
// by field as it was recorded.
func TestOTelJSSends(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		testkit.Missing(t, "no Node.js, so OpenTelemetry's SDK for JavaScript is not tested: %v", err)
	}
	if _, err := os.Stat(jsFolder + "/node_modules"); err != nil {
		testkit.Missing(t, "OpenTelemetry's SDK for JavaScript is not installed (npm ci in internal/integration/%s): %v", jsFolder, err)
	}
	for _, sent := range []struct{ protocol, path, counter string }{
		{"http/protobuf", "/v1/traces", "otlp_http_protobuf"},
		{"http/json", "/v1/traces", "otlp_http_json"},
		{"grpc", "", "otlp_grpc"},
	} {
		for _, compression := range []string{"none", "gzip"} {
			t.Run(sent.protocol+", "+compression, func(t *testing.T) {
				testkit.NoLeaks(t)
				store := openRestarted(t)
				receiver := otlpserver.New(store, otlpserver.Options{})
				gzipped := make(chan bool, 10)
				address := startReceiver(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					gzipped <- r.Header.Get("Content-Encoding") == "gzip" || r.Header.Get("Grpc-Encoding") == "gzip"
					receiver.ServeHTTP(w, r)
				}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				send := exec.CommandContext(ctx, node, "send.mjs", sent.protocol, compression, "http://"+address+sent.path)
				send.Dir = jsFolder
				if out, err := send.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				for _, p := range receiver.Stats().Protocols {
					testkit.Equal(t, p.Protocol, p.StoredSpans > 0, p.Protocol == sent.counter)
				}
				testkit.Equal(t, "compressed", <-gzipped, compression == "gzip")

				for when, s := range []collector.Store{store.Store, store} {
					page := web.New(s, web.Options{Authorize: func(*http.Request) bool { return true }})
					for _, accept := range traceFormats {
						what := []string{"before the restart, ", "after it, "}[when] + accept
						protoEqual(t, what, traceFrom(t, page, jsTraceID, accept), jsTrace())
					}
				}
			})
		}
	}
}

var jsTraceID = []byte{1, 2, 3, 15: 16}

// jsTrace returns what send.mjs records.
func jsTrace() *tracepb.TracesData {
	const local, remote = 0x101, 0x301 // sampled; whether the parent or linked span is remote
	at := func(ms uint64) uint64 { return 1_700_000_000_123_456_789 + ms*1e6 }
	attr := func(key string, v *commonpb.AnyValue) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: v}
	}
	const maxSafe = 1<<53 - 1
	callerID, rootID := []byte{1, 7: 8}, []byte{7: 1}
	root := &tracepb.Span{
		TraceId: jsTraceID, SpanId: rootID, ParentSpanId: callerID, TraceState: "vendor=1,other=2", Flags: remote,
		Name: "GET /ünï/{id}", Kind: tracepb.Span_SPAN_KIND_SERVER, StartTimeUnixNano: at(0), EndTimeUnixNano: at(100),
		Attributes: []*commonpb.KeyValue{
			attr("string", stringValue("wörld \x01 \" \\ \U0001f333")), attr("empty", stringValue("")),
			attr("int", intValue(-maxSafe)), attr("zero", intValue(0)), attr("float", doubleValue(1e-300)),
			attr("true", boolValue(true)), attr("false", boolValue(false)),
			attr("strings", arrayValue(stringValue("a"), stringValue(""), stringValue("ö"))),
			attr("ints", arrayValue(intValue(maxSafe), intValue(0), intValue(-1))),
			attr("floats", arrayValue(doubleValue(0.5), doubleValue(-2.25))),
			attr("bools", arrayValue(boolValue(true), boolValue(false))),
			attr("none", arrayValue()), attr("holes", arrayValue(stringValue("a"), &commonpb.AnyValue{})),
		},
		Events: []*tracepb.Span_Event{
			{Name: "cache miss", TimeUnixNano: at(2), Attributes: []*commonpb.KeyValue{attr("key", stringValue("k"))}, DroppedAttributesCount: 1},
			{Name: "exception", TimeUnixNano: at(3), Attributes: []*commonpb.KeyValue{attr("exception.type", stringValue("NoRow"))}, DroppedAttributesCount: 1},
			{Name: "bare", TimeUnixNano: at(4)},
		},
		DroppedEventsCount: 1,
		Links: []*tracepb.Span_Link{{
			TraceId: jsTraceID, SpanId: callerID, TraceState: "vendor=1,other=2", Flags: remote,
			Attributes: []*commonpb.KeyValue{attr("why", stringValue("queued"))}, DroppedAttributesCount: 1,
		}},
		DroppedLinksCount: 1,
		Status:            &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "it broke"},
	}
	child := func(id byte, name string, kind tracepb.Span_SpanKind, start, end uint64) *tracepb.Span {
		return &tracepb.Span{
			TraceId: jsTraceID, SpanId: []byte{7: id}, ParentSpanId: rootID, TraceState: "vendor=1,other=2", Flags: local,
			Name: name, Kind: kind, StartTimeUnixNano: at(start), EndTimeUnixNano: at(end),
		}
	}
	client := child(4, "CLIENT", tracepb.Span_SPAN_KIND_CLIENT, 12, 22)
	client.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	busy := child(7, "busy", tracepb.Span_SPAN_KIND_INTERNAL, 30, 31)
	busy.DroppedAttributesCount = 2
	for i := range 20 {
		busy.Attributes = append(busy.Attributes, attr(fmt.Sprint("n", i), intValue(int64(i))))
	}
	return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			attr("service.name", stringValue("shop")), attr("process.pid", intValue(42))}},
		SchemaUrl: "https://example.com/resource",
		ScopeSpans: []*tracepb.ScopeSpans{
			{
				Scope:     &commonpb.InstrumentationScope{Name: "library", Version: "1.2.3"},
				SchemaUrl: "https://example.com/scope",
				Spans: []*tracepb.Span{
					root,
					child(2, "INTERNAL", tracepb.Span_SPAN_KIND_INTERNAL, 10, 20),
					child(3, "SERVER", tracepb.Span_SPAN_KIND_SERVER, 11, 21),
					client,
					child(5, "PRODUCER", tracepb.Span_SPAN_KIND_PRODUCER, 13, 23),
					child(6, "CONSUMER", tracepb.Span_SPAN_KIND_CONSUMER, 14, 24),
				},
			},
			{Scope: &commonpb.InstrumentationScope{Name: "other"}, Spans: []*tracepb.Span{busy}},
		},
	}}}
}
