package dendro_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// nothing takes spans and forgets them.
var nothing = collect(func(*dendro.Batch) error { return nil })

// The budgets of the hot paths. A span and its context are one allocation.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("with the race detector sync.Pool forgets what it was given")
	}
	dendro.SetDefault(nil)
	tracer := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.AlwaysSample})
	never := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.NeverSample})
	half := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.ParentSample(dendro.RatioSample(0.5))})
	anew := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.RatioSample(0.5)})
	ctx, span := tracer.Start(context.Background(), "root")
	defer span.End()
	unsampled, _ := never.Start(context.Background(), "root")
	state, same := traceState(t, "a=1,ot=x:y;th:c"), traceState(t, "ot=th:8;x:y,a=1")
	below := func(state dendro.TraceState) dendro.StartOptions {
		return dendro.StartOptions{Parent: dendro.SpanContext{TraceID: dendro.TraceID{9: 0xff}, SpanID: dendro.SpanID{1}, Flags: dendro.FlagSampled, State: state}}
	}
	sc := span.Context()
	header := sc.Traceparent()
	buffer := make([]byte, 0, 64)
	headers := map[string][]string{}
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprint("key ", i))
	}

	for _, c := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"no tracer", 0, func() { _, s := dendro.Start(background, "x"); s.End() }},
		{"root", 1, func() { _, s := tracer.Start(background, "x"); s.End() }},
		{"child", 1, func() { _, s := dendro.Start(ctx, "x"); s.End() }},
		{"child with 5 attributes", 1, func() {
			_, s := dendro.Start(ctx, "x", slog.String("a", "1"), slog.Int("b", 2), slog.Bool("c", true), slog.Float64("d", 4), slog.String("e", "5"))
			s.End()
		}},
		{"root with 20 attributes", 1, func() {
			_, s := tracer.Start(background, "x")
			for _, key := range keys {
				s.SetAttributes(slog.String(key, key))
			}
			s.End()
		}},
		{"root and 10 children", 11, func() {
			ctx, s := tracer.Start(background, "x")
			for range 10 {
				_, s := dendro.Start(ctx, "y", slog.String("a", "1"))
				s.End()
			}
			s.End()
		}},
		{"root with events", 1, func() {
			_, s := tracer.Start(background, "x")
			for range 10 {
				s.AddEvent("e", slog.String("a", "1"), slog.Int("b", 2))
			}
			s.End()
		}},
		{"attributes", 0, func() { span.SetAttributes(slog.String("a", "1"), slog.Int("b", 2)) }},
		{"status", 0, func() { span.SetStatus(dendro.StatusError, "late") }},
		{"root, a share of them", 1, func() { _, s := half.Start(background, "x"); s.End() }},
		{"root below a tracestate", 1, func() { _, s := half.StartWith(background, "x", below(state)); s.End() }},
		{"root that sets the same threshold", 1, func() { _, s := anew.StartWith(background, "x", below(same)); s.End() }},
		{"unsampled root", 1, func() { _, s := never.Start(background, "x"); s.End() }},
		{"unsampled child", 0, func() { _, s := dendro.Start(unsampled, "x"); s.SetAttributes(slog.Int("a", 1)); s.End() }},
		{"SpanFromContext", 0, func() { _ = dendro.SpanFromContext(ctx) }},
		{"inject", 2, func() { dendro.Inject(ctx, headers) }},
		{"extract", 0, func() { _, _ = dendro.Extract(headers) }},
		{"parse traceparent", 0, func() { _, _ = dendro.ParseTraceparent(header) }},
		{"append traceparent", 0, func() { buffer = sc.AppendTraceparent(buffer[:0]) }},
		{"traceparent", 1, func() { _ = sc.Traceparent() }},
		{"adjusted count", 0, func() { _ = state.AdjustedCount() }},
		{"parse clean tracestate", 0, func() { _, _ = dendro.ParseTraceState("a=1,b=2") }},
	} {
		if got := testing.AllocsPerRun(200, c.run); got > c.max {
			t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.max)
		}
	}
}

func BenchmarkSpan(b *testing.B) {
	tracer := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.AlwaysSample})
	never := dendro.New(dendro.Options{Collector: nothing, Sampler: dendro.NeverSample})
	ctx, span := tracer.Start(background, "root")
	defer span.End()
	unsampled, _ := never.Start(background, "root")
	five := func(s *dendro.Span) {
		s.SetAttributes(slog.String("user.id", "u-4711"), slog.Int("shop.items", 2), slog.Bool("shop.express", true),
			slog.Float64("shop.total", 19.9), slog.String("shop.tenant", "acme"))
	}
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"root", func() { _, s := tracer.Start(background, "x"); s.End() }},
		{"root5", func() { _, s := tracer.Start(background, "x"); five(s); s.End() }},
		{"child", func() { _, s := dendro.Start(ctx, "x"); s.End() }},
		{"child5", func() { _, s := dendro.Start(ctx, "x"); five(s); s.End() }},
		{"unsampledRoot", func() { _, s := never.Start(background, "x"); s.End() }},
		{"unsampledChild", func() { _, s := dendro.Start(unsampled, "x"); s.End() }},
		{"noTracer", func() { _, s := dendro.Start(background, "x"); s.End() }},
		{"attribute", func() { span.SetAttributes(slog.Int("a", 1)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.run()
			}
		})
	}
}
