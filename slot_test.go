package dendro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// kept is a collector that keeps copies of the spans.
type kept struct {
	mu    sync.Mutex
	spans []*SpanData
}

func (k *kept) Collect(b *Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range b.Spans {
		k.spans = append(k.spans, s.Clone())
	}
	return nil
}

// writes is everything that can be done to a span.
var writes = map[string]func(s *Span){
	"SetName":       func(s *Span) { s.SetName("stale") },
	"SetAttributes": func(s *Span) { s.SetAttributes(slog.String("stale", "stale")) },
	"a slow value":  func(s *Span) { s.SetAttributes(slog.Any("stale", time.Second)) },
	"AddEvent":      func(s *Span) { s.AddEvent("stale", slog.Int("stale", 1)) },
	"a slow event":  func(s *Span) { s.AddEvent("stale", slog.Any("stale", time.Second)) },
	"AddEventAt":    func(s *Span) { s.AddEventAt(time.Now(), time.Second, "stale") },
	"RecordEvent":   func(s *Span) { s.RecordEvent("stale", stale{}) },
	"RecordError":   func(s *Span) { s.RecordError(errors.New("stale")) },
	"AddLink":       func(s *Span) { s.AddLink(SpanContext{TraceID: TraceID{1}, SpanID: SpanID{1}}) },
	"SetStatus":     func(s *Span) { s.SetStatus(StatusError, "stale") },
	"Discard":       (*Span).Discard,
	"End":           (*Span).End,
	"EndAt":         func(s *Span) { s.EndAt(time.Now().Add(time.Hour)) },
	"IsRecording": func(s *Span) {
		if s.IsRecording() {
			panic("a span that has ended is recording")
		}
	},
}

type stale struct{}

func (stale) LogValue() slog.Value { return slog.StringValue("stale") }

// reused returns the ended root of a request, and a root that has its memory.
func reused(t *testing.T, tracer *Tracer) (old, young *Span) {
	t.Helper()
	for range 1000 { // sync.Pool may drop what is put into it
		_, old = tracer.Start(context.Background(), "old", slog.String("owner", "old"))
		old.AddEvent("old", slog.String("owner", "old"))
		old.End()
		_, young = tracer.Start(context.Background(), "young")
		if young.slot == old.slot {
			return old, young
		}
		young.End()
	}
	t.Fatal("memory is not used again")
	return nil, nil
}

// A handle that outlives its span cannot reach the span that has its memory now.
func TestStaleHandle(t *testing.T) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			var k kept
			tracer := New(Options{Collector: &k})
			old, young := reused(t, tracer)
			before := tracer.Stats()
			k.spans = nil
			write(old)
			young.SetAttributes(slog.String("owner", "young"))
			write(old)
			young.End()
			write(old)
			if len(k.spans) != 1 {
				t.Fatalf("%d spans arrived, want 1", len(k.spans))
			}
			got := k.spans[0]
			if got.Name != "young" || len(got.Attributes) != 1 || !got.Attributes[0].Equal(slog.String("owner", "young")) ||
				len(got.Events)+len(got.Links) > 0 || got.Status != (Status{}) || got.SpanContext != young.Context() || got.Duration() > time.Minute {
				t.Errorf("the stale handle has changed %+v", got)
			}
			after := tracer.Stats()
			counted := after.EndedTwice + after.WrittenAfterEnd - before.EndedTwice - before.WrittenAfterEnd
			if want := uint64(3); name != "Discard" && name != "IsRecording" && counted != want {
				t.Errorf("%d late calls are counted, want %d", counted, want)
			}
			if after.Ended != before.Ended+1 || after.Unfinished != 0 {
				t.Errorf("ended %d, unfinished %d", after.Ended-before.Ended, after.Unfinished)
			}
		})
	}
}

