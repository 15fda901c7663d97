package tracefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// oneTrace is a store with a trace.
type oneTrace struct {
	collector.Reader
	trace collector.Trace
}

func (o oneTrace) Scan(_ context.Context, _ collector.Scan, visit func(*collector.Trace) bool) error {
	visit(&o.trace)
	return nil
}

// The lines of a large trace are bounded by spans and bytes, and together have all of it.
func TestLinesAreBounded(t *testing.T) {
	q, err := traceql.Parse("{ }")
	testkit.NoError(t, err)
	for name, test := range map[string]struct {
		spans, bytes, resource int // bytes of a span and of its resource
		shared                 bool
		want                   string
	}{
		"many spans":             {2500, 100, 100, true, "1000 1000 500"},
		"large spans":            {10, 300 << 10, 100, true, "3 3 3 1"},
		"very large spans":       {3, 2 << 20, 100, true, "1 1 1"},
		"a large resource":       {10, 100, 900 << 10, true, "10"},
		"large resources":        {5, 100, 500 << 10, false, "2 2 1"},
		"very large resources":   {2, 100, 2 << 20, false, "1 1"},
		"a very large resource":  {2, 100, 2 << 20, true, "1 1"},
		"the most of both":       {1000, 900, 100, true, "1000"},
		"one span, and no bytes": {1, 0, 0, true, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			resource := func() *dendro.Resource {
				return &dendro.Resource{Attributes: []slog.Attr{slog.String("k", strings.Repeat("r", test.resource))}}
			}
			shared, scope := resource(), &dendro.Scope{}
			trace := collector.Trace{ID: dendro.TraceID{1}}
			for i := range test.spans {
				s := collector.Span{Resource: shared}
				if !test.shared {
					s.Resource = resource()
				}
				s.TraceID, s.SpanID, s.Scope = trace.ID, dendro.SpanID{1, byte(i >> 8), byte(i)}, scope
				s.Name = strings.Repeat("s", test.bytes)
				trace.Spans = append(trace.Spans, s)
			}
			var out bytes.Buffer
			testkit.NoError(t, Write(t.Context(), &out, oneTrace{trace: trace}, q, collector.TimeRange{}))
			var lines []string
			ids := map[dendro.SpanID]bool{}
			for f := NewReader(&out, 64<<20); ; {
				batches, err := f.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				testkit.NoError(t, err)
				n := 0
				for _, b := range batches {
					for _, s := range b.Spans {
						ids[s.SpanID] = true
						n++
					}
				}
				lines = append(lines, fmt.Sprint(n))
			}
			testkit.Equal(t, "spans of each line", strings.Join(lines, " "), test.want)
			testkit.Equal(t, "spans", len(ids), test.spans)
		})
	}
}
