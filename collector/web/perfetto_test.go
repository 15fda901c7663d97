package web

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestTraceEvents(t *testing.T) {
	spans := []collector.Span{tested(1, 0, "root", 0, 10, slog.Int("n", 7)), tested(2, 1, "a", 1, 6), tested(3, 1, "b", 5, 9), tested(4, 2, "c", 2, 4)}
	spans[0].Status = dendro.Status{Code: dendro.StatusError, Message: "no"}
	spans[1].Events = []dendro.Event{{Name: "retry", Time: 3e6}}
	spans[3].Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "bank")}}
	slices.SortFunc(spans, func(a, b collector.Span) int { return int(a.Start - b.Start) })
	var got []string
	for _, e := range traceEvents(&collector.Trace{Spans: spans}) {
		took := ""
		if e.Duration != nil {
			took = fmt.Sprint("+", *e.Duration)
		}
		got = append(got, fmt.Sprint(e.Phase, " ", e.Name, " ", e.Process, "/", e.Thread, " ", e.Time, took, " ", e.Args))
	}
	testkit.Equal(t, "events", strings.Join(got, "\n"), strings.Join([]string{
		"M process_name 1/0 0 map[name:shop]",
		"X root 1/0 0+10000 map[error:no n:7 span_id:0000000000000001]",
		"X a 1/0 1000+5000 map[parent_span_id:0000000000000001 span_id:0000000000000002]",
		"i retry 1/0 3000 map[]",
		"M process_name 2/0 0 map[name:bank]",
		"X c 2/0 2000+2000 map[parent_span_id:0000000000000002 span_id:0000000000000004]",
		"X b 1/1 5000+4000 map[parent_span_id:0000000000000001 span_id:0000000000000003]",
	}, "\n"))
}

// The spans of a thread are nested or one after another, as the format demands.
func TestLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var spans []collector.Span
	for i := range 300 {
		start := r.Int64N(1000)
		spans = append(spans, tested(i%256, 1, "s", start, start+r.Int64N(100)))
	}
	slices.SortStableFunc(spans, func(a, b collector.Span) int { return int(a.Start - b.Start) })
	threads := map[int][][2]float64{}
	for _, e := range traceEvents(&collector.Trace{Spans: spans}) {
		if e.Phase != "X" {
			continue
		}
		from, to := e.Time, e.Time+*e.Duration
		for _, o := range threads[e.Thread] {
			if nested, after := to <= o[1], from >= o[1]; !nested && !after {
				t.Fatalf("%v-%v overlaps %v", from, to, o)
			}
		}
		threads[e.Thread] = append(threads[e.Thread], [2]float64{from, to})
	}
	if len(threads) < 2 {
		t.Errorf("%d threads", len(threads))
	}
}
