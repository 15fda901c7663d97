package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

func newestFirst(t *testing.T, s collector.Store) {
	for n := 1; n <= 5; n++ {
		collect(t, s, batch("a", span(n, n, 0, "root", int64(100*n)), span(n, 10+n, n, "child", int64(100*n+1))))
	}
	found(t, s, "by start", collector.Scan{}, 5, 4, 3, 2, 1)
}

func manyTraces(t *testing.T, s collector.Store) {
	const n = 20_000
	for i := 1; i <= n; i++ {
		collect(t, s, batch("a", span(i, i, 0, "root", int64(i*7919%n), slog.Int("n", i))))
	}
	visited := map[dendro.TraceID]bool{}
	err := s.Scan(t.Context(), collector.Scan{Attributes: []string{"n"}}, func(got *collector.Trace) bool {
		if visited[got.ID] {
			t.Fatalf("trace %s is visited twice", got.ID)
		}
		visited[got.ID] = true
		n := int(got.Spans[0].Attributes[0].Value.Int64())
		if got.ID != traceID(n) || len(got.Spans) != 1 || got.Spans[0].SpanID != spanID(n) {
			t.Fatalf("trace %s is not that of %d", got.ID, n)
		}
		return true
	})
	equal(t, "error", err, error(nil))
	equal(t, "traces", len(visited), n)
}

// rareThings looks for what one of many traces has, in a block of its own that came late.
func rareThings(t *testing.T, s collector.Store) {
	const n = 20_000
	for i := 1; i <= n; i++ {
		collect(t, s, batch("a", span(i, i, 0, "root", int64(i), slog.Int("n", i), slog.String("id", fmt.Sprint("id ", i)))))
	}
	late := failed(lasting(span(5, n+1, 5, "rare name", 6, slog.Int("rare", 1), slog.Any("list", []string{"x", "rare element"})), 100_000))
	collect(t, s, batch("rare service", late))
	visits := func(what string, want int, spans ...collector.SpanHints) {
		t.Helper()
		if got := numbers(scan(t, s, collector.Scan{Hints: collector.Hints{Spans: spans}})); !slices.Contains(got, want) {
			t.Errorf("%s: trace %d is not among %d", what, want, len(got))
		}
	}
	visits("key", 5, collector.SpanHints{Keys: []string{"rare"}})
	visits("name", 5, collector.SpanHints{Names: []string{"rare name"}})
	visits("service", 5, collector.SpanHints{Services: []string{"rare service"}}, collector.SpanHints{Services: []string{"a"}})
	visits("error", 5, collector.SpanHints{Errors: true})
	visits("duration", 5, collector.SpanHints{MinDuration: time.Minute})
	visits("value", 5, collector.SpanHints{Values: []slog.Attr{slog.Int("rare", 1)}})
	visits("value, as a float", 5, collector.SpanHints{Values: []slog.Attr{slog.Float64("rare", 1)}})
	visits("properties of one span", 5, collector.SpanHints{
		Services: []string{"rare service"}, Names: []string{"rare name"}, Keys: []string{"rare", "host.name"}, Values: []slog.Attr{slog.Int("rare", 1)},
		Texts: []slog.Attr{slog.String("list", "x")}, Errors: true, MinDuration: 100 * time.Second,
	})
	visits("values of two spans", 5, collector.SpanHints{Values: []slog.Attr{slog.Int("n", 5)}}, collector.SpanHints{Values: []slog.Attr{slog.Int("rare", 1)}})
	visits("text of a number", 5, collector.SpanHints{Texts: []slog.Attr{slog.String("rare", "1")}})
	visits("text", 5, collector.SpanHints{Texts: []slog.Attr{slog.String("id", "id 5")}})
	visits("text of an element", 5, collector.SpanHints{Texts: []slog.Attr{slog.String("list", "rare element")}})
	visits("element", 5, collector.SpanHints{Values: []slog.Attr{slog.String("list", "rare element")}})
	visits("resource", 5, collector.SpanHints{Values: []slog.Attr{slog.String("host.name", "host of rare service")}})
	for i := 1; i <= n; i += 997 {
		visits("number", i, collector.SpanHints{Values: []slog.Attr{slog.Int("n", i)}})
		visits("text", i, collector.SpanHints{Values: []slog.Attr{slog.String("id", fmt.Sprint("id ", i))}})
	}
}

func stopsEarly(t *testing.T, s collector.Store) {
	for n := 1; n <= 5; n++ {
		collect(t, s, batch("a", span(n, n, 0, "root", int64(n))))
	}
	var got []collector.Trace
	err := s.Scan(t.Context(), collector.Scan{}, func(t *collector.Trace) bool {
		got = append(got, collector.Trace{ID: t.ID})
		return len(got) < 2
	})
	equal(t, "error", err, error(nil))
	equal(t, "visited", numbers(got), []int{5, 4})
}

