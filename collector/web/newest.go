package web

import (
	"context"

	"github.com/dendrotrace/dendro/collector"
)

// inspectedSpans bounds how many spans the pages read that count those of all traces.
const inspectedSpans = 500_000

// newest calls add for the traces that begin in the time range of scan, the newest first, until they
// are maxTraces or have maxSpans spans. It reports whether one of these has cut it.
func newest(ctx context.Context, store collector.Reader, scan collector.Scan, maxTraces, maxSpans int, add func(*collector.Trace)) (cut bool, err error) {
	traces, spans := 0, 0
	err = store.Scan(ctx, scan, func(t *collector.Trace) bool {
		if !scan.Contains(t.Start()) {
			return true
		}
		add(t)
		traces++
		spans += len(t.Spans)
		cut = traces >= maxTraces || spans >= maxSpans
		return !cut
	})
	return cut, err
}
