package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// values returns attributes by key, with plain Go values.
func values(attrs []slog.Attr) map[string]any {
	m := map[string]any{}
	for _, a := range attrs {
		m[a.Key] = plain(a.Value)
	}
	return m
}

func plain(v slog.Value) any {
	if members, ok := v.Any().(dendro.KeyValues); ok {
		return values(members)
	}
	if list, ok := v.Any().([]slog.Value); ok {
		var out []any
		for _, element := range list {
			out = append(out, plain(element))
		}
		return out
	}
	return v.Any()
}

// Everything that the OpenTelemetry SDK sends, in each of its formats, is stored
// exactly as it was recorded.
func TestOTelSDKSends(t *testing.T) {
	for name, options := range map[string][]otlptracehttp.Option{
		"protobuf":       nil,
		"protobuf, gzip": {otlptracehttp.WithCompression(otlptracehttp.GzipCompression)},
		"json":           {otlptracehttp.WithEncoding(otlptracehttp.EncodingJSON)},
		"json, gzip":     {otlptracehttp.WithEncoding(otlptracehttp.EncodingJSON), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, store collector.Store) {
				handler := otlpserver.New(store, otlpserver.Options{})
				encodings := make(chan string, 10)
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					kind := strings.Replace(strings.TrimPrefix(r.Header.Get("Content-Type"), "application/"), "x-", "", 1)
					if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
						kind += ", " + encoding
					}
					encodings <- kind
					handler.ServeHTTP(w, r)
				}))
				defer srv.Close()
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				exporter, err := otlptracehttp.New(t.Context(), append(options, otlptracehttp.WithEndpointURL(srv.URL+"/v1/traces"),
					otlptracehttp.WithHTTPClient(&http.Client{Transport: transport}))...)
				testkit.NoError(t, err)
				testOTelSDKSends(t, store, exporter)
				testkit.Equal(t, "how it was sent", <-encodings, name)
			})
		})
	}
}

