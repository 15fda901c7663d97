package diagnostics

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// all is the id for which all traces are returned.
var all dendro.TraceID

// hang waits for a channel below a span. What it returns waits until it has ended.
func hang(ctx context.Context, tracer *dendro.Tracer, o dendro.StartOptions, name string, end chan struct{}, attrs ...slog.Attr) (_ context.Context, s *dendro.Span, wait func()) {
	started := make(chan context.Context)
	var goroutine sync.WaitGroup
	goroutine.Go(func() {
		ctx, s := tracer.StartWith(ctx, name, o, attrs...)
		defer s.End()
		started <- ctx
		<-end
	})
	ctx = <-started
	return ctx, dendro.SpanFromContext(ctx), goroutine.Wait
}

func TestOpen(t *testing.T) {
	testkit.NoLeaks(t)
	d, tracer := newShop(t, Options{Open: true}, leastSpans)
	testkit.Equal(t, "open at first", len(d.Open(t.Context(), all).Requests), 0)

	now := time.Now()
	server := dendro.StartOptions{Kind: dendro.KindServer, Time: now.Add(-3 * fast)}
	end := make(chan struct{})
	ctx, slow, wait := hang(t.Context(), tracer, server, "GET /fast", end, slog.String("url.path", "/fast/17"))
	inner, query := tracer.Start(ctx, "SELECT items", slog.String("db.query.text", strings.Repeat("?", 2*maxAbout)))
	_, deep := tracer.Start(inner, "read")
	_, done := tracer.Start(ctx, "done")
	done.End()
	server.Time = now.Add(-time.Hour)
	_, unknown := tracer.StartWith(t.Context(), "GET /new", server)
	server.Time = now.Add(-time.Minute)
	_, also := tracer.StartWith(t.Context(), "GET /fast", server)
	_, discarded := tracer.Start(t.Context(), "GET /page")
	discarded.Discard()

	got := d.Open(t.Context(), all)
	var lines []string
	for _, r := range got.Requests {
		for i, s := range r.Spans {
			lines = append(lines, fmt.Sprintf("%s%s %s %s %v %v", strings.Repeat(" ", s.Depth), r.Service, s.Name, s.Kind, i == 0 && r.Slow, s.Slow()))
		}
	}
	testkit.Equal(t, "open", strings.Join(lines, "\n"), `shop GET /new server false false
shop GET /fast server true true
shop GET /fast server true true
 shop SELECT items internal false false
  shop read internal false false`)
	r := got.Requests[2]
	testkit.Equal(t, "path", r.Spans[0].About, "/fast/17")
	testkit.Equal(t, "statement", len(r.Spans[1].About), maxAbout)
	testkit.Equal(t, "parent", r.Spans[1].ParentID, slow.Context().SpanID.String())
	testkit.Equal(t, "age", r.Spans[0].Age >= 3*fast, true)
	testkit.Equal(t, "spans of the trace", d.OpenSpans(slow.Context().TraceID), 3)
	testkit.Equal(t, "problem", got.Problem, "")
	testkit.Equal(t, "stacks", len(r.Stacks), 1)
	f := r.Stacks[0].Frames[0]
	testkit.Equal(t, "function", f.Function, "github.com/dendrotrace/dendro/diagnostics.hang.func1")
	testkit.Equal(t, "file", filepath.Base(f.File), "open_test.go")
	testkit.Equal(t, "own and its line", f.Own && f.Line > 20, true)

	close(end)
	wait()
	for _, s := range []*dendro.Span{deep, query, discarded, also, unknown} {
		s.End()
	}
	testkit.Equal(t, "open at last", len(d.Open(t.Context(), all).Requests), 0)
	testkit.Equal(t, "spans of the trace at last", d.OpenSpans(slow.Context().TraceID), 0)
}

// A request of which nothing is known has its stacks when it has been open for a second.
func TestOpenUnknown(t *testing.T) {
	d, tracer := newShop(t, Options{Open: true}, 0)
	end := make(chan struct{})
	_, _, wait := hang(t.Context(), tracer, dendro.StartOptions{Time: time.Now().Add(-longOpen)}, "GET /new", end)
	defer wait()
	defer close(end)
	_, young := tracer.StartWith(t.Context(), "GET /new", dendro.StartOptions{Time: time.Now().Add(time.Hour)}) // however slow this machine is
	defer young.End()
	got := d.Open(t.Context(), all).Requests
	testkit.Equal(t, "stacks", len(got[0].Stacks), 1)
	testkit.Equal(t, "slow", got[0].Slow, false)
	testkit.Equal(t, "stacks of a young request", len(got[1].Stacks), 0)
}

