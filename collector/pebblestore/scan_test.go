package pebblestore

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A trace that continues while it is about to be found is found once, as it was or with what is new.
func TestScanWhileTraceContinues(t *testing.T) {
	testkit.NoLeaks(t)
	s := openMem(t, Options{})
	write := func(id byte, n byte) {
		t.Helper()
		d := &dendro.SpanData{Name: "GET /", Start: int64(id) * 1000, End: int64(id)*1000 + 1}
		for i := range 400 {
			d.Attributes = append(d.Attributes, slog.String(fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(id, i), 20)))
		}
		d.TraceID, d.SpanID = dendro.TraceID{id}, dendro.SpanID{n}
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{d}}}))
	}
	const traces = 100
	for id := byte(1); id <= traces; id++ {
		write(id, 1)
	}
	settle(s)
	if n := len(s.runs[0].chunks); n < 3 {
		t.Fatal(n, "chunks")
	}
	found := map[dendro.TraceID]int{}
	testkit.NoError(t, s.Scan(t.Context(), collector.Scan{}, func(trace *collector.Trace) bool {
		found[trace.ID]++
		if len(found) == 1 {
			for id := byte(1); id <= traces; id++ {
				write(id, 2)
			}
		}
		return true
	}))
	for id := byte(1); id <= traces; id++ {
		if n := found[dendro.TraceID{id}]; n != 1 {
			t.Errorf("trace %d is found %d times", id, n)
		}
	}
}
