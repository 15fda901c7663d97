package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/http"
	"sync/atomic"

	"github.com/XSAM/otelsql"
	"github.com/riandyrn/otelchi"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otelLibrary is the OpenTelemetry SDK with a batch processor that blocks, so that it
// loses nothing.
type otelLibrary struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
	arrived  *atomic.Uint64
	server   otelServer
	sql      []otelsql.Option
}

// otelServer is the way in which requests are traced.
type otelServer int

const (
	otelhttpServer otelServer = iota // around the router
	otelchiServer                    // in the router
)

// By default, otelsql makes a span for the reset of a connection, for the query and
// for its rows.
var (
	otelsqlDefault = otelsql.SpanOptions{}
	otelsqlOneSpan = otelsql.SpanOptions{OmitConnResetSession: true, OmitRows: true}
)

// propagator reads and writes the same headers as dendro.
var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

func newOTel(p trace.TracerProvider, arrived *atomic.Uint64, server otelServer, spans otelsql.SpanOptions) *otelLibrary {
	return &otelLibrary{
		provider: p, tracer: p.Tracer("benchmarks"), arrived: arrived, server: server,
		sql: []otelsql.Option{otelsql.WithTracerProvider(p), otelsql.WithSpanOptions(spans), otelsql.WithAttributes(attribute.String("db.system.name", "sqlite"))},
	}
}

func newOTelSDK(e sdktrace.SpanExporter, s sdktrace.Sampler) *sdktrace.TracerProvider {
	return sdktrace.NewTracerProvider(
		sdktrace.WithSampler(s),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "bench"))),
		sdktrace.WithBatcher(e, sdktrace.WithBlocking()))
}

func openOTelExporting(server otelServer, spans otelsql.SpanOptions) func(environment) (library, error) {
	return func(env environment) (library, error) {
		sent := &acknowledged{}
		e, err := otlptracehttp.New(context.Background(),
			otlptracehttp.WithEndpointURL(env.sink+"/v1/traces"),
			otlptracehttp.WithHTTPClient(&http.Client{Transport: sent}))
		if err != nil {
			return nil, err
		}
		return newOTel(newOTelSDK(e, sdktrace.ParentBased(sdktrace.AlwaysSample())), &sent.spans, server, spans), nil
	}
}

func openOTelDiscarding(environment) (library, error) {
	e := &discardExporter{}
	return newOTel(newOTelSDK(e, sdktrace.ParentBased(sdktrace.AlwaysSample())), &e.spans, otelhttpServer, otelsqlDefault), nil
}

func openOTelNever(server otelServer) func(environment) (library, error) {
	return func(environment) (library, error) {
		e := &discardExporter{}
		return newOTel(newOTelSDK(e, sdktrace.NeverSample()), &e.spans, server, otelsqlDefault), nil
	}
}

func openOTelNoop(environment) (library, error) {
	return newOTel(noop.NewTracerProvider(), new(atomic.Uint64), otelhttpServer, otelsqlDefault), nil
}

// discardExporter drops all spans.
type discardExporter struct{ spans atomic.Uint64 }

func (e *discardExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.spans.Add(uint64(len(spans)))
	return nil
}

func (*discardExporter) Shutdown(context.Context) error { return nil }

func (l *otelLibrary) flush(uint64) {
	if sdk, ok := l.provider.(*sdktrace.TracerProvider); ok {
		if err := sdk.ForceFlush(context.Background()); err != nil {
			panic(err)
		}
	}
}

func (l *otelLibrary) delivered() uint64 { return l.arrived.Load() }

func (l *otelLibrary) spans(w spanWork) op { return spanOp[context.Context, trace.Span](l, w) }

func (*otelLibrary) background() context.Context { return context.Background() }

func (l *otelLibrary) start(ctx context.Context) (context.Context, trace.Span) {
	return l.tracer.Start(ctx, "operation")
}

// startFive sets the attributes after the start, which is the faster of the two ways.
func (l *otelLibrary) startFive(ctx context.Context) (context.Context, trace.Span) {
	ctx, s := l.tracer.Start(ctx, "operation")
	s.SetAttributes(
		attribute.String("user.id", "u-4711"), attribute.String("shop.tenant", "acme"), attribute.String("shop.region", "eu-west-1"),
		attribute.Int("shop.items", 3), attribute.Bool("shop.express", true))
	return ctx, s
}

func (*otelLibrary) setAttribute(s trace.Span, key, value string) {
	s.SetAttributes(attribute.String(key, value))
}

func (*otelLibrary) addEvent(s trace.Span, name string) { s.AddEvent(name) }

func (*otelLibrary) end(s trace.Span) { s.End() }

func (l *otelLibrary) serve(pattern string, h http.HandlerFunc) http.Handler {
	if l.server == otelchiServer {
		return newRouter(pattern, h, otelchi.Middleware("bench", otelchi.WithTracerProvider(l.provider), otelchi.WithPropagators(propagator)))
	}
	return otelhttp.NewHandler(newRouter(pattern, h), "bench", otelhttp.WithTracerProvider(l.provider), otelhttp.WithPropagators(propagator))
}

func (l *otelLibrary) root() (context.Context, func()) {
	ctx, s := l.tracer.Start(context.Background(), "operation")
	return ctx, func() { s.End() }
}

func (l *otelLibrary) wrapTransport(_ context.Context, base http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(base, otelhttp.WithTracerProvider(l.provider), otelhttp.WithPropagators(propagator))
}

func (l *otelLibrary) openDB(c driver.Connector) *sql.DB { return otelsql.OpenDB(c, l.sql...) }

// encode is the exporter, with a client that marshals but does not send.
func (l *otelLibrary) encode() op {
	var kept keepExporter
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(&kept), sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "bench"))))
	attrs := make([]attribute.KeyValue, len(serverAttributes))
	for i, a := range serverAttributes {
		switch v := a.value.(type) {
		case string:
			attrs[i] = attribute.String(a.key, v)
		case int:
			attrs[i] = attribute.Int(a.key, v)
		}
	}
	t := p.Tracer("benchmarks")
	for range encodeCount {
		_, s := t.Start(context.Background(), "GET "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
		s.End()
	}
	e, err := otlptrace.New(context.Background(), marshalClient{})
	if err != nil {
		panic(err)
	}
	return func(n int) {
		for range n {
			if err := e.ExportSpans(context.Background(), kept.spans); err != nil {
				panic(err)
			}
		}
	}
}

// keepExporter keeps all spans.
type keepExporter struct{ spans []sdktrace.ReadOnlySpan }

func (e *keepExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.spans = append(e.spans, spans...)
	return nil
}

func (*keepExporter) Shutdown(context.Context) error { return nil }

// marshalClient does what otlptracehttp does before it sends.
type marshalClient struct{}

func (marshalClient) Start(context.Context) error { return nil }
func (marshalClient) Stop(context.Context) error  { return nil }

func (marshalClient) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	_, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: spans})
	return err
}
