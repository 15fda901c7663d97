package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

func written(t *testing.T, s collector.Store) {
	batches := []*dendro.Batch{
		batch("a", span(1, 1, 0, "root", 0), span(1, 2, 1, "child", 1)),
		batch("b", span(1, 3, 1, "child", 2), span(2, 4, 0, "root", 3)),
	}
	for range 2 { // a client that has not seen the answer sends them again
		if err := s.Write(t.Context(), batches); err != nil {
			t.Fatal(err)
		}
		equal(t, "spans of trace 1", len(trace(t, s, 1).Spans), 3)
		equal(t, "spans of trace 2", len(trace(t, s, 2).Spans), 1)
	}
	if err := s.Write(t.Context(), nil); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, []*dendro.Batch{batch("a", span(3, 1, 0, "late", 0))}); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context: %v", err)
	}
	sum(t, statsOf(t, s))
}
