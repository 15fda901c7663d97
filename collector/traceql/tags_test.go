package traceql_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestTagOptions(t *testing.T) {
	s := memory.New(memory.Options{})
	start := time.Unix(1_700_000_000, 0)
	for n := range 10 {
		span := &dendro.SpanData{Name: "work", Start: start.Add(time.Duration(n) * time.Minute).UnixNano(), Attributes: []slog.Attr{slog.Int("n", n), slog.Bool(fmt.Sprint("key", n), true)}}
		span.TraceID, span.SpanID = dendro.TraceID{1, byte(n)}, dendro.SpanID{1}
		span.Events = []dendro.Event{{Name: "e", Attributes: []slog.Attr{slog.Int("at", n)}}}
		testkit.NoError(t, s.Collect(&dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "a"), slog.String("host.name", "h")}}, Spans: []*dendro.SpanData{span}}))
	}
	last := traceql.TagOptions{Start: start.Add(8 * time.Minute)}
	one := traceql.TagOptions{Start: last.Start, Limit: 1}
	all := traceql.All()
	for _, test := range []struct {
		o     traceql.TagOptions
		scope string // of the result, if there is only one
		want  string
		cut   bool
	}{
		{last, "", "[event resource span]", false},
		{traceql.TagOptions{Start: last.Start, Scope: "span"}, "span", "[key8 key9 n]", false},
		{traceql.TagOptions{End: start.Add(time.Minute), Scope: "span"}, "span", "[key0 n]", false},
		{traceql.TagOptions{Scope: "event"}, "event", "[at]", false},
		{traceql.TagOptions{Scope: "resource", Limit: 1}, "resource", "[service.name]", true},
		{traceql.TagOptions{Scope: "link"}, "", "[]", false},
	} {
		keys, stats, err := all.Keys(t.Context(), s, test.o)
		testkit.NoError(t, err)
		got := slices.Sorted(maps.Keys(keys))
		if test.scope != "" {
			testkit.Equal(t, "scopes", got, []string{test.scope})
			got = keys[test.scope]
		}
		if fmt.Sprint(got) != test.want || (stats.Cut != "") != test.cut {
			t.Errorf("%+v: got %v, cut %q, want %s", test.o, got, stats.Cut, test.want)
		}
	}
	n, err := traceql.ParseField("span.n")
	testkit.NoError(t, err)
	for _, test := range []struct {
		o    traceql.TagOptions
		want string
		cut  bool
	}{{last, "[8 9]", false}, {one, "[9]", true}, {traceql.TagOptions{Limit: 10}, "[0 1 2 3 4 5 6 7 8 9]", false}} {
		values, stats, err := all.Values(t.Context(), s, n, test.o)
		testkit.NoError(t, err)
		var got []string
		for _, v := range values {
			got = append(got, v.Text())
		}
		if fmt.Sprint(got) != test.want || (stats.Cut != "") != test.cut {
			t.Errorf("%+v: got %v, cut %q, want %s", test.o, got, stats.Cut, test.want)
		}
	}
}
