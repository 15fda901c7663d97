package storetest

import (
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

func absence(t *testing.T, s collector.Store) {
	check := func() {
		t.Helper()
		got, err := s.Trace(t.Context(), traceID(404), collector.TimeRange{})
		if got != nil || err != nil {
			t.Errorf("absent trace: got %v, %v, want nil, nil", got, err)
		}
	}
	check()
	collect(t, s, batch("a", span(1, 1, 0, "root", 0)))
	check()
}

func emptyBatch(t *testing.T, s collector.Store) {
	collect(t, s, batch("a"))
	if st := statsOf(t, s); st.Traces != 0 || st.Spans != 0 || st.Accepted != 0 {
		t.Errorf("an empty batch was counted: %+v", st)
	}
}

func state(t *testing.T, text string) dendro.TraceState {
	t.Helper()
	s, err := dendro.ParseTraceState(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func everyField(t *testing.T, s collector.Store) {
	full := span(1, 2, 1, "GET /größe/世界/\x00/🌲", 3,
		slog.String("text", "værdi"), slog.Int("number", -7), slog.Float64("part", 0.1), slog.Bool("yes", true))
	full.Flags = dendro.FlagSampled | dendro.FlagRandom
	full.State = state(t, "vendor=value,other@x=1")
	full.Remote = true
	full.Kind = dendro.KindServer
	full.End = full.Start + 12_345_678_901
	full.Status = dendro.Status{Code: dendro.StatusError, Message: "no\nroom"}
	full.DroppedAttributes, full.DroppedEvents, full.DroppedLinks = 1, 2, math.MaxUint32
	full.Events = []dendro.Event{
		{Name: "exception", Time: full.Start + 1, Attributes: []slog.Attr{slog.String("exception.type", "E")}, DroppedAttributes: 3},
		{Name: "", Time: full.Start - 5, Duration: 42 * time.Microsecond},
	}
	full.Links = []dendro.Link{
		{SpanContext: dendro.SpanContext{TraceID: traceID(77), SpanID: spanID(78), Flags: 1, State: state(t, "a=b")}, Attributes: []slog.Attr{slog.Int("n", 1)}, DroppedAttributes: 4},
		{SpanContext: dendro.SpanContext{TraceID: traceID(79), SpanID: spanID(80)}, RemoteKnown: true},
		{SpanContext: dendro.SpanContext{TraceID: traceID(79), SpanID: spanID(81)}, RemoteKnown: true, Remote: true},
	}
	spans := []*dendro.SpanData{full}
	for kind := dendro.KindInternal; kind <= dendro.KindUnspecified; kind++ {
		bare := span(1, 10+int(kind), 2, "", 10+int64(kind))
		bare.Kind, bare.Flags, bare.RemoteUnknown, bare.Status.Code = kind, 0, kind%2 == 1, dendro.StatusCode(kind%3)
		spans = append(spans, bare)
	}
	extreme := span(1, 20, 99, "ends before it begins", 20)
	extreme.Start, extreme.End = math.MaxInt64, math.MinInt64
	invalid := span(1, 21, 21, "not UTF-8: \xff\xfe", 19)
	spans = append(spans, invalid, extreme)

	collect(t, s, batch("a", spans...))
	got := trace(t, s, 1)
	if got.ID != traceID(1) || len(got.Spans) != len(spans) {
		t.Fatalf("got %d spans of trace %s", len(got.Spans), got.ID)
	}
	for i, want := range spans {
		equal(t, want.Name, render(&got.Spans[i].SpanData), render(want))
	}
}

func everyValue(t *testing.T, s collector.Store) {
	values := []slog.Value{
		slog.StringValue(""), slog.StringValue("a"), slog.StringValue(strings.Repeat("long ", 4000)), slog.StringValue("\xff"),
		slog.Int64Value(0), slog.Int64Value(math.MaxInt64), slog.Int64Value(math.MinInt64),
		slog.Float64Value(0), slog.Float64Value(math.Copysign(0, -1)), slog.Float64Value(math.NaN()), slog.Float64Value(math.Inf(-1)), slog.Float64Value(math.SmallestNonzeroFloat64),
		slog.BoolValue(true), slog.BoolValue(false),
		slog.AnyValue([]string{"x", "", "x"}), slog.AnyValue([]string{}),
		slog.AnyValue([]int64{1, -1, math.MinInt64}), slog.AnyValue([]int64{}),
		slog.AnyValue([]float64{1.5, math.Inf(1)}), slog.AnyValue([]float64{}),
		slog.AnyValue([]bool{true, false}), slog.AnyValue([]bool{}),
		slog.AnyValue([]byte{0, 255, 'a'}), slog.AnyValue([]byte{}),
		slog.AnyValue([]slog.Value{}),
		slog.AnyValue([]slog.Value{slog.StringValue("a"), slog.IntValue(2), slog.AnyValue([]string{"nested"}), slog.AnyValue([]slog.Value{slog.BoolValue(true)})}),
		slog.AnyValue(dendro.KeyValues{}),
		slog.AnyValue(dendro.KeyValues{slog.Int("n", 1), slog.Any("none", dendro.KeyValues{}), slog.Any("list", []slog.Value{slog.AnyValue(dendro.KeyValues{slog.String("role", "user")}), {}})}),
	}
	var attrs []slog.Attr
	for i, v := range values {
		attrs = append(attrs, slog.Attr{Key: "key " + string(rune('a'+i)), Value: v})
	}
	attrs = append(attrs, slog.String("ключ", "value"))
	want := span(1, 1, 0, "root", 0, attrs...)
	want.Events = []dendro.Event{{Name: "event", Time: want.Start, Attributes: attrs}}
	want.Links = []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: traceID(2), SpanID: spanID(2)}, Attributes: attrs}}
	b := batch("a", want)
	b.Resource.Attributes = append(b.Resource.Attributes, attrs...)
	want.Scope.Attributes = attrs
	b.Resource.DroppedAttributes, want.Scope.DroppedAttributes = 7, math.MaxUint32
	collect(t, s, b)
	got := trace(t, s, 1).Spans[0]
	equal(t, "span", render(&got.SpanData), render(want))
	equal(t, "resource", renderResource(got.Resource), renderResource(b.Resource))
}