// The same while other goroutines work: no span ever has what another was given.
func TestStaleHandlesAtWork(t *testing.T) {
	var k kept
	tracer := New(Options{Collector: &k})
	const goroutines, requests = 8, 200
	handles := make(chan *Span, 64) // of spans that have ended or are about to end
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			own := slog.String("owner", "")
			for n := range requests {
				name := fmt.Sprint("request ", g, " ", n)
				own.Value = slog.StringValue(name)
				ctx, root := tracer.Start(context.Background(), name, own)
				spans := []*Span{root}
				for range rand.IntN(2 * moreSlots) {
					_, child := Start(ctx, name, own)
					child.AddEvent(name, own)
					spans = append(spans, child)
				}
				rand.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
				for _, s := range spans {
					s.SetAttributes(own, slog.Int("n", n))
					s.End()
					select {
					case handles <- s:
					case old := <-handles:
						old.SetName("stale")
						old.SetAttributes(slog.String("stale", "stale"))
						old.AddEvent("stale", slog.String("stale", "stale"))
						old.Discard()
						old.End()
					}
				}
			}
		})
	}
	wg.Wait()
	stats := tracer.Stats()
	if n := uint64(len(k.spans)) + stats.Discarded; n != stats.Started || n != stats.Ended || stats.WrittenAfterEnd == 0 {
		t.Errorf("%d spans arrived or were discarded: %+v", n, stats)
	}
	for _, s := range k.spans {
		wrong := !strings.HasPrefix(s.Name, "request ") || len(s.Attributes) != 2 || s.Attributes[0].Value.String() != s.Name
		for _, e := range s.Events {
			wrong = wrong || e.Name != s.Name || len(e.Attributes) != 1 || e.Attributes[0].Value.String() != s.Name
		}
		if wrong {
			t.Fatalf("a span has what another was given: %+v", s)
		}
	}
}

// What begins below a span whose local trace is over belongs to the same trace
// and arrives when it ends.
func TestChildOfAStaleParent(t *testing.T) {
	var k kept
	tracer := New(Options{Collector: &k, Sampler: func(p SamplingParameters) SamplingResult { return SamplingResult{Sampled: !p.Parent.IsValid()} }})
	ctx, old := tracer.Start(context.Background(), "old")
	old.End()
	other, young := tracer.Start(context.Background(), "young")
	ctx, child := Start(ctx, "child")
	_, grandchild := Start(ctx, "grandchild")
	_, its := Start(other, "its own")
	its.End()
	grandchild.End()
	child.End()
	if len(k.spans) != 3 || k.spans[1].Name != "grandchild" || k.spans[2].Name != "child" {
		t.Fatalf("%d spans arrived", len(k.spans))
	}
	got := k.spans[2]
	if got.TraceID != old.Context().TraceID || got.ParentID != old.Context().SpanID || got.Remote || !got.Flags.Sampled() {
		t.Errorf("%+v is not below %v", got.SpanContext, old.Context())
	}
	if k.spans[1].ParentID != got.SpanID || k.spans[1].TraceID != got.TraceID {
		t.Error("the grandchild is not below the child")
	}
	young.End()
	if len(k.spans) != 5 {
		t.Errorf("%d spans arrived", len(k.spans))
	}
}

// A span that is held for hours keeps its memory, whatever happens meanwhile.
func TestSpanHeldForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		tracer := New(Options{Collector: &k})
		ctx, root := tracer.Start(context.Background(), "root")
		_, held := Start(ctx, "held", slog.String("owner", "held"))
		root.End()
		for range 1000 {
			time.Sleep(10 * time.Second)
			_, s := tracer.Start(ctx, "child of the root")
			s.End()
			_, s = tracer.Start(context.Background(), "another")
			if s.slot.trace == held.slot.trace {
				t.Fatal("the memory of a span is given away while it is open")
			}
			s.End()
		}
		held.SetAttributes(slog.Bool("late", true))
		held.End()
		got := k.spans[len(k.spans)-1]
		if got.Name != "held" || len(got.Attributes) != 2 || got.Duration() < 2*time.Hour || len(k.spans) != 2002 {
			t.Errorf("%d spans, the last is %+v", len(k.spans), got)
		}
	})
}

