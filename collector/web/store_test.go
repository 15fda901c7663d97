package web_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// fakeStore keeps traces in the order of arrival. A search looks at all of them.
type fakeStore struct {
	mu     sync.Mutex
	traces []*collector.Trace // guarded by mu
	asked  collector.Scan     // the last scan; guarded by mu
	err    error              // returned by every method if it is not nil
}

func (f *fakeStore) add(spans ...collector.Span) dendro.TraceID {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
	f.traces = append(f.traces, &collector.Trace{ID: spans[0].TraceID, Spans: spans})
	return spans[0].TraceID
}

func (f *fakeStore) Write(ctx context.Context, batches []*dendro.Batch) error {
	return collector.WriterOf(f).Write(ctx, batches)
}

func (f *fakeStore) Collect(*dendro.Batch) error { return nil }

func (f *fakeStore) Trace(_ context.Context, id dendro.TraceID, _ collector.TimeRange) (*collector.Trace, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.traces {
		if t.ID == id {
			return &collector.Trace{ID: id, Spans: slices.Clone(t.Spans)}, f.err
		}
	}
	return nil, f.err
}

func (f *fakeStore) Scan(ctx context.Context, q collector.Scan, visit func(*collector.Trace) bool) error {
	f.mu.Lock()
	traces := slices.Clone(f.traces)
	f.asked = q
	f.mu.Unlock()
	for _, t := range slices.Backward(traces) {
		start := time.Unix(0, t.Start())
		if !q.Start.IsZero() && start.Before(q.Start) || !q.End.IsZero() && !start.Before(q.End) {
			continue
		}
		if f.err != nil || ctx.Err() != nil || !visit(t) {
			break
		}
	}
	return cmp.Or(f.err, ctx.Err())
}

func (f *fakeStore) Operations(context.Context, collector.OperationScan, func(*collector.Operation) bool) error {
	return f.err
}

func (f *fakeStore) Edges(context.Context, collector.OperationScan, func(*collector.Edge) bool) error {
	return f.err
}

func (f *fakeStore) Stats(context.Context) (collector.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := collector.Stats{Traces: len(f.traces), Bytes: 3 << 20, MaxBytes: 256 << 20, Dropped: map[string]uint64{"evicted": 12}}
	for _, t := range f.traces {
		s.Spans += len(t.Spans)
	}
	return s, f.err
}

// resources has one resource for each service name.
var resources sync.Map

func resource(service string) *dendro.Resource {
	r, _ := resources.LoadOrStore(service, &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}})
	return r.(*dendro.Resource)
}

// base is the start of the traces of the tests, in Unix nanoseconds.
const base = int64(1_700_000_000_000_000_000)

// span returns a span. Ids are small numbers. Times are milliseconds after base.
func span(trace, id, parent byte, service, name string, from, to int64) collector.Span {
	s := collector.Span{Resource: resource(service)}
	s.Scope = &dendro.Scope{Name: "test"}
	s.TraceID, s.SpanID, s.ParentID = dendro.TraceID{15: trace}, dendro.SpanID{7: id}, dendro.SpanID{7: parent}
	s.Name, s.Start, s.End = name, base+from*1e6, base+to*1e6
	return s
}

// threeCalls returns a trace of a request to a shop that calls three services one
// after the other.
func threeCalls(trace byte) []collector.Span {
	out := []collector.Span{span(trace, 1, 0, "shop", "GET /", 0, 640)}
	at := int64(2)
	for i, d := range []int64{201, 202, 218} {
		id := byte(2 + 2*i)
		client := span(trace, id, 1, "shop", "GET", at, at+d+2)
		client.Kind = dendro.KindClient
		server := span(trace, id+1, id, fmt.Sprint("service", i+1), "GET /work", at+1, at+d+1)
		server.Kind, server.Remote = dendro.KindServer, true
		out = append(out, client, server)
		at += d + 3
	}
	out[0].Kind = dendro.KindServer
	return out
}
