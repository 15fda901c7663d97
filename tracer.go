package dendro

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a [Tracer]. The zero value is ready to use.
type Options struct {
	// Service is the name of the service, service.name in the resource. If it is
	// empty, it is OTEL_SERVICE_NAME, or else service.name in
	// OTEL_RESOURCE_ATTRIBUTES, or else "unknown_service:" followed by the name of the
	// program.
	Service string
	// Resource has more attributes that describe the process. They take precedence
	// over those in OTEL_RESOURCE_ATTRIBUTES.
	Resource []slog.Attr
	// Collector receives the spans. If it is nil, spans are made and propagated, and
	// then dropped and counted.
	Collector Collector
	// Sampler decides which traces are recorded. If it is nil, OTEL_TRACES_SAMPLER
	// decides, or else ParentSample(AlwaysSample). A Collector that is a [TailSampler]
	// may record more.
	Sampler Sampler
	// Propagator is the format of the headers that wrappers read and write. If it is
	// nil, it is W3C with what OTEL_PROPAGATORS lists, or else W3C{}.
	Propagator Propagator
	// ErrorStacks makes [Span.RecordError] record the stack of its caller. That takes
	// some microseconds and kilobytes for each error.
	ErrorStacks bool
	// Observer learns of the spans when they start and end. It may be nil. If Collector is
	// an Observer, that learns of them, too.
	Observer Observer
}

// Tracer makes the spans of one service. Its methods may be called by several
// goroutines at once. A nil *Tracer makes no spans.
type Tracer struct {
	resource    *Resource
	collector   Collector
	sampler     Sampler // if nil, ParentSample(AlwaysSample)
	propagator  Propagator
	errorStacks bool
	observer    Observer            // may be nil
	attached    atomic.Pointer[any] // see [bridge.Attached]
	off         atomic.Bool         // OTEL_SDK_DISABLED is set, or Shutdown was called

	traces sync.Pool // of *localTrace
	made   atomic.Uint32
	shards [shardCount]shard
	drops  drops
}

// New returns a tracer. It reads the environment variables OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG,
// OTEL_PROPAGATORS and OTEL_SDK_DISABLED. If the last is "true", no spans are
// recorded, but the caller's span context is propagated. Invalid values are logged by
// [slog.Default] and replaced by the default.
func New(o Options) *Tracer {
	t := &Tracer{collector: o.Collector, sampler: o.Sampler, propagator: o.Propagator, errorStacks: o.ErrorStacks, observer: o.Observer}
	if c, ok := o.Collector.(Observer); ok && t.observer != nil {
		t.observer = observers{c, t.observer}
	} else if ok {
		t.observer = c
	}
	t.traces.New = func() any { return newLocalTrace(t, &t.shards[t.made.Add(1)%shardCount]) }
	var err error
	if t.resource, err = newResource(o.Service, o.Resource, os.Getenv); err != nil {
		slog.Warn("dendro: " + err.Error())
	}
	if t.sampler == nil {
		if t.sampler, err = samplerFromEnv(os.Getenv); err != nil {
			slog.Warn("dendro: " + err.Error())
		}
	}
	if t.propagator == nil {
		if t.propagator, err = propagatorFromEnv(os.Getenv); err != nil {
			slog.Warn("dendro: " + err.Error())
		}
	}
	if c, ok := o.Collector.(TailSampler); ok {
		t.sampler = c.Sampler(t.sampler)
	}
	t.off.Store(strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"))
	return t
}

// Observer learns of recorded spans when they start and when they end. Its methods are called
// by the goroutines that are traced, so they must be fast, must not block and must not panic.
// They must be safe for concurrent use. They may read d until they return, and must not retain
// or modify it.
type Observer interface {
	// SpanStarted is called by the goroutine that starts s. ctx is the context in which s
	// starts; SpanStarted returns it, or a context below it for the program to use. root
	// reports whether s is the first span of a local trace. ends asks for a call of SpanEnded.
	SpanStarted(ctx context.Context, s *Span, d *SpanData, root bool) (_ context.Context, ends bool)
	// SpanEnded is called once by the goroutine that ends s, before s is delivered, if this
	// observer or a second one has asked for it. It must not call methods of s or of other
	// spans of its local trace, which is locked, except Context and Tracer. If root is set,
	// spans of the local trace may still be open.
	SpanEnded(s *Span, d *SpanData, root bool)
}

// observers are two observers. The context of the second is below that of the first.
type observers [2]Observer

func (o observers) SpanStarted(ctx context.Context, s *Span, d *SpanData, root bool) (context.Context, bool) {
	ctx, first := o[0].SpanStarted(ctx, s, d, root)
	ctx, second := o[1].SpanStarted(ctx, s, d, root)
	return ctx, first || second
}

func (o observers) SpanEnded(s *Span, d *SpanData, root bool) {
	o[0].SpanEnded(s, d, root)
	o[1].SpanEnded(s, d, root)
}

var defaultTracer atomic.Pointer[Tracer]

// SetDefault makes t the tracer of [Start], and of wrappers that have no other one. If
// t is nil, there is no default tracer.
func SetDefault(t *Tracer) { defaultTracer.Store(t) }

// Default returns the default tracer, or nil if none was set.
func Default() *Tracer { return defaultTracer.Load() }

// Resource returns the description of this process. It must not be modified.
func (t *Tracer) Resource() *Resource {
	if t == nil {
		return nil
	}
	return t.resource
}

// StartOptions has the less common properties of a new span.
type StartOptions struct {
	// Tracer makes the span. If it is nil, that is the tracer of the span in ctx, or
	// else [Default]. [Tracer.StartWith] ignores it.
	Tracer *Tracer
	Kind   Kind
	// Parent is a span of another process, as returned by [Extract]. If it is valid,
	// it is the parent, even if ctx has a span.
	Parent SpanContext
	// NewRoot makes the span the first of a new trace, even if ctx or Parent has a span.
	NewRoot bool
	// Links are links to spans that are not the parent.
	Links []Link
	// Time is when the work began. The zero time means now.
	Time time.Time
	// Scope is the library that makes the span. If it is nil, that is this module. It must
	// not be modified once it was used, and should be used for many spans.
	Scope *Scope
}

// Start starts a span below the one in ctx, or a new trace if ctx has none. It returns
// a context with the new span. The caller must call [Span.End].
func (t *Tracer) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return start(ctx, t, name, &noOptions, attrs)
}