func sharedOrigin(t *testing.T, s collector.Store) {
	one := batch("a", span(1, 1, 0, "root", 0), span(1, 2, 1, "child", 1))
	scope := one.Spans[0].Scope
	one.Resource.SchemaURL, scope.SchemaURL = "https://example.com/1", "https://example.com/2"
	other := batch("a", ofScope(&dendro.Scope{Name: "other"}, span(1, 3, 1, "other scope", 2)))
	other.Resource = one.Resource
	collect(t, s, one, other, batch("b", span(1, 4, 1, "other resource", 3)))

	got := trace(t, s, 1).Spans
	if len(got) != 4 {
		t.Fatalf("got %d spans", len(got))
	}
	equal(t, "resource", renderResource(got[0].Resource), renderResource(one.Resource))
	equal(t, "scope", renderScope(got[0].Scope), renderScope(scope))
	if got[0].Resource != got[1].Resource || got[0].Scope != got[1].Scope {
		t.Error("two spans of one batch do not share resource and scope")
	}
	if got[2].Resource != got[0].Resource || got[2].Scope == got[0].Scope {
		t.Error("two batches of one resource: want the same resource and two scopes")
	}
	equal(t, "service", got[3].Resource.Service(), "b")
	equal(t, "scope", got[2].Scope.Name, "other")
}

