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

// Options configures a [Tracer]. The zero value works.
type Options struct {
	// Service names what this process is, as service.name of the resource.
	// Default: OTEL_SERVICE_NAME, else service.name in
	// OTEL_RESOURCE_ATTRIBUTES, else "unknown_service:" and the name of the
	// program.
	Service string
	// Resource adds attributes that describe the process. They win over
	// those of OTEL_RESOURCE_ATTRIBUTES.
	Resource []slog.Attr
	// Collector receives the spans. With nil they are made, travel in
	// headers, and are then dropped and counted.
	Collector Collector
	// Sampler decides which traces are recorded. Default: what
	// OTEL_TRACES_SAMPLER says, else ParentSample(AlwaysSample).
	Sampler Sampler
	// ErrorStacks makes [Span.RecordError] keep the stack of its caller: some
	// microseconds and kilobytes for each error.
	ErrorStacks bool
}

// Tracer makes the spans of one service. Its methods may be called by several
// goroutines at once, and on a nil *Tracer, which makes no spans.
type Tracer struct {
	resource    *Resource
	collector   Collector
	sampler     Sampler
	errorStacks bool
	off         atomic.Bool // OTEL_SDK_DISABLED, or shut down

	shards    [shardCount]shard
	delivered atomic.Uint64
	drops     drops
}

// shardCount spreads the bookkeeping of open local traces, so that requests do
// not wait for each other.
const shardCount = 16

// shardTraces is how many open local traces a shard keeps in sight, so that
// spans that nobody ends cannot fill the memory. When there is one more, the
// oldest hands over what has ended; it goes on as before, but [Tracer.Flush]
// does not see it any more.
const shardTraces = 128

// shard is a share of the open local traces and of the counters.
type shard struct {
	counters
	mu     sync.Mutex
	newest *localTrace // guarded by mu, like the links in localTrace
	oldest *localTrace // guarded by mu
	open   int         // guarded by mu
	_      [64]byte    // the next shard starts on another cache line
}

// add brings t into sight. It returns the one that t has pushed out, if any.
func (s *shard) add(t *localTrace) (out *localTrace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == shardTraces {
		out = s.oldest
		s.unlist(out)
	}
	t.listed, t.older = true, s.newest
	if s.newest != nil {
		s.newest.newer = t
	} else {
		s.oldest = t
	}
	s.newest = t
	s.open++
	return out
}

func (s *shard) remove(t *localTrace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.listed {
		s.unlist(t)
	}
}

// unlist takes t out of the list. s.mu is held.
func (s *shard) unlist(t *localTrace) {
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		s.newest = t.older
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		s.oldest = t.newer
	}
	t.newer, t.older, t.listed = nil, nil, false
	s.open--
}

// traces returns the open local traces.
func (s *shard) traces() []*localTrace {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*localTrace, 0, s.open)
	for t := s.newest; t != nil; t = t.older {
		out = append(out, t)
	}
	return out
}

// New returns a tracer. It reads the environment: OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG and
// OTEL_SDK_DISABLED ("true": no spans, but the caller's span context is passed
// on). What is wrong there is logged by [slog.Default] and replaced by the
// default.
func New(o Options) *Tracer {
	t := &Tracer{collector: o.Collector, sampler: o.Sampler, errorStacks: o.ErrorStacks}
	var err error
	if t.resource, err = newResource(o.Service, o.Resource, os.Getenv); err != nil {
		slog.Warn("dendro: " + err.Error())
	}
	if t.sampler == nil {
		if t.sampler, err = samplerFromEnv(os.Getenv); err != nil {
			slog.Warn("dendro: " + err.Error())
		}
	}
	t.off.Store(strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"))
	return t
}

var defaultTracer atomic.Pointer[Tracer]

// SetDefault makes t the tracer of [Start] and of every wrapper that is not
// given another one. Nil takes it away.
func SetDefault(t *Tracer) { defaultTracer.Store(t) }

// Default returns what [SetDefault] has set last, nil before.
func Default() *Tracer { return defaultTracer.Load() }

// Resource returns what describes this process. It must not be changed.
func (t *Tracer) Resource() *Resource {
	if t == nil {
		return nil
	}
	return t.resource
}

// StartOptions are the less common properties of a new span.
type StartOptions struct {
	// Tracer makes the span. Default: that of the span in ctx, else [Default].
	// [Tracer.StartWith] does not look at it.
	Tracer *Tracer
	Kind   Kind
	// Parent is a span of another process, as [Extract] returns it. If it is
	// valid, it is the parent, whatever span ctx has.
	Parent SpanContext
	// Links point to spans that are not the parent.
	Links []Link
	// Time is when the work began. Default: now.
	Time time.Time
}

// Start begins a span below the one in ctx, or a new trace if there is none,
// and returns a context that knows it. The caller must call [Span.End].
func (t *Tracer) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return start(ctx, t, name, StartOptions{}, attrs)
}

// StartWith is [Tracer.Start] with options.
func (t *Tracer) StartWith(ctx context.Context, name string, o StartOptions, attrs ...slog.Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return start(ctx, t, name, o, attrs)
}