// StartWith is [Tracer.Start] with options.
func (t *Tracer) StartWith(ctx context.Context, name string, o StartOptions, attrs ...slog.Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return start(ctx, t, name, &o, attrs)
}

var noOptions StartOptions

// start implements Start and StartWith. If t is nil, the tracer of the span in ctx is
// used, or else the default one.
func start(ctx context.Context, t *Tracer, name string, o *StartOptions, attrs []slog.Attr) (context.Context, *Span) {
	var above *Span // the span in ctx
	var origin *detachedFrom
	parent := &o.Parent
	switch v := current(ctx).(type) {
	case *Span:
		above = v
	case SpanContext: // of another API
		if !parent.IsValid() {
			parent = &v
		}
	case *detachedFrom:
		origin = v
		if t == nil {
			t = v.tracer
		}
	case untraced:
		return ctx, nil
	}
	if t == nil && above != nil {
		t = above.common.tracer
	}
	if t == nil {
		t = Default()
	}
	if t == nil {
		return ctx, nil
	}

	if o.NewRoot {
		above, parent = nil, &noOptions.Parent
	}
	below := parent.IsValid() // there is a parent
	late := false             // the local trace of the parent is over
	if above != nil && !below {
		if above.common.tracer == t {
			if above.slot == nil {
				return ctx, above // the decision applies to the whole local trace
			}
			if !t.off.Load() {
				if slot := above.slot.trace.child(above.common.use); slot != nil {
					return startChild(ctx, above, slot, name, o, attrs)
				}
				late = true
			}
		}
		sc := above.Context()
		parent, below = &sc, true
	}
	if t.off.Load() {
		if !below {
			return ctx, nil
		}
		return startUnrecorded(ctx, t, parent)
	}

	n := &rootNode{common: common{tracer: t, traceID: parent.TraceID, flags: parent.Flags &^ FlagSampled, state: parent.State}}
	n.node = node{ctx, Span{common: &n.common, id: newSpanID()}}
	if !below {
		n.common.traceID, n.common.flags = newTraceID(), FlagRandom
	}
	sampled := !below || parent.Deferred || parent.Flags.Sampled() // ParentSample(AlwaysSample)
	recorded := sampled || late
	if t.sampler != nil && !late {
		r := t.sample(SamplingParameters{Context: ctx, Parent: *parent, TraceID: n.common.traceID, Name: name, Kind: o.Kind})
		sampled, recorded, n.common.state = r.Sampled, r.Sampled || r.Record, r.State
	}
	if !recorded {
		t.shards[n.span.id[0]%shardCount].unsampled.Add(1)
		return n, &n.span
	}
	if sampled {
		n.common.flags |= FlagSampled
	}

	var now int64
	n.common.clock, now = newClock()
	trace := t.traces.Get().(*localTrace)
	n.span.slot, n.common.use = trace.begin(n.common.clock, now)
	n.span.use = n.span.slot.use.Load()
	if late && above.common.discarded.Load() {
		n.span.Discard()
	}
	d := &n.span.slot.data
	d.ParentID, d.Remote, d.Start = parent.SpanID, below && !late, now
	n.start(name, o, attrs, true)
	if origin != nil {
		n.span.AddLink(origin.sc)
	}
	return n, &n.span
}

