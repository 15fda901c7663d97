package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

func newestFirst(t *testing.T, s collector.Store) {
	for _, n := range []int{3, 1, 5, 2, 4} { // arrives in a different order
		collect(t, s, batch("a", span(n, n, 0, "root", int64(100*n))))
	}
	found(t, s, "by start", collector.Query{}, 5, 4, 3, 2, 1)
	collect(t, s, batch("a", span(2, 20, 2, "late", 900), span(4, 40, 4, "early", 50)))
	found(t, s, "by the earliest span", collector.Query{}, 5, 3, 2, 1, 4)
}

// sameStart has so many traces with the same start that a store may not look at all of
// them.
func sameStart(t *testing.T, s collector.Store) {
	const n = 10_000
	for i := range n {
		collect(t, s, batch("a", span(n-i, 1, 0, "root", 0)))
	}
	found(t, s, "by id", collector.Query{Limit: 3}, 1, 2, 3)
	for i := range n {
		collect(t, s, batch("a", span(n+1+i, 1, 0, "root", 0)))
	}
	found(t, s, "by id", collector.Query{Limit: 3}, 1, 2, 3)
}

func limit(t *testing.T, s collector.Store) {
	const n = collector.MaxLimit + 10
	for i := 1; i <= n; i++ {
		collect(t, s, batch("a", span(i, i, 0, "root", int64(i))))
	}
	for _, test := range []struct{ limit, want int }{
		{0, collector.DefaultLimit},
		{1, 1},
		{50, 50},
		{collector.MaxLimit, collector.MaxLimit},
		{collector.MaxLimit + 1, collector.MaxLimit},
	} {
		got := search(t, s, collector.Query{Limit: test.limit})
		if len(got) != test.want {
			t.Errorf("limit %d: found %d", test.limit, len(got))
			continue
		}
		if got[0].TraceID != traceID(n) || got[test.want-1].TraceID != traceID(n-test.want+1) {
			t.Errorf("limit %d: not the newest ones", test.limit)
		}
	}
	found(t, s, "limit and condition", collector.Query{Limit: 2, End: time.Unix(0, epoch+4*ms)}, 3, 2)
}

func timeRange(t *testing.T, s collector.Store) {
	for n := 1; n <= 4; n++ {
		collect(t, s, batch("a", lasting(span(n, n, 0, "root", int64(100*n)), 1000)))
	}
	at := func(millis int64) time.Time { return time.Unix(0, epoch+millis*ms) }
	found(t, s, "start is inclusive", collector.Query{Start: at(200)}, 4, 3, 2)
	found(t, s, "a nanosecond later", collector.Query{Start: at(200).Add(1)}, 4, 3)
	found(t, s, "end is exclusive", collector.Query{End: at(300)}, 2, 1)
	found(t, s, "a nanosecond more", collector.Query{End: at(300).Add(1)}, 3, 2, 1)
	found(t, s, "both", collector.Query{Start: at(200), End: at(400)}, 3, 2)
	found(t, s, "another zone", collector.Query{Start: at(400).In(time.FixedZone("", 3600))}, 4)
	found(t, s, "nothing in between", collector.Query{Start: at(250), End: at(250)})
	found(t, s, "beyond 64 bits of nanoseconds", collector.Query{Start: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), End: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, 4, 3, 2, 1)
}

func durations(t *testing.T, s collector.Store) {
	for n := 1; n <= 4; n++ {
		collect(t, s, batch("a", lasting(span(n, n, 0, "root", int64(n)), int64(100*n))))
	}
	// MinDuration and MaxDuration apply to the trace, not to a span.
	collect(t, s, batch("b", span(1, 10, 1, "late", 991)))
	found(t, s, "min", collector.Query{MinDuration: 300 * time.Millisecond}, 4, 3, 1)
	found(t, s, "max", collector.Query{MaxDuration: 300 * time.Millisecond}, 3, 2)
	found(t, s, "both", collector.Query{MinDuration: 300 * time.Millisecond, MaxDuration: 300 * time.Millisecond}, 3)
	found(t, s, "whole trace", collector.Query{MinDuration: time.Second}, 1)
}

