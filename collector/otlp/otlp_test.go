package otlp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// unhex decodes hexadecimal text. A line may end in a comment.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	testkit.NoError(t, err)
	return b
}

// smallTraces was encoded by hand from the .proto files.
const smallTraces = `
	0a 5d                                       # resource_spans
	0a 0f 0a 0d 0a 01 61 12 08 0a 06 c3a9 c3a9 c3a9 # resource, attribute a: ééé
	12 4a                                       # scope_spans
	0a 06 0a 01 6c 12 01 31                     # scope l, version 1
	12 40                                       # span
	0a 10 000102030405060708090a0b0c0d0e0f      # trace_id
	12 08 0101010101010101                      # span_id
	2a 01 6e                                    # name n
	30 02                                       # kind server
	39 0100000000000000                         # start
	41 0200000000000000                         # end
	50 81 01                                    # 129 dropped attributes
	7a 02 18 02                                 # status error
	85 01 01 03 00 00                           # flags: sampled, parent is remote`

func TestSmallTraces(t *testing.T) {
	want := []*dendro.Batch{{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("a", "ééé")}},
		Spans: []*dendro.SpanData{{
			Scope: &dendro.Scope{Name: "l", Version: "1"},
			SpanContext: dendro.SpanContext{
				TraceID: dendro.TraceID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
				SpanID:  dendro.SpanID{1, 1, 1, 1, 1, 1, 1, 1},
				Flags:   dendro.FlagSampled,
			},
			Remote: true, Kind: dendro.KindServer, Name: "n", Start: 1, End: 2,
			Status: dendro.Status{Code: dendro.StatusError}, DroppedAttributes: 129,
		}},
	}}
	data := unhex(t, smallTraces)
	got, err := DecodeTraces(data)
	testkit.NoError(t, err)
	equal(t, "decoded", got, want)
	testkit.Equal(t, "encoded", AppendTraces(nil, want...), data)
}