// start is all four of Start and StartWith. A nil t means the tracer of the
// span in ctx, or the default one.
func start(ctx context.Context, t *Tracer, name string, o StartOptions, attrs []slog.Attr) (context.Context, *Span) {
	var above *Span // the span in ctx
	var origin SpanContext
	switch v := ctx.Value(spanKey{}).(type) {
	case *Span:
		above = v
	case detachedFrom:
		origin = v.sc
		if t == nil {
			t = v.tracer
		}
	case untraced:
		return ctx, nil
	}
	if t == nil && above != nil {
		t = above.tracer
	}
	if t == nil {
		t = Default()
	}
	if t == nil {
		return ctx, nil
	}

	parent := o.Parent
	if above != nil && !parent.IsValid() {
		if above.tracer == t {
			if above.rec == nil {
				return ctx, above // the decision holds for the whole local trace
			}
			if !t.off.Load() {
				return startChild(ctx, above, name, o, attrs)
			}
		}
		parent = *above.sc
	}
	if t.off.Load() {
		if !parent.IsValid() {
			return ctx, nil
		}
		return startUnrecorded(ctx, t, parent)
	}

	sc := SpanContext{TraceID: parent.TraceID, SpanID: newSpanID(), Flags: parent.Flags &^ FlagSampled, State: parent.State}
	if !parent.IsValid() {
		sc.TraceID, sc.Flags = newTraceID(), FlagRandom
	}
	shard := &t.shards[sc.SpanID[0]%shardCount]
	if !t.sampler(SamplingParameters{Parent: parent, TraceID: sc.TraceID, Name: name, Kind: o.Kind}) {
		shard.unsampled.Add(1)
		return startUnrecorded(ctx, t, sc)
	}
	sc.Flags |= FlagSampled

	n := &rootNode{}
	n.trace = localTrace{tracer: t, begin: time.Now(), root: &n.recording, shard: shard}
	n.trace.handedOver = n.trace.begin.UnixNano()
	n.data.SpanContext = sc
	n.data.ParentID = parent.SpanID
	n.data.Remote = parent.IsValid()
	if out := shard.add(&n.trace); out != nil {
		out.flush()
	}
	ctx, s := n.start(ctx, &n.trace, name, o, attrs)
	if origin.IsValid() {
		s.AddLink(origin)
	}
	return ctx, s
}

// startUnrecorded returns a span that only carries sc.
func startUnrecorded(ctx context.Context, t *Tracer, sc SpanContext) (context.Context, *Span) {
	n := &unrecordedNode{node: node{Context: ctx}, sc: sc}
	n.span = Span{tracer: t, sc: &n.sc}
	return n, &n.span
}

// startChild returns a span below one of the same local trace.
func startChild(ctx context.Context, above *Span, name string, o StartOptions, attrs []slog.Attr) (context.Context, *Span) {
	n := &recordedNode{}
	n.data.SpanContext = *above.sc
	n.data.SpanID = newSpanID()
	n.data.ParentID = above.sc.SpanID
	return n.start(ctx, above.rec.trace, name, o, attrs)
}

// start fills in what roots and children have in common.
func (n *recordedNode) start(ctx context.Context, t *localTrace, name string, o StartOptions, attrs []slog.Attr) (context.Context, *Span) {
	n.Context = ctx
	d := &n.data
	n.span = Span{tracer: t.tracer, sc: &d.SpanContext, rec: &n.recording}
	n.recording.trace = t
	d.Name, d.Kind = name, o.Kind
	switch {
	case !o.Time.IsZero():
		d.Start = t.nanos(o.Time)
	case &n.recording == t.root:
		d.Start = t.begin.UnixNano()
	default:
		d.Start = t.now()
	}
	t.counters().started.Add(1)
	if len(attrs) > 0 {
		n.recording.setAttributes(attrs)
	}
	for _, l := range o.Links {
		n.span.AddLink(l.SpanContext, l.Attributes...)
	}
	return n, &n.span
}

// scope is that of every span of this module.
var scope = &Scope{Name: modulePath, Version: Version}

var batches = sync.Pool{New: func() any { return &Batch{Scope: scope} }}

// handOver gives a list of n ended spans to the collector.
func (t *Tracer) handOver(part *recording, n int) {
	reason := ""
	switch {
	case t.collector == nil:
		reason = dropNoCollector
	case t.off.Load():
		reason = dropShutdown
	default:
		b := batches.Get().(*Batch)
		b.Resource = t.resource
		for r := part; r != nil; {
			b.Spans = append(b.Spans, &r.data)
			r.next, r = nil, r.next // a span that is kept keeps no other
		}
		reason = t.collect(b)
		clear(b.Spans)
		*b = Batch{Scope: scope, Spans: b.Spans[:0]}
		batches.Put(b)
	}
	if reason != "" {
		t.drops.add(reason, n)
	} else {
		t.delivered.Add(uint64(n))
	}
}

// collect returns the reason if the collector did not take b. It keeps a panic of
// the collector, or of its error, from reaching the request.
func (t *Tracer) collect(b *Batch) (reason string) {
	defer func() {
		if p := recover(); p != nil {
			reason = dropCollectorPanic
			slog.Error("dendro: collector panicked", "panic", p)
		}
	}()
	return dropReason(t.collector.Collect(b))
}

// Flush hands over every span that has ended, also those whose local trace is
// still open if that is one of the 2048 newest, and waits until the collector
// has delivered what it holds or ctx ends. It returns the error of the collector.
func (t *Tracer) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	for i := range t.shards {
		for _, open := range t.shards[i].traces() {
			open.flush()
		}
	}
	if f, ok := t.collector.(Flusher); ok {
		return f.Flush(ctx)
	}
	return nil
}

// Shutdown is [Tracer.Flush] and ends recording: spans started later are not
// recorded, those that end later are dropped and counted. It does not close the
// collector, which other tracers may share. Shutdown may be called again.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	err := t.Flush(ctx)
	t.off.Store(true)
	return err
}