// sample calls the sampler and fills in an empty tracestate. If the sampler panics, the
// trace is not sampled.
func (t *Tracer) sample(p SamplingParameters) (r SamplingResult) {
	defer func() {
		if reason := recover(); reason != nil {
			slog.Error("dendro: sampler panicked", "panic", reason)
		}
		if r.State == (TraceState{}) {
			r.State = p.Parent.State.withThreshold("")
		}
	}()
	return t.sampler(p)
}

// startUnrecorded returns a span that only propagates sc.
func startUnrecorded(ctx context.Context, t *Tracer, sc *SpanContext) (context.Context, *Span) {
	n := &rootNode{common: common{tracer: t, traceID: sc.TraceID, flags: sc.Flags, deferred: sc.Deferred, state: sc.State}}
	n.node = node{ctx, Span{common: &n.common, id: sc.SpanID}}
	return n, &n.span
}

// startChild starts a span in the local trace of above.
func startChild(ctx context.Context, above *Span, slot *slot, name string, o *StartOptions, attrs []slog.Attr) (context.Context, *Span) {
	n := &node{ctx, Span{common: above.common, slot: slot, use: slot.use.Load(), id: newSpanID()}}
	slot.data.ParentID = above.id
	if o.Time.IsZero() {
		slot.data.Start = above.common.clock.now()
	}
	n.start(name, o, attrs, false)
	return n, &n.span
}

// start sets what roots and children have in common. The span is not shared yet.
func (n *node) start(name string, o *StartOptions, attrs []slog.Attr, root bool) {
	s := &n.span
	d := &s.slot.data
	d.SpanContext = s.Context()
	s.slot.setName(name)
	scope := o.Scope
	if scope == nil {
		scope = &ownScope
	}
	d.Kind, d.Scope = o.Kind, scope
	if !o.Time.IsZero() {
		d.Start = s.common.clock.nanos(o.Time)
	}
	s.slot.trace.counters().started.Add(1)
	if plain(attrs) {
		s.slot.setAttributes(attrs)
	} else {
		s.setSlow(attrs)
	}
	for _, l := range o.Links {
		s.AddLink(l.SpanContext, l.Attributes...)
	}
	if observer := s.common.tracer.observer; observer != nil {
		n.Context, s.slot.observed = observer.SpanStarted(n.Context, s, d, root)
	}
}

// ownScope is the scope of spans of this module.
var ownScope = Scope{Name: modulePath, Version: Version}

// deliver passes p to the collector of t. If the collector did not accept it, deliver
// returns the reason.
func (p *part) deliver(t *Tracer) (reason string) {
	switch {
	case t.collector == nil:
		reason = dropNoCollector
	case t.off.Load():
		reason = dropShutdown
	default:
		if p.batch == nil {
			p.batch = new(Batch)
		}
		b := p.batch
		b.Resource, b.Fresh, b.Last = t.resource, true, p.last
		for s := p.first; s != nil; s = s.next {
			b.Spans = append(b.Spans, &s.data)
		}
		reason = t.collect(b)
		b.Spans = b.Spans[:0]
	}
	return reason
}

// collect passes b to the collector. If it was not accepted, collect returns the
// reason. It recovers from panics of the collector and of its error.
func (t *Tracer) collect(b *Batch) (reason string) {
	defer func() {
		if p := recover(); p != nil {
			reason = dropCollectorPanic
			slog.Error("dendro: collector panicked", "panic", p)
		}
	}()
	return dropReason(t.collector.Collect(b))
}

// Flush delivers all spans that have ended. It includes spans of open local traces, if
// they are among the 2048 newest. It waits until the collector has delivered what it
// holds or ctx is done, and returns the error of the collector.
func (t *Tracer) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.flushOpen()
	return t.flushCollector(ctx)
}

func (t *Tracer) flushOpen() {
	for i := range t.shards {
		for _, open := range t.shards[i].traces() {
			open.flush()
		}
	}
}

func (t *Tracer) flushCollector(ctx context.Context) error {
	if f, ok := t.collector.(Flusher); ok {
		return f.Flush(ctx)
	}
	return nil
}

// Shutdown does what [Tracer.Flush] does and ends recording. Spans that start later
// are not recorded, and spans that end later are dropped and counted. It does not
// close the collector, which other tracers may share. It may be called more than once.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.flushOpen()
	t.off.Store(true) // before the collector is flushed, as nothing may arrive after that
	return t.flushCollector(ctx)
}
