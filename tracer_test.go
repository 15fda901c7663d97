package dendro_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var background = context.Background()

func TestSpansOfOneRequestArriveTogether(t *testing.T) {
	var batches [][]string
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: collect(func(b *dendro.Batch) error {
		var names []string
		for _, s := range b.Spans {
			names = append(names, s.Name)
		}
		batches = append(batches, names)
		testkit.Equal(t, "service", b.Resource.Service(), "shop")
		return nil
	})})
	ctx, root := tracer.Start(background, "root")
	ctx2, a := dendro.Start(ctx, "a")
	_, a1 := dendro.Start(ctx2, "a1")
	_, late := dendro.Start(ctx, "late")
	a1.End()
	a.End()
	root.End()
	late.End()
	testkit.Equal(t, "batches", batches, [][]string{{"a1", "a", "root"}, {"late"}})
}

func TestScope(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	library := &dendro.Scope{Name: "library"}
	var own []*dendro.Scope
	for range 3 { // the memory of a span is that of an earlier one
		ctx, root := tracer.StartWith(background, "root", dendro.StartOptions{Scope: library})
		_, a := dendro.Start(ctx, "a")
		_, b := dendro.StartWith(ctx, "b", dendro.StartOptions{Scope: library})
		b.End()
		a.End()
		root.End()
		_, late := dendro.Start(ctx, "late")
		late.End()
	}
	for _, s := range recorder.Spans() {
		if s.Name == "root" || s.Name == "b" {
			testkit.Equal(t, s.Name, s.Scope == library, true)
		} else {
			own = append(own, s.Scope)
		}
	}
	testkit.Equal(t, "others", len(own), 6)
	for _, s := range own {
		testkit.Equal(t, "default", *s, dendro.Scope{Name: "github.com/dendrotrace/dendro", Version: dendro.Version})
		testkit.Equal(t, "default is shared", s == own[0], true)
	}
}

func TestTree(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	ctx, root := tracer.Start(background, "root", slog.String("k", "v"))
	ctxA, a := dendro.Start(ctx, "a")
	_, a1 := dendro.StartWith(ctxA, "a1", dendro.StartOptions{Kind: dendro.KindClient})
	a1.End()
	a.End()
	_, b := dendro.Start(ctx, "b")
	b.End()
	root.End()

	spans := recorder.Spans()
	testkit.Equal(t, "names", testkit.Names(spans), []string{"root", "a", "a1", "b"})
	byName := map[string]testkit.Span{}
	for i, s := range spans {
		byName[s.Name] = s
		testkit.Equal(t, "trace id", s.TraceID, root.Context().TraceID)
		testkit.Equal(t, "flags", s.Flags, dendro.FlagSampled|dendro.FlagRandom)
		testkit.Equal(t, "remote", s.Remote, false)
		if s.End < s.Start || i > 0 && (s.Start < spans[0].Start || s.End > spans[0].End) {
			t.Errorf("%s lasts from %d to %d, outside its root", s.Name, s.Start, s.End)
		}
	}
	testkit.Equal(t, "root", byName["root"].ParentID, dendro.SpanID{})
	testkit.Equal(t, "a", byName["a"].ParentID, byName["root"].SpanID)
	testkit.Equal(t, "a1", byName["a1"].ParentID, byName["a"].SpanID)
	testkit.Equal(t, "a1", byName["a1"].Kind, dendro.KindClient)
	testkit.Equal(t, "b", byName["b"].ParentID, byName["root"].SpanID)
	testkit.Equal(t, "attribute", byName["root"].Attr("k"), any("v"))
}

type sqlEvent struct {
	Query      string
	Start, End time.Time
}

func (e sqlEvent) LogValue() slog.Value {
	return slog.GroupValue(slog.String("db.query.text", e.Query), slog.Group("rows", slog.Int("read", 3)))
}

func (e sqlEvent) Timespan() (start, end time.Time) { return e.Start, e.End }

// zeroTimespan is an event whose times were never set.
type zeroTimespan struct{}

func (zeroTimespan) LogValue() slog.Value             { return slog.GroupValue() }
func (zeroTimespan) Timespan() (start, end time.Time) { return start, end }

func TestEventsLinksStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer, recorder := testkit.NewTracer(t)
		_, other := tracer.Start(background, "other")
		other.End()
		_, span := tracer.Start(background, "work")
		begin := time.Now()
		time.Sleep(time.Second)
		span.AddEvent("retry", slog.Int("n", 2))
		span.RecordEvent("SQL", sqlEvent{"SELECT 1", begin, begin.Add(300 * time.Millisecond)})
		span.AddEventAt(begin, time.Millisecond, "early")
		span.AddEventAt(time.Time{}, time.Millisecond, "zero")
		span.RecordEvent("zero", zeroTimespan{})
		span.AddEventAt(time.Unix(-1, 0), 0, "before the epoch")
		span.AddEventAt(time.Unix(1<<40, 0), 0, "too far")
		span.AddLink(other.Context(), slog.String("why", "batch"))
		span.AddLink(dendro.SpanContext{})
		span.SetStatus(dendro.StatusError, "no stock")
		span.End()

		got := recorder.Spans()[1]
		at := func(d time.Duration) int64 { return begin.Add(d).UnixNano() }
		testkit.Equal(t, "events", got.Events, []dendro.Event{
			{Name: "retry", Time: at(time.Second), Attributes: []slog.Attr{slog.Int("n", 2)}},
			{Name: "SQL", Time: at(0), Duration: 300 * time.Millisecond,
				Attributes: []slog.Attr{slog.String("db.query.text", "SELECT 1"), slog.Int("rows.read", 3)}},
			{Name: "early", Time: at(0), Duration: time.Millisecond},
			{Name: "zero", Time: at(time.Second), Duration: time.Millisecond},
			{Name: "zero", Time: at(time.Second)},
			{Name: "before the epoch"},
			{Name: "too far"},
		})
		testkit.Equal(t, "links", got.Links, []dendro.Link{{SpanContext: other.Context(), Attributes: []slog.Attr{slog.String("why", "batch")}}})
		testkit.Equal(t, "status", got.Status, dendro.Status{Code: dendro.StatusError, Message: "no stock"})
		testkit.Equal(t, "duration", got.Duration(), time.Second)
	})
}