func timeRange(t *testing.T, s collector.Store) {
	for n := 1; n <= 4; n++ {
		collect(t, s, batch("a", lasting(span(n, n, 0, "root", int64(100*n)), 1000)))
	}
	at := func(millis int64) time.Time { return time.Unix(0, epoch+millis*ms) }
	found(t, s, "start is inclusive", collector.Scan{TimeRange: collector.TimeRange{Start: at(200)}}, 4, 3, 2)
	found(t, s, "a nanosecond later", collector.Scan{TimeRange: collector.TimeRange{Start: at(200).Add(1)}}, 4, 3)
	found(t, s, "end is exclusive", collector.Scan{TimeRange: collector.TimeRange{End: at(300)}}, 2, 1)
	found(t, s, "a nanosecond more", collector.Scan{TimeRange: collector.TimeRange{End: at(300).Add(1)}}, 3, 2, 1)
	found(t, s, "both", collector.Scan{TimeRange: collector.TimeRange{Start: at(200), End: at(400)}}, 3, 2)
	found(t, s, "another zone", collector.Scan{TimeRange: collector.TimeRange{Start: at(400).In(time.FixedZone("", 3600))}}, 4)
	found(t, s, "nothing in between", collector.Scan{TimeRange: collector.TimeRange{Start: at(250), End: at(250)}})
	found(t, s, "inverted", collector.Scan{TimeRange: collector.TimeRange{Start: at(300), End: at(200)}})
	found(t, s, "beyond 64 bits of nanoseconds", collector.Scan{TimeRange: collector.TimeRange{Start: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), End: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}}, 4, 3, 2, 1)
	found(t, s, "after everything", collector.Scan{TimeRange: collector.TimeRange{Start: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}})
}

// wanted has what was asked for. A store may give more.
func wanted(t *testing.T, s collector.Store) {
	root := failed(span(1, 1, 0, "root", 0, slog.String("a", "1"), slog.Int("b", 2), slog.Any("c", []string{"x", "y"})))
	root.Kind, root.Remote = dendro.KindServer, true
	root.Events = []dendro.Event{{Name: "event", Time: root.Start + 1, Attributes: []slog.Attr{slog.String("a", "of an event")}}}
	root.Links = []dendro.Link{{SpanContext: root.SpanContext}}
	root.DroppedEvents = 3
	collect(t, s, batch("shop", root, span(1, 2, 1, "child", 5, slog.Int("b", 3))))
	whole := trace(t, s, 1)
	for what, q := range map[string]collector.Scan{
		"nothing": {}, "one key": {Attributes: []string{"b"}}, "a key that is not there": {Attributes: []string{"z"}},
		"all keys": {AllAttributes: true}, "details": {Details: true}, "everything": {AllAttributes: true, Details: true},
	} {
		got := scan(t, s, q)
		if len(got) != 1 || len(got[0].Spans) != 2 {
			t.Fatalf("%s: visited %v", what, got)
		}
		for i, span := range got[0].Spans {
			want := whole.Spans[i]
			equal(t, what+": head", []any{span.TraceID, span.SpanID, span.ParentID, span.Flags, span.Remote, span.Name, span.Kind, span.Start, span.End, span.Status.Code},
				[]any{want.TraceID, want.SpanID, want.ParentID, want.Flags, want.Remote, want.Name, want.Kind, want.Start, want.End, want.Status.Code})
			equal(t, what+": resource", renderResource(span.Resource), renderResource(want.Resource))
			equal(t, what+": scope", renderScope(span.Scope), renderScope(want.Scope))
			for _, a := range want.Attributes {
				if q.AllAttributes || len(q.Attributes) > 0 && a.Key == q.Attributes[0] {
					equal(t, what+": attribute "+a.Key, value(span.Attributes, a.Key), a.Value.String())
				}
			}
			if q.Details {
				want.Attributes, span.Attributes = nil, nil
				equal(t, what+": details", render(&span.SpanData), render(&want.SpanData))
			}
		}
		equal(t, what+": shared", got[0].Spans[0].Resource == got[0].Spans[1].Resource, true)
	}
}

func value(attrs []slog.Attr, key string) string {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return "absent"
}

func canceled(t *testing.T, s collector.Store) {
	for range 2 { // first empty, then with spans
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		calls := map[string]func() error{
			"Trace": func() error { _, err := s.Trace(ctx, traceID(1), collector.TimeRange{}); return err },
			"Stats": func() error { _, err := s.Stats(ctx); return err },
			"Scan":  func() error { return s.Scan(ctx, collector.Scan{}, func(*collector.Trace) bool { return true }) },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v, want context.Canceled", name, err)
			}
		}
		collect(t, s, batch("a", span(1, 1, 0, "root", 0)))
	}
	collect(t, s, batch("a", span(2, 2, 0, "root", 0)))
	ctx, cancel := context.WithCancel(t.Context())
	visited := 0
	err := s.Scan(ctx, collector.Scan{}, func(*collector.Trace) bool {
		visited++
		cancel()
		return true
	})
	if visited != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled while it visits: %d traces, error %v", visited, err)
	}
}