// severalScopes: each span of a batch has its own scope, whatever else it has, and spans of
// the same scope share it.
func severalScopes(t *testing.T, s collector.Store) {
	scopes := func() []*dendro.Scope { // equal ones, but others
		out := []*dendro.Scope{{Name: "a", Version: "1"}, {Name: "b", SchemaURL: "https://example.com/b"}, nil}
		for i := range 20 {
			out = append(out, &dendro.Scope{Name: "many", Attributes: []slog.Attr{slog.Int("n", i)}})
		}
		return append(out, &dendro.Scope{Name: "large", Attributes: []slog.Attr{slog.String("text", strings.Repeat("long ", 2000))}, DroppedAttributes: 7})
	}
	resource := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
	var batches []*dendro.Batch
	var want []collector.Span
	add := func(r *dendro.Resource, scopes ...*dendro.Scope) {
		b := &dendro.Batch{Resource: r}
		for _, sc := range scopes {
			id := len(want) + 1
			span := ofScope(sc, span(1, id, 0, "span", int64(id), slog.Int("n", id)))
			if id%3 == 0 {
				span.DroppedEvents = uint32(id)
				span.Events = []dendro.Event{{Name: "event", Time: span.Start}}
			}
			b.Spans = append(b.Spans, span)
			want = append(want, collector.Span{SpanData: *span, Resource: r})
		}
		batches = append(batches, b)
	}
	for range 3 {
		all := scopes()
		add(resource, all...)
		for _, sc := range slices.Backward(all) {
			add(nil, sc)
		}
		add(resource, slices.Repeat(all, 5)...)
	}
	collect(t, s, batches...)
	collect(t, s, batches...) // a client that has not seen the answer sends them again
	if st := statsOf(t, s); st.Spans != len(want) || st.Duplicates != uint64(len(want)) {
		t.Errorf("stats %+v, want %d spans, and as many duplicates", st, len(want))
	}
	check := func(what string, got []collector.Span, details bool) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d spans, want %d", what, len(got), len(want))
		}
		shared := map[string]*dendro.Scope{}
		for i, span := range got {
			scope := renderScope(want[i].Scope)
			equal(t, what+": scope", renderScope(span.Scope), scope)
			equal(t, what+": service", span.Resource.Service(), want[i].Resource.Service())
			if details {
				equal(t, what, render(&span.SpanData), render(&want[i].SpanData))
			}
			if span.Scope == nil || shared[scope] != nil && shared[scope] != span.Scope {
				t.Errorf("%s: span %d has no scope or does not share it", what, i)
			}
			shared[scope] = span.Scope
		}
	}
	check("trace", trace(t, s, 1).Spans, true)
	check("scan", scan(t, s, collector.Scan{AllAttributes: true, Details: true})[0].Spans, true)
	check("scan without details", scan(t, s, collector.Scan{})[0].Spans, false)
}

func noOrigin(t *testing.T, s collector.Store) {
	collect(t, s, &dendro.Batch{Spans: []*dendro.SpanData{span(1, 1, 0, "root", 0)}})
	got := trace(t, s, 1).Spans[0]
	if got.Resource == nil || got.Scope == nil || got.Resource.Service() != "" {
		t.Errorf("resource %v, scope %v, want empty ones", got.Resource, got.Scope)
	}
	found(t, s, "all", collector.Scan{}, 1)
}

func spanOrder(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", span(1, 1, 2, "third", 5), span(1, 2, 0, "first", 0)),
		batch("b", span(1, 3, 2, "fourth", 5), span(1, 4, 2, "second", 4)))
	equal(t, "order", names(trace(t, s, 1)), []string{"first", "second", "third", "fourth"})
}

func severalTraces(t *testing.T, s collector.Store) {
	var spans []*dendro.SpanData
	for i := range 30 { // interleaved, like the batches of an exporter
		spans = append(spans, span(1+i%3, 100+i, 0, "s", int64(i)))
	}
	given := slices.Clone(spans)
	collect(t, s, batch("a", spans...))
	if !slices.Equal(spans, given) {
		t.Error("Collect has changed the order of the spans in the batch")
	}
	for n := 1; n <= 3; n++ {
		if got := trace(t, s, n); len(got.Spans) != 10 {
			t.Errorf("trace %d has %d spans", n, len(got.Spans))
		}
	}
	found(t, s, "all", collector.Scan{}, 3, 2, 1)
}

// only returns the summary of the only trace, without its id.
func only(t *testing.T, s collector.Store) collector.Summary {
	t.Helper()
	got := scan(t, s, collector.Scan{})
	if len(got) != 1 {
		t.Fatalf("found %d traces, want 1", len(got))
	}
	sum := got[0].Summary()
	if sum.TraceID != traceID(1) {
		t.Errorf("trace id %s", sum.TraceID)
	}
	sum.TraceID = dendro.TraceID{}
	return sum
}

// oneBatch stores what a tracer delivers: the span that ended first comes first.
func oneBatch(t *testing.T, s collector.Store) {
	collect(t, s, batch("a",
		span(1, 3, 2, "query", 20), failed(lasting(span(1, 2, 1, "call", 10), 50)), lasting(span(1, 1, 0, "root", 0), 70)))
	equal(t, "summary", only(t, s), collector.Summary{
		RootService: "a", RootName: "root", Start: epoch, Duration: 70 * time.Millisecond, Spans: 3, Errors: 1,
		Services: []collector.ServiceSummary{{Service: "a", Spans: 3, Errors: 1}},
	})
	equal(t, "names", names(trace(t, s, 1)), []string{"root", "call", "query"})
}