func TestTimesOfTheUser(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	begin := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	_, span := tracer.StartWith(background, "import", dendro.StartOptions{Time: begin})
	span.EndAt(begin.Add(time.Minute))
	_, backwards := tracer.StartWith(background, "backwards", dendro.StartOptions{Time: begin.Add(time.Hour)})
	backwards.EndAt(begin)
	spans := recorder.Spans()
	if got := time.Unix(0, spans[0].Start).Sub(begin).Abs(); got > time.Second {
		t.Errorf("start is %v off", got)
	}
	testkit.Equal(t, "duration", spans[0].Duration().Round(time.Second), time.Minute)
	testkit.Equal(t, "backwards", spans[1].End, spans[1].Start)
}

func TestAttributes(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x", slog.String("k", "first"))
	when := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	span.SetAttributes(
		slog.String("k", "second"),
		slog.Int("int", -1), slog.Uint64("uint", 7), slog.Uint64("huge", 1<<63), slog.Float64("float", 1.5), slog.Bool("bool", true),
		slog.Duration("duration", time.Second), slog.Time("time", when),
		slog.Any("strings", []string{"a", "b"}), slog.Any("ints", []int{1, 2}), slog.Any("bytes", []byte{0, 1}),
		slog.Any("err", errors.New("boom")), slog.Any("nil", nil), slog.Any("struct", struct{ A, B int }{1, 2}),
		slog.Any("nilerror", (*fs.PathError)(nil)),
		slog.Group("g", slog.Int("a", 1), slog.Group("h", slog.Int("b", 2)), slog.Group("", slog.Int("c", 3))),
		slog.Group("", slog.Int("inline", 4)),
		slog.Any("event", sqlEvent{Query: "Q"}),
		slog.Attr{},
	)
	span.End()
	want := []slog.Attr{
		slog.String("k", "second"),
		slog.Int("int", -1), slog.Int64("uint", 7), slog.String("huge", "9223372036854775808"), slog.Float64("float", 1.5), slog.Bool("bool", true),
		slog.Int64("duration", 1e9), slog.String("time", "2026-01-02T03:04:05.000000006Z"),
		slog.Any("strings", []string{"a", "b"}), slog.Any("ints", []int64{1, 2}), slog.Any("bytes", []byte{0, 1}),
		slog.String("err", "boom"), slog.String("nil", "<nil>"), slog.String("struct", "{A:1 B:2}"),
		slog.String("nilerror", "!PANIC *fs.PathError: runtime error: invalid memory address or nil pointer dereference"),
		slog.Int("g.a", 1), slog.Int("g.h.b", 2), slog.Int("g.c", 3), slog.Int("inline", 4),
		slog.String("event.db.query.text", "Q"), slog.Int("event.rows.read", 3),
	}
	testkit.Equal(t, "attributes", recorder.Spans()[0].Attributes, want)
}

// panicking is a value of which every method panics.
type panicking struct{}

func (panicking) Error() string                { panic("no Error") }
func (panicking) Unwrap() error                { panic("no Unwrap") }
func (panicking) Is(error) bool                { panic("no Is") }
func (panicking) As(any) bool                  { panic("no As") }
func (panicking) MarshalText() ([]byte, error) { panic("no MarshalText") }

type panickingStringer struct{}

func (panickingStringer) String() string { panic("no String") }

type panickingFormatter struct{}

func (panickingFormatter) Format(fmt.State, rune) { panic("no Format") }

type panickingValuer struct{}

func (panickingValuer) LogValue() slog.Value             { panic("no LogValue") }
func (panickingValuer) Timespan() (start, end time.Time) { panic("no Timespan") }

// What only tracing asks a value of the program may panic: that is recorded in its
// place, and the program goes on.
func TestValuesThatPanic(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	for name, value := range map[string]any{
		"error": panicking{}, "nil error": (*fs.PathError)(nil), "Stringer": panickingStringer{}, "nil Stringer": (*url.URL)(nil),
		"Formatter": panickingFormatter{}, "LogValuer": panickingValuer{}, "nil LogValuer": (*sqlEvent)(nil),
	} {
		recorder.Reset()
		attrs := []slog.Attr{slog.Any("a", value), slog.Group("g", slog.Any("b", value)), slog.Int("c", 1)}
		_, span := tracer.Start(background, "x", attrs...)
		span.SetAttributes(append(attrs, slog.Any("d", value))...)
		span.AddEvent("event", attrs...)
		span.AddLink(span.Context(), attrs...)
		if v, ok := value.(slog.LogValuer); ok {
			span.RecordEvent("typed", v)
		}
		if err, ok := value.(error); ok {
			span.RecordError(err, attrs...)
			span.RecordError(fmt.Errorf("wrapped: %w", err))
		}
		span.End()
		got := recorder.Wait(t, 1)[0]
		sets := [][]slog.Attr{got.Attributes, got.Links[0].Attributes}
		for _, e := range got.Events {
			sets = append(sets, e.Attributes)
		}
		for _, set := range sets {
			told := false
			for _, a := range set {
				text := strings.ToLower(a.Value.String())
				told = told || strings.Contains(text, "panic") || strings.Contains(text, "nil")
			}
			testkit.Equal(t, fmt.Sprint(name, " in ", set), told, true)
		}
		testkit.Equal(t, name+": others", got.Attr("c"), any(int64(1)))
	}
}

