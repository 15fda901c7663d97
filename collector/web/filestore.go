package web

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/operations"
)

// fileStore is a [Store] with the traces of a file. It never changes.
type fileStore struct {
	traces     []*collector.Trace // the newest first
	byID       map[dendro.TraceID]*collector.Trace
	counts     *operations.Table
	stats      collector.Stats
	start, end time.Time // of all spans
}

// newFileStore returns a store with the spans of batches, which come from a file of the given
// size. It returns an error if there are none or too many.
func newFileStore(batches []*dendro.Batch, size int64) (*fileStore, error) {
	sizes := map[dendro.TraceID]int{}
	spans := 0
	for _, b := range batches {
		spans += len(b.Spans)
		for _, s := range b.Spans {
			sizes[s.TraceID]++
		}
	}
	switch {
	case spans == 0:
		return nil, errors.New("it has no spans")
	case spans > maxImportedSpans:
		return nil, errTooMany
	}
	f := &fileStore{byID: make(map[dendro.TraceID]*collector.Trace, len(sizes))}
	f.stats.Bytes = size
	for _, b := range batches {
		for _, s := range b.Spans {
			t := f.byID[s.TraceID]
			if t == nil {
				t = &collector.Trace{ID: s.TraceID, Spans: make([]collector.Span, 0, sizes[s.TraceID])}
				f.byID[s.TraceID] = t
				f.traces = append(f.traces, t)
			}
			t.Spans = append(t.Spans, collector.Span{SpanData: *s, Resource: b.Resource})
		}
	}
	start, end := int64(math.MaxInt64), int64(math.MinInt64)
	for _, t := range f.traces {
		f.arrange(t)
		start = min(start, t.Start())
		for i := range t.Spans {
			end = max(end, t.Spans[i].Start, t.Spans[i].End)
		}
	}
	slices.SortStableFunc(f.traces, func(a, b *collector.Trace) int { return cmp.Compare(b.Start(), a.Start()) })
	f.stats.Traces, f.stats.Accepted = len(f.traces), uint64(f.stats.Spans)
	// Windows end after the last span. There is room for clocks after that in an int64.
	f.start, f.end = time.Unix(0, start), time.Unix(0, min(end, math.MaxInt64-int64(time.Hour))+1)
	f.count()
	return f, nil
}

// arrange sorts the spans of t and drops those that are there twice.
func (f *fileStore) arrange(t *collector.Trace) {
	type key struct {
		id    dendro.SpanID
		start int64
	}
	seen := make(map[key]bool, len(t.Spans))
	all := len(t.Spans)
	t.Spans = slices.DeleteFunc(t.Spans, func(s collector.Span) bool {
		k := key{s.SpanID, s.Start}
		twice := seen[k]
		seen[k] = true
		return twice
	})
	slices.SortStableFunc(t.Spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
	f.stats.Spans += len(t.Spans)
	f.stats.Duplicates += uint64(all - len(t.Spans))
}

// count counts all spans, as if they arrived when the last one ends.
func (f *fileStore) count() {
	now := f.end
	f.counts = operations.New(operations.Options{Now: func() time.Time { return now }})
	for _, t := range f.traces {
		for rest := t.Spans; len(rest) > 0; {
			r := rest[0].Resource
			var spans []*dendro.SpanData
			for ; len(rest) > 0 && rest[0].Resource == r; rest = rest[1:] {
				spans = append(spans, &rest[0].SpanData)
			}
			f.counts.Shard(0).Count(r, spans)
		}
	}
	now = now.Add(time.Minute) // no call waits for its other side any more
	f.stats.Operations = f.counts.Stats()
}

func (f *fileStore) now() time.Time { return f.end }

// window returns the shortest window of a page that has all spans, or else the longest.
func (f *fileStore) window() string {
	for _, w := range windows {
		if f.end.Sub(f.start) <= w.Duration {
			return w.value
		}
	}
	return windows[len(windows)-1].value
}

// Trace implements [collector.Reader].
func (f *fileStore) Trace(ctx context.Context, id dendro.TraceID, _ collector.TimeRange) (*collector.Trace, error) {
	t := f.byID[id]
	if t == nil {
		return nil, ctx.Err()
	}
	return &collector.Trace{ID: id, Spans: slices.Clone(t.Spans)}, ctx.Err()
}

// Scan implements [collector.Reader].
func (f *fileStore) Scan(ctx context.Context, s collector.Scan, visit func(*collector.Trace) bool) error {
	for _, t := range f.traces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.Contains(t.Start()) && !visit(t) {
			return nil
		}
	}
	return ctx.Err()
}

// Stats implements [collector.Reader].
func (f *fileStore) Stats(ctx context.Context) (collector.Stats, error) { return f.stats, ctx.Err() }

// Operations implements [collector.OperationReader].
func (f *fileStore) Operations(ctx context.Context, s collector.OperationScan, visit func(*collector.Operation) bool) error {
	return f.counts.Operations(ctx, s, visit)
}

// Edges implements [collector.OperationReader].
func (f *fileStore) Edges(ctx context.Context, s collector.OperationScan, visit func(*collector.Edge) bool) error {
	return f.counts.Edges(ctx, s, visit)
}
