package server_test

import (
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// receive sends b and returns the batch that the store gets.
func receive(t *testing.T, h **server.Handler, o server.Options, b *dendro.Batch) (got *dendro.Batch) {
	t.Helper()
	*h = server.New(collector.WriterOf(collect(func(b *dendro.Batch) error {
		got = b
		return nil
	})), o)
	w := httptest.NewRecorder()
	(*h).ServeHTTP(w, request(protobuf, "", otlp.AppendTraces(nil, b)))
	testkit.Equal(t, "status", w.Code, 200)
	return got
}

func attrs(n int) (out []slog.Attr) {
	for i := range n {
		out = append(out, slog.Int(fmt.Sprint("k", i), i))
	}
	return out
}

// Of too many attributes, events and links, the first are kept and the others are counted.
func TestCountLimits(t *testing.T) {
	b := batch("shop", "a", "b")
	b.Resource.Attributes = append(b.Resource.Attributes, attrs(5)...)
	b.Resource.DroppedAttributes = 7
	b.Spans[0].Scope.Attributes = attrs(4)
	b.Spans[1].Scope = b.Spans[0].Scope
	b.Spans[0].Attributes = attrs(100_000)
	b.Spans[0].DroppedAttributes = math.MaxUint32 - 5
	for i := range 5 {
		b.Spans[0].Events = append(b.Spans[0].Events, dendro.Event{Name: fmt.Sprint("e", i), Attributes: attrs(i)})
		b.Spans[0].Links = append(b.Spans[0].Links, dendro.Link{SpanContext: b.Spans[1].SpanContext, Attributes: attrs(i + 3)})
	}
	var h *server.Handler
	got := receive(t, &h, server.Options{MaxAttributes: 3, MaxEvents: 4, MaxLinks: 2}, b)
	s := got.Spans[0]
	testkit.Equal(t, "resource", fmt.Sprint(got.Resource.Attributes, got.Resource.DroppedAttributes), "[service.name=shop k0=0 k1=1] 10")
	testkit.Equal(t, "scope", fmt.Sprint(s.Scope.Attributes, s.Scope.DroppedAttributes), "[k0=0 k1=1 k2=2] 1")
	testkit.Equal(t, "span", fmt.Sprint(s.Attributes, s.DroppedAttributes == math.MaxUint32), "[k0=0 k1=1 k2=2] true")
	testkit.Equal(t, "events", fmt.Sprint(len(s.Events), s.DroppedEvents, s.Events[3].Attributes, s.Events[3].DroppedAttributes), "4 1 [k0=0 k1=1 k2=2] 0")
	testkit.Equal(t, "links", fmt.Sprint(len(s.Links), s.DroppedLinks, s.Links[1].Attributes, s.Links[1].DroppedAttributes), "2 3 [k0=0 k1=1 k2=2] 1")
	p := h.Stats().Protocols[0]
	testkit.Equal(t, "counted", []uint64{p.DroppedAttributes, p.DroppedEvents, p.DroppedLinks, p.TruncatedTexts}, []uint64{3 + 1 + 99_997 + 1, 1, 3, 0})
}

// Long texts are cut between characters. An attribute with a long key is dropped.
func TestLengthLimits(t *testing.T) {
	b := batch("shop", "GET /ünïcode")
	s := b.Spans[0]
	b.Resource.SchemaURL, s.Scope.Name, s.Scope.Version, s.Scope.SchemaURL = "https://e", "library", "1.2.3.4", "https://s"
	s.Status = dendro.Status{Code: dendro.StatusError, Message: "it is broken"}
	s.Events = []dendro.Event{{Name: "exception", Attributes: []slog.Attr{slog.String("m", "0123456789x")}}}
	s.Attributes = []slog.Attr{
		slog.String("fits", "0123456789"),
		slog.String("cut", "012345678é"),
		slog.String("a key that is long", "x"),
		slog.Int("number", math.MaxInt64),
		slog.Any("bytes", []byte("0123456789x")),
		slog.Any("strings", []string{"é", "é"}),
		slog.Any("ints", []int64{1, 2}),
		slog.Any("floats", []float64{1, 2}),
		slog.Any("bools", []bool{true, false}),
		slog.Any("mixed", []slog.Value{slog.IntValue(1), slog.StringValue("x")}),
		slog.Any("map", dendro.KeyValues{slog.String("k", "12"), slog.String("l", "")}),
		slog.Any("inner", dendro.KeyValues{slog.Any("k", []slog.Value{slog.IntValue(1)})}),
	}
	var h *server.Handler
	got := receive(t, &h, server.Options{MaxValueBytes: 10, MaxKeyBytes: 12, MaxNameBytes: 6}, b)
	s = got.Spans[0]
	testkit.Equal(t, "name", s.Name, "GET /") // ü does not fit
	testkit.Equal(t, "scope", *s.Scope, dendro.Scope{Name: "librar", Version: "1.2.3.", SchemaURL: "https:"})
	testkit.Equal(t, "resource", got.Resource.SchemaURL, "https:")
	testkit.Equal(t, "message", s.Status.Message, "it is brok")
	testkit.Equal(t, "event", fmt.Sprint(s.Events[0].Name, s.Events[0].Attributes), "except[m=0123456789]")
	testkit.Equal(t, "attributes", fmt.Sprint(s.Attributes), "[fits=0123456789 cut=012345678 number=9223372036854775807 bytes="+
		"[48 49 50 51 52 53 54 55 56 57] strings=[é] ints=[1] floats=[1] bools=[true] mixed=[1] map=[k=1] inner=[k=[]]]")
	testkit.Equal(t, "dropped", s.DroppedAttributes, uint32(1))
	p := h.Stats().Protocols[0]
	testkit.Equal(t, "counted", []uint64{p.DroppedAttributes, p.TruncatedTexts}, []uint64{1, 5 + 1 + 1 + 1 + 9})
}

// An array and a map end with the last element that fits.
func TestValueLimitOfArrays(t *testing.T) {
	b := batch("shop", "a")
	b.Spans[0].Attributes = []slog.Attr{
		slog.Any("strings", []string{"0123456789", "0123456789", "x"}),
		slog.Any("mixed", []slog.Value{slog.IntValue(1), slog.StringValue("0123456789"), slog.StringValue("0123456789")}),
		slog.Any("map", dendro.KeyValues{slog.Any("k", []string{"0123456789"}), slog.String("l", "0123456789")}),
		slog.Any("ints", []int64{1, 2, 3, 4}),
	}
	var h *server.Handler
	got := receive(t, &h, server.Options{MaxValueBytes: 30}, b)
	testkit.Equal(t, "attributes", fmt.Sprint(got.Spans[0].Attributes), "[strings=[0123456789 0123] mixed=[1 0123456789] map=[k=[0123456789]] ints=[1 2 3]]")
}

// What a Tracer of this module keeps is within the default limits.
func TestDefaultLimitsKeepSpansOfATracer(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	long := strings.Repeat("x", 20<<10)
	_, span := tracer.Start(t.Context(), long)
	span.SetAttributes(attrs(200)...)
	span.SetAttributes(slog.Any(long, strings.Split(long, "")))
	for i := range 200 {
		span.AddEvent(fmt.Sprint(long, i), slog.String(long, long))
	}
	span.End()
	s := recorder.Wait(t, 1)[0].SpanData
	var h *server.Handler
	got := receive(t, &h, server.Options{}, &dendro.Batch{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{&s}})
	testkit.Equal(t, "spans", len(got.Spans), 1)
	p := h.Stats().Protocols[0]
	testkit.Equal(t, "exceeded", []uint64{p.TruncatedTexts, p.DroppedAttributes, p.DroppedEvents}, []uint64{0, 0, 0})
}

// Spans within the limits cost no allocation.
func TestLimitsDoNotAllocate(t *testing.T) {
	allocs := func(extra ...slog.Attr) float64 {
		b := batch("shop")
		for i := range 100 {
			s := batch("shop", "a").Spans[0]
			s.SpanID[1] = byte(i)
			s.Attributes = append(attrs(5), extra...)
			b.Spans = append(b.Spans, s)
		}
		body := otlp.AppendTraces(nil, b)
		decode := testing.AllocsPerRun(20, func() { otlp.DecodeTraces(body) })
		h := server.New(discard{}, server.Options{})
		return testing.AllocsPerRun(20, func() {
			h.ServeHTTP(httptest.NewRecorder(), request(protobuf, "", body))
		}) - decode
	}
	few := allocs()
	many := allocs(slog.Any("strings", []string{"a"}), slog.Any("map", dendro.KeyValues{slog.Any("a", []int64{1})}))
	if few > 60 || many > 60 { // of the request, of 100 spans
		t.Errorf("%v and %v allocations besides decoding", few, many)
	}
}

// wantWithin checks that b is within the limits of o.
func wantWithin(t *testing.T, o server.Options, b *dendro.Batch) {
	t.Helper()
	check := func(what string, n, limit int) {
		if n > limit {
			t.Errorf("%s: %d, want at most %d", what, n, limit)
		}
	}
	attributes := func(list []slog.Attr) {
		check("attributes", len(list), o.MaxAttributes)
		for _, a := range list {
			check("key", len(a.Key), o.MaxKeyBytes)
			check("value", textBytes(a.Value), o.MaxValueBytes)
		}
	}
	attributes(b.Resource.Attributes)
	check("schema", len(b.Resource.SchemaURL), o.MaxNameBytes)
	for _, s := range b.Spans {
		check("name", len(s.Name), o.MaxNameBytes)
		check("scope", max(len(s.Scope.Name), len(s.Scope.Version), len(s.Scope.SchemaURL)), o.MaxNameBytes)
		check("message", len(s.Status.Message), o.MaxValueBytes)
		attributes(s.Scope.Attributes)
		attributes(s.Attributes)
		check("events", len(s.Events), o.MaxEvents)
		check("links", len(s.Links), o.MaxLinks)
		for _, e := range s.Events {
			check("event", len(e.Name), o.MaxNameBytes)
			attributes(e.Attributes)
		}
		for _, l := range s.Links {
			attributes(l.Attributes)
		}
	}
}

// textBytes returns the bytes of all texts in v.
func textBytes(v slog.Value) (n int) {
	switch x := v.Any().(type) {
	case string:
		return len(x)
	case []byte:
		return len(x)
	case []string:
		return len(strings.Join(x, ""))
	case []slog.Value:
		for _, e := range x {
			n += textBytes(e)
		}
	case dendro.KeyValues:
		for _, a := range x {
			n += len(a.Key) + textBytes(a.Value)
		}
	}
	return n
}