func TestLimits(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x")
	other := span.Context()
	for i := range 130 {
		span.SetAttributes(slog.Int(fmt.Sprint("k", i), i))
		span.AddEvent("e")
		span.AddLink(other)
	}
	span.SetAttributes(slog.String("k0", strings.Repeat("€", 10000)))
	span.AddEvent("dropped")
	span.End()
	got := recorder.Spans()[0]
	testkit.Equal(t, "kept", []int{len(got.Attributes), len(got.Events), len(got.Links)}, []int{128, 128, 128})
	testkit.Equal(t, "dropped", []uint32{got.DroppedAttributes, got.DroppedEvents, got.DroppedLinks}, []uint32{2, 3, 2})
	value := got.Attr("k0").(string)
	if len(value) > 16<<10 || len(value) < 16<<10-3 || strings.ContainsRune(value, '\uFFFD') {
		t.Errorf("cut to %d bytes", len(value))
	}
	testkit.Equal(t, "truncated", tracer.Stats().Truncated, uint64(1))

	_, span = tracer.Start(background, "long values")
	span.SetAttributes(
		slog.Any("ints", make([]int, 1<<20)), slog.Any("int64s", make([]int64, 1<<20)), slog.Any("floats", make([]float64, 1<<20)),
		slog.Any("bools", make([]bool, 1<<20)), slog.Any("bytes", make([]byte, 1<<20)),
		slog.Any("strings", make([]string, 1<<20)), slog.Any("long strings", []string{strings.Repeat("a", 1<<20), "b"}))
	span.RecordError(errors.New(strings.Repeat("x", 1<<20)))
	span.End()
	long := recorder.Spans()[1]
	testkit.Equal(t, "elements", []int{
		len(long.Attr("ints").([]int64)), len(long.Attr("int64s").([]int64)), len(long.Attr("floats").([]float64)),
		len(long.Attr("bools").([]bool)), len(long.Attr("bytes").([]byte)),
		len(long.Attr("strings").([]string)), len(long.Attr("long strings").([]string)),
	}, []int{2048, 2048, 2048, 16384, 16384, 2048, 1})
	testkit.Equal(t, "message", len(long.Status.Message), 16384)
	testkit.Equal(t, "truncated", tracer.Stats().Truncated, uint64(1+7+2))

	var many []slog.Attr
	for i := range 130 {
		many = append(many, slog.Duration(fmt.Sprint("k", i), time.Second))
	}
	_, span = tracer.Start(background, "at once")
	span.SetAttributes(many...)
	span.End()
	testkit.Equal(t, "dropped at once", recorder.Spans()[2].DroppedAttributes, uint32(2))

	_, span = tracer.Start(background, "last holds", slog.String("status", "old"))
	span.SetAttributes(append(many[:128:128], slog.String("status", "new"))...)
	span.End()
	testkit.Equal(t, "of a key given twice", recorder.Spans()[3].Attr("status"), any("new"))

	huge := strings.Repeat("x", 1<<20)
	before := tracer.Stats().Truncated
	_, span = tracer.Start(background, huge, slog.Int(huge, 1))
	span.AddEvent(huge)
	span.End()
	got = recorder.Spans()[4]
	testkit.Equal(t, "name, key, event", []int{len(got.Name), len(got.Attributes[0].Key), len(got.Events[0].Name)}, []int{16384, 16384, 16384})
	_, span = tracer.Start(background, "x")
	span.SetName(huge)
	span.End()
	testkit.Equal(t, "SetName", len(recorder.Spans()[5].Name), 16384)
	testkit.Equal(t, "truncated", tracer.Stats().Truncated-before, uint64(4))
}

// endless is a value that holds itself, twice.
type endless struct{}

func (endless) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("n", 1), slog.Any("a", endless{}), slog.Any("b", endless{}))
}

func TestEndlessValue(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x", slog.Any("value", endless{}))
	span.AddEvent("event", slog.Any("value", endless{}))
	span.End()
	got := recorder.Spans()[0]
	testkit.Equal(t, "kept", got.Attr("value.n"), any(int64(1)))
	testkit.Equal(t, "bounded", len(got.Attributes) <= 128 && got.DroppedAttributes > 0, true)
	testkit.Equal(t, "event", len(got.Events[0].Attributes) <= 128 && got.Events[0].DroppedAttributes > 0, true)
}

func TestSamplerPanics(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	tracer := dendro.New(dendro.Options{Sampler: func(dendro.SamplingParameters) dendro.SamplingResult { panic("x") }})
	_, span := tracer.Start(background, "x")
	testkit.Equal(t, "sampled", span.Context().Flags.Sampled(), false)
}

// selfish is a value that uses the span on which it is set.
type selfish struct{ span *dendro.Span }

func (v selfish) LogValue() slog.Value {
	v.span.SetAttributes(slog.Int("inner", 1))
	return slog.IntValue(2)
}

func TestValueThatUsesTheSpan(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x")
	span.SetAttributes(slog.Any("outer", selfish{span}))
	span.AddEvent("e", slog.Any("outer", selfish{span}))
	span.End()
	testkit.Equal(t, "attributes", recorder.Spans()[0].Attributes, []slog.Attr{slog.Int("inner", 1), slog.Int("outer", 2)})
}