// A span whose parent has ended, and one that another local trace of the process has called, are
// requests of their own.
func TestOpenForest(t *testing.T) {
	d, tracer := newShop(t, Options{Open: true}, 0)
	ctx, root := tracer.Start(t.Context(), "root")
	ctx, parent := tracer.Start(ctx, "parent")
	_, orphan := tracer.Start(ctx, "orphan")
	_, called := tracer.StartWith(context.Background(), "called", dendro.StartOptions{Parent: orphan.Context()})
	parent.End()
	var tops []string
	for _, r := range d.Open(t.Context(), all).Requests {
		tops = append(tops, fmt.Sprint(r.Spans[0].Name, len(r.Spans)))
	}
	testkit.Equal(t, "requests", strings.Join(tops, " "), "root1 orphan1 called1")
	for _, s := range []*dendro.Span{called, orphan, root} {
		s.End()
	}
}

// Only so many open spans are remembered, and the others are counted.
func TestOpenIsBounded(t *testing.T) {
	d, tracer := newShop(t, Options{Open: true}, 0)
	ctx, root := tracer.Start(t.Context(), "root")
	spans := []*dendro.Span{root}
	for range 2 * openShards * maxOpen {
		_, s := tracer.Start(ctx, "child")
		spans = append(spans, s)
	}
	got := d.Open(t.Context(), all)
	r := got.Requests[0]
	testkit.Equal(t, "spans", fmt.Sprint(len(got.Requests), got.More, len(r.Spans), r.More+len(r.Spans)+got.Unknown), fmt.Sprint(1, 0, maxSpans, len(spans)))
	testkit.Equal(t, "remembered", r.More+len(r.Spans), openShards*maxOpen)
	for _, s := range spans {
		s.End()
	}
	got = d.Open(t.Context(), all)
	testkit.Equal(t, "at last", fmt.Sprint(len(got.Requests), got.Unknown), "0 0")

	for range 2 * maxRequests {
		_, s := tracer.Start(t.Context(), "root")
		defer s.End()
	}
	got = d.Open(t.Context(), all)
	testkit.Equal(t, "requests", fmt.Sprint(len(got.Requests), got.More), fmt.Sprint(maxRequests, maxRequests))
}

const profile = `goroutine profile: total 4
2 @ 0x1 0x2
# labels: {"a":"\", \"trace_id\":\"00000000000000000000000000000009\"", "trace_id":"00000000000000000000000000000001"}
#	0x47	time.Sleep+0x14f			/go/src/runtime/time.go:368
#	0x9c	main.(*shop).hang[...]+0x2f		/shop with space/main.go:42
#	0x9d	main.main+0x2f				C:/shop/main.go:7

1 @ 0x3
# labels: {"a":"\", \"trace_id\":\"00000000000000000000000000000009\""}
#	0x9d	main.main+0x2f				/shop/main.go:8

1 @ 0x4
# labels: {"trace_id":"00000000000000000000000000000002"}
#	0x9d

1 @ 0x5
#	0x9d	main.main+0x2f				/shop/main.go:9

`

func TestParseStacks(t *testing.T) {
	got := parseStacks([]byte(profile))
	testkit.Equal(t, "traces", len(got), 1)
	testkit.Equal(t, "stacks", fmt.Sprint(got[dendro.TraceID{15: 1}]),
		"[{2 [{time.Sleep /go/src/runtime/time.go 368 false} {main.(*shop).hang[...] /shop with space/main.go 42 true} {main.main C:/shop/main.go 7 true}]}]")
}

// A stack is parted into the calls of the program and those around it.
func TestStackParts(t *testing.T) {
	f := func(own ...bool) (s Stack) {
		for _, o := range own {
			s.Frames = append(s.Frames, Frame{Own: o})
		}
		return s
	}
	for _, test := range []struct {
		of               Stack
		program, callers int
	}{{f(), 0, 0}, {f(false, false), 2, 0}, {f(true, false, true, false), 3, 1}, {f(true), 1, 0}} {
		testkit.Equal(t, "frames", [2]int{len(test.of.Program()), len(test.of.Callers())}, [2]int{test.program, test.callers})
	}
}

// The stacks of a program are those of one profile a second.
func TestStacksAreShared(t *testing.T) {
	var s stacks
	first, err := s.all()
	testkit.NoError(t, err)
	first[dendro.TraceID{1}] = nil
	again, err := s.all()
	testkit.NoError(t, err)
	testkit.Equal(t, "the same", len(again), len(first))
	s.made = time.Now().Add(-stackPeriod)
	again, err = s.all()
	testkit.NoError(t, err)
	testkit.Equal(t, "another", len(again), len(first)-1)
}

func FuzzParseStacks(f *testing.F) {
	f.Add([]byte(profile))
	f.Fuzz(func(t *testing.T, data []byte) {
		for id, all := range parseStacks(data) {
			if !id.IsValid() || len(all) > maxStacks {
				t.Errorf("%d stacks of %v", len(all), id)
			}
		}
	})
}
