package dendro

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// handed is a collector that keeps the names of the spans in each batch, followed by
// "last" if the batch is that.
type handed struct {
	mu      sync.Mutex
	batches [][]string
	during  func(names []string) // called by Collect, if it is not nil
}

func (h *handed) Collect(b *Batch) error {
	names := func() (out []string) {
		for _, s := range b.Spans {
			out = append(out, s.Name)
		}
		return out
	}
	if h.during != nil {
		h.during(names())
	}
	got := names() // nothing may have changed meanwhile
	if b.Last {
		got = append(got, "last")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches = append(h.batches, got)
	return nil
}

func (h *handed) want(t *testing.T, want ...[]string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.EqualFunc(h.batches, want, slices.Equal) {
		t.Errorf("batches:\n got %v\nwant %v", h.batches, want)
	}
}

func TestLastBatch(t *testing.T) {
	ended := func(ctx context.Context, name string) {
		_, s := Start(ctx, name)
		s.End()
	}
	for name, c := range map[string]struct {
		run  func(tracer *Tracer)
		want [][]string
	}{
		"a request": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			ended(ctx, "child")
			root.End()
		}, [][]string{{"child", "root", "last"}}},
		"spans that end after the root": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			_, a := Start(ctx, "a")
			ctx, b := Start(ctx, "b")
			root.End()
			ended(ctx, "c")
			a.End()
			b.End()
			b.End()
		}, [][]string{{"root"}, {"c"}, {"a"}, {"b", "last"}}},
		"a span that starts when all have ended": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			root.End()
			ctx, late := Start(ctx, "late")
			ended(ctx, "below")
			late.End()
		}, [][]string{{"root", "last"}, {"below", "late", "last"}}},
		"a flush": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			ended(ctx, "a")
			_ = tracer.Flush(context.Background())
			_ = tracer.Flush(context.Background())
			ended(ctx, "b")
			root.End()
			_ = tracer.Flush(context.Background())
		}, [][]string{{"a"}, {"b", "root", "last"}}},
		"a flush while the root is the only span": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			ended(ctx, "a")
			_ = tracer.Flush(context.Background())
			root.End()
		}, [][]string{{"a"}, {"root", "last"}}},
		"a rest that is discarded": {func(tracer *Tracer) {
			ctx, root := tracer.Start(context.Background(), "root")
			ended(ctx, "a")
			_ = tracer.Flush(context.Background())
			root.Discard()
			root.End()
		}, [][]string{{"a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var h handed
			tracer := New(Options{Collector: &h})
			for range 2 { // the second time usually with the same memory
				h.batches = nil
				c.run(tracer)
				h.want(t, c.want...)
			}
		})
	}
}

func TestLastBatchOfALongTrace(t *testing.T) {
	var sizes []int
	var last []bool
	tracer := New(Options{Collector: collectorFunc(func(b *Batch) error {
		sizes, last = append(sizes, len(b.Spans)), append(last, b.Last)
		return nil
	})})
	ctx, root := tracer.Start(context.Background(), "root")
	for range 2*partSpans + 1 {
		_, s := Start(ctx, "child")
		s.End()
	}
	root.End()
	if !slices.Equal(sizes, []int{partSpans, partSpans, 2}) || !slices.Equal(last, []bool{false, false, true}) {
		t.Errorf("sizes %v, last %v", sizes, last)
	}
}

// While the collector has a part, the root ends on another goroutine. That completes the
// local trace: what is started then is not added to it, and does not get its memory.
func TestLastBatchOvertakesAnother(t *testing.T) {
	for _, slow := range []string{"a", "root"} { // the part that the collector takes long for
		entered, leave := make(chan struct{}), make(chan struct{})
		h := &handed{during: func(names []string) {
			if names[0] == slow {
				close(entered)
				<-leave
			}
		}}
		tracer := New(Options{Collector: h})
		ctx, root := tracer.Start(context.Background(), "root")
		_, a := Start(ctx, "a")
		a.End()
		first, second := func() { _ = tracer.Flush(context.Background()) }, root.End
		var wg sync.WaitGroup
		if slow == "a" {
			wg.Go(first)
			<-entered
			second()
		} else {
			first()
			wg.Go(second)
			<-entered
		}
		further, span := Start(ctx, "further")
		_, below := Start(further, "below")
		below.End()
		span.End()
		for range 10 {
			_, other := tracer.Start(context.Background(), "other")
			if other.slot.trace == root.slot.trace {
				t.Error("the memory of a part that is being delivered is used again")
			}
			other.Discard()
			other.End()
		}
		close(leave)
		wg.Wait()
		if slow == "a" {
			h.want(t, []string{"root", "last"}, []string{"below", "further", "last"}, []string{"a"})
		} else {
			h.want(t, []string{"a"}, []string{"below", "further", "last"}, []string{"root", "last"})
		}
		if s := tracer.Stats(); s.Delivered != 4 || s.Unfinished != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// However spans start and end, every local trace has one last batch, which is handed over
// when all its spans have ended.
func TestEveryLocalTraceHasOneLastBatch(t *testing.T) {
	type local struct {
		spans         []*Span
		arrived, last int
	}
	var mu sync.Mutex
	bySpan, locals := map[SpanID]*common{}, map[*common]*local{}
	tracer := New(Options{Collector: collectorFunc(func(b *Batch) error {
		mu.Lock()
		defer mu.Unlock()
		l := locals[bySpan[b.Spans[0].SpanID]]
		for _, s := range b.Spans {
			if locals[bySpan[s.SpanID]] != l {
				t.Error("a batch has spans of two local traces")
			}
			l.arrived++
		}
		if b.Last {
			l.last++
			if slices.ContainsFunc(l.spans, (*Span).IsRecording) {
				t.Error("the last batch is handed over before a span has ended")
			}
		}
		return nil
	})})
	note := func(ctx context.Context, s *Span) (context.Context, *Span) {
		mu.Lock()
		defer mu.Unlock()
		if locals[s.common] == nil {
			locals[s.common] = new(local)
		}
		bySpan[s.id] = s.common
		locals[s.common].spans = append(locals[s.common].spans, s)
		return ctx, s
	}
	const goroutines, requests, children = 4, 300, 5
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range requests {
				ctx, root := note(tracer.Start(context.Background(), "root"))
				var request sync.WaitGroup
				for range children { // some of them begin when the root has ended, or all spans have
					request.Go(func() {
						below, s := note(Start(ctx, "child"))
						_, grandchild := note(Start(below, "grandchild"))
						s.End()
						if rand.IntN(4) == 0 {
							_ = tracer.Flush(context.Background())
						}
						grandchild.End()
					})
				}
				request.Go(root.End)
				request.Wait()
			}
		})
	}
	wg.Wait()
	for _, l := range locals {
		if l.arrived != len(l.spans) || l.last != 1 {
			t.Errorf("of %d spans of a local trace %d arrived; %d batches are the last", len(l.spans), l.arrived, l.last)
		}
	}
	if s := tracer.Stats(); len(locals) < goroutines*requests || s.Delivered != goroutines*requests*(1+2*children) {
		t.Errorf("%d local traces, %+v", len(locals), s)
	}
}

type collectorFunc func(*Batch) error

func (f collectorFunc) Collect(b *Batch) error { return f(b) }