// A handle that the program keeps must not keep the spans of the same request.
func TestSpansAreCollectedAsGarbage(t *testing.T) {
	tracer := dendro.New(dendro.Options{Collector: nothing})
	type key struct{}
	ctx, root := tracer.Start(background, "root")
	_, kept := dendro.Start(ctx, "kept")
	gone := make(chan struct{})
	func() {
		value := new([64]byte)
		runtime.AddCleanup(value, func(ch chan struct{}) { close(ch) }, gone)
		_, span := dendro.Start(context.WithValue(ctx, key{}, value), "gone")
		kept.End()
		span.End()
	}()
	root.End()
	for deadline := time.Now().Add(5 * time.Second); ; {
		runtime.GC()
		select {
		case <-gone:
			runtime.KeepAlive(kept)
			return
		default:
			if time.Now().After(deadline) {
				t.Fatal("the span is still there")
			}
		}
	}
}

// A nil pointer in an interface, of a type that does not expect it.
func TestNilValues(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x")
	span.RecordError((*fs.PathError)(nil))
	span.RecordEvent("SQL", (*sqlEvent)(nil))
	span.End()
	testkit.Equal(t, "type", recorder.Spans()[0].Events[0].Attributes[0], slog.String("exception.type", "*fs.PathError"))
	testkit.Equal(t, "event", recorder.Spans()[0].Events[1].Name, "SQL")
}

func TestRecordError(t *testing.T) {
	var recorder recorderOf
	tracer := dendro.New(dendro.Options{Collector: &recorder, ErrorStacks: true})
	err := fmt.Errorf("open cart: %w", &fs.PathError{Op: "open", Path: "/cart", Err: fs.ErrNotExist})
	_, a := tracer.Start(background, "a")
	a.RecordError(nil)
	a.RecordError(err, slog.Int("try", 1))
	a.End()
	_, b := tracer.Start(background, "b")
	b.SetStatus(dendro.StatusOK, "ignored")
	b.RecordError(err)
	b.SetStatus(dendro.StatusError, "too late")
	b.End()

	event := recorder.spans[0].Events[0]
	testkit.Equal(t, "event", event.Name, "exception")
	testkit.Equal(t, "type", event.Attributes[0], slog.String("exception.type", "*fs.PathError"))
	testkit.Equal(t, "message", event.Attributes[1], slog.String("exception.message", "open cart: open /cart: file does not exist"))
	if stack := event.Attributes[2].Value.String(); event.Attributes[2].Key != "exception.stacktrace" || !strings.Contains(stack, "TestRecordError") {
		t.Errorf("stack: %v", event.Attributes[2])
	}
	testkit.Equal(t, "own attribute", event.Attributes[3], slog.Int("try", 1))
	testkit.Equal(t, "status", recorder.spans[0].Status, dendro.Status{Code: dendro.StatusError, Message: err.Error()})
	_, c := tracer.Start(background, "c")
	c.SetStatus(dendro.StatusError, "no cart")
	c.RecordError(err)
	c.End()
	testkit.Equal(t, "the status that was set", recorder.spans[2].Status.Message, "no cart")
	_, d := tracer.Start(background, "d")
	d.RecordError(err)
	d.SetStatus(dendro.StatusError, "")
	d.End()
	testkit.Equal(t, "no message leaves the one that was", recorder.spans[3].Status.Message, err.Error())
	testkit.Equal(t, "OK is final", recorder.spans[1].Status, dendro.Status{Code: dendro.StatusOK})
}

func TestNoTracer(t *testing.T) {
	dendro.SetDefault(nil)
	ctx, span := dendro.Start(background, "x")
	if span != nil || ctx != background {
		t.Error("a span out of nowhere")
	}
	// The methods of nil.
	span.SetName("y")
	span.SetAttributes(slog.Int("a", 1))
	span.AddEvent("e")
	span.AddEventAt(time.Now(), 0, "e")
	span.RecordEvent("e", sqlEvent{})
	span.RecordError(errors.New("x"))
	span.AddLink(dendro.SpanContext{})
	span.SetStatus(dendro.StatusError, "")
	span.Discard()
	span.End()
	span.EndAt(time.Now())
	testkit.Equal(t, "recording", span.IsRecording(), false)
	testkit.Equal(t, "context", span.Context(), dendro.SpanContext{})

	var tracer *dendro.Tracer
	_, span = tracer.Start(background, "x")
	testkit.Equal(t, "span of a nil tracer", span, (*dendro.Span)(nil))
	testkit.NoError(t, tracer.Shutdown(background))
	testkit.Equal(t, "stats", tracer.Stats(), dendro.Stats{})
}

func TestDefaultTracer(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	dendro.SetDefault(tracer)
	defer dendro.SetDefault(nil)
	_, span := dendro.Start(background, "x")
	span.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"x"})
}

func TestUntraced(t *testing.T) {
	tracer, recorded := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "request")
	ctx = dendro.Detach(dendro.Untraced(ctx))
	_, child := tracer.StartWith(ctx, "delivery", dendro.StartOptions{Parent: span.Context()})
	child.End()
	span.End()
	testkit.Equal(t, "spans", testkit.Names(recorded.Spans()), []string{"request"})
}

func TestStartWithTracer(t *testing.T) {
	above, _ := testkit.NewTracer(t)
	named, recorder := testkit.NewTracer(t)
	ctx, root := above.Start(background, "root")
	_, span := dendro.StartWith(ctx, "x", dendro.StartOptions{Tracer: named})
	span.End()
	root.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"x"})
	testkit.Equal(t, "parent", recorder.Spans()[0].ParentID, root.Context().SpanID)
}

