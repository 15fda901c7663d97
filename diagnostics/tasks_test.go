package diagnostics

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/trace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/naming"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// record returns an execution trace of do.
func record(t testing.TB, do func()) []byte {
	t.Helper()
	var recorded bytes.Buffer
	if err := trace.Start(&recorded); err != nil {
		t.Skip(err) // go test -trace
	}
	defer trace.Stop()
	do()
	trace.Stop()
	return recorded.Bytes()
}

// parse returns the events of an execution trace as go tool trace prints them. It fails if regions are not nested.
func parse(t testing.TB, recorded []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace.out")
	testkit.NoError(t, os.WriteFile(file, recorded, 0o600))
	var problems bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "tool", "trace", "-d=parsed", file)
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, problems.String())
	}
	return string(out)
}

// events returns those of a kind, such as RegionBegin, whose name begins with prefix, in order.
func events(parsed, kind, prefix string) (names []string) {
	for line := range strings.SplitSeq(parsed, "\n") {
		if !strings.Contains(line, " "+kind+" ") {
			continue
		}
		if _, name, ok := strings.Cut(line, `Type="`); ok && strings.HasPrefix(name, prefix) {
			name, _, _ = strings.Cut(name, `"`)
			names = append(names, name)
		}
	}
	return names
}

func TestTasksAndRegions(t *testing.T) {
	d, tracer := traced()
	var id dendro.TraceID
	parsed := parse(t, record(t, func() {
		ctx, root := tracer.Start(context.Background(), "tea order")
		id = root.Context().TraceID
		trace.WithRegion(ctx, "tea by the program", func() {
			_, child := dendro.Start(ctx, "tea query")
			child.End()
		})
		root.End()
	}))
	testkit.Equal(t, "tasks", events(parsed, "TaskBegin", "tea"), []string{"tea order"})
	testkit.Equal(t, "ended tasks", events(parsed, "TaskEnd", "tea"), []string{"tea order"})
	testkit.Equal(t, "regions", events(parsed, "RegionBegin", "tea"), []string{"tea order", "tea by the program", "tea query"})
	testkit.Equal(t, "ended regions", events(parsed, "RegionEnd", "tea"), []string{"tea query", "tea by the program", "tea order"})
	if want := fmt.Sprintf("Category=\"trace_id\" Message=%q", id); !strings.Contains(parsed, want) {
		t.Errorf("the trace does not log %s", want)
	}
	checkReleased(t, d, tracer)
}

// checkReleased checks that d holds nothing once it has seen that no execution trace is running.
func checkReleased(t testing.TB, d *Diagnostics, tracer *dendro.Tracer) {
	t.Helper()
	_, next := tracer.Start(context.Background(), "after the trace")
	next.End()
	checkEmpty(t, d)
}

// Spans may end in any order and on any goroutine. The regions are nested nevertheless.
func TestRegionsAreNested(t *testing.T) {
	d, tracer := traced()
	start := func(ctx context.Context, name string) (context.Context, *dendro.Span) { return tracer.Start(ctx, name) }
	elsewhere := func(f func()) {
		var other sync.WaitGroup
		other.Go(f)
		other.Wait()
	}
	parsed := parse(t, record(t, func() {
		for range 3 { // the parser looks at what follows
			ctx, root := start(context.Background(), "tea 0")
			ctx1, one := start(ctx, "tea 1")
			_, two := start(ctx1, "tea 2")
			one.End() // ends the region of two
			trace.WithRegion(ctx, "tea of the program", func() {})
			two.End()
			_, three := start(ctx, "tea 3")
			elsewhere(three.End) // the region of three is ended with the next span
			_, four := start(ctx, "tea 4")
			_, five := start(ctx, "tea 5")
			elsewhere(func() {
				_, six := start(ctx, "tea 6")
				four.End()
				six.End()
			})
			root.End()
			five.End()
		}
		elsewhere(func() {
			_, passed := start(context.Background(), "tea passed on")
			elsewhere(passed.End)
		})
		_, never := start(context.Background(), "tea forever")
		elsewhere(func() {
			for range 2 * maxDepth { // of another goroutine each
				elsewhere(func() { _, _ = start(context.Background(), "tea of nobody") })
			}
		})
		_ = never
	}))
	var want []string
	for range 3 {
		want = append(want, "tea 2", "tea 1", "tea of the program", "tea 3", "tea 6", "tea 5", "tea 4", "tea 0")
	}
	testkit.Equal(t, "ended regions", events(parsed, "RegionEnd", "tea")[:len(want)], want)
	checkReleased(t, d, tracer)
}

// What is open when a trace stops is released, and does not disturb the next trace.
func TestTraceStops(t *testing.T) {
	d, tracer := labeled(t)
	var open []*dendro.Span
	record(t, func() {
		ctx := t.Context()
		for i := range 2 * maxDepth {
			var s *dendro.Span
			ctx, s = tracer.Start(ctx, fmt.Sprint("tea ", i))
			open = append(open, s)
		}
		testkit.Equal(t, "spans with a region", d.entered.n.Load(), int64(maxDepth))
	})
	_, next := tracer.Start(t.Context(), "root")
	testkit.Equal(t, "spans with labels", d.entered.n.Load(), int64(2))
	testkit.Equal(t, "names are needed early", naming.IsEarly(), true)
	next.End()
	testkit.Equal(t, "labels of the first root", labelsHere(t), labelsOf(open[0], "tea 0"))
	parsed := parse(t, record(t, func() {
		_, root := tracer.Start(t.Context(), "tea again")
		for _, s := range open {
			s.End()
		}
		root.End()
	}))
	testkit.Equal(t, "ended regions", events(parsed, "RegionEnd", "tea"), []string{"tea again"})
	checkHere(t, d)
}

// checkHere checks that the goroutine has no labels, and d no entry of it.
func checkHere(t testing.TB, d *Diagnostics) {
	t.Helper()
	testkit.Equal(t, "labels", labelsHere(t), "")
	testkit.Equal(t, "spans with an entry", d.entered.n.Load(), int64(0))
}

// Spans of many goroutines start and end while execution traces and labels are switched.
func TestRace(t *testing.T) {
	d, tracer := traced()
	stop := make(chan struct{})
	var all sync.WaitGroup
	var requests atomic.Int64
	passed := make(chan *dendro.Span, 100)
	for range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ctx, root := tracer.Start(context.Background(), "root")
				_, child := dendro.Start(ctx, "child")
				_, other := dendro.Start(ctx, "other")
				select {
				case passed <- child:
				default:
					child.End()
				}
				select {
				case s := <-passed:
					s.End()
				default:
				}
				root.End()
				other.End()
				requests.Add(1)
			}
		})
	}
	more := func() {
		seen := requests.Load()
		waitUntil(t, func() bool { return requests.Load() > seen+100 })
	}
	var recorded []byte
	for range 10 {
		d.SetLabels(true)
		recorded = record(t, func() {
			more()
			d.SetLabels(false)
			more()
		})
		more()
	}
	close(stop)
	all.Wait()
	close(passed)
	for s := range passed {
		s.End()
	}
	checkReleased(t, d, tracer)
	parse(t, recorded)
}