func serviceAndName(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", span(1, 1, 0, "x", 1), span(1, 2, 1, "y", 1)),
		batch("b", span(1, 3, 1, "z", 1)),
		batch("a", span(2, 4, 0, "y", 2)),
		batch("b", span(2, 5, 4, "x", 2)),
		batch("c", span(3, 6, 0, "y", 3)))
	found(t, s, "service", collector.Query{Service: "a"}, 2, 1)
	found(t, s, "service of a child", collector.Query{Service: "b"}, 2, 1)
	found(t, s, "name", collector.Query{Name: "y"}, 3, 2, 1)
	found(t, s, "name of a child", collector.Query{Name: "z"}, 1)
	found(t, s, "both on one span", collector.Query{Service: "a", Name: "x"}, 1)
	found(t, s, "both on one span", collector.Query{Service: "b", Name: "x"}, 2)
	found(t, s, "on no span", collector.Query{Service: "c", Name: "x"})
	found(t, s, "longer name", collector.Query{Name: "xx"})
	found(t, s, "case matters", collector.Query{Service: "A"})
	found(t, s, "an attribute value is no name", collector.Query{Name: "host of a"})
}

func errorsOnly(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", failed(span(1, 1, 0, "root", 1))),
		batch("a", span(2, 2, 0, "root", 2)),
		batch("a", span(3, 3, 0, "root", 3)),
		batch("b", failed(span(3, 4, 3, "child", 3))))
	found(t, s, "errors", collector.Query{ErrorsOnly: true}, 3, 1)
	found(t, s, "all", collector.Query{}, 3, 2, 1)
}

func tags(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a",
			span(1, 1, 0, "root", 1, slog.Int("status", 200), slog.Bool("cached", true), slog.Float64("share", 0.25)),
			span(1, 2, 1, "child", 1, slog.String("user", "ada"))),
		batch("b",
			span(2, 3, 0, "root", 2, slog.String("status", "200"), slog.String("user", "ada"), slog.String("cached", "false")),
			span(2, 4, 3, "child", 2, slog.Int("status", -404))),
		batch("c", span(3, 5, 0, "root", 3, slog.Any("users", []string{"ada", "bob"}), slog.String("empty", ""))))
	other := span(4, 6, 0, "root", 4)
	other.Events = []dendro.Event{{Name: "event", Attributes: []slog.Attr{slog.String("user", "ada")}}}
	other.Links = []dendro.Link{{Attributes: []slog.Attr{slog.String("user", "ada")}}}
	collect(t, s, batch("d", other))

	for _, test := range []struct {
		what string
		tags []slog.Attr
		want []int
	}{
		{"text finds number and text", []slog.Attr{slog.String("status", "200")}, []int{2, 1}},
		{"number finds number and text", []slog.Attr{slog.Int("status", 200)}, []int{2, 1}},
		{"negative number", []slog.Attr{slog.String("status", "-404")}, []int{2}},
		{"true", []slog.Attr{slog.String("cached", "true")}, []int{1}},
		{"false as text", []slog.Attr{slog.Bool("cached", false)}, []int{2}},
		{"float", []slog.Attr{slog.String("share", "0.25")}, []int{1}},
		{"of a span, not of an event or a link", []slog.Attr{slog.String("user", "ada")}, []int{2, 1}},
		{"list", []slog.Attr{slog.String("users", "[ada bob]")}, []int{3}},
		{"empty value", []slog.Attr{slog.String("empty", "")}, []int{3}},
		{"absent key is no empty value", []slog.Attr{slog.String("absent", "")}, nil},
		{"prefix of a value", []slog.Attr{slog.String("user", "ad")}, nil},
		{"case matters", []slog.Attr{slog.String("User", "ada")}, nil},
		{"of the resource", []slog.Attr{slog.String("service.name", "b")}, []int{2}},
		{"two on one span", []slog.Attr{slog.String("status", "200"), slog.String("user", "ada")}, []int{2}},
		{"two on two spans", []slog.Attr{slog.String("status", "-404"), slog.String("user", "ada")}, nil},
		{"span and its resource", []slog.Attr{slog.String("host.name", "host of a"), slog.String("user", "ada")}, []int{1}},
		{"span and another resource", []slog.Attr{slog.String("host.name", "host of c"), slog.String("user", "ada")}, nil},
		{"two of the resource", []slog.Attr{slog.String("host.name", "host of d"), slog.String("service.name", "d")}, []int{4}},
		{"two values of one key", []slog.Attr{slog.String("user", "ada"), slog.String("user", "bob")}, nil},
	} {
		found(t, s, test.what, collector.Query{Tags: test.tags}, test.want...)
	}
}