func TestDetach(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	type userKey struct{}
	ctx, cancel := context.WithCancel(context.WithValue(background, userKey{}, "alice"))
	ctx, request := tracer.Start(ctx, "request")
	work := dendro.Detach(ctx)
	cancel()
	request.End()

	testkit.Equal(t, "cancelled", work.Err(), nil)
	testkit.Equal(t, "value", work.Value(userKey{}), any("alice"))
	testkit.Equal(t, "span", dendro.SpanFromContext(work), (*dendro.Span)(nil))
	ctx, mail := dendro.Start(work, "send mail")
	_, child := dendro.Start(ctx, "dial")
	child.End()
	mail.End()

	spans := recorder.Spans()
	testkit.Equal(t, "names", testkit.Names(spans), []string{"request", "send mail", "dial"})
	testkit.Equal(t, "link", spans[1].Links, []dendro.Link{{SpanContext: request.Context()}})
	testkit.Equal(t, "no parent", spans[1].ParentID, dendro.SpanID{})
	testkit.Equal(t, "another trace", spans[1].TraceID != spans[0].TraceID, true)
	testkit.Equal(t, "only the root is linked", len(spans[2].Links), 0)
	testkit.Equal(t, "nothing to detach", dendro.SpanFromContext(dendro.Detach(background)), (*dendro.Span)(nil))
}

func TestContextWithSpan(t *testing.T) {
	tracer, _ := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x")
	defer span.End()
	testkit.Equal(t, "span", dendro.SpanFromContext(dendro.ContextWithSpan(background, span)) == span, true)
	hidden := dendro.ContextWithSpan(dendro.ContextWithSpan(background, span), nil)
	testkit.Equal(t, "hidden", dendro.SpanFromContext(hidden), (*dendro.Span)(nil))
}

// A context must be usable with every function of package context, and
// printing it must not race with the span.
func TestContextNode(t *testing.T) {
	tracer, _ := testkit.NewTracer(t)
	parent, cancel := context.WithCancel(background)
	ctx, span := tracer.Start(parent, "x")
	defer span.End()
	goroutines := runtime.NumGoroutine()
	below, stop := context.WithTimeout(ctx, time.Hour)
	defer stop()
	for range 100 {
		defer context.AfterFunc(ctx, func() {})()
	}
	if n := runtime.NumGoroutine() - goroutines; n > 50 {
		t.Errorf("%d goroutines wait for the cancellation", n)
	}
	cancel()
	<-below.Done()
	testkit.Equal(t, "error", below.Err(), context.Canceled)
	if s := fmt.Sprint(below); !strings.Contains(s, span.Context().Traceparent()) {
		t.Error(s)
	}
}

func TestTwoServicesInOneProcess(t *testing.T) {
	a, recorderA := testkit.NewTracer(t)
	b, recorderB := testkit.NewTracer(t)
	ctx, spanA := a.Start(background, "a")
	ctx, spanB := b.Start(ctx, "b")
	_, childB := dendro.Start(ctx, "b child")
	childB.End()
	spanB.End()
	spanA.End()
	testkit.Equal(t, "a has", testkit.Names(recorderA.Spans()), []string{"a"})
	testkit.Equal(t, "b has", testkit.Names(recorderB.Spans()), []string{"b", "b child"})
	got := recorderB.Spans()[0]
	testkit.Equal(t, "parent", got.ParentID, spanA.Context().SpanID)
	testkit.Equal(t, "remote", got.Remote, true)
}

func TestAfterEnd(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	_, span := tracer.Start(background, "x")
	span.End()
	span.End()
	span.SetName("y")
	span.SetAttributes(slog.Int("a", 1))
	span.AddEvent("e")
	span.RecordError(errors.New("x"))
	span.End()
	testkit.Equal(t, "recording", span.IsRecording(), false)
	got := recorder.Spans()
	testkit.Equal(t, "spans", testkit.Names(got), []string{"x"})
	testkit.Equal(t, "attributes", len(got[0].Attributes)+len(got[0].Events), 0)
	stats := tracer.Stats()
	testkit.Equal(t, "ended twice", stats.EndedTwice, uint64(2))
	testkit.Equal(t, "written after end", stats.WrittenAfterEnd, uint64(4))
}

func TestNeverEnded(t *testing.T) {
	var recorder recorderOf
	tracer := dendro.New(dendro.Options{Collector: &recorder})
	ctx, root := tracer.Start(background, "root")
	_, done := dendro.Start(ctx, "done")
	dendro.Start(ctx, "forgotten")
	done.End()
	testkit.Equal(t, "held back", len(recorder.spans), 0)
	testkit.Equal(t, "waiting", tracer.Stats().Waiting, uint64(1))
	testkit.NoError(t, tracer.Flush(background))
	testkit.Equal(t, "flushed although the root is open", len(recorder.spans), 1)
	testkit.Equal(t, "waiting", tracer.Stats().Waiting, uint64(0))
	for range 10_000 { // local traces that are over do not displace open ones
		_, span := tracer.Start(background, "short")
		span.End()
	}
	_, done = dendro.Start(ctx, "done")
	done.End()
	testkit.NoError(t, tracer.Flush(background))
	testkit.Equal(t, "still in sight", recorder.spans[len(recorder.spans)-1].Name, "done")
	recorder.spans = nil
	root.End()
	testkit.Equal(t, "not held back by the forgotten span", len(recorder.spans), 1)
	stats := tracer.Stats()
	testkit.Equal(t, "stats", []uint64{stats.Started, stats.Ended, stats.Unfinished, stats.Delivered}, []uint64{10_004, 10_003, 1, 10_003})

	// However many traces nobody ends, a bounded number of them stays in sight,
	// and what has ended in the others is not lost.
	recorder.spans = nil
	for range 10_000 {
		ctx, _ := tracer.Start(background, "leak")
		_, child := dendro.Start(ctx, "child")
		child.End()
	}
	before := len(recorder.spans)
	testkit.NoError(t, tracer.Flush(background))
	testkit.Equal(t, "open local traces in sight", len(recorder.spans)-before, 16*128)
	testkit.Equal(t, "children", len(recorder.spans), 10_000)
}

