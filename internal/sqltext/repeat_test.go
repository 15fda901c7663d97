package sqltext

import (
	"context"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestRepeatsAreCountedExactly(t *testing.T) {
	var c counts
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				c.add(1, 1)
			}
		})
	}
	all.Wait()
	testkit.Equal(t, "count", c.add(1, 2), uint64(8002))
	testkit.Equal(t, "of another", c.add(2, 1), uint64(1))
	testkit.Equal(t, "raised", c.raise(2, 5), uint64(5))
	testkit.Equal(t, "not lowered", c.raise(2, 3), uint64(5))
	for range maxCount {
		c.add(1, 1)
	}
	testkit.Equal(t, "bounded", c.add(1, 1), uint64(maxCount))
}

// In the end the attribute is the highest count, whoever sets it last.
func TestRepeatsAtOnce(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	s := NewStatement("", "count")
	var r Repeats
	for range 3000 {
		_, span := tracer.Start(context.Background(), "request")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10 {
					r.Note(span, &s)
				}
			})
		}
		all.Wait()
		span.End()
	}
	for _, s := range recorder.Spans() {
		testkit.Equal(t, "count", s.Attr("dendro.db.repeated.count"), any(int64(40)))
	}
}
