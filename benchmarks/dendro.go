package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log/slog"
	"net/http"
	"sync"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/otelbridge"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/transport"
)

// dendroLibrary is the default tracer of its process, which may be nil.
type dendroLibrary struct {
	tracer *dendro.Tracer
	store  *memory.Store // or nil
	sent   *acknowledged // or nil
}

func newDendro(c dendro.Collector, s dendro.Sampler) *dendroLibrary {
	t := dendro.New(dendro.Options{Service: "bench", Collector: c, Sampler: s})
	dendro.SetDefault(t)
	return &dendroLibrary{tracer: t}
}

func openDendroStore(env environment) (library, error) {
	m := memory.New(memory.Options{MaxBytes: env.maxBytes})
	l := newDendro(m, nil)
	l.store = m
	return storing{l}, nil
}

func openDendroRemote(env environment) (library, error) {
	l, _, err := dialDendro(env, remote.Options{
		Compression: "none", // the default of the peers
		QueueBytes:  64 << 20,
	})
	return l, err
}

func dialDendro(env environment, o remote.Options) (*dendroLibrary, *remote.Client, error) {
	sent := &acknowledged{}
	o.HTTPClient = &http.Client{Transport: sent}
	c, err := remote.Dial(env.sink, o)
	if err != nil {
		return nil, nil, err
	}
	l := newDendro(c, nil)
	l.sent = sent
	return l, c, nil
}

// openDendroRetroactive keeps all spans in the process, and sends those of traces that matter.
func openDendroRetroactive(env environment) (library, error) {
	l, c, err := dialDendro(env, remote.Options{Keep: &keep.Options{RingBytes: env.maxBytes}})
	return retroactive{l, c}, err
}

// retroactive is dendro with a ring in the process.
type retroactive struct {
	*dendroLibrary
	client *remote.Client
}

// fill fills the ring with the spans of requests.
func (r retroactive) fill() {
	make1 := r.spans(spanWork{request: true})
	for held, before := 0, -1; held > before; {
		make1(10_000)
		held, before = r.client.Stats().Keep.RingSpans, held
	}
}

// openDendroBridge makes spans by OpenTelemetry's API.
func openDendroBridge(env environment) (library, error) {
	l, err := openDendroStore(env)
	if err != nil {
		return nil, err
	}
	own := l.(storing)
	return bridged{own, &otelLibrary{tracer: otelbridge.NewTracerProvider(own.tracer).Tracer("benchmarks")}}, nil
}

// bridged is dendro behind OpenTelemetry's API.
type bridged struct {
	storing
	api *otelLibrary
}

func (b bridged) spans(w spanWork) op { return b.api.spans(w) }

func openDendroNever(environment) (library, error) {
	return newDendro(nil, dendro.NeverSample), nil
}

func openDendroNone(environment) (library, error) { return &dendroLibrary{}, nil }

// storing is dendro with the store in the process.
type storing struct{ *dendroLibrary }

func (s storing) full() bool { return s.stats().Dropped["evicted"] > 0 }

// fill fills the store with the spans of requests, regardless of sampling.
func (s storing) fill() {
	defer dendro.SetDefault(s.tracer)
	make100 := newDendro(s.store, dendro.AlwaysSample).spans(spanWork{request: true})
	for !s.full() {
		make100(100)
	}
}

func (s storing) held() uint64 { return uint64(s.stats().Spans) }

func (l *dendroLibrary) stats() collector.Stats {
	s, err := l.store.Stats(context.Background())
	if err != nil {
		panic(err)
	}
	return s
}

func (l *dendroLibrary) flush(uint64) {
	if err := l.tracer.Flush(context.Background()); err != nil {
		panic(err)
	}
}

func (l *dendroLibrary) delivered() uint64 {
	switch {
	case l.store != nil:
		return l.stats().Accepted
	case l.sent != nil:
		return l.sent.spans.Load()
	}
	return 0
}

func (l *dendroLibrary) spans(w spanWork) op { return spanOp[context.Context, *dendro.Span](l, w) }

func (*dendroLibrary) background() context.Context { return context.Background() }

func (*dendroLibrary) start(ctx context.Context) (context.Context, *dendro.Span) {
	return dendro.Start(ctx, "operation")
}

func (*dendroLibrary) startFive(ctx context.Context) (context.Context, *dendro.Span) {
	return dendro.Start(ctx, "operation",
		slog.String("user.id", "u-4711"), slog.String("shop.tenant", "acme"), slog.String("shop.region", "eu-west-1"),
		slog.Int("shop.items", 3), slog.Bool("shop.express", true))
}

func (*dendroLibrary) setAttribute(s *dendro.Span, key, value string) {
	s.SetAttributes(slog.String(key, value))
}

func (*dendroLibrary) addEvent(s *dendro.Span, name string) { s.AddEvent(name) }

func (*dendroLibrary) end(s *dendro.Span) { s.End() }

func (l *dendroLibrary) serve(pattern string, h http.HandlerFunc) http.Handler {
	return newRouter(pattern, h, middleware.Trace)
}

func (l *dendroLibrary) root() (context.Context, func()) {
	ctx, span := dendro.Start(context.Background(), "operation")
	return ctx, span.End
}

func (l *dendroLibrary) wrapTransport(_ context.Context, base http.RoundTripper) http.RoundTripper {
	return transport.New(base, transport.Options{})
}

func (l *dendroLibrary) openDB(c driver.Connector) *sql.DB {
	return sql.OpenDB(sqldriver.WrapConnector(c, sqldriver.Options{System: "sqlite"}))
}

func (l *dendroLibrary) encode() op {
	kept := keeper{}
	t := dendro.New(dendro.Options{Service: "bench", Collector: &kept})
	attrs := make([]slog.Attr, len(serverAttributes))
	for i, a := range serverAttributes {
		attrs[i] = slog.Any(a.key, a.value)
	}
	for range encodeCount {
		_, s := t.StartWith(context.Background(), "GET "+route, dendro.StartOptions{Kind: dendro.KindServer}, attrs...)
		s.End()
	}
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	return func(n int) {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		for range n {
			*buf = otlp.AppendTraces((*buf)[:0], &kept.batch)
		}
	}
}

// keeper keeps all spans in one batch.
type keeper struct{ batch dendro.Batch }

func (k *keeper) Collect(b *dendro.Batch) error {
	k.batch.Resource = b.Resource
	for _, s := range b.Spans {
		own := s.Clone()
		k.batch.Spans = append(k.batch.Spans, own)
	}
	return nil
}