func TestDiscard(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	ctx, root := tracer.Start(background, "GET /healthz")
	ctx2, before := dendro.Start(ctx, "before")
	before.End()
	dendro.SpanFromContext(ctx2).Discard()
	_, after := dendro.Start(ctx, "after")
	testkit.NoError(t, tracer.Flush(background))
	after.End()
	root.End()
	_, other := tracer.Start(background, "other")
	other.End()
	late, span := dendro.Start(ctx, "began when all was over")
	_, below := dendro.Start(late, "below")
	below.End()
	span.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"other"})
	stats := tracer.Stats()
	testkit.Equal(t, "discarded, delivered, dropped", []uint64{stats.Discarded, stats.Delivered, stats.DroppedSpans()}, []uint64{5, 1, 0})
}

// Spans, and times that were read by the monotonic clock alone, are exact where
// testing/synctest tells the time.
func TestTimesOfSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer, recorder := testkit.NewTracer(t)
		time.Sleep(time.Second)
		began := time.Now()
		_, s := tracer.Start(background, "span")
		time.Sleep(time.Second)
		s.AddEventAt(monotonic.Now(), 0, "by the monotonic clock")
		s.AddEventAt(time.Now(), 0, "by both")
		time.Sleep(time.Second)
		s.EndAt(monotonic.Now())
		got := recorder.Spans()[0]
		testkit.Equal(t, "times", []int64{got.Start, got.Events[0].Time, got.Events[1].Time, got.End},
			[]int64{began.UnixNano(), began.Add(time.Second).UnixNano(), began.Add(time.Second).UnixNano(), began.Add(2 * time.Second).UnixNano()})
	})
}

// However spans and their roots end, and whenever one looks, no count is ahead of what
// comes before it.
func TestStatsNeverContradict(t *testing.T) {
	tracer := dendro.New(dendro.Options{Collector: collect(func(*dendro.Batch) error { return nil })})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 2000 {
				ctx, root := tracer.Start(background, "root")
				var children sync.WaitGroup
				for range 2 {
					children.Go(func() {
						_, s := dendro.Start(ctx, "child")
						s.End()
					})
				}
				root.End()
				children.Wait()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		work.Wait()
	}()
	for {
		s := tracer.Stats()
		if s.Unfinished > s.Started || s.Waiting > s.Ended {
			t.Fatalf("%+v", s)
		}
		select {
		case <-done:
			s := tracer.Stats()
			testkit.Equal(t, "started, ended, delivered", []uint64{s.Started, s.Ended, s.Delivered}, []uint64{24000, 24000, 24000})
			return
		default:
		}
	}
}

func TestLongTraceInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		tracer := dendro.New(dendro.Options{Collector: collect(func(b *dendro.Batch) error {
			sizes = append(sizes, len(b.Spans))
			return nil
		})})
		ctx, root := tracer.Start(background, "stream")
		child := func() {
			_, s := dendro.Start(ctx, "message")
			s.End()
		}
		for range 1000 {
			child()
		}
		testkit.Equal(t, "by number", sizes, []int{512})
		time.Sleep(3 * time.Second)
		child()
		testkit.Equal(t, "by age", sizes, []int{512, 489})
		child()
		root.End()
		testkit.Equal(t, "rest", sizes, []int{512, 489, 2})

		// The age is that of the tracer's clock, whatever ends the user sets.
		ctx, root = tracer.Start(background, "import")
		_, odd := dendro.Start(ctx, "odd")
		odd.EndAt(time.Now().Add(time.Hour))
		child()
		testkit.Equal(t, "a late end", len(sizes), 3)
		time.Sleep(3 * time.Second)
		child()
		testkit.Equal(t, "after a late end", sizes[3:], []int{3})
		root.End()
	})
}

func TestDropsAreCounted(t *testing.T) {
	end := func(tracer *dendro.Tracer) {
		_, span := tracer.Start(background, "x")
		span.End()
	}
	none := dendro.New(dendro.Options{})
	end(none)
	testkit.Equal(t, "no collector", none.Stats().Dropped, map[string]uint64{"no_collector": 1})

	var fail error
	tracer := dendro.New(dendro.Options{Collector: collect(func(*dendro.Batch) error { return fail })})
	end(tracer)
	fail = errors.New("full")
	end(tracer)
	fail = (*dendro.DropError)(nil)
	end(tracer)
	fail = fmt.Errorf("remote: %w", &dendro.DropError{Reason: "queue_full"})
	end(tracer)
	end(tracer)
	_, open := tracer.Start(background, "open")
	testkit.NoError(t, tracer.Shutdown(background))
	testkit.NoError(t, tracer.Shutdown(background))
	open.End()
	end(tracer)
	stats := tracer.Stats()
	testkit.Equal(t, "dropped", stats.Dropped, map[string]uint64{"collector": 2, "queue_full": 2, "shutdown": 1})
	testkit.Equal(t, "sum", stats.DroppedSpans(), uint64(5))
	testkit.Equal(t, "delivered", stats.Delivered, uint64(1))
	testkit.Equal(t, "started", stats.Started, uint64(6))
}

func TestCollectorPanics(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	tracer := dendro.New(dendro.Options{Collector: collect(func(*dendro.Batch) error { panic("bug") })})
	_, span := tracer.Start(background, "x")
	span.End()
	testkit.Equal(t, "dropped", tracer.Stats().Dropped, map[string]uint64{"collector_panic": 1})
}

