package web

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// everything visits four traces of two spans that begin in the seconds 4 to 1, whatever is wanted.
type everything struct{ collector.Reader }

func (everything) Scan(_ context.Context, _ collector.Scan, visit func(*collector.Trace) bool) error {
	for second := int64(4); second > 0; second-- {
		t := &collector.Trace{Spans: make([]collector.Span, 2)}
		t.Spans[0].Start = second * 1e9
		if !visit(t) {
			break
		}
	}
	return nil
}

func TestNewest(t *testing.T) {
	for _, test := range []struct {
		from, to            int64 // seconds; 0 for no bound
		maxTraces, maxSpans int
		want                string
	}{
		{0, 0, 9, 9, "[4 3 2 1] false"},
		{2, 4, 9, 9, "[3 2] false"},
		{0, 0, 3, 9, "[4 3 2] true"},
		{0, 0, 9, 3, "[4 3] true"},
		{0, 4, 1, 9, "[3] true"},
	} {
		var scan collector.Scan
		if test.from > 0 {
			scan.Start = time.Unix(test.from, 0)
		}
		if test.to > 0 {
			scan.End = time.Unix(test.to, 0)
		}
		var got []int64
		cut, err := newest(t.Context(), everything{}, scan, test.maxTraces, test.maxSpans, func(t *collector.Trace) { got = append(got, t.Start()/1e9) })
		testkit.NoError(t, err)
		testkit.Equal(t, fmt.Sprint(test), fmt.Sprint(got, " ", cut), test.want)
	}
}
