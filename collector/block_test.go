package collector

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func encode(spans ...*dendro.SpanData) []byte {
	var e encoder
	e.number(spans)
	return e.encodeSpans(spans)
}

// FuzzBlock feeds the decoder with what no encoder has made.
func FuzzBlock(f *testing.F) {
	full := &dendro.SpanData{
		SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{1}, Flags: 1},
		ParentID:    dendro.SpanID{2},
		Name:        "name", Start: 1_700_000_000_000_000_000, End: 1_700_000_000_000_000_001,
		Attributes: []slog.Attr{
			slog.String("text", "value"), slog.Int("int", -1), slog.Float64("float", 1.5), slog.Bool("bool", true), slog.Any("nil", nil),
			slog.Any("texts", []string{"a"}), slog.Any("ints", []int64{1}), slog.Any("floats", []float64{1}), slog.Any("bools", []bool{true}),
			slog.Any("bytes", []byte("a")), slog.Any("list", []slog.Value{slog.IntValue(1)}),
		},
		Status: dendro.Status{Code: dendro.StatusError, Message: "message"},
		Events: []dendro.Event{{Name: "event", Time: 1_700_000_000_000_000_000, Attributes: []slog.Attr{slog.Int("n", 1)}}},
		Links:  []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}}}},
	}
	child := &dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{2}}, ParentID: dendro.SpanID{1}, Name: "child"}
	f.Add(string(encode(full)))
	f.Add(string(encode(child, full)))
	f.Add(string(encode(full, child, child)))
	f.Add(string(new(encoder).encodeResource(&dendro.Resource{Attributes: full.Attributes, SchemaURL: "schema"})))

	f.Fuzz(func(t *testing.T, data string) {
		_, _ = decodeResource(data)
		if len(blockIDs(data))%idSize != 0 {
			t.Error("half an id")
		}
		b := &block{data: data, resource: &interned{data: data}}
		q := matcher{Query: Query{Name: "name", Tags: []slog.Attr{slog.String("text", "value")}}, values: []string{"value"}}
		_, _ = q.named(b), q.tagged(b)

		spans, err := decodeSpans(nil, data, dendro.TraceID{}, nil, nil)
		if err != nil {
			return
		}
		// What can be read can be written and read again.
		once := encode(pointers(spans)...)
		spans, err = decodeSpans(nil, string(once), dendro.TraceID{}, nil, nil)
		testkit.NoError(t, err)
		if twice := encode(pointers(spans)...); string(twice) != string(once) {
			t.Errorf("not the same again:\n%q\n%q", once, twice)
		}
	})
}

func pointers(spans []Span) (out []*dendro.SpanData) {
	for i := range spans {
		out = append(out, &spans[i].SpanData)
	}
	return out
}

func TestBrokenBlock(t *testing.T) {
	data := string(encode(
		&dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{1}}, Name: "a", Attributes: []slog.Attr{slog.String("k", "v")}},
		&dendro.SpanData{SpanContext: dendro.SpanContext{SpanID: dendro.SpanID{2}}, ParentID: dendro.SpanID{1}, Name: "b"}))
	for n := range data {
		if _, err := decodeSpans(nil, data[:n], dendro.TraceID{}, nil, nil); err == nil {
			t.Errorf("%d of %d bytes make a block", n, len(data))
		}
	}
}

func TestResourcesAndScopesGoWithTheirTraces(t *testing.T) {
	m := NewMemory(MemoryOptions{MaxBytes: 1})
	for n := range 10_000 {
		s := &dendro.SpanData{Name: "span"}
		s.TraceID = dendro.TraceID{byte(n), byte(n >> 8), 1}
		testkit.NoError(t, m.Collect(&dendro.Batch{
			Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", fmt.Sprint(n))}},
			Scope:    &dendro.Scope{Version: fmt.Sprint(n / 2)},
			Spans:    []*dendro.SpanData{s},
		}))
	}
	held := m.Stats().Traces
	if held == 0 || held == 10_000 {
		t.Fatalf("%d traces are held", held)
	}
	testkit.Equal(t, "resources", len(m.resources.held), held)
	if n := len(m.scopes.held); n > held/2+1 {
		t.Errorf("%d scopes for %d traces", n, held)
	}
	for m.oldest != nil {
		m.evict(m.oldest)
	}
	testkit.Equal(t, "resources and scopes of an empty store", len(m.resources.held)+len(m.scopes.held), 0)
	room := len(m.slots)*(placeBytes+slotBytes) + (m.resources.most+m.scopes.most)*placeBytes
	testkit.Equal(t, "bytes of an empty store", m.stats.Bytes, int64(room))
	testkit.Equal(t, "slots in use", len(m.slots)-len(m.free), 0)
}

// A trace that is evicted while a search is under way may begin anew elsewhere.
func TestSearchFindsATraceOnce(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	give := func(n int) {
		s := &dendro.SpanData{Name: "span", Start: int64(n)}
		s.TraceID = dendro.TraceID{byte(n), byte(n >> 8), 1}
		testkit.NoError(t, m.Collect(&dendro.Batch{Spans: []*dendro.SpanData{s}}))
	}
	for n := range 3 * slotsPerLock {
		give(n)
	}
	const again = 3*slotsPerLock - 1 // in the first slots that are read
	seen := false
	ctx := &hook{Context: t.Context(), call: func() {
		if seen {
			return
		}
		seen = true
		m.evict(m.traces[dendro.TraceID{byte(again & 0xff), byte(again >> 8), 1}])
		m.evict(m.traces[dendro.TraceID{0, 0, 1}])
		give(again)
	}}
	found, err := m.Search(ctx, Query{Limit: MaxLimit})
	testkit.NoError(t, err)
	ids := map[dendro.TraceID]int{}
	for _, s := range found {
		if ids[s.TraceID]++; ids[s.TraceID] > 1 {
			t.Errorf("trace %s is found twice", s.TraceID)
		}
	}
	testkit.Equal(t, "found", len(found), 3*slotsPerLock-1)
}

// hook is a context that calls back when it is asked for its error.
type hook struct {
	context.Context
	call func()
}

func (h *hook) Err() error {
	h.call()
	return h.Context.Err()
}

func TestTable(t *testing.T) {
	var numbers table[string]
	for round := range 2 {
		for i := range 10_000 {
			n, added := numbers.add(fmt.Sprint(round, i))
			if n != i || !added {
				t.Fatalf("text %d got number %d, added %t", i, n, added)
			}
		}
		for i := range 10_000 {
			text := fmt.Sprint(round, i)
			if n, added := numbers.add(text); n != i || added || numbers.find(text) != i {
				t.Fatalf("text %d got number %d, added %t", i, n, added)
			}
		}
		testkit.Equal(t, "absent", numbers.find("absent"), -1)
		numbers.reset()
		testkit.Equal(t, "after reset", numbers.find("0 0"), -1)
	}
}
