package otelbridge_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	otelpropagation "go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/otelbridge"
	"github.com/dendrotrace/dendro/sqldriver"
)

// A library that makes no spans and passes the span context on does not hide our span.
func TestNoopBetween(t *testing.T) {
	tracer, r, _ := newTracer()
	ctx, root := tracer.Start(t.Context(), "root")
	ctx, _ = noop.NewTracerProvider().Tracer("silenced").Start(ctx, "x")
	if dendro.SpanFromContext(ctx) != root {
		t.Errorf("SpanFromContext = %v", dendro.SpanFromContext(ctx))
	}
	_, child := dendro.StartWith(ctx, "child", dendro.StartOptions{Tracer: tracer})
	child.End()
	root.End()
	testkit.Equal(t, "remote", r.find(t, "child").Remote, false)
}

func TestNoopBetweenLeaves(t *testing.T) {
	tracer, r, _ := newTracer()
	ctx, root := tracer.Start(t.Context(), "root")
	ctx, _ = otelbridge.NewTracerProvider(nil).Tracer("silenced").Start(ctx, "x")
	_, child := dendro.StartWith(ctx, "child", dendro.StartOptions{Tracer: tracer})
	root.Discard()
	child.End()
	root.End()
	testkit.Equal(t, "spans of a discarded trace", len(r.spans), 0)
}

// Detach also leaves the traces of spans that are not ours.
func TestDetachRemote(t *testing.T) {
	tracer, r, _ := newTracer()
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: 1})
	ctx := dendro.Detach(trace.ContextWithRemoteSpanContext(t.Context(), sc))
	_, s := tracer.Start(ctx, "job")
	s.End()
	testkit.Equal(t, "new trace", r.find(t, "job").TraceID != dendro.TraceID{1}, true)
}

func TestDetachSDK(t *testing.T) {
	tracer, r, _ := newTracer()
	sdk := sdktrace.NewTracerProvider()
	ctx, x := sdk.Tracer("x").Start(t.Context(), "request")
	defer x.End()
	_, s := tracer.Start(dendro.Detach(ctx), "job")
	s.End()
	testkit.Equal(t, "new trace", trace.TraceID(r.find(t, "job").TraceID) != x.SpanContext().TraceID(), true)
}

func TestDetachAndNewRoot(t *testing.T) {
	tracer, r, _ := newTracer()
	ctx, req := tracer.Start(t.Context(), "request")
	_, s := tracer.StartWith(dendro.Detach(ctx), "job", dendro.StartOptions{NewRoot: true})
	s.End()
	req.End()
	testkit.Equal(t, "links", len(r.find(t, "job").Links), 1)
}

// The span of our middleware is below that of the SDK around it.
func TestMiddlewareBelowSDK(t *testing.T) {
	tracer, r, _ := newTracer()
	sdk := sdktrace.NewTracerProvider()
	var outer trace.SpanContext
	h := middleware.New(middleware.Options{Tracer: tracer})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	req := httptest.NewRequest("GET", "/", nil)
	req.Header.Set("traceparent", "00-01000000000000000000000000000000-0200000000000000-01")
	// what otelhttp with the SDK does
	ctx := otelpropagation.TraceContext{}.Extract(req.Context(), otelpropagation.HeaderCarrier(req.Header))
	ctx, s := sdk.Tracer("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp").Start(ctx, "GET", trace.WithSpanKind(trace.SpanKindServer))
	outer = s.SpanContext()
	h.ServeHTTP(httptest.NewRecorder(), req.WithContext(ctx))
	s.End()
	testkit.Equal(t, "parent", trace.SpanID(r.find(t, "GET").ParentID), outer.SpanID())
}

// Statements below spans of others have spans.
func TestSQLBelowOthers(t *testing.T) {
	for name, provider := range map[string]trace.TracerProvider{"noop": noop.NewTracerProvider(), "sdk": sdktrace.NewTracerProvider()} {
		t.Run(name, func(t *testing.T) {
			tracer, r, _ := newTracer()
			db := sql.OpenDB(sqldriver.WrapConnector(fakeDB{}, sqldriver.Options{Tracer: tracer}))
			ctx, root := tracer.Start(t.Context(), "request")
			ctx, s := provider.Tracer("other").Start(ctx, "other")
			_, err := db.ExecContext(ctx, "DELETE FROM t")
			testkit.NoError(t, err)
			s.End()
			root.End()
			testkit.Equal(t, "spans", len(r.spans), 2)
		})
	}
}

// A span that the program makes for a call does not replace those of a library.
func TestManualSpan(t *testing.T) {
	tracer, r, _ := newTracer()
	pgx := otelbridge.NewTracerProvider(tracer).Tracer("github.com/exaring/otelpgx")
	ctx, own := tracer.StartWith(t.Context(), "UserRepo.Load", dendro.StartOptions{Kind: dendro.KindClient}, slog.String("db.system.name", "postgresql"))
	for range 2 {
		_, s := pgx.Start(ctx, "query", trace.WithSpanKind(trace.SpanKindClient))
		s.End()
	}
	own.End()
	testkit.Equal(t, "spans", len(r.spans), 3)
}