func parts(t *testing.T, s collector.Store) {
	root := lasting(span(1, 1, 0, "GET /", 0), 100)
	collect(t, s,
		batch("front", root, span(1, 2, 1, "call", 10)),
		batch("back", failed(span(1, 3, 2, "handle", 12)), span(1, 4, 3, "query", 13)),
		batch("front", lasting(span(1, 5, 1, "late", 90), 50)))
	equal(t, "summary", only(t, s), collector.Summary{
		RootService: "front", RootName: "GET /",
		Start: root.Start, Duration: 140 * time.Millisecond, Spans: 5, Errors: 1,
		Services: []collector.ServiceSummary{{Service: "back", Spans: 2, Errors: 1}, {Service: "front", Spans: 3}},
	})
	equal(t, "names", names(trace(t, s, 1)), []string{"GET /", "call", "handle", "query", "late"})
}

func lateRoot(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("c", span(1, 4, 3, "later child", 20)),
		batch("b", failed(span(1, 3, 2, "child", 5))))
	got := only(t, s)
	if got.RootService != "b" || got.RootName != "child" || !got.RootMissing || got.Start != epoch+5*ms {
		t.Errorf("before the root: %+v", got)
	}
	// The clock of its machine is late, so the root seems to begin after its child.
	collect(t, s, batch("a", span(1, 2, 0, "root", 6)))
	got = only(t, s)
	if got.RootService != "a" || got.RootName != "root" || got.RootMissing || got.Start != epoch+5*ms {
		t.Errorf("after the root: %+v", got)
	}
	collect(t, s, batch("d", span(1, 5, 3, "early child", 0)))
	got = only(t, s)
	if got.RootService != "a" || got.RootName != "root" || got.RootMissing || got.Start != epoch || got.Duration != 30*time.Millisecond {
		t.Errorf("after an early child: %+v", got)
	}
}

func missingRoot(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("b", span(1, 3, 2, "second", 5), span(1, 4, 2, "first", 2)),
		batch("c", span(1, 5, 2, "third", 7)))
	got := only(t, s)
	if got.RootService != "b" || got.RootName != "first" || !got.RootMissing {
		t.Errorf("got %+v, want the earliest span of service b", got)
	}
}

func sentAgain(t *testing.T, s collector.Store) {
	send := func() {
		collect(t, s, batch("a", span(1, 1, 0, "root", 0), failed(span(1, 2, 1, "child", 1))))
	}
	send()
	want, bytes := only(t, s), statsOf(t, s).Bytes
	send()
	send()
	equal(t, "summary", only(t, s), want)
	equal(t, "names", names(trace(t, s, 1)), []string{"root", "child"})
	if st := statsOf(t, s); st.Spans != 2 || st.Accepted != 2 || st.Duplicates != 4 {
		t.Errorf("stats %+v, want 2 spans, 2 accepted, 4 duplicates", st)
	}
	if got := statsOf(t, s).Bytes; got > 2*bytes+4096 {
		t.Errorf("%d bytes became %d", bytes, got)
	}
}

// sentAgainAmongFresh: duplicates need not be found in a fresh batch, but in all
// others.
func sentAgainAmongFresh(t *testing.T, s collector.Store) {
	fresh := func(n int) *dendro.Batch {
		b := batch("a", span(1, n, 1, "fresh", int64(n)))
		b.Fresh = true
		return b
	}
	collect(t, s, fresh(2))
	for n := 3; n < 7; n += 2 {
		b := batch("b", span(1, n, 1, "other", int64(n)))
		collect(t, s, b, fresh(n+1), b, b)
	}
	equal(t, "names", names(trace(t, s, 1)), []string{"fresh", "other", "fresh", "other", "fresh"})
	if st := statsOf(t, s); st.Spans != 5 || st.Accepted != 5 || st.Duplicates != 4 {
		t.Errorf("stats %+v, want 5 spans, 5 accepted, 4 duplicates", st)
	}
}