// stopped is a collector with a buffer that takes what comes while it is flushed.
type stopped struct {
	collect
	during func()
}

func (s stopped) Flush(context.Context) error { s.during(); return nil }

// What ends while Shutdown flushes the collector is counted, not left behind.
func TestShutdownLosesNothingInSilence(t *testing.T) {
	var span *dendro.Span
	tracer := dendro.New(dendro.Options{Collector: stopped{func(*dendro.Batch) error { return nil }, func() { span.End() }}})
	_, span = tracer.Start(background, "x")
	testkit.NoError(t, tracer.Shutdown(background))
	stats := tracer.Stats()
	testkit.Equal(t, "delivered, dropped", []uint64{stats.Delivered, stats.Dropped["shutdown"]}, []uint64{0, 1})
}

type flusher struct {
	collect
	err error
}

func (f flusher) Flush(context.Context) error { return f.err }

func TestFlushOfTheCollector(t *testing.T) {
	fail := errors.New("unreachable")
	tracer := dendro.New(dendro.Options{Collector: flusher{func(*dendro.Batch) error { return nil }, fail}})
	testkit.Equal(t, "flush", tracer.Flush(background), fail)
}

func TestAddStats(t *testing.T) {
	a := dendro.Stats{Started: 1, Ended: 2, Unfinished: 3, Waiting: 10, Delivered: 4, Dropped: map[string]uint64{"x": 1},
		Discarded: 9, NotSampled: 5, EndedTwice: 6, WrittenAfterEnd: 7, Truncated: 8}
	b := dendro.Stats{Started: 10, Ended: 20, Unfinished: 30, Waiting: 100, Delivered: 40, Dropped: map[string]uint64{"x": 2, "y": 3},
		Discarded: 90, NotSampled: 50, EndedTwice: 60, WrittenAfterEnd: 70, Truncated: 80}
	want := dendro.Stats{Started: 11, Ended: 22, Unfinished: 33, Waiting: 110, Delivered: 44, Dropped: map[string]uint64{"x": 3, "y": 3},
		Discarded: 99, NotSampled: 55, EndedTwice: 66, WrittenAfterEnd: 77, Truncated: 88}
	testkit.Equal(t, "sum", a.Add(b), want)
	testkit.Equal(t, "sum with nothing before", dendro.Stats{}.Add(b), b)
	testkit.Equal(t, "untouched", a.Dropped, map[string]uint64{"x": 1})
}

// Use from many goroutines at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	ctx, root := tracer.Start(background, "root")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				ctx, span := dendro.Start(ctx, "child", slog.Int("i", i))
				root.SetAttributes(slog.Int(fmt.Sprint("k", i), j))
				root.AddEvent("e")
				_, grandchild := dendro.Start(ctx, "grandchild")
				span.End()
				grandchild.RecordError(errors.New("x"))
				grandchild.End()
				_ = root.IsRecording()
				_ = tracer.Stats()
				if j%10 == 0 {
					_ = tracer.Flush(ctx)
				}
			}
		})
	}
	wg.Wait()
	root.End()
	testkit.Equal(t, "spans", len(recorder.Spans()), 1601)
	stats := tracer.Stats()
	testkit.Equal(t, "delivered", stats.Delivered, uint64(1601))
	testkit.Equal(t, "unfinished", stats.Unfinished, uint64(0))
}

// Ends, flushes and late children in any order: every span arrives once.
func TestEverySpanArrivesOnce(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	var wg sync.WaitGroup
	for range 50 {
		ctx, root := tracer.Start(background, "root")
		for range 4 {
			_, span := dendro.Start(ctx, "child")
			wg.Go(span.End)
		}
		wg.Go(root.End)
		wg.Go(func() { _ = tracer.Flush(background) })
	}
	wg.Wait()
	testkit.NoError(t, tracer.Flush(background))
	seen := map[dendro.SpanID]int{}
	for _, s := range recorder.Spans() {
		seen[s.SpanID]++
	}
	testkit.Equal(t, "spans", len(seen), 250)
	testkit.Equal(t, "arrivals", len(recorder.Spans()), 250)
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "from-env")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=lost,deployment.environment.name=a%20b, host.name = h1")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tracer := dendro.New(dendro.Options{Resource: []slog.Attr{slog.String("host.name", "h2")}})
	testkit.Equal(t, "service", tracer.Resource().Service(), "from-env")
	testkit.Equal(t, "attribute", tracer.Resource().Get("deployment.environment.name"), "a b")
	testkit.Equal(t, "code wins", tracer.Resource().Get("host.name"), "h2")
	testkit.Equal(t, "sdk", tracer.Resource().Get("telemetry.sdk.name"), "dendro")
	_, span := tracer.Start(background, "x")
	testkit.Equal(t, "sampled", span.Context().Flags.Sampled(), false)
	testkit.Equal(t, "code wins", dendro.New(dendro.Options{Service: "code"}).Resource().Service(), "code")
}

func TestDisabled(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "True")
	tracer, recorder := testkit.NewTracer(t)
	ctx, span := tracer.Start(background, "x")
	if span != nil || ctx != background {
		t.Error("a span although disabled")
	}
	parent, err := dendro.ParseTraceparent("00-" + traceID + "-" + spanID + "-01")
	testkit.NoError(t, err)
	ctx, span = tracer.StartWith(background, "x", dendro.StartOptions{Parent: parent})
	_, child := dendro.Start(ctx, "y")
	child.End()
	span.End()
	testkit.Equal(t, "the caller's span travels on", child.Context(), parent)
	testkit.Equal(t, "spans", len(recorder.Spans()), 0)
}

