package dendro_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// inContext is a handler whose records have a context of their own.
type inContext struct {
	slog.Handler
	ctx context.Context
}

func (h inContext) Handle(_ context.Context, r slog.Record) error { return h.Handler.Handle(h.ctx, r) }
func (h inContext) WithAttrs(attrs []slog.Attr) slog.Handler {
	return inContext{h.Handler.WithAttrs(attrs), h.ctx}
}
func (h inContext) WithGroup(name string) slog.Handler {
	return inContext{h.Handler.WithGroup(name), h.ctx}
}

func decodeLog(t testing.TB, text []byte) (lines []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var m map[string]any
		testkit.NoError(t, json.Unmarshal(line, &m))
		lines = append(lines, m)
	}
	return lines
}

func TestLogHandlerConforms(t *testing.T) {
	tracer, _ := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "root")
	defer span.End()
	for _, c := range []struct {
		name string
		ctx  context.Context
		o    dendro.LogOptions
	}{
		{"no span", background, dendro.LogOptions{}},
		{"span", ctx, dendro.LogOptions{}},
		{"events", ctx, dendro.LogOptions{Events: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			h := inContext{dendro.NewLogHandler(slog.NewJSONHandler(&out, nil), c.o), c.ctx}
			testkit.NoError(t, slogtest.TestHandler(h, func() []map[string]any { return decodeLog(t, out.Bytes()) }))
			testkit.Equal(t, "has ids", strings.Contains(out.String(), span.Context().TraceID.String()), c.ctx != background)
		})
	}
}

func TestLogHandlerIDs(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "root")
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	unsampled, unsampledSpan := never.Start(background, "root")
	ids := func(s *dendro.Span) string {
		return `"trace_id":"` + s.Context().TraceID.String() + `","span_id":"` + s.Context().SpanID.String() + `"`
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		log  func(*slog.Logger, context.Context)
		want string
	}{
		{"no span", background, func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m", "a", 1) }, `"a":1`},
		{"span", ctx, func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m", "a", 1) }, `"a":1,` + ids(span)},
		{"many attributes", ctx, func(l *slog.Logger, ctx context.Context) {
			l.InfoContext(ctx, "m", "a", 1, "b", 2, "c", 3, "d", 4, "e", 5, "f", 6)
		}, `"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,` + ids(span)},
		{"not sampled", unsampled, func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m") }, ids(unsampledSpan)},
		{"detached", dendro.Detach(ctx), func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m", "a", 1) }, `"a":1`},
		{"untraced", dendro.Untraced(ctx), func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m", "a", 1) }, `"a":1`},
		{"attributes", ctx, func(l *slog.Logger, ctx context.Context) { l.With("a", 1).With("b", 2).InfoContext(ctx, "m", "c", 3) }, `"a":1,"b":2,"c":3,` + ids(span)},
		{"group", ctx, func(l *slog.Logger, ctx context.Context) { l.WithGroup("g").InfoContext(ctx, "m", "a", 1) }, ids(span) + `,"g":{"a":1}`},
		{"groups and attributes", ctx, func(l *slog.Logger, ctx context.Context) {
			l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").With("c", 3).InfoContext(ctx, "m", "d", 4)
		}, `"a":1,` + ids(span) + `,"g":{"b":2,"h":{"c":3,"d":4}}`},
		{"groups without a span", background, func(l *slog.Logger, ctx context.Context) {
			l.With("a", 1).WithGroup("g").With("b", 2).InfoContext(ctx, "m", "c", 3)
		}, `"a":1,"g":{"b":2,"c":3}`},
		{"branches", ctx, func(l *slog.Logger, ctx context.Context) {
			g := l.WithGroup("g").With("a", 1).With("b", 2)
			branch := g.With("c", 3)
			_ = g.With("d", 4)
			branch.InfoContext(ctx, "m")
		}, ids(span) + `,"g":{"a":1,"b":2,"c":3}`},
	} {
		var out bytes.Buffer
		c.log(slog.New(dendro.NewLogHandler(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime}), dendro.LogOptions{})), c.ctx)
		testkit.Equal(t, c.name, strings.TrimSpace(out.String()), `{"level":"INFO","msg":"m",`+c.want+`}`)
	}
	span.End()
	testkit.Equal(t, "events that nobody asked for", len(recorder.Spans()[0].Events), 0)
}

// A record belongs to its caller, who may give it to other handlers as well.
func TestLogHandlerLeavesRecord(t *testing.T) {
	tracer, _ := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "root")
	defer span.End()
	var out bytes.Buffer
	h := dendro.NewLogHandler(slog.NewJSONHandler(&out, nil), dendro.LogOptions{})
	r := slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0)
	for range 10 { // then the slice of the record has spare capacity
		r.AddAttrs(slog.Int("a", 1))
	}
	for range 2 {
		testkit.NoError(t, h.Handle(ctx, r))
	}
	first, second, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	testkit.Equal(t, "the second time", second, first)
}

func noTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestLogEvents(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	for _, c := range []struct {
		name string
		log  func(*slog.Logger, context.Context)
		want string // name and attributes of the event, or "" if there is none
	}{
		{"record", func(l *slog.Logger, ctx context.Context) { l.InfoContext(ctx, "m", "a", 1) }, "m [log.severity=INFO a=1]"},
		{"logger", func(l *slog.Logger, ctx context.Context) { l.With("a", 1).WarnContext(ctx, "m", "b", "x") }, "m [log.severity=WARN a=1 b=x]"},
		{"groups", func(l *slog.Logger, ctx context.Context) {
			l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").InfoContext(ctx, "m", "c", 3, slog.Group("i", "d", 4), slog.Group("", "e", 5))
		}, "m [log.severity=INFO a=1 g.b=2 g.h.c=3 g.h.i.d=4 g.h.e=5]"},
		{"a group with nothing in it", func(l *slog.Logger, ctx context.Context) { l.WithGroup("g").InfoContext(ctx, "m") }, "m [log.severity=INFO]"},
		{"the last of two", func(l *slog.Logger, ctx context.Context) { l.With("a", 1).InfoContext(ctx, "m", "a", 2) }, "m [log.severity=INFO a=2]"},
		{"branches", func(l *slog.Logger, ctx context.Context) {
			l = l.With("a", 1).With("b", 2).With("c", 3)
			branch := l.With("d", 4)
			_ = l.With("e", 5)
			branch.InfoContext(ctx, "m")
		}, "m [log.severity=INFO a=1 b=2 c=3 d=4]"},
		{"nothing given", func(l *slog.Logger, ctx context.Context) { l.With().WithGroup("").InfoContext(ctx, "m") }, "m [log.severity=INFO]"},
		{"values", func(l *slog.Logger, ctx context.Context) {
			l.InfoContext(ctx, "m", "card", CacheEvent{Key: "k"}, "err", errors.New("no"), "took", time.Second)
		}, "m [log.severity=INFO card.cache.key=k card.cache.hit=false err=no took=1000000000]"},
		{"own level", func(l *slog.Logger, ctx context.Context) { l.Log(ctx, slog.LevelError+2, "m") }, "m [log.severity=ERROR+2]"},
		{"below the level", func(l *slog.Logger, ctx context.Context) { l.DebugContext(ctx, "m") }, ""},
		{"no span in the context", func(l *slog.Logger, _ context.Context) { l.Info("m") }, ""},
	} {
		ctx, span := tracer.Start(background, "work")
		c.log(slog.New(dendro.NewLogHandler(slog.DiscardHandler, dendro.LogOptions{Events: true})), ctx)
		span.End()
		got := recorder.Spans()[0]
		recorder.Reset()
		testkit.Equal(t, c.name+": status", got.Status, dendro.Status{})
		text := ""
		for _, e := range got.Events {
			text += e.Name + " " + slog.AnyValue(e.Attributes).String()
			testkit.Equal(t, c.name+": within the span", got.Start <= e.Time && e.Time <= got.End, true)
		}
		testkit.Equal(t, c.name, text, c.want)
	}
}