// fullTraces returns batches that use every field.
func fullTraces() []*dendro.Batch {
	shop := testBatch(1)
	s := shop.Spans[0]
	shop.Resource.SchemaURL, s.Scope.SchemaURL = "https://example.com/resource", "https://example.com/scope"
	s.Scope.Attributes = []slog.Attr{slog.Bool("scoped", true)}
	s.State, _ = dendro.ParseTraceState("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
	s.Status = dendro.Status{Code: dendro.StatusError, Message: "out of \"stock\"\n"}
	s.DroppedAttributes, s.DroppedEvents, s.DroppedLinks = 1, 2, 300
	s.Attributes = []slog.Attr{
		slog.String("string", "žluťoučký"), slog.String("empty", ""), slog.Bool("bool", true), slog.Bool("false", false),
		slog.Int("int", -1), slog.Int("zero", 0), slog.Float64("double", 0.1), slog.Any("null", nil),
		slog.Any("bytes", []byte{0, 0xfb, 0xff}), slog.Any("strings", []string{"a", ""}), slog.Any("ints", []int64{1 << 53, -7}),
		slog.Any("doubles", []float64{1, 1e21}), slog.Any("bools", []bool{true, false}),
		slog.Any("list", []slog.Value{slog.IntValue(1), slog.StringValue("x"), slog.AnyValue([]string{"below"}), {}}),
	}
	s.Events = []dendro.Event{
		{Name: "query", Time: s.Start + 1000, Duration: 1500 * time.Microsecond, Attributes: []slog.Attr{slog.Int("rows", 3)}, DroppedAttributes: 4},
		{Name: "point", Time: s.Start + 2000},
	}
	s.Links = []dendro.Link{
		{SpanContext: dendro.SpanContext{TraceID: s.TraceID, SpanID: dendro.SpanID{7: 9}, Flags: dendro.FlagSampled, State: s.State}, Attributes: []slog.Attr{slog.String("why", "queued")}, DroppedAttributes: 5},
	}
	other := ofScope(&dendro.Scope{Name: "other"}, serverSpan())
	other.ParentID, other.Remote, other.Kind = dendro.SpanID{}, false, dendro.KindInternal
	shop.Spans = append(shop.Spans, other)
	return []*dendro.Batch{shop, testBatch(2)}
}

func TestGolden(t *testing.T) {
	batches := fullTraces()
	data := AppendTraces(nil, batches...)
	testkit.Golden(t, "testdata/traces.hex", hex.Dump(data))
	var indented bytes.Buffer
	compact := AppendTracesJSON(nil, batches...)
	testkit.NoError(t, json.Indent(&indented, compact, "", " "))
	testkit.Golden(t, "testdata/traces.json", indented.String()+"\n")

	got, err := DecodeTraces(data)
	testkit.NoError(t, err)
	equal(t, "protobuf", got, batches)
	for _, text := range [][]byte{compact, indented.Bytes()} {
		got, err = DecodeTracesJSON(text)
		testkit.NoError(t, err)
		equal(t, "JSON", got, batches)
	}
}

func TestRoundTrip(t *testing.T) {
	for seed := range uint64(60) {
		want := generator{rand.New(rand.NewPCG(seed, 1))}.batches()
		got, err := DecodeTraces(AppendTraces(nil, want...))
		testkit.NoError(t, err)
		equal(t, fmt.Sprint("protobuf, seed ", seed), got, want)
		got, err = DecodeTracesJSON(AppendTracesJSON(nil, want...))
		testkit.NoError(t, err)
		equal(t, fmt.Sprint("JSON, seed ", seed), got, want)
	}
}

// A client that encodes spans one by one sends the same bytes.
func TestAppendResourceSpans(t *testing.T) {
	for _, n := range []int{1, 40, 4000} { // lengths of 2 to 4 bytes
		b := testBatch(n)
		scope := b.Spans[0].Scope
		b.Resource.SchemaURL, scope.SchemaURL = "https://example.com/1", "https://example.com/2"
		var spans []byte
		for _, s := range b.Spans {
			spans = AppendSpan(spans, s)
		}
		prefix := []byte("kept")
		got := append(AppendResourceSpans(bytes.Clone(prefix), b.Resource, scope, len(spans)), spans...)
		testkit.Equal(t, fmt.Sprint(n, " spans are the same"), bytes.Equal(got, AppendTraces(prefix, b)), true)
	}
	small := &dendro.SpanData{}
	small.TraceID[0], small.SpanID[0] = 1, 1
	span := AppendSpan(nil, small)
	data := append(AppendResourceSpans(nil, nil, nil, len(span)), span...)
	testkit.Equal(t, "nil resource and scope", data, AppendTraces(nil, &dendro.Batch{Spans: []*dendro.SpanData{small}}))
	got, err := DecodeTraces(data)
	testkit.NoError(t, err)
	equal(t, "nil resource and scope", got, []*dendro.Batch{{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{ofScope(&dendro.Scope{}, small)}}})
}

// Adjacent spans of one scope share its message, and decode to one batch for each
// resource, in which they share the scope.
func TestScopes(t *testing.T) {
	a, b := &dendro.Scope{Name: "a"}, &dendro.Scope{Name: "b", Version: "1"}
	batch := testBatch(6)
	for i, sc := range []*dendro.Scope{a, a, b, nil, nil, a} {
		batch.Spans[i].Scope = sc
	}
	for what, codec := range map[string]struct {
		encode func([]byte, ...*dendro.Batch) []byte
		decode func([]byte) ([]*dendro.Batch, error)
	}{"protobuf": {AppendTraces, DecodeTraces}, "JSON": {AppendTracesJSON, DecodeTracesJSON}} {
		got, err := codec.decode(codec.encode(nil, batch, testBatch(1)))
		testkit.NoError(t, err)
		if len(got) != 2 || len(got[0].Spans) != 6 || len(got[1].Spans) != 1 {
			t.Fatalf("%s: %d batches", what, len(got))
		}
		var names []string
		var shared []bool // with the span before
		for i, s := range got[0].Spans {
			names = append(names, s.Scope.Name+s.Scope.Version)
			shared = append(shared, i > 0 && s.Scope == got[0].Spans[i-1].Scope)
		}
		testkit.Equal(t, what+": scopes", names, []string{"a", "a", "b1", "", "", "a"})
		testkit.Equal(t, what+": shared", shared, []bool{false, true, false, false, true, false})
	}
}

// Unusual values in a span do not make a request invalid.
func TestEncodeOddValues(t *testing.T) {
	batch, expected := testBatch(1), testBatch(1)
	odd, want := batch.Spans[0], expected.Spans[0]
	odd.Name, want.Name = "caf\xe9\xe9!", "caf\ufffd!"
	odd.Kind, want.Kind = 77, dendro.KindInternal
	odd.Start, want.Start = -5, 0
	odd.Attributes = []slog.Attr{
		slog.String("k\xff", "\xc3"), slog.Duration("duration", time.Second), slog.Uint64("uint", 7), slog.Any("strings", []string{"\xff"}), slog.Any("int", []int{1}),
	}
	want.Attributes = []slog.Attr{
		slog.String("k\ufffd", "\ufffd"), slog.String("duration", "1s"), slog.String("uint", "7"), slog.Any("strings", []string{"\ufffd"}), slog.String("int", "[1]"),
	}
	got, err := DecodeTraces(AppendTraces(nil, batch))
	testkit.NoError(t, err)
	equal(t, "protobuf", got, []*dendro.Batch{expected})
	got, err = DecodeTracesJSON(AppendTracesJSON(nil, batch))
	testkit.NoError(t, err)
	equal(t, "JSON", got, []*dendro.Batch{expected})
}

func TestEmpty(t *testing.T) {
	testkit.Equal(t, "protobuf", len(AppendTraces(nil)), 0)
	testkit.Equal(t, "JSON", string(AppendTracesJSON(nil)), `{"resourceSpans":[]}`)
	for what, data := range map[string][]byte{"nothing": nil, "no scopes": unhex(t, "0a 02 0a 00"), "no spans": unhex(t, "0a 02 12 00")} {
		got, err := DecodeTraces(data)
		testkit.NoError(t, err)
		testkit.Equal(t, what, len(got), 0)
	}
}

func TestAllocations(t *testing.T) {
	batches := fullTraces()
	span := batches[0].Spans[0]
	for what, encode := range map[string]func(dst []byte) []byte{
		"AppendSpan": func(dst []byte) []byte { return AppendSpan(dst, span) },
		"AppendResourceSpans": func(dst []byte) []byte {
			return AppendResourceSpans(dst, batches[0].Resource, span.Scope, 1000)
		},
		"AppendTraces":      func(dst []byte) []byte { return AppendTraces(dst, batches...) },
		"AppendTracesJSON":  func(dst []byte) []byte { return AppendTracesJSON(dst, batches...) },
		"Result.AppendJSON": Result{3, "late"}.AppendJSON,
		"AppendStatus":      func(dst []byte) []byte { return AppendStatus(dst, 3, "bad request") },
	} {
		dst := make([]byte, 0, 64<<10)
		if n := testing.AllocsPerRun(100, func() { encode(dst) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", what, n)
		}
	}

	// A span and its strings. Keys are shared, and slices get their final size at
	// once.
	data := AppendTraces(nil, testBatch(100))
	if n := testing.AllocsPerRun(10, func() { DecodeTraces(data) }) / 100; n > 11 {
		t.Errorf("DecodeTraces: %v allocations per span, want at most 11", n)
	}
}

// Decoded spans do not change with the buffer that they were decoded from.
func TestNoAlias(t *testing.T) {
	want := fullTraces()
	data := AppendTraces(nil, want...)
	text := AppendTracesJSON(nil, want...)
	got, err := DecodeTraces(data)
	testkit.NoError(t, err)
	gotJSON, err := DecodeTracesJSON(text)
	testkit.NoError(t, err)
	clear(data)
	clear(text)
	equal(t, "protobuf", got, want)
	equal(t, "JSON", gotJSON, want)
}
