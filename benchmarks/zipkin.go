package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/openzipkin/zipkin-go"
	zipkinhttp "github.com/openzipkin/zipkin-go/middleware/http"
	"github.com/openzipkin/zipkin-go/reporter"
	httpreporter "github.com/openzipkin/zipkin-go/reporter/http"
)

// zipkinLibrary is zipkin-go with its HTTP reporter, which writes JSON.
type zipkinLibrary struct {
	tracer *zipkin.Tracer
	sent   *acknowledged
}

func openZipkin(env environment) (library, error) {
	sent := &acknowledged{}
	r := httpreporter.NewReporter(env.sink+"/api/v2/spans",
		httpreporter.Client(&http.Client{Transport: sent}),
		httpreporter.MaxBacklog(1<<20),                 // loses nothing
		httpreporter.BatchInterval(5*time.Millisecond)) // there is no other way to flush
	return newZipkin(r, sent, zipkin.AlwaysSample)
}

func openZipkinNever(environment) (library, error) {
	return newZipkin(reporter.NewNoopReporter(), &acknowledged{}, zipkin.NeverSample)
}

func newZipkin(r reporter.Reporter, sent *acknowledged, s zipkin.Sampler) (library, error) {
	local, err := zipkin.NewEndpoint("bench", "")
	if err != nil {
		return nil, err
	}
	t, err := zipkin.NewTracer(r, zipkin.WithSampler(s), zipkin.WithLocalEndpoint(local), zipkin.WithTraceID128Bit(true))
	return &zipkinLibrary{t, sent}, err
}

func (l *zipkinLibrary) flush(want uint64) { l.sent.wait(want, func() {}) }
func (l *zipkinLibrary) delivered() uint64 { return l.sent.spans.Load() }

func (l *zipkinLibrary) spans(w spanWork) op { return spanOp[context.Context, zipkin.Span](l, w) }

func (*zipkinLibrary) background() context.Context { return context.Background() }

func (l *zipkinLibrary) start(ctx context.Context) (context.Context, zipkin.Span) {
	s, ctx := l.tracer.StartSpanFromContext(ctx, "operation")
	return ctx, s
}

// startFive converts numbers to text, because tags are strings.
func (l *zipkinLibrary) startFive(ctx context.Context) (context.Context, zipkin.Span) {
	s, ctx := l.tracer.StartSpanFromContext(ctx, "operation")
	s.Tag("user.id", "u-4711")
	s.Tag("shop.tenant", "acme")
	s.Tag("shop.region", "eu-west-1")
	s.Tag("shop.items", strconv.Itoa(3))
	s.Tag("shop.express", strconv.FormatBool(true))
	return ctx, s
}

func (*zipkinLibrary) setAttribute(s zipkin.Span, key, value string) { s.Tag(key, value) }
func (*zipkinLibrary) addEvent(s zipkin.Span, name string)           { s.Annotate(time.Now(), name) }
func (*zipkinLibrary) end(s zipkin.Span)                             { s.Finish() }

func (l *zipkinLibrary) serve(pattern string, h http.HandlerFunc) http.Handler {
	return newRouter(pattern, h, zipkinhttp.NewServerMiddleware(l.tracer))
}

func (l *zipkinLibrary) root() (context.Context, func()) {
	s, ctx := l.tracer.StartSpanFromContext(context.Background(), "operation")
	return ctx, s.Finish
}

func (l *zipkinLibrary) wrapTransport(_ context.Context, base http.RoundTripper) http.RoundTripper {
	t, err := zipkinhttp.NewTransport(l.tracer, zipkinhttp.RoundTripper(base))
	if err != nil {
		panic(err)
	}
	return t
}