// The memory of an unusual request is not kept for the next one.
func TestLargeTracesAreNotKept(t *testing.T) {
	tracer := New(Options{Collector: &kept{}})
	ctx, root := tracer.Start(context.Background(), "root")
	var spans []*Span
	for range maxIdleSlots {
		_, s := Start(ctx, "child")
		spans = append(spans, s)
	}
	for i := range 4 * maxIdleAttributes {
		root.SetAttributes(slog.Int(fmt.Sprint(i), i))
		root.AddEvent("event", slog.Int("a", 1), slog.Int("b", 2))
	}
	for _, s := range append(spans, root) {
		s.End()
	}
	_, next := tracer.Start(context.Background(), "next")
	defer next.End()
	if next.slot.trace == root.slot.trace {
		t.Errorf("%d slots are kept", next.slot.trace.slots)
	}

	old, young := reused(t, tracer)
	for i := range 4 * maxIdleAttributes {
		young.SetAttributes(slog.Int(fmt.Sprint(i), i))
		young.AddEvent("event", slog.Int("a", 1), slog.Int("b", 2))
	}
	young.End()
	d := &old.slot.data
	if cap(d.Attributes) > maxIdleAttributes || cap(d.Events) > maxIdleEvents || cap(old.slot.eventAttrs) > maxIdleEventAttrs {
		t.Errorf("room for %d attributes, %d events and %d of their attributes is kept", cap(d.Attributes), cap(d.Events), cap(old.slot.eventAttrs))
	}
}

// Memory that waits for the next request holds nothing of the one before.
func TestIdleMemoryIsEmpty(t *testing.T) {
	tracer := New(Options{Collector: &kept{}})
	old, young := reused(t, tracer)
	defer young.End()
	slot := old.slot
	for _, attrs := range [][]slog.Attr{slot.inline[:], slot.eventAttrs[:cap(slot.eventAttrs)]} {
		for _, a := range attrs {
			if !a.Equal(slog.Attr{}) {
				t.Errorf("%v is kept", a)
			}
		}
	}
	for _, e := range slot.data.Events[:cap(slot.data.Events)] {
		if e.Name != "" || e.Attributes != nil {
			t.Errorf("event %v is kept", e)
		}
	}
	if slot.keys != 0 {
		t.Error("keys are kept")
	}
}

// A burst of spans at once leaves little memory behind: while the root is open,
// and when a handle is kept for good.
func TestBurstIsForgotten(t *testing.T) {
	tracer := New(Options{Collector: new(kept)})
	ctx, root := tracer.Start(context.Background(), "root")
	for round := range 2 {
		var spans []*Span
		for range 3 * maxSlots {
			_, s := Start(ctx, "child")
			spans = append(spans, s)
		}
		for _, s := range spans {
			s.End()
		}
		if err := tracer.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := root.slot.trace.slots; n > maxSlots {
			t.Errorf("round %d: %d slots after the burst", round, n)
		}
	}
	root.End()
	if root.slot.trace.free != nil {
		t.Error("the handle of the root holds on to the other slots")
	}
}

// What a span had does not live on in memory that is used again.
func TestSlotHoldsOnToNothing(t *testing.T) {
	tracer := New(Options{Collector: new(kept)})
	_, span := tracer.StartWith(context.Background(), "x", StartOptions{Scope: &Scope{Name: "secret"}})
	for i := range inlineAttributes + 1 {
		span.SetAttributes(slog.String(fmt.Sprint("k", i), "secret"))
	}
	slot := span.slot
	span.End()
	if slot.data.Scope != nil {
		t.Errorf("%v is still there", slot.data.Scope)
	}
	for _, a := range slot.inline {
		if a.Key != "" {
			t.Errorf("%v is still there", a)
		}
	}
	for _, a := range slot.data.Attributes[:cap(slot.data.Attributes)] {
		if a.Key != "" {
			t.Errorf("%v is still there", a)
		}
	}
}
