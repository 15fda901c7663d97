// Package testkit has helpers for the tests of this module.
package testkit

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
)

// Recorder is a collector that keeps copies of all spans. The zero value is ready to use.
type Recorder struct {
	mu    sync.Mutex
	spans []Span        // guarded by mu
	more  chan struct{} // nil before the first use of arrived
}

// Span is a recorded span with its service.
type Span struct {
	dendro.SpanData
	Service string
}

// NewTracer returns a tracer for the service "test" that samples everything, and the
// recorder of its spans. The test fails at its end if a span was not ended.
func NewTracer(t testing.TB) (*dendro.Tracer, *Recorder) {
	t.Helper()
	r := &Recorder{}
	tracer := dendro.New(dendro.Options{Service: "test", Collector: r, Sampler: dendro.AlwaysSample})
	t.Cleanup(func() {
		if s := tracer.Stats(); !t.Failed() && s.Unfinished > 0 {
			t.Errorf("%d spans were never ended", s.Unfinished)
		}
	})
	return tracer, r
}

// Collect implements [dendro.Collector].
func (r *Recorder) Collect(b *dendro.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range b.Spans {
		r.spans = append(r.spans, Span{*s.Clone(), b.Resource.Service()})
	}
	select {
	case r.arrived() <- struct{}{}:
	default:
	}
	return nil
}

// arrived returns a channel that has a value after spans have arrived. r.mu must be locked.
func (r *Recorder) arrived() chan struct{} {
	if r.more == nil {
		r.more = make(chan struct{}, 1)
	}
	return r.more
}

// Spans returns the spans so far, ordered by start.
func (r *Recorder) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.spans)
	slices.SortStableFunc(out, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// Wait waits for at most ten seconds until n spans have arrived, and returns them.
func (r *Recorder) Wait(t testing.TB, n int) []Span {
	t.Helper()
	r.mu.Lock()
	more := r.arrived()
	r.mu.Unlock()
	deadline := time.After(10 * time.Second)
	for {
		spans := r.Spans()
		if len(spans) >= n {
			return spans
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("%d spans arrived, want %d: %v", len(spans), n, Names(spans))
		}
	}
}

// Reset removes the spans so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = nil
}

// Names returns the names of spans.
func Names(spans []Span) []string {
	out := make([]string, len(spans))
	for i, s := range spans {
		out[i] = s.Name
	}
	return out
}

// Attr returns the value of an attribute, or nil if the span does not have it.
func (s Span) Attr(key string) any { return attr(s.Attributes, key) }

// Event returns the first event with that name, or nil if there is none.
func (s Span) Event(name string) *dendro.Event {
	for i := range s.Events {
		if s.Events[i].Name == name {
			return &s.Events[i]
		}
	}
	return nil
}

func attr(attrs []slog.Attr, key string) any {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value.Any()
		}
	}
	return nil
}

// Equal fails the test unless got and want are deeply equal.
func Equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}

// NoError ends the test if err is not nil.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NoLeaks fails the test if goroutines of this module or of net/http are left at its
// end that did not exist when NoLeaks was called. Call it first, so that it runs after
// the Cleanup functions of the test.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		for {
			var leaked []string
			for id, stack := range goroutines() {
				if _, old := before[id]; !old {
					leaked = append(leaked, stack)
				}
			}
			if len(leaked) == 0 {
				return
			}
			select {
			case <-ctx.Done():
				t.Errorf("%d goroutines left behind:\n%s", len(leaked), strings.Join(leaked, "\n\n"))
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
}

// goroutines returns the stacks of the goroutines that NoLeaks checks, by goroutine
// id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) { // buf may be too small
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	out := map[string]string{}
	for stack := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		id, _, _ := strings.Cut(stack, " [")
		if strings.Contains(stack, "dendrotrace/dendro") && !strings.Contains(stack, "testing.(*T).Run") && !strings.Contains(stack, "runtime.Stack") ||
			strings.Contains(stack, "net/http.") {
			out[id] = stack
		}
	}
	return out
}
