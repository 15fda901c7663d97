package otelbridge

import (
	"context"
	"log/slog"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
)

// Install makes tracer the default one of package dendro, and the tracer provider of
// [NewTracerProvider] and the propagator of [NewPropagator] the global ones of OpenTelemetry.
// Call it when the program starts.
func Install(tracer *dendro.Tracer, options ...Option) {
	dendro.SetDefault(tracer)
	otel.SetTracerProvider(NewTracerProvider(tracer, options...))
	otel.SetTextMapPropagator(NewPropagator(tracer.Propagator()))
}

// maxScopes bounds the instrumentation scopes that a provider remembers. A program has some
// dozens.
const maxScopes = 1024

// provider is a [trace.TracerProvider].
type provider struct {
	embedded.TracerProvider
	tracer     *dendro.Tracer
	statements statements

	mu     sync.RWMutex
	scopes map[scopeKey]*tracer // guarded by mu
}

type scopeKey struct {
	name, version, schemaURL string
	attributes               attribute.Distinct
}

// Option is an option of a provider.
type Option func(*provider)

// WithRawStatements records the SQL statements of spans, and the messages of their errors, as libraries
// pass them, literals included.
func WithRawStatements() Option {
	return func(p *provider) { p.statements.raw.Store(true) }
}

// NewTracerProvider returns a provider whose spans are those of tracer, with its sampler, limits and
// collector. For one tracer it returns the same provider each time, which has the options of all calls. The
// first call lets both APIs see each other's spans and baggage in contexts. If tracer is nil, the
// provider makes no spans.
//
// Spans are as those of OpenTelemetry's SDK, with the differences that docs/opentelemetry.md lists. The most
// important ones: an empty description of an error does not replace the one before; of links, only
// valid span contexts are recorded; spans below one that is not recorded have its ids; and other
// limits apply, see [dendro.Span].
//
// The literals of the SQL statement in db.query.text or db.statement are replaced by "?", and values in the
// messages of its errors, as package sqldriver does. A span below which a place in the program repeats a statement
// is marked, if the statement is among the attributes that its span is started with. Names of
// spans and other attributes are recorded as they are, and so are commands of Redis, Memcached,
// MongoDB, Elasticsearch, OpenSearch and CouchDB.
func NewTracerProvider(tracer *dendro.Tracer, options ...Option) trace.TracerProvider {
	register()
	p := providerOf(tracer)
	if p, ok := p.(*provider); ok {
		for _, o := range options {
			o(p)
		}
	}
	return p
}

func providerOf(t *dendro.Tracer) trace.TracerProvider {
	if t == nil {
		return noop.NewTracerProvider()
	}
	return bridge.Attached(t, newProvider).(*provider)
}

func newProvider(t any) any {
	return &provider{tracer: t.(*dendro.Tracer), scopes: map[scopeKey]*tracer{}}
}

// Tracer implements [trace.TracerProvider].
func (p *provider) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	c := trace.NewTracerConfig(options...)
	set := c.InstrumentationAttributes()
	key := scopeKey{name, c.InstrumentationVersion(), c.SchemaURL(), set.Equivalent()}
	p.mu.RLock()
	t := p.scopes[key]
	p.mu.RUnlock()
	if t != nil {
		return t
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.scopes[key]; t != nil {
		return t
	}
	t = &tracer{provider: p, scope: scopeOf(name, c.InstrumentationVersion(), c.SchemaURL(), set)}
	if len(p.scopes) < maxScopes {
		p.scopes[key] = t
	}
	return t
}

// tracer is a [trace.Tracer].
type tracer struct {
	embedded.Tracer
	provider *provider
	scope    *dendro.Scope
}

// Start implements [trace.Tracer].
func (t *tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if ctx == nil {
		ctx = context.Background()
	}
	c := trace.NewSpanStartConfig(options...)
	kind := kindOf(c.SpanKind())
	if work := workOf(t.scope.Name, kind); work != 0 && !c.NewRoot() {
		if s := madeByUs(ctx, work, t.provider.tracer); s != nil {
			return madeAlready(ctx, s, work)
		}
	}
	o := dendro.StartOptions{Kind: kind, Time: c.Timestamp(), NewRoot: c.NewRoot(), Scope: t.scope}
	if links := c.Links(); len(links) > 0 {
		o.Links = make([]dendro.Link, len(links))
		for i, l := range links {
			o.Links[i] = dendro.Link{SpanContext: fromOTel(l.SpanContext), Attributes: appendAttributes(nil, l.Attributes)}
		}
	}
	var buffer [inline]slog.Attr
	attrs := appendAttributes(buffer[:0], c.Attributes())
	statement := t.provider.statements.redact(attrs)
	below := ctx
	ctx, s := t.provider.tracer.StartWith(ctx, name, o, attrs...)
	if statement != nil && !c.NewRoot() {
		t.provider.statements.note(below, statement)
	}
	if s == nil {
		return ctx, unrecorded{sc: contextOf(trace.SpanFromContext(ctx))} // that in ctx must not be ended
	}
	return ctx, span{s: s}
}

// kindOf returns the kind of a span; unknown ones are internal, as in OpenTelemetry's SDK.
func kindOf(k trace.SpanKind) dendro.Kind {
	switch k {
	case trace.SpanKindServer:
		return dendro.KindServer
	case trace.SpanKindClient:
		return dendro.KindClient
	case trace.SpanKindProducer:
		return dendro.KindProducer
	case trace.SpanKindConsumer:
		return dendro.KindConsumer
	}
	return dendro.KindInternal
}