func TestUnsampled(t *testing.T) {
	var recorder recorderOf
	tracer := dendro.New(dendro.Options{Collector: &recorder, Sampler: dendro.NeverSample})
	ctx, root := tracer.Start(background, "root")
	ctx2, child := dendro.Start(ctx, "child")
	child.SetAttributes(slog.Int("a", 1))
	child.RecordError(errors.New("x"))
	child.End()
	root.End()
	testkit.Equal(t, "context", ctx2, ctx)
	testkit.Equal(t, "valid", root.Context().IsValid(), true)
	testkit.Equal(t, "sampled", root.Context().Flags.Sampled(), false)
	testkit.Equal(t, "recording", root.IsRecording(), false)
	testkit.Equal(t, "spans", len(recorder.spans), 0)
	testkit.Equal(t, "counted", tracer.Stats().NotSampled, uint64(1))
}

func TestSamplerFromEnvironment(t *testing.T) {
	var log strings.Builder
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	for _, c := range []struct {
		name, arg string
		root      bool // whether a new trace is sampled
		warning   string
	}{
		{"", "", true, ""},
		{"always_on", "", true, ""},
		{"always_off", "", false, ""},
		{"traceidratio", "0", false, ""},
		{"traceidratio", "", true, ""},
		{"traceidratio", "2", true, "OTEL_TRACES_SAMPLER_ARG"},
		{"parentbased_always_off", "", false, ""},
		{"parentbased_traceidratio", "0", false, ""},
		{"parentbased_traceidratio", "x", true, "OTEL_TRACES_SAMPLER_ARG"},
		{"jaeger_remote", "", true, "OTEL_TRACES_SAMPLER="},
	} {
		log.Reset()
		t.Setenv("OTEL_TRACES_SAMPLER", c.name)
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", c.arg)
		_, span := dendro.New(dendro.Options{}).Start(background, "x")
		testkit.Equal(t, c.name+" "+c.arg, span.Context().Flags.Sampled(), c.root)
		testkit.Equal(t, c.name+" "+c.arg+": warned", log.Len() > 0, c.warning != "")
		if !strings.Contains(log.String(), c.warning) {
			t.Errorf("%s %s: %s", c.name, c.arg, log.String())
		}
		span.End()
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "a=1,nonsense")
	log.Reset()
	testkit.Equal(t, "discarded whole", dendro.New(dendro.Options{}).Resource().Get("a"), "")
	if !strings.Contains(log.String(), "OTEL_RESOURCE_ATTRIBUTES") {
		t.Error(log.String())
	}
}

// collect makes a collector of a function.
type collect func(*dendro.Batch) error

func (c collect) Collect(b *dendro.Batch) error { return c(b) }

// recorderOf keeps copies of spans, for tests that leave spans open on purpose.
type recorderOf struct{ spans []dendro.SpanData }

func (r *recorderOf) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		r.spans = append(r.spans, *s.Clone())
	}
	return nil
}

// observed notes what an observer hears, and puts a value into the context of spans.
type observed struct {
	heard       []string
	indifferent bool // to ends
}

type observedKey struct{}

func (o *observed) SpanStarted(ctx context.Context, s *dendro.Span, d *dendro.SpanData, root bool) (context.Context, bool) {
	o.heard = append(o.heard, fmt.Sprint("start ", d.Name, " ", root, " ", s.Context().SpanID == d.SpanID, " ", len(d.Attributes)))
	return context.WithValue(ctx, observedKey{}, d.Name), !o.indifferent
}

func (o *observed) SpanEnded(_ *dendro.Span, d *dendro.SpanData, root bool) {
	o.heard = append(o.heard, fmt.Sprint("end ", d.Name, " ", root, " ", d.End > 0))
}

// A collector that observes does so next to the observer of the options.
type observingCollector struct{ observed }

func (*observingCollector) Collect(*dendro.Batch) error { return nil }

func TestTwoObservers(t *testing.T) {
	c, o := &observingCollector{}, &observed{}
	for _, more := range []dendro.Observer{nil, o} {
		_, span := dendro.New(dendro.Options{Collector: c, Observer: more}).Start(t.Context(), "root")
		span.End()
	}
	testkit.Equal(t, "heard by the observer", strings.Join(o.heard, "\n"), "start root true true 0\nend root true true")
	testkit.Equal(t, "heard by the collector", len(c.heard), 4)

	c, o = &observingCollector{observed{indifferent: true}}, &observed{indifferent: true}
	_, span := dendro.New(dendro.Options{Collector: c, Observer: o}).Start(t.Context(), "root")
	span.End()
	testkit.Equal(t, "heard by those that do not ask for ends", append(c.heard, o.heard...), []string{"start root true true 0", "start root true true 0"})
}

func TestObserver(t *testing.T) {
	o := &observed{}
	tracer := dendro.New(dendro.Options{Collector: collect(func(*dendro.Batch) error { return nil }), Observer: o})
	ctx, root := tracer.Start(t.Context(), "root", slog.Int("n", 1))
	below, child := tracer.Start(ctx, "child")
	testkit.Equal(t, "value", ctx.Value(observedKey{}), any("root"))
	testkit.Equal(t, "value", below.Value(observedKey{}), any("child"))
	child.SetName("renamed")
	root.End()
	root.End()
	child.End()
	_, unrecorded := tracer.StartWith(t.Context(), "unsampled", dendro.StartOptions{
		Parent: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}},
	})
	unrecorded.End()
	testkit.Equal(t, "heard", strings.Join(o.heard, "\n"), `start root true true 1
start child false true 0
end root true true
end renamed false true`)
}
