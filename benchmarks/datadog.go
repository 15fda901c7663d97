package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/DataDog/datadog-go/v5/statsd"
	ddhttp "github.com/DataDog/dd-trace-go/contrib/net/http/v2"
	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
)

// datadogLibrary is dd-trace-go with the sink as its agent.
type datadogLibrary struct{ sent *acknowledged }

func openDatadog(rate float64) func(environment) (library, error) {
	return func(env environment) (library, error) {
		sent := &acknowledged{}
		err := tracer.Start(
			tracer.WithAgentAddr(strings.TrimPrefix(env.sink, "http://")),
			tracer.WithHTTPClient(&http.Client{Transport: sent}),
			tracer.WithStatsdClient(&statsd.NoOpClientDirect{}), // whose flush takes milliseconds
			tracer.WithService("bench"),
			tracer.WithSamplerRate(rate),
			tracer.WithLogStartup(false),
			tracer.WithLogger(quiet{}))
		return datadogLibrary{sent}, err
	}
}

type quiet struct{}

func (quiet) Log(string) {}

// pace returns a quarter of the traces that the worker queues at most.
func (datadogLibrary) pace() int { return 256 }

// flush waits for the agent. Flush of the library does not, and does not send
// everything that is queued.
func (l datadogLibrary) flush(want uint64) {
	tracer.Flush()
	l.sent.wait(want, tracer.Flush)
}

func (l datadogLibrary) delivered() uint64 { return l.sent.spans.Load() }

func (l datadogLibrary) spans(w spanWork) op { return spanOp[context.Context, *tracer.Span](l, w) }

func (datadogLibrary) background() context.Context { return context.Background() }

func (datadogLibrary) start(ctx context.Context) (context.Context, *tracer.Span) {
	s, ctx := tracer.StartSpanFromContext(ctx, "operation")
	return ctx, s
}

func (datadogLibrary) startFive(ctx context.Context) (context.Context, *tracer.Span) {
	s, ctx := tracer.StartSpanFromContext(ctx, "operation")
	s.SetTag("user.id", "u-4711")
	s.SetTag("shop.tenant", "acme")
	s.SetTag("shop.region", "eu-west-1")
	s.SetTag("shop.items", 3)
	s.SetTag("shop.express", true)
	return ctx, s
}

func (datadogLibrary) setAttribute(s *tracer.Span, key, value string) { s.SetTag(key, value) }
func (datadogLibrary) addEvent(s *tracer.Span, name string)           { s.AddEvent(name) }
func (datadogLibrary) end(s *tracer.Span)                             { s.Finish() }

func (datadogLibrary) serve(pattern string, h http.HandlerFunc) http.Handler {
	return ddhttp.WrapHandler(newRouter(pattern, h), "bench", "")
}

func (datadogLibrary) root() (context.Context, func()) {
	s, ctx := tracer.StartSpanFromContext(context.Background(), "operation")
	return ctx, func() { s.Finish() }
}

func (datadogLibrary) wrapTransport(_ context.Context, base http.RoundTripper) http.RoundTripper {
	return ddhttp.WrapRoundTripper(base)
}