func overlap(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", span(1, 1, 0, "root", 0), failed(span(1, 2, 1, "x", 1)), failed(span(1, 2, 1, "x", 1))),
		batch("a", span(1, 3, 1, "y", 2), failed(span(1, 2, 1, "x", 1))),
		batch("a", failed(span(1, 4, 1, "z", 3)), span(1, 3, 1, "y", 2)))
	got := only(t, s)
	if got.Spans != 4 || got.Errors != 2 || got.Services[0].Spans != 4 || got.Services[0].Errors != 2 {
		t.Errorf("summary %+v, want 4 spans and 2 errors", got)
	}
	equal(t, "names", names(trace(t, s, 1)), []string{"root", "x", "y", "z"})
	if st := statsOf(t, s); st.Spans != 4 || st.Accepted != 4 || st.Duplicates != 3 {
		t.Errorf("stats %+v, want 4 spans, 4 accepted, 3 duplicates", st)
	}
}

// sharedID: the client and the server span of Zipkin have the same span id.
func sharedID(t *testing.T, s collector.Store) {
	collect(t, s,
		batch("a", span(1, 1, 0, "root", 0), span(1, 2, 1, "client", 1)),
		batch("b", span(1, 2, 1, "server", 2), span(1, 2, 1, "again", 3), span(1, 3, 2, "below", 4), span(1, 4, 3, "leaf", 5)))
	got := trace(t, s, 1)
	equal(t, "names", names(got), []string{"root", "client", "server", "again", "below", "leaf"})
	equal(t, "parent", got.Spans[4].ParentID, spanID(2))
	equal(t, "parent", got.Spans[5].ParentID, spanID(3))
}

func ownership(t *testing.T, s collector.Store) {
	given := func() *dendro.Batch {
		root := failed(span(1, 1, 0, "root", 0, slog.String("key", "value"), slog.Any("list", []string{"a"}), slog.Any("bytes", []byte("abc"))))
		root.Events = []dendro.Event{{Name: "event", Time: root.Start, Attributes: []slog.Attr{slog.String("key", "value")}}}
		root.Links = []dendro.Link{{SpanContext: root.SpanContext, Attributes: []slog.Attr{slog.String("key", "value")}}}
		return batch("a", root)
	}
	spoil := func(d *dendro.SpanData, r *dendro.Resource) {
		d.Attributes[1].Value.Any().([]string)[0] = "spoiled"
		copy(d.Attributes[2].Value.Any().([]byte), "xxx")
		d.Attributes[0] = slog.String("spoiled", "spoiled")
		d.Events[0].Attributes[0] = slog.String("spoiled", "spoiled")
		d.Links[0].Attributes[0] = slog.String("spoiled", "spoiled")
		d.Events[0].Name, d.Links[0].SpanID = "spoiled", spanID(9)
		r.Attributes[0] = slog.String("service.name", "spoiled")
		*d = dendro.SpanData{Name: "spoiled", Attributes: d.Attributes}
	}
	want := given()
	check := func(when string) {
		t.Helper()
		got := trace(t, s, 1).Spans[0]
		equal(t, when, render(&got.SpanData), render(want.Spans[0]))
		equal(t, when, renderResource(got.Resource), renderResource(want.Resource))
		summary := only(t, s)
		equal(t, when, []string{summary.RootService, summary.RootName, summary.Services[0].Service}, []string{"a", "root", "a"})
	}

	b := given()
	collect(t, s, b)
	spoil(b.Spans[0], b.Resource)
	b.Spans[0] = nil
	check("the batch was changed")

	got := trace(t, s, 1)
	spoil(&got.Spans[0].SpanData, got.Spans[0].Resource)
	check("the trace was changed")
}

// traceAtATime reads a trace whose time is known.
func traceAtATime(t *testing.T, s collector.Store) {
	collect(t, s, batch("a", span(1, 1, 0, "root", 0)), batch("a", span(2, 2, 0, "root", 100_000)))
	for n, start := range map[int]int64{1: 0, 2: 100_000} {
		when := collector.TimeRange{Start: time.Unix(0, epoch+start*ms), End: time.Unix(1, epoch+start*ms)}
		got, err := s.Trace(t.Context(), traceID(n), when)
		if err != nil || got == nil || len(got.Spans) != 1 {
			t.Errorf("trace %d: %v, %v", n, got, err)
		}
	}
}
