package tracefile

import (
	"context"
	"io"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// Bounds of a line. A larger trace has several, and a larger span one of its own.
const (
	maxLineSpans = 1000
	maxLineBytes = 1 << 20 // in protobuf: JSON takes up to ten times that
)

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
		for n, rest := 0, t.Spans; len(rest) > 0; rest = rest[n:] {
			n, line = fits(rest, line)
			part := collector.Trace{ID: t.ID, Spans: rest[:n]}
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

// fits returns how many of the spans of a trace go into a line, at least one, and buffer, which it
// overwrites.
func fits(spans []collector.Span, buffer []byte) (int, []byte) {
	most := min(len(spans), maxLineSpans)
	bytes := 0
	for i := range most {
		s := &spans[i]
		buffer = otlp.AppendSpan(buffer[:0], &s.SpanData)
		if i == 0 || s.Resource != spans[i-1].Resource || s.Scope != spans[i-1].Scope {
			buffer = otlp.AppendResourceSpans(buffer, s.Resource, s.Scope, 0)
		}
		if bytes += len(buffer); bytes > maxLineBytes && i > 0 {
			return i, buffer
		}
	}
	return most, buffer
}
