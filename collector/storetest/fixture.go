package storetest

import (
	"encoding/binary"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// epoch is the start of the first span of a test.
const epoch = int64(1_700_000_000_000_000_000)

const ms = int64(time.Millisecond)

func traceID(n int) (id dendro.TraceID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func spanID(n int) (id dendro.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// span returns a span that begins start milliseconds after the epoch and takes ten
// milliseconds. A parent of 0 means none.
func span(trace, id, parent int, name string, start int64, attrs ...slog.Attr) *dendro.SpanData {
	s := &dendro.SpanData{Name: name, Start: epoch + start*ms, End: epoch + (start+10)*ms, Attributes: attrs}
	s.TraceID, s.SpanID, s.ParentID, s.Flags = traceID(trace), spanID(id), spanID(parent), dendro.FlagSampled
	return s
}

func failed(s *dendro.SpanData) *dendro.SpanData {
	s.Status = dendro.Status{Code: dendro.StatusError, Message: "failed"}
	return s
}

func lasting(s *dendro.SpanData, millis int64) *dendro.SpanData {
	s.End = s.Start + millis*ms
	return s
}

// batch returns a batch of spans of one service. Those without a scope get the same one.
func batch(service string, spans ...*dendro.SpanData) *dendro.Batch {
	scope := &dendro.Scope{Name: "storetest", Version: "1"}
	for _, s := range spans {
		if s.Scope == nil {
			s.Scope = scope
		}
	}
	return &dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service), slog.String("host.name", "host of "+service)}},
		Spans:    spans,
	}
}

func ofScope(sc *dendro.Scope, s *dendro.SpanData) *dendro.SpanData {
	s.Scope = sc
	return s
}

func collect(t testing.TB, s collector.Store, batches ...*dendro.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := s.Collect(b); err != nil {
			t.Fatal(err)
		}
	}
}

// trace returns trace n, which must be stored.
func trace(t testing.TB, s collector.Store, n int) *collector.Trace {
	t.Helper()
	got, err := s.Trace(t.Context(), traceID(n), collector.TimeRange{})
	if err != nil {
		t.Fatal(err)
	}
	if got == nil {
		t.Fatalf("trace %d is absent", n)
	}
	return got
}

// scan returns the traces that s visits, each as [collector.Reader.Trace] would.
func scan(t testing.TB, s collector.Store, q collector.Scan) (out []collector.Trace) {
	t.Helper()
	err := s.Scan(t.Context(), q, func(t *collector.Trace) bool {
		out = append(out, collector.Trace{ID: t.ID, Spans: cloned(t.Spans)})
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// cloned returns a copy of spans that is valid after a scan.
func cloned(spans []collector.Span) []collector.Span {
	out := slices.Clone(spans)
	for i := range out {
		out[i].SpanData = *out[i].SpanData.Clone()
	}
	return out
}

// found fails the test unless q visits exactly the traces in want, in that order, among those
// that begin in its time.
func found(t testing.TB, s collector.Store, what string, q collector.Scan, want ...int) {
	t.Helper()
	inTime := slices.DeleteFunc(scan(t, s, q), func(t collector.Trace) bool { return !q.Contains(t.Start()) })
	equal(t, what, numbers(inTime), want)
}

func statsOf(t testing.TB, s collector.Store) collector.Stats {
	t.Helper()
	got, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// numbers returns the numbers of traces.
func numbers(traces []collector.Trace) (out []int) {
	for _, t := range traces {
		out = append(out, int(binary.BigEndian.Uint64(t.ID[8:])))
	}
	return out
}

func names(trace *collector.Trace) []string {
	var out []string
	for _, s := range trace.Spans {
		out = append(out, s.Name)
	}
	return out
}

// equal compares values that contain no [slog.Value]. Of strings in those,
// [reflect.DeepEqual] compares only the first byte.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}