// The two levels are independent: what is an event may not be written, and the
// other way round.
func TestLogEventLevels(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	for _, c := range []struct {
		name         string
		tracer       *dendro.Tracer
		write, event slog.Level
		want         [2]bool // written to the log, added as an event
		enabled      bool
	}{
		{"both", tracer, slog.LevelInfo, slog.LevelInfo, [2]bool{true, true}, true},
		{"only written", tracer, slog.LevelInfo, slog.LevelWarn, [2]bool{true, false}, true},
		{"only event", tracer, slog.LevelWarn, slog.LevelInfo, [2]bool{false, true}, true},
		{"neither", tracer, slog.LevelWarn, slog.LevelWarn, [2]bool{}, false},
		{"not sampled", never, slog.LevelWarn, slog.LevelInfo, [2]bool{}, false},
	} {
		var out bytes.Buffer
		logger := slog.New(dendro.NewLogHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: c.write}), dendro.LogOptions{Events: true, Level: c.event}))
		ctx, span := c.tracer.Start(background, "work")
		testkit.Equal(t, c.name+": enabled", logger.Enabled(ctx, slog.LevelInfo), c.enabled)
		logger.InfoContext(ctx, "m")
		span.End()
		events := 0
		for _, s := range recorder.Spans() {
			events += len(s.Events)
		}
		recorder.Reset()
		testkit.Equal(t, c.name, [2]bool{out.Len() > 0, events > 0}, c.want)
		testkit.Equal(t, c.name+": enabled after the end", logger.Enabled(ctx, slog.LevelInfo), slog.LevelInfo >= c.write)
	}
}

func TestLogEventTooLong(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "work")
	slog.New(dendro.NewLogHandler(slog.DiscardHandler, dendro.LogOptions{Events: true})).InfoContext(ctx, strings.Repeat("m", 1<<20))
	span.End()
	testkit.Equal(t, "name", len(recorder.Spans()[0].Events[0].Name), 16<<10)
	testkit.Equal(t, "counted", tracer.Stats().Truncated, uint64(1))
}

// scribbler is a handler that changes the attributes it is given, as it may.
type scribbler struct{ slog.Handler }

func (h scribbler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := scribbler{h.Handler.WithAttrs(append([]slog.Attr(nil), attrs...))}
	clear(attrs)
	return next
}
func (h scribbler) WithGroup(name string) slog.Handler { return scribbler{h.Handler.WithGroup(name)} }

func TestLogHandlerConcurrently(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	var out lockedBuffer
	logger := slog.New(dendro.NewLogHandler(scribbler{slog.NewJSONHandler(&out, nil)}, dendro.LogOptions{Events: true}))
	logger = logger.With("a", 1).WithGroup("g").With("b", 2)
	ctx, span := tracer.Start(background, "root")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				logger.With("i", i).InfoContext(ctx, "m", "c", 3)
			}
		})
	}
	wg.Wait()
	span.End()
	for _, line := range decodeLog(t, out.Bytes()) {
		testkit.Equal(t, "trace id", line["trace_id"], any(span.Context().TraceID.String()))
		testkit.Equal(t, "b", line["g"].(map[string]any)["b"], any(2.0))
	}
	testkit.Equal(t, "events", len(recorder.Spans()[0].Events), 80)
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// everything is a handler that takes all records and does nothing.
type everything struct{}

func (everything) Enabled(context.Context, slog.Level) bool  { return true }
func (everything) Handle(context.Context, slog.Record) error { return nil }
func (h everything) WithAttrs([]slog.Attr) slog.Handler      { return h }
func (h everything) WithGroup(string) slog.Handler           { return h }

func TestLogAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("with the race detector sync.Pool forgets what it was given")
	}
	tracer := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.AlwaysSample})
	ctx, span := tracer.Start(background, "root")
	defer span.End()
	plain := slog.New(dendro.NewLogHandler(everything{}, dendro.LogOptions{}))
	events := slog.New(dendro.NewLogHandler(everything{}, dendro.LogOptions{Events: true}))
	for _, c := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"no span", 0, func() { plain.LogAttrs(background, slog.LevelInfo, "m", slog.Int("a", 1)) }},
		{"no span, events", 0, func() { events.LogAttrs(background, slog.LevelInfo, "m", slog.Int("a", 1)) }},
		{"span", 1, func() { plain.LogAttrs(ctx, slog.LevelInfo, "m", slog.Int("a", 1)) }},
		{"root with an event", 2, func() {
			ctx, s := tracer.Start(background, "x")
			events.LogAttrs(ctx, slog.LevelInfo, "m", slog.Int("a", 1))
			s.End()
		}},
	} {
		if got := testing.AllocsPerRun(200, c.run); got > c.max {
			t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.max)
		}
	}
}
