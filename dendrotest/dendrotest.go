// Package dendrotest tests what a program does with the spans that it makes: how many
// queries an endpoint makes, which services it calls, and that it ends what it begins.
//
//	func TestCheckout(t *testing.T) {
//		tr := dendrotest.New(t)
//		req := httptest.NewRequestWithContext(tr.Context(), "POST", "/orders", body)
//		handler.ServeHTTP(httptest.NewRecorder(), req)
//		tr.Want("{ span.db.query.text =~ `SELECT.*` } | count() <= 2")
//		tr.NoErrors()
//	}
//
// # Spans of a test
//
// Each test has its own spans, also while other tests run in parallel. These are
//
//   - all below the span in [Recorder.Context]. The options of middleware, transport and
//     sqldriver need no tracer for that: they use that of the span in the context.
//   - the requests that a server gets from [Recorder.Client], also if the server uses the
//     default tracer. If there is none, New sets one for this.
//   - all of [Recorder.Tracer], and of the tracers that have [Recorder.Collector].
//   - all of the default tracer after [Recorder.SetDefault], which is for tests that do not
//     run in parallel.
//
// Others are not of the test: what code does with another context, such as
// [context.Background]; a new trace that the default tracer begins below such a request, by
// [dendro.Detach] or because it is of a public endpoint; and what tracers record that the code
// under test makes with collectors of its own.
//
// # Waiting
//
// An assertion waits until all spans of the test that have begun have ended, for at most
// five seconds. It does not wait for a goroutine that has not begun its span yet. In a bubble
// of package [testing/synctest] the seconds are those of the bubble, and New must be called
// inside of it.
//
// When the test ends, it fails if one of its spans has not ended.
package dendrotest

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
)

// Recorder records the spans of a test. Its methods may be called by several goroutines at
// once. The test continues after an assertion that fails, as after [testing.T.Error].
type Recorder struct {
	t      testing.TB
	tracer *dendro.Tracer
	ctx    context.Context
	span   *dendro.Span // that in ctx
	spans  *spans
}

// New returns a recorder for t. It is closed by a cleanup function of the test: the test
// fails then if one of its spans has not ended, and spans that begin later are not recorded.
func New(t testing.TB) *Recorder {
	t.Helper()
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		t.Fatal("dendrotest: OTEL_SDK_DISABLED is set, so there are no spans to test")
	}
	r := &Recorder{t: t, spans: newSpans()}
	r.tracer = dendro.New(dendro.Options{Collector: r.spans, Sampler: dendro.AlwaysSample, Propagator: dendro.W3C{}})
	r.ctx, r.span = r.tracer.Start(t.Context(), t.Name())
	if dendro.Default() == nil {
		dendro.SetDefault(shared())
	}
	t.Cleanup(func() {
		t.Helper()
		r.close()
	})
	return r
}

func (r *Recorder) close() {
	r.t.Helper()
	if !r.t.Failed() && !r.t.Skipped() {
		r.wait(nil)
	}
	r.span.End()
	_ = r.tracer.Shutdown(context.Background())
	r.spans.close()
}

// Context returns the context of the test, [testing.TB.Context], with a span that has the name
// of the test. That span ends with the test.
func (r *Recorder) Context() context.Context { return r.ctx }

// Tracer returns the tracer of the test, for code that takes one.
func (r *Recorder) Tracer() *dendro.Tracer { return r.tracer }

// Collector returns the collector of the test, for code that makes tracers. Do not wrap it:
// an assertion would not wait for the spans of these tracers.
func (r *Recorder) Collector() dendro.Collector { return r.spans }

// SetDefault makes the tracer of the test the default one until the test ends. Like
// [testing.T.Setenv], it panics if the test or one of its parents runs in parallel.
func (r *Recorder) SetDefault() {
	r.t.Helper()
	r.t.Setenv("DENDROTEST_DEFAULT", r.t.Name()) // for its panic
	before := dendro.Default()
	dendro.SetDefault(r.tracer)
	r.t.Cleanup(func() { dendro.SetDefault(before) })
}

// Client returns a copy of c that adds the headers of a trace to requests: those of the span
// in the context of the request, or else in that of the test. It makes no spans. If c is nil,
// that is [http.DefaultClient].
func (r *Recorder) Client(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	copied := *c
	base := c.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	copied.Transport = &carrier{r, base}
	return &copied
}

// carrier adds the headers of a trace to requests.
type carrier struct {
	test *Recorder
	base http.RoundTripper
}

func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	span := dendro.SpanFromContext(ctx)
	if span == nil {
		span = c.test.span
		ctx = dendro.ContextWithSpan(ctx, span)
	}
	inner := r.Clone(ctx)
	span.Tracer().Propagator().Inject(inner.Header, c.test.spans.request(span), dendro.BaggageFromContext(ctx))
	resp, err := c.base.RoundTrip(inner)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

func (c *carrier) CloseIdleConnections() {
	if base, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}