func combined(t *testing.T, s collector.Store) {
	for n := 1; n <= 6; n++ {
		root := lasting(span(n, n, 0, "root", int64(n), slog.Int("n", n)), int64(n))
		if n%2 == 0 {
			failed(root)
		}
		collect(t, s, batch("a", root, span(n, 10+n, n, "child", int64(n), slog.String("color", "green"))))
	}
	q := collector.Query{
		Start: time.Unix(0, epoch+2*ms), End: time.Unix(0, epoch+6*ms), MinDuration: 3 * time.Millisecond,
		Service: "a", Name: "root", ErrorsOnly: true, Tags: []slog.Attr{slog.String("color", "green")},
	}
	found(t, s, "all conditions, tags on another span than name", q, 4, 2)
	q.Limit = 1
	found(t, s, "with a limit", q, 4)
}

func invalidQueries(t *testing.T, s collector.Store) {
	now := time.Unix(0, epoch)
	for what, q := range map[string]collector.Query{
		"negative limit":        {Limit: -1},
		"negative min duration": {MinDuration: -1},
		"negative max duration": {MaxDuration: -1},
		"inverted durations":    {MinDuration: 2, MaxDuration: 1},
		"inverted times":        {Start: now, End: now.Add(-1)},
		"too many tags":         {Tags: make([]slog.Attr, collector.MaxTags+1)},
	} {
		if got, err := s.Search(t.Context(), q); !errors.Is(err, collector.ErrInvalidQuery) || got != nil || err.Error() == collector.ErrInvalidQuery.Error() {
			t.Errorf("%s: got %v, %v, want ErrInvalidQuery with the reason", what, got, err)
		}
	}
	var most []slog.Attr
	for i := range collector.MaxTags {
		most = append(most, slog.Int(fmt.Sprint("key", i), i))
	}
	collect(t, s, batch("a", span(1, 1, 0, "root", 0, most...)))
	found(t, s, "as many tags as allowed", collector.Query{Tags: most}, 1)
	most[63] = slog.Int("key63", 64)
	found(t, s, "as many tags as allowed, one is wrong", collector.Query{Tags: most})
}

func tagKeys(t *testing.T, s collector.Store) {
	check := func(want ...string) {
		t.Helper()
		got, err := s.Tags(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	check()
	root := span(1, 1, 0, "root", 0, slog.Int("z", 1), slog.Int("a", 1))
	root.Events = []dendro.Event{{Name: "event", Attributes: []slog.Attr{slog.Int("of an event", 1)}}}
	collect(t, s,
		batch("a", root, span(1, 2, 1, "child", 0, slog.Int("z", 2))),
		batch("b", span(1, 3, 1, "child", 0, slog.String("m", "value that is no key"))))
	check("a", "host.name", "m", "service.name", "z")
}

func tagValues(t *testing.T, s collector.Store) {
	check := func(key string, want ...string) {
		t.Helper()
		got, err := s.TagValues(t.Context(), key)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", key, got, err, want)
		}
	}
	check("status")
	collect(t, s,
		batch("b", span(1, 1, 0, "root", 0, slog.Int("status", 200)), span(1, 2, 1, "child", 0, slog.Int("other", 1))),
		batch("a", span(2, 3, 0, "root", 0, slog.String("status", "200")), span(2, 4, 3, "child", 0, slog.Int("status", 404), slog.Bool("yes", true))),
		batch("a", span(3, 5, 0, "root", 0, slog.Float64("status", 0.5), slog.String("a", "status"))))
	check("status", "0.5", "200", "404")
	check("yes", "true")
	check("service.name", "a", "b")
	check("absent")
}

func manyTagValues(t *testing.T, s collector.Store) {
	for n := 1; n <= collector.MaxTagValues+100; n++ {
		collect(t, s, batch("a", span(n, n, 0, "root", 0, slog.Int("n", n))))
	}
	got, err := s.TagValues(t.Context(), "n")
	if err != nil || len(got) != collector.MaxTagValues || !sort.StringsAreSorted(got) || len(slices.Compact(got)) != collector.MaxTagValues {
		t.Errorf("got %d values, %v, want a thousand, sorted", len(got), err)
	}
}

func canceled(t *testing.T, s collector.Store) {
	for range 2 { // first empty, then with spans
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		calls := map[string]func() error{
			"Trace":     func() error { _, err := s.Trace(ctx, traceID(1)); return err },
			"Search":    func() error { _, err := s.Search(ctx, collector.Query{}); return err },
			"Tags":      func() error { _, err := s.Tags(ctx); return err },
			"TagValues": func() error { _, err := s.TagValues(ctx, "key"); return err },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v, want context.Canceled", name, err)
			}
		}
		collect(t, s, batch("a", span(1, 1, 0, "root", 0)))
	}
}
