package clickhousestore

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// spanAt returns a span of a second, of the service "shop".
func spanAt(trace, id int, name string, start time.Time) *dendro.SpanData {
	s := &dendro.SpanData{Name: name, Start: start.UnixNano(), End: start.UnixNano() + int64(time.Second)}
	binary.BigEndian.PutUint64(s.TraceID[:], uint64(trace))
	binary.BigEndian.PutUint64(s.SpanID[:], uint64(id))
	return s
}

func write(t *testing.T, s *Store, spans ...*dendro.SpanData) {
	t.Helper()
	resource := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{{Resource: resource, Spans: spans}}))
}

// visits returns how often a scan visits each trace.
func visits(t *testing.T, s *Store, q collector.Scan) map[int]int {
	t.Helper()
	out := map[int]int{}
	testkit.NoError(t, s.Scan(t.Context(), q, func(t *collector.Trace) bool {
		out[int(binary.BigEndian.Uint64(t.ID[:]))]++
		return true
	}))
	return out
}

// More traces begin in one second than are looked up together.
func TestManyTracesInASecond(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	const many = 2*windowTraces + 500
	start := time.Now().Truncate(time.Second)
	var spans []*dendro.SpanData
	for n := range many {
		spans = append(spans, spanAt(n+1, 1, "span", start.Add(time.Duration(n)*100*time.Microsecond)))
	}
	write(t, s, spans...)
	got := visits(t, s, collector.Scan{})
	testkit.Equal(t, "traces", len(got), many)
	for trace, n := range got {
		if n != 1 {
			t.Fatalf("trace %d is visited %d times", trace, n)
		}
	}
}

// Spans of a trace that hints are about begin hours after each other.
func TestSpansFarApart(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now()
	write(t, s, spanAt(1, 1, "nightly", now.Add(-8*time.Hour)), spanAt(1, 2, "report", now.Add(-time.Minute)), spanAt(2, 3, "report", now))
	both := []collector.SpanHints{{Names: []string{"nightly"}}, {Names: []string{"report"}}}
	testkit.Equal(t, "traces with both", visits(t, s, collector.Scan{Hints: collector.Hints{Spans: both}}), map[int]int{1: 1})
	late := []collector.SpanHints{{Names: []string{"nightly"}}, {StartsAfter: now.Add(-time.Hour)}}
	testkit.Equal(t, "traces with a late span", visits(t, s, collector.Scan{Hints: collector.Hints{Spans: late}}), map[int]int{1: 1})
}

// A clock that is wrong by decades does not make a scan look at each month between.
func TestOddTimes(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	write(t, s, spanAt(1, 1, "span", time.Unix(1, 0)))
	write(t, s, spanAt(2, 2, "span", time.Now()))
	write(t, s, spanAt(3, 3, "span", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
	testkit.Equal(t, "traces", visits(t, s, collector.Scan{}), map[int]int{1: 1, 2: 1, 3: 1})
}

// A scan that has too little memory in ClickHouse reads fewer traces together.
func TestLittleMemory(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of ClickHouse, which is another process")
	}
	s := open(t, testkit.ClickHouseDatabase(t), Options{MaxQueryMemory: 48 << 20})
	const traces, each = 600, 10
	start := time.Now().Add(-time.Hour)
	text := make([]byte, 4096)
	for n := range traces {
		var spans []*dendro.SpanData
		for i := range each {
			span := spanAt(n+1, n*each+i+1, "span", start.Add(time.Duration(n)*time.Second))
			for at := range text {
				text[at] = byte('a' + (n*7+i*31+at*at)%26)
			}
			span.Attributes = []slog.Attr{slog.String("text", string(text))}
			spans = append(spans, span)
		}
		resource := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
		testkit.NoError(t, s.Collect(&dendro.Batch{Resource: resource, Spans: spans}))
	}
	testkit.Equal(t, "traces", len(visits(t, s, collector.Scan{AllAttributes: true})), traces)
}