// Another tracer makes its own span.
func TestOtherTracer(t *testing.T) {
	a, _, _ := newTracer()
	b, r, _ := newTracer()
	lib := otelbridge.NewTracerProvider(a).Tracer("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
	ctx, s := lib.Start(t.Context(), "GET", trace.WithSpanKind(trace.SpanKindServer))
	h := middleware.New(middleware.Options{Tracer: b})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	s.End()
	testkit.Equal(t, "spans of the other tracer", len(r.spans), 1)
}

func TestOtherTracerInner(t *testing.T) {
	a, _, _ := newTracer()
	b, r, _ := newTracer()
	lib := otelbridge.NewTracerProvider(b).Tracer("github.com/exaring/otelpgx")
	ctx, own := a.StartWith(t.Context(), "SELECT", dendro.StartOptions{Kind: dendro.KindClient}, slog.String("db.system.name", "postgresql"))
	_, s := lib.Start(ctx, "query", trace.WithSpanKind(trace.SpanKindClient))
	s.End()
	own.End()
	testkit.Equal(t, "spans of the other tracer", len(r.spans), 1)
}

// What W3C does not allow is left out of the baggage, and nothing else.
func TestBaggageUTF8Key(t *testing.T) {
	newTracer()
	a, _ := baggage.NewMemberRaw("a", "1")
	b, err := baggage.NewMemberRaw("clé", "2")
	testkit.NoError(t, err)
	all, err := baggage.New(a, b)
	testkit.NoError(t, err)
	ctx := baggage.ContextWithBaggage(t.Context(), all)
	testkit.Equal(t, "otel sends", all.String(), "a=1")
	h := http.Header{}
	dendro.Inject(ctx, h)
	testkit.Equal(t, "sent", h.Get("baggage"), "a=1")
}

func TestBaggageUTF8Property(t *testing.T) {
	newTracer()
	p, err := baggage.NewKeyValuePropertyRaw("clé", "v")
	testkit.NoError(t, err)
	m, err := baggage.NewMemberRaw("k", "v", p)
	testkit.NoError(t, err)
	n, err := baggage.NewMemberRaw("other", "1")
	testkit.NoError(t, err)
	b, err := baggage.New(m, n)
	testkit.NoError(t, err)
	got := dendro.BaggageFromContext(baggage.ContextWithBaggage(t.Context(), b))
	if got.Len() != 2 {
		t.Errorf("%q → %v", b.String(), got.Members())
	}
}

func TestTraceStateOfLevel2(t *testing.T) {
	tracer, _, _ := newTracer()
	state, err := dendro.ParseTraceState("1a=x,b=y")
	testkit.NoError(t, err)
	ctx, s := tracer.StartWith(t.Context(), "s", dendro.StartOptions{Parent: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1}, Flags: 1, State: state}})
	defer s.End()
	testkit.Equal(t, "state", trace.SpanContextFromContext(ctx).TraceState().Get("b"), "y")
}

func TestKeysOverwritten(t *testing.T) {
	newTracer()
	backing := []string{"a", "b", "c", "d", "e", "f"}
	p := otelbridge.NewPropagator(nil)
	p.Extract(t.Context(), sharedKeys{otelpropagation.MapCarrier{}, backing[:2]})
	testkit.Equal(t, "keys of the carrier", strings.Join(backing, ""), "abcdef")
}

// A tracer that nobody uses is not kept.
func TestProvidersLeak(t *testing.T) {
	gone := make(chan bool, 1)
	func() {
		tr := dendro.New(dendro.Options{Collector: memory.New(memory.Options{})})
		runtime.AddCleanup(tr, func(int) { gone <- true }, 0)
		otelbridge.NewTracerProvider(tr)
	}()
	for range 250 {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Error("the tracer and its store are kept for ever")
}

func TestNestedRoom(t *testing.T) {
	_, r, lib := newTracer()
	var elements []attribute.Value
	for range 1000 {
		elements = append(elements, attribute.Int64SliceValue(make([]int64, 2000)))
	}
	_, s := lib.Start(t.Context(), "s")
	s.SetAttributes(attribute.Slice("a", elements...))
	s.End()
	n := 0
	for _, v := range r.find(t, "s").Attributes[0].Value.Any().([]slog.Value) {
		n += 8 * len(v.Any().([]int64))
	}
	if n > 64<<10 {
		t.Errorf("%d bytes are kept of one attribute", n)
	}
}

func TestTypedNilError(t *testing.T) {
	_, _, lib := newTracer()
	_, s := lib.Start(t.Context(), "s")
	defer s.End()
	defer func() {
		if e := recover(); e != nil {
			t.Error(e)
		}
	}()
	var e *nilErr
	s.RecordError(e)
}

// A value that is nested very deep does not make a trace unreadable.
func TestExportDeepValue(t *testing.T) {
	deep := attribute.IntValue(1)
	for range 20_000 {
		deep = attribute.SliceValue(deep)
	}
	store := memory.New(memory.Options{})
	id := trace.TraceID{9}
	stub := tracetest.SpanStub{
		Name: "s", SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}}),
		Attributes: []attribute.KeyValue{{Key: "deep", Value: deep}}, StartTime: then, EndTime: then,
	}
	testkit.NoError(t, otelbridge.NewExporter(store).ExportSpans(t.Context(), tracetest.SpanStubs{stub}.Snapshots()))
	got, err := store.Trace(t.Context(), dendro.TraceID(id), collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "attributes", len(got.Spans[0].Attributes), 1)
}

type sharedKeys struct {
	otelpropagation.MapCarrier
	keys []string
}

func (c sharedKeys) Keys() []string { return c.keys }

type nilErr struct{ s string }

func (e *nilErr) Error() string { return e.s }

// fakeDB is a driver, and a connection to it.
type fakeDB struct{}

func (f fakeDB) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f fakeDB) Driver() driver.Driver                        { return nil }
func (f fakeDB) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (f fakeDB) Close() error                                 { return nil }
func (f fakeDB) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

func (f fakeDB) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(7), nil
}
