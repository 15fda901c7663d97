package web

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestMiniature(t *testing.T) {
	failed := tested(3, 1, "SELECT", 50, 51)
	failed.Status.Code = dendro.StatusError
	spans := []collector.Span{tested(1, 0, "GET /", 0, 100), tested(2, 1, "SELECT", 0, 50), failed}
	colour := fmt.Sprint("c", colourOf(spans[0].Resource.Service()))
	// 240 wide, and a line for each span: the failed one is the last, and wide enough to be seen.
	testkit.Equal(t, "bars", fmt.Sprint(miniature(spans)), fmt.Sprintf("[{%s M0 8h240v6h-240zM0 16h120v6h-120z} {failed M120 24h2v6h-2z}]", colour))

	testkit.Equal(t, "one that takes no time", fmt.Sprint(miniature([]collector.Span{tested(1, 0, "now", 5, 5)})), fmt.Sprintf("[{%s M0 16h2v6h-2z}]", colour))
	far := []collector.Span{tested(1, 0, "old", 0, 0), tested(2, 0, "new", 0, 0)}
	far[0].Start, far[0].End, far[1].Start, far[1].End = math.MinInt64, math.MinInt64, math.MaxInt64, math.MaxInt64
	testkit.Equal(t, "times far apart", fmt.Sprint(miniature(far)), fmt.Sprintf("[{%s M0 12h2v6h-2zM238 20h2v6h-2z}]", colour))
	orphan := []collector.Span{tested(2, 9, "orphan", 0, 10)}
	testkit.Equal(t, "a missing parent has no bar", strings.Count(fmt.Sprint(miniature(orphan)), "M"), 1)

	// Many spans fit, and the failed one is among them.
	many := []collector.Span{tested(1, 0, "GET /", 0, 3000)}
	for i := range 2999 {
		many = append(many, tested(2, 1, "SELECT", int64(i), int64(i+1)))
	}
	many[1234].Status.Code = dendro.StatusError
	bars := miniature(many)
	testkit.Equal(t, "colours", len(bars), 2)
	testkit.Equal(t, "lines", strings.Count(fmt.Sprint(bars), "M"), miniatureLines)
	testkit.Equal(t, "failed", bars[1].Path, "M98 16h2v2h-2z")
}

// bigTraces is a reader with a trace of some spans for each id.
type bigTraces struct {
	collector.Store
	spans, read int
}

func (s *bigTraces) Trace(_ context.Context, id dendro.TraceID, _ collector.TimeRange) (*collector.Trace, error) {
	s.read++
	t := &collector.Trace{ID: id}
	for range s.spans {
		t.Spans = append(t.Spans, tested(1, 0, "x", 0, 1))
	}
	return t, nil
}

func TestReadSpansBounds(t *testing.T) {
	for _, c := range []struct{ traces, spans, read int }{{500, 1, maxMiniatures}, {50, 3000, maxMiniatureSpans / 3000}, {3, maxMiniatureSpans + 1, 0}} {
		store := &bigTraces{spans: c.spans}
		var found []traceql.Result
		for n := range c.traces {
			found = append(found, traceql.Result{Summary: collector.Summary{TraceID: dendro.TraceID{byte(n >> 8), byte(n), 1}, Spans: c.spans}})
		}
		drawn, _ := (&handler{store: store}).readSpans(t.Context(), found)
		testkit.Equal(t, fmt.Sprintf("of %d traces with %d spans", c.traces, c.spans), fmt.Sprint(store.read, len(drawn)), fmt.Sprint(c.read, c.read))
	}
}
