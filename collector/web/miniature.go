package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// Bounds of what a list reads of its traces.
const (
	maxMiniatures     = 100
	maxMiniatureSpans = 20_000
)

// The size of a miniature, in units of half a pixel.
const (
	miniatureWidth  = 240
	miniatureHeight = 40
	miniatureLines  = 20
)

// bars are the bars of one colour in a miniature waterfall.
type bars struct{ Class, Path string }

// readSpans reads the spans of traces, as far as the bounds allow. It returns a miniature of each
// and how many of the traces have which attributes. If there is an error, it returns what it has
// found: the list can do without.
func (h *handler) readSpans(ctx context.Context, traces []traceql.Result) (map[dendro.TraceID][]bars, *tally) {
	drawn, counts := map[dendro.TraceID][]bars{}, newTally(maxFacetSplit)
	spans := 0
	numbers := map[dendro.TraceID]int{}
	var ids []dendro.TraceID
	var first, last int64
	for i := range traces {
		sum := &traces[i].Summary
		if len(ids) == maxMiniatures || spans+sum.Spans > maxMiniatureSpans {
			continue
		}
		spans += sum.Spans
		if end := sum.Start + int64(sum.Duration); len(ids) == 0 {
			first, last = sum.Start, end
		} else {
			first, last = min(first, sum.Start), max(last, end)
		}
		ids, numbers[sum.TraceID] = append(ids, sum.TraceID), i
	}
	when := collector.TimeRange{Start: time.Unix(0, first), End: time.Unix(0, last).Add(1)}
	_ = collector.Traces(ctx, h.store, ids, when, func(t *collector.Trace) bool {
		drawn[t.ID] = miniature(t.Spans)
		for n := range t.Spans {
			counts.attributes(&t.Spans[n], 0, numbers[t.ID])
		}
		return true
	})
	return drawn, counts
}

// miniature draws the spans of a trace as thin bars from top to bottom, in the order of the
// waterfall. If there are more rows than lines, each line has the longest row of its share, or the
// longest with an error if there is one.
func miniature(spans []collector.Span) []bars {
	rows := slices.DeleteFunc(layOut(spans), func(r row) bool { return r.span == nil })
	first, last := rows[0].start, rows[0].end
	for i := range rows {
		first, last = min(first, rows[i].start), max(last, rows[i].end)
	}
	// Times may be so far apart that integers overflow.
	place := func(at int64) int {
		whole := float64(last) - float64(first)
		return int(miniatureWidth * (float64(at) - float64(first)) / max(whole, 1))
	}
	lines := min(len(rows), miniatureLines)
	pitch := min(miniatureHeight/lines, 8)
	top := (miniatureHeight - lines*pitch) / 2
	height := max(2, pitch-2)
	paths := map[string]*strings.Builder{}
	for line := range lines {
		r := slices.MaxFunc(rows[line*len(rows)/lines:(line+1)*len(rows)/lines], func(a, b row) int {
			return cmp.Or(errorsOf(a.span)-errorsOf(b.span), cmp.Compare(float64(a.end)-float64(a.start), float64(b.end)-float64(b.start)))
		})
		class := fmt.Sprint("c", colourOf(r.span.Resource.Service()))
		if errorsOf(r.span) > 0 {
			class = "failed"
		}
		if paths[class] == nil {
			paths[class] = &strings.Builder{}
		}
		from := min(place(r.start), miniatureWidth-2)
		width := max(2, place(r.end)-from)
		fmt.Fprintf(paths[class], "M%d %dh%dv%dh-%[3]dz", from, top+line*pitch, width, height)
	}
	out := make([]bars, 0, len(paths))
	for class, path := range paths {
		out = append(out, bars{class, path.String()})
	}
	slices.SortFunc(out, func(a, b bars) int { return strings.Compare(a.Class, b.Class) })
	return out
}
