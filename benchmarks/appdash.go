package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"sourcegraph.com/sourcegraph/appdash"
	"sourcegraph.com/sourcegraph/appdash/httptrace"
)

// appdashTraces is the number of traces that the store holds.
const appdashTraces = 20_000

// appdashLibrary is Appdash with a bounded store in the process. It has no sampling,
// and its spans are not carried in contexts.
type appdashLibrary struct {
	store  *appdash.LimitStore
	memory *appdash.MemoryStore // in it
	spanN  atomic.Uint64
}

func openAppdash(environment) (library, error) {
	m := appdash.NewMemoryStore()
	return &appdashLibrary{store: &appdash.LimitStore{Max: appdashTraces, DeleteStore: m}, memory: m}, nil
}

// Collect implements [appdash.Collector]. It is called once for each span.
func (l *appdashLibrary) Collect(id appdash.SpanID, a ...appdash.Annotation) error {
	if err := l.store.Collect(id, a...); err != nil {
		return err
	}
	l.spanN.Add(1)
	return nil
}

func (l *appdashLibrary) flush(uint64)      {}
func (l *appdashLibrary) delivered() uint64 { return l.spanN.Load() }
func (l *appdashLibrary) full() bool        { return l.spanN.Load() > appdashTraces }

func (l *appdashLibrary) held() (n uint64) {
	traces, err := l.memory.Traces(appdash.TracesOpts{})
	if err != nil {
		panic(err)
	}
	var count func(t *appdash.Trace)
	count = func(t *appdash.Trace) {
		n++
		for _, sub := range t.Sub {
			count(sub)
		}
	}
	for _, t := range traces {
		count(t)
	}
	return n
}

func (l *appdashLibrary) spans(w spanWork) op {
	return spanOp[*appdash.Recorder, appdashSpan](l, w)
}

// appdashSpan is what a program must keep until the span ends.
type appdashSpan struct {
	*appdash.Recorder
	began time.Time
	five  bool
}

func (*appdashLibrary) background() *appdash.Recorder { return nil }

func (l *appdashLibrary) start(parent *appdash.Recorder) (*appdash.Recorder, appdashSpan) {
	var r *appdash.Recorder
	if parent == nil {
		r = appdash.NewRecorder(appdash.NewRootSpanID(), l)
	} else {
		r = parent.Child()
	}
	r.Name("operation")
	return r, appdashSpan{Recorder: r, began: time.Now()}
}

func (l *appdashLibrary) startFive(parent *appdash.Recorder) (*appdash.Recorder, appdashSpan) {
	r, s := l.start(parent)
	s.five = true
	return r, s
}

func (*appdashLibrary) setAttribute(s appdashSpan, _, value string) { s.Msg(value) }
func (*appdashLibrary) addEvent(s appdashSpan, name string)         { s.Log(name) }

func (*appdashLibrary) end(s appdashSpan) {
	t := timespan{s.began, time.Now()}
	if s.five {
		s.Event(order{t, "u-4711", "acme", "eu-west-1", 3, true})
	} else {
		s.Event(t)
	}
	s.Finish()
}

// timespan is the smallest event that gives a span a duration.
type timespan struct{ S, E time.Time }

func (timespan) Schema() string     { return "timespan" }
func (t timespan) Start() time.Time { return t.S }
func (t timespan) End() time.Time   { return t.E }

// order is an event with five attributes.
type order struct {
	timespan
	User, Tenant, Region string
	Items                int
	Express              bool
}

func (order) Schema() string { return "order" }

func (l *appdashLibrary) serve(pattern string, h http.HandlerFunc) http.Handler {
	trace := httptrace.Middleware(l, &httptrace.MiddlewareConfig{
		RouteName: func(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePattern() },
	})
	return newRouter(pattern, h, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { trace(w, r, next.ServeHTTP) })
	})
}

type appdashKey struct{}

func (l *appdashLibrary) root() (context.Context, func()) {
	_, s := l.start(nil)
	return context.WithValue(context.Background(), appdashKey{}, s.Recorder), func() { l.end(s) }
}

func (l *appdashLibrary) wrapTransport(ctx context.Context, base http.RoundTripper) http.RoundTripper {
	return &httptrace.Transport{Recorder: ctx.Value(appdashKey{}).(*appdash.Recorder), Transport: base, SetName: true}
}
