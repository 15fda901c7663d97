package pebblestore

import (
	"slices"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// Each span is in a group of its resource, in its order, whether there are few resources or many.
func TestEachSource(t *testing.T) {
	for _, resources := range []int{1, 3, 3 * fewSources} {
		of := make([]*dendro.Resource, resources)
		for i := range of {
			of[i] = &dendro.Resource{SchemaURL: string(rune('a' + i))}
		}
		spans := make([]collector.Span, 2*block.MaxSpans*resources+1)
		for i := range spans {
			spans[i].Resource, spans[i].Start = of[i%resources], int64(i)
		}
		got := map[*dendro.Resource][]int64{}
		testkit.NoError(t, eachSource(spans, func(r *dendro.Resource, group []*dendro.SpanData) error {
			if len(group) == 0 || len(group) > block.MaxSpans {
				t.Errorf("a group of %d spans", len(group))
			}
			for _, s := range group {
				got[r] = append(got[r], s.Start)
			}
			return nil
		}))
		n := 0
		for i, r := range of {
			n += len(got[r])
			if !slices.IsSorted(got[r]) || got[r][0] != int64(i) {
				t.Errorf("spans of resource %d of %d: %v", i, resources, got[r])
			}
		}
		testkit.Equal(t, "spans", n, len(spans))
	}
}
