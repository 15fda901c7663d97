package diagnostics

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/naming"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// traced returns a tracer with a Diagnostics.
func traced() (*Diagnostics, *dendro.Tracer) {
	d := New(Options{})
	return d, dendro.New(dendro.Options{Collector: &testkit.Recorder{}, Sampler: dendro.AlwaysSample, Observer: d})
}

// labeled is traced with labels, until the test ends.
func labeled(t testing.TB) (*Diagnostics, *dendro.Tracer) {
	d, tracer := traced()
	d.SetLabels(true)
	t.Cleanup(func() {
		d.SetLabels(false)
		checkReleased(t, d, tracer)
	})
	return d, tracer
}

// checkEmpty checks that d holds nothing.
func checkEmpty(t testing.TB, d *Diagnostics) {
	t.Helper()
	open := d.entered.n.Load()
	testkit.Equal(t, "spans with an entry", open, int64(0))
	for i := range d.entered.shards {
		s := &d.entered.shards[i]
		testkit.Equal(t, "entries", len(s.open)+len(s.stacks), 0)
	}
	testkit.Equal(t, "names are needed early", naming.IsEarly(), false)
}

// labelsHere returns the labels of the current goroutine, "" if it has none.
func labelsHere(t testing.TB) string {
	t.Helper()
	var all bytes.Buffer
	testkit.NoError(t, pprof.Lookup("goroutine").WriteTo(&all, 1))
	for record := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(record, "labelsHere") {
			_, after, found := strings.Cut(record, "# labels: ")
			if !found {
				return ""
			}
			line, _, _ := strings.Cut(after, "\n")
			return line
		}
	}
	t.Fatal("this goroutine is not in the profile")
	return ""
}

// labelsOf returns what labelsHere does for a span.
func labelsOf(s *dendro.Span, operation string) string {
	sc := s.Context()
	return fmt.Sprintf(`{"operation":%q, "span_id":%q, "trace_id":%q}`, operation, sc.SpanID, sc.TraceID)
}

func TestLabels(t *testing.T) {
	_, tracer := labeled(t)
	outer := pprof.WithLabels(context.Background(), pprof.Labels("tenant", "tea"))
	pprof.SetGoroutineLabels(outer)
	defer pprof.SetGoroutineLabels(context.Background())

	ctx, root := tracer.Start(outer, "GET /orders")
	want := strings.Replace(labelsOf(root, "GET /orders"), `, "trace_id"`, `, "tenant":"tea", "trace_id"`, 1)
	testkit.Equal(t, "labels of a root", labelsHere(t), want)
	child, span := dendro.Start(ctx, "child")
	testkit.Equal(t, "labels in a child", labelsHere(t), want)
	pprof.Do(child, pprof.Labels("zone", "1"), func(context.Context) {
		testkit.Equal(t, "labels of the program", labelsHere(t), strings.Replace(want, "}", `, "zone":"1"}`, 1))
	})
	testkit.Equal(t, "labels after pprof.Do", labelsHere(t), want)
	span.End()
	testkit.Equal(t, "labels after a child", labelsHere(t), want)

	var started sync.WaitGroup
	started.Go(func() { testkit.Equal(t, "labels of a goroutine that the request starts", labelsHere(t), want) })
	started.Wait()

	root.SetName("another")
	root.End()
	testkit.Equal(t, "labels afterwards", labelsHere(t), `{"tenant":"tea"}`)
	root.End()
	testkit.Equal(t, "labels after a second End", labelsHere(t), `{"tenant":"tea"}`)
}

func TestLabelsAreOffAtFirst(t *testing.T) {
	d, tracer := traced()
	_, before := tracer.Start(t.Context(), "before")
	testkit.Equal(t, "labels", labelsHere(t), "")
	d.SetLabels(true)
	d.SetLabels(true)
	before.End()
	_, span := tracer.Start(t.Context(), "labeled")
	d.SetLabels(false)
	testkit.Equal(t, "labels of a span that began before", labelsHere(t), labelsOf(span, "labeled"))
	_, after := tracer.Start(t.Context(), "after")
	testkit.Equal(t, "labels of a span that began later", labelsHere(t), labelsOf(span, "labeled"))
	after.End()
	span.End()
	testkit.Equal(t, "labels afterwards", labelsHere(t), "")
	checkEmpty(t, d)
}