func testOTelSDKSends(t *testing.T, store collector.Store, exporter sdktrace.SpanExporter) {
	ctx := t.Context()
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewWithAttributes("https://example.com/resource",
			attribute.String("service.name", "shop"), attribute.Int("process.pid", 42))),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: -1, AttributeCountLimit: 20, EventCountLimit: 3, LinkCountLimit: 1,
			AttributePerEventCountLimit: 1, AttributePerLinkCountLimit: 1,
		}))
	tracer := provider.Tracer("library", trace.WithInstrumentationVersion("1.2.3"), trace.WithSchemaURL("https://example.com/scope"),
		trace.WithInstrumentationAttributes(attribute.Bool("scope.attribute", true)))

	state, err := trace.ParseTraceState("vendor=1,other=2")
	testkit.NoError(t, err)
	caller := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3, 15: 16}, SpanID: trace.SpanID{1, 7: 8}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
	start := time.Unix(1_700_000_000, 123_456_789)
	at := func(ms int64) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

	ctx, root := tracer.Start(trace.ContextWithRemoteSpanContext(ctx, caller), "GET /ünï/{id}",
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start),
		trace.WithLinks(trace.Link{SpanContext: caller, Attributes: []attribute.KeyValue{attribute.String("why", "queued"), attribute.Int("over", 1)}}))
	root.SetAttributes(
		attribute.String("string", "wörld \x01 \" \\ \U0001f333"), attribute.String("empty", ""),
		attribute.Int64("int", -1<<63), attribute.Int64("zero", 0), attribute.Float64("float", 1e-300), attribute.Float64("whole", 3),
		attribute.Bool("true", true), attribute.Bool("false", false),
		attribute.StringSlice("strings", []string{"a", "", "ö"}), attribute.Int64Slice("ints", []int64{1<<63 - 1, 0, -1}),
		attribute.Float64Slice("floats", []float64{0.5, 2}), attribute.BoolSlice("bools", []bool{true, false}),
		attribute.ByteSlice("bytes", []byte{0, 0xff, 0x80}),
		attribute.Slice("mixed", attribute.StringValue("a"), attribute.IntValue(1), attribute.BoolValue(true)),
		attribute.Map("map", attribute.String("inner", "x"), attribute.Map("deep", attribute.Int("er", 2))),
	)
	root.AddEvent("lost", trace.WithTimestamp(at(1)))
	root.AddEvent("cache miss", trace.WithTimestamp(at(2)), trace.WithAttributes(attribute.String("key", "k"), attribute.Int("over", 1)))
	root.RecordError(errors.New("no row"), trace.WithTimestamp(at(3)))
	root.AddEvent("bare", trace.WithTimestamp(at(4)))
	root.SetStatus(codes.Error, "it broke")

	var children []trace.Span
	kinds := []trace.SpanKind{trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient, trace.SpanKindProducer, trace.SpanKindConsumer}
	for i, kind := range kinds {
		_, child := tracer.Start(ctx, kind.String(), trace.WithSpanKind(kind), trace.WithTimestamp(at(int64(10+i))))
		if kind == trace.SpanKindClient {
			child.SetStatus(codes.Ok, "is not kept")
		}
		child.End(trace.WithTimestamp(at(int64(20 + i))))
		children = append(children, child)
	}
	_, busy := tracer.Start(ctx, "busy", trace.WithTimestamp(at(30)))
	for i := range 22 {
		busy.SetAttributes(attribute.Int(fmt.Sprint("n", i), i))
	}
	busy.End(trace.WithTimestamp(at(31)))
	root.End(trace.WithTimestamp(at(100)))
	testkit.NoError(t, provider.Shutdown(t.Context()))

	got, err := store.Trace(t.Context(), dendro.TraceID(caller.TraceID()), collector.TimeRange{})
	testkit.NoError(t, err)
	if got == nil || len(got.Spans) != 2+len(kinds) {
		t.Fatalf("got %+v", got)
	}
	sc := func(s trace.Span) dendro.SpanContext {
		c := s.SpanContext()
		state, err := dendro.ParseTraceState(c.TraceState().String())
		testkit.NoError(t, err)
		return dendro.SpanContext{TraceID: dendro.TraceID(c.TraceID()), SpanID: dendro.SpanID(c.SpanID()), Flags: dendro.TraceFlags(c.TraceFlags()), State: state}
	}

	s := got.Spans[0]
	testkit.Equal(t, "context", s.SpanContext, sc(root))
	testkit.Equal(t, "tracestate", s.State.String(), "vendor=1,other=2")
	testkit.Equal(t, "parent", s.ParentID, dendro.SpanID(caller.SpanID()))
	testkit.Equal(t, "remote", s.Remote, true)
	testkit.Equal(t, "name", s.Name, "GET /ünï/{id}")
	testkit.Equal(t, "kind", s.Kind, dendro.KindServer)
	testkit.Equal(t, "times", []int64{s.Start, s.End}, []int64{start.UnixNano(), at(100).UnixNano()})
	testkit.Equal(t, "status", s.Status, dendro.Status{Code: dendro.StatusError, Message: "it broke"})
	testkit.Equal(t, "attributes", values(s.Attributes), map[string]any{
		"string": "wörld \x01 \" \\ \U0001f333", "empty": "", "int": int64(-1 << 63), "zero": int64(0), "float": 1e-300, "whole": 3.0,
		"true": true, "false": false, "strings": []string{"a", "", "ö"}, "ints": []int64{1<<63 - 1, 0, -1}, "floats": []float64{0.5, 2},
		"bools": []bool{true, false}, "bytes": []byte{0, 0xff, 0x80}, "mixed": []any{"a", int64(1), true},
		"map": map[string]any{"inner": "x", "deep": map[string]any{"er": int64(2)}},
	})
	var events []string
	for _, e := range s.Events {
		events = append(events, fmt.Sprintf("%s %d %v %d", e.Name, e.Time-start.UnixNano(), values(e.Attributes), e.DroppedAttributes))
	}
	testkit.Equal(t, "events", events, []string{
		"cache miss 2000000 map[key:k] 1", "exception 3000000 map[exception.type:*errors.errorString] 1", "bare 4000000 map[] 0"})
	testkit.Equal(t, "dropped events", s.DroppedEvents, uint32(1))
	testkit.Equal(t, "links", len(s.Links), 1)
	// The exporter does not send the tracestate of links.
	testkit.Equal(t, "link", s.Links[0].SpanContext, dendro.SpanContext{TraceID: s.TraceID, SpanID: s.ParentID, Flags: dendro.FlagSampled})
	testkit.Equal(t, "link attributes", values(s.Links[0].Attributes), map[string]any{"why": "queued"})
	testkit.Equal(t, "link dropped attributes", s.Links[0].DroppedAttributes, uint32(1))
	testkit.Equal(t, "resource", values(s.Resource.Attributes), map[string]any{"service.name": "shop", "process.pid": int64(42)})
	testkit.Equal(t, "resource schema", s.Resource.SchemaURL, "https://example.com/resource")
	testkit.Equal(t, "scope", []string{s.Scope.Name, s.Scope.Version, s.Scope.SchemaURL}, []string{"library", "1.2.3", "https://example.com/scope"})
	testkit.Equal(t, "scope attributes", values(s.Scope.Attributes), map[string]any{"scope.attribute": true})

	for i, child := range children {
		s := got.Spans[1+i]
		testkit.Equal(t, "context", s.SpanContext, sc(child))
		testkit.Equal(t, "kind", []string{s.Kind.String(), s.Name}, []string{kinds[i].String(), kinds[i].String()})
		testkit.Equal(t, "parent", s.ParentID, sc(root).SpanID)
		testkit.Equal(t, "remote", s.Remote, false)
		testkit.Equal(t, "duration", s.Duration(), 10*time.Millisecond)
		want := dendro.Status{}
		if kinds[i] == trace.SpanKindClient {
			want.Code = dendro.StatusOK
		}
		testkit.Equal(t, "status", s.Status, want)
		testkit.Equal(t, "same resource", s.Resource == got.Spans[0].Resource, true)
	}
	last := got.Spans[len(got.Spans)-1]
	testkit.Equal(t, "attributes under the limit", len(last.Attributes), 20)
	testkit.Equal(t, "attributes over the limit", last.DroppedAttributes, uint32(2))
}

