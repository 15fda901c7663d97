package simulation

import (
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// newTestMaker returns a maker with processes that have no client.
func newTestMaker() *maker {
	w := newWorld(1)
	for _, s := range w.services {
		s.processes = []*process{{service: s}}
	}
	return newMaker(w, 1, func(time.Duration) bool { return false })
}

// Requests are as the package says.
func TestRequests(t *testing.T) {
	m := newTestMaker()
	testkit.Equal(t, "services", len(m.world.services), 50)
	const n = 20_000
	var r request
	var size Size
	failed, late, deepest, widest := 0, 0, 0, 0
	for number := range n {
		m.make(&r, number, time.Second)
		size.add(&r)
		if r.failed {
			failed++
		}
		if r.late {
			late++
		}
		for i := range r.locals {
			l := &r.locals[i]
			deepest, widest = max(deepest, l.operation.level+1), max(widest, l.calls)
			if l.parent >= i || l.parent < 0 != (i == 0) {
				t.Fatalf("the caller of %d is %d", i, l.parent)
			}
			if l.start < time.Second || l.end < l.start || i > 0 && l.operation.kind == dendro.KindServer && l.end > r.locals[l.parent].end {
				t.Fatalf("request %d: local trace %d is from %v to %v, the first one until %v", number, i, l.start, l.end, r.locals[0].end)
			}
		}
	}
	if mean := size.locals(); mean < 10 || mean > 20 {
		t.Errorf("%.1f local traces a request", mean)
	}
	testkit.Equal(t, "deepest", deepest, levels)
	testkit.Equal(t, "widest", widest, maxCalls)
	for _, c := range []struct {
		what string
		got  int
		want float64
	}{{"failed", failed, errorShare}, {"late", late, lateShare}} {
		if share := float64(c.got) / n; share < c.want/2 || share > 2*c.want {
			t.Errorf("%s: %.4f of the requests, want %.4f", c.what, share, c.want)
		}
	}
}

// The same number makes the same request, in whatever order, and its spans are a tree with ids that say which they are.
func TestSpansOfRequest(t *testing.T) {
	first, second := newTestMaker(), newTestMaker()
	var r, again request
	b := newBatcher()
	for number := 200; number >= 0; number-- {
		first.make(&r, number, time.Second)
		parents := map[dendro.SpanID]dendro.SpanID{}
		for i := range r.locals {
			batch := b.batch(&r, i, &dendro.Resource{}, 0)
			testkit.Equal(t, "spans", len(batch.Spans), r.locals[i].spans())
			for _, s := range batch.Spans {
				got, local, n := spanOf(s.SpanID)
				testkit.Equal(t, "span", []int{got, local}, []int{number, i})
				if n >= len(batch.Spans) {
					t.Fatalf("span %d of %d", n, len(batch.Spans))
				}
				parents[s.SpanID] = s.ParentID
			}
		}
		roots := 0
		for id, parent := range parents {
			if _, ok := parents[parent]; !ok {
				roots++
				testkit.Equal(t, "root", id, spanID(number, 0, 0))
			}
		}
		testkit.Equal(t, "roots", roots, 1)
	}
	second.make(&again, 0, time.Second)
	testkit.Equal(t, "id", again.id, r.id)
	testkit.Equal(t, "local traces", len(again.locals), len(r.locals))
	testkit.Equal(t, "duration", again.duration(), r.duration())
}