// Roots on one goroutine may end in any order.
func TestLabelsOfNestedRoots(t *testing.T) {
	d, _ := labeled(t)
	for order, below := range map[string]func(context.Context) context.Context{
		"detached":         dendro.Detach,
		"of no context":    func(context.Context) context.Context { return context.Background() },
		"of other tracers": func(ctx context.Context) context.Context { return ctx },
	} {
		start := func(ctx context.Context, name string) (context.Context, *dendro.Span) {
			tracer := dendro.New(dendro.Options{Collector: &testkit.Recorder{}, Sampler: dendro.AlwaysSample, Observer: d})
			return tracer.Start(ctx, name)
		}
		ends := func(what string, spans []*dendro.Span, order []int, innermost []string) {
			t.Helper()
			for i, which := range order {
				spans[which].End()
				testkit.Equal(t, fmt.Sprint(what, ", end of ", order[:i+1]), labelsHere(t), innermost[i])
			}
		}
		for _, o := range [][]int{{2, 1, 0}, {0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}} {
			ctx := context.Background()
			var spans []*dendro.Span
			for i := range 3 {
				var s *dendro.Span
				ctx, s = start(below(ctx), fmt.Sprint("root ", i))
				spans = append(spans, s)
			}
			var want []string
			open := []bool{true, true, true}
			for _, which := range o {
				open[which] = false
				innermost := ""
				for i := range open {
					if open[i] {
						innermost = labelsOf(spans[i], fmt.Sprint("root ", i))
					}
				}
				want = append(want, innermost)
			}
			ends(order, spans, o, want)
		}
	}
}

// A goroutine that ends the span of another one keeps its labels. The other one gets its own back with
// its next span.
func TestLabelsOfAnotherGoroutine(t *testing.T) {
	d, tracer := labeled(t)
	_, outer := tracer.Start(context.Background(), "outer")
	_, span := tracer.Start(context.Background(), "passed on")
	var other sync.WaitGroup
	other.Go(func() {
		mine := pprof.WithLabels(context.Background(), pprof.Labels("mine", "1"))
		pprof.SetGoroutineLabels(mine)
		span.End()
		testkit.Equal(t, "labels of the other goroutine", labelsHere(t), `{"mine":"1"}`)
	})
	other.Wait()
	testkit.Equal(t, "labels of the first goroutine", labelsHere(t), labelsOf(span, "passed on"))
	outer.End()
	testkit.Equal(t, "labels at the end", labelsHere(t), "")

	other.Go(func() { _, span = tracer.Start(context.Background(), "left behind") })
	other.Wait()
	testkit.Equal(t, "open spans", d.entered.n.Load(), int64(1))
	span.End() // t.Cleanup checks that nothing is kept for the goroutine that is gone
}

// Servers reuse the goroutine of a connection for its next request.
func TestLabelsOfRequests(t *testing.T) {
	testkit.NoLeaks(t)
	_, tracer := labeled(t)
	var hijacked net.Conn
	r := chi.NewRouter()
	trace := middleware.New(middleware.Options{Tracer: tracer})
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if hijacked == nil {
					testkit.Equal(t, "labels outside of the middleware", labelsHere(t), "")
				}
				_ = recover()
			}()
			next.ServeHTTP(w, r)
		})
	}, trace)
	check := func(r *http.Request, operation string) {
		testkit.Equal(t, "labels in the handler", labelsHere(t), labelsOf(dendro.SpanFromContext(r.Context()), operation))
	}
	r.Get("/orders/{id}", func(_ http.ResponseWriter, r *http.Request) { check(r, "GET /orders/{id}") })
	r.Get("/panic", func(_ http.ResponseWriter, r *http.Request) {
		check(r, "GET /panic")
		panic("no tea")
	})
	r.Get("/hijack", func(w http.ResponseWriter, r *http.Request) {
		check(r, "GET /hijack")
		var buf *bufio.ReadWriter
		hijacked, buf, _ = w.(http.Hijacker).Hijack()
		fmt.Fprint(buf, "HTTP/1.1 204 No Content\r\n\r\n")
		buf.Flush()
	})
	server := httptest.NewServer(r)
	defer server.Close()
	get := func(path string) {
		resp, err := server.Client().Get(server.URL + path)
		testkit.NoError(t, err)
		resp.Body.Close()
	}
	get("/orders/7")
	get("/panic")
	get("/orders/7")
	get("/hijack")
	hijacked.Close()
	testkit.NoError(t, tracer.Flush(context.Background()))
	server.Close()
	waitUntil(t, func() bool { return tracer.Stats().Unfinished == 0 }) // the middleware looks for the connection
}

// A goroutine has a bounded number of spans with labels, and nothing is left of them.
func TestManyOpenRoots(t *testing.T) {
	d, tracer := labeled(t)
	var spans []*dendro.Span
	for i := range 2 * maxDepth {
		_, s := tracer.Start(t.Context(), fmt.Sprint("root ", i))
		spans = append(spans, s)
	}
	testkit.Equal(t, "spans with labels", d.entered.n.Load(), int64(maxDepth))
	testkit.Equal(t, "spans that were refused", d.Refused(), uint64(maxDepth))
	testkit.Equal(t, "labels", labelsHere(t), labelsOf(spans[maxDepth-1], fmt.Sprint("root ", maxDepth-1)))
	for _, s := range spans {
		s.End()
	}
	testkit.Equal(t, "labels afterwards", labelsHere(t), "")
}
