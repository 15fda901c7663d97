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
	asked  collector.Query    // the last query; guarded by mu
	err    error              // returned by every method if it is not nil
}

func (f *fakeStore) add(spans ...collector.Span) dendro.TraceID {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
	f.traces = append(f.traces, &collector.Trace{ID: spans[0].TraceID, Spans: spans})
	return spans[0].TraceID
}

func (f *fakeStore) Collect(*dendro.Batch) error { return nil }

func (f *fakeStore) Trace(_ context.Context, id dendro.TraceID) (*collector.Trace, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.traces {
		if t.ID == id {
			return &collector.Trace{ID: id, Spans: slices.Clone(t.Spans)}, f.err
		}
	}
	return nil, f.err
}

func (f *fakeStore) Search(_ context.Context, q collector.Query) ([]collector.Summary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = q
	var out []collector.Summary
	for _, t := range slices.Backward(f.traces) {
		s := summarize(t)
		named := func(of collector.Span) bool {
			return (q.Service == "" || of.Resource.Service() == q.Service) && (q.Name == "" || of.Name == q.Name)
		}
		if s.Duration >= q.MinDuration && (!q.ErrorsOnly || s.Errors > 0) && slices.ContainsFunc(t.Spans, named) {
			out = append(out, s)
		}
	}
	return out[:min(len(out), cmp.Or(q.Limit, collector.DefaultLimit))], f.err
}

func summarize(t *collector.Trace) collector.Summary {
	s := collector.Summary{TraceID: t.ID, RootMissing: true, Spans: len(t.Spans), Start: t.Spans[0].Start}
	s.RootName, s.RootService = t.Spans[0].Name, t.Spans[0].Resource.Service()
	end := s.Start
	for _, span := range t.Spans {
		end = max(end, span.End)
		if !span.ParentID.IsValid() {
			s.RootName, s.RootService, s.RootMissing = span.Name, span.Resource.Service(), false
		}
		i := slices.IndexFunc(s.Services, func(of collector.ServiceSummary) bool { return of.Service == span.Resource.Service() })
		if i < 0 {
			i = len(s.Services)
			s.Services = append(s.Services, collector.ServiceSummary{Service: span.Resource.Service()})
		}
		s.Services[i].Spans++
		if span.Status.Code == dendro.StatusError {
			s.Services[i].Errors++
			s.Errors++
		}
	}
	s.Duration = time.Duration(end - s.Start)
	return s
}

func (f *fakeStore) Tags(context.Context) ([]string, error) {
	return []string{"http.route", "service.name"}, f.err
}

func (f *fakeStore) TagValues(_ context.Context, key string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	values := map[string]bool{}
	for _, t := range f.traces {
		for _, s := range t.Spans {
			if v := s.Resource.Get(key); v != "" {
				values[v] = true
			}
		}
	}
	var out []string
	for v := range values {
		out = append(out, v)
	}
	slices.Sort(out)
	return out, f.err
}

func (f *fakeStore) Stats() collector.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := collector.Stats{Traces: len(f.traces), Bytes: 3 << 20, MaxBytes: 256 << 20, Dropped: map[string]uint64{"evicted": 12}}
	for _, t := range f.traces {
		s.Spans += len(t.Spans)
	}
	return s
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
	s := collector.Span{Resource: resource(service), Scope: &dendro.Scope{Name: "test"}}
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