// refusing is a collector that refuses the spans of some services a given number of
// times.
type refusing struct {
	service string
	times   int
	taken   []string
}

func (c *refusing) Collect(b *dendro.Batch) error {
	if (c.service == "" || b.Resource.Service() == c.service) && c.times > 0 {
		c.times--
		return &dendro.DropError{Reason: "queue_full"}
	}
	for _, s := range b.Spans {
		c.taken = append(c.taken, s.Name)
	}
	return nil
}

// oneSpan returns a span of a service.
func oneSpan(service, name string) *tracepb.ResourceSpans {
	s := &tracepb.Span{Name: name, TraceId: make([]byte, 16), SpanId: make([]byte, 8)}
	s.TraceId[0], s.SpanId[0] = 1, 1
	return &tracepb.ResourceSpans{Resource: serviceResource(service), ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{s}}}}
}

// The OpenTelemetry exporters understand the responses: they try again when there is no room,
// report rejected spans, and show the message of an error.
func TestOTelExporterUnderstandsAnswers(t *testing.T) {
	transport := &http.Transport{}
	clients := map[string]func(address string) otlptrace.Client{
		"HTTP": func(address string) otlptrace.Client {
			return otlptracehttp.NewClient(otlptracehttp.WithEndpoint(address), otlptracehttp.WithInsecure(), otlptracehttp.WithHTTPClient(&http.Client{Transport: transport}),
				otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: time.Minute}))
		},
		"gRPC": func(address string) otlptrace.Client {
			return otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure(),
				otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: time.Minute}))
		},
	}
	noID := oneSpan("shop", "no id")
	noID.ScopeSpans[0].Spans[0].TraceId = nil
	both := []*tracepb.ResourceSpans{oneSpan("shop", "a"), oneSpan("till", "b")}
	for _, c := range []struct {
		name  string
		store refusing
		spans []*tracepb.ResourceSpans
		err   string
		taken []string
	}{
		{"all refused once", refusing{times: 2}, both, "", []string{"a", "b"}},
		{"some refused", refusing{service: "till", times: 9}, both, "queue_full (1 spans rejected)", []string{"a"}},
		{"malformed", refusing{}, []*tracepb.ResourceSpans{both[0], noID}, "traceId: missing or all zeros", nil},
	} {
		for name, newClient := range clients {
			t.Run(c.name+", "+name, func(t *testing.T) {
				testkit.NoLeaks(t)
				defer transport.CloseIdleConnections()
				store := c.store
				client := newClient(startReceiver(t, otlpserver.New(collector.WriterOf(&store), otlpserver.Options{})))
				testkit.NoError(t, client.Start(context.Background()))
				err := client.UploadTraces(context.Background(), c.spans)
				if c.err == "" {
					testkit.NoError(t, err)
				} else if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				testkit.NoError(t, client.Stop(context.Background()))
				testkit.Equal(t, "taken", store.taken, c.taken)
			})
		}
	}
}
