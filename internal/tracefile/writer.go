package tracefile

import (
	"context"
	"io"
	"slices"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// maxLineSpans bounds a line. A larger trace has several.
const maxLineSpans = 1000

// Write writes the traces of r that q selects and that begin in a range, with everything in them.
// Each line is an ExportTraceServiceRequest in OTLP JSON, as the file exporter of OpenTelemetry's
// collector writes it, and is written at once. Write holds one trace in memory. It returns the
// error of r or w, after which the last trace may be there in part.
func Write(ctx context.Context, w io.Writer, r collector.Reader, q *traceql.Query, in collector.TimeRange) error {
	s := q.Scan()
	s.TimeRange, s.AllAttributes, s.Details = in, true, true
	var line []byte
	var failed error
	err := r.Scan(ctx, s, func(t *collector.Trace) bool {
		if !s.Contains(t.Start()) || len(q.Evaluate(&traceql.Trace{Trace: t})) == 0 {
			return true
		}
		for spans := range slices.Chunk(t.Spans, maxLineSpans) {
			part := collector.Trace{ID: t.ID, Spans: spans}
			line = append(otlp.AppendTracesJSON(line[:0], part.Batches()...), '\n')
			if _, failed = w.Write(line); failed != nil {
				return false
			}
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}
