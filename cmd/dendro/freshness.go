package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/traceql"
)

const (
	// freshInterval is the least time between two spans that are looked for.
	freshInterval = 250 * time.Millisecond
	// freshPause is the time between two requests for a span that is not there yet.
	freshPause = 2 * time.Millisecond
)

// freshPatience is how long a span is looked for. Tests change it.
var freshPatience = 10 * time.Second

// freshness measures how long after its acknowledgement a span is found, for a few spans of a load,
// one at a time. A nil freshness does nothing.
type freshness struct {
	page         *verifier
	run          loadRun
	next         atomic.Int64 // when the next span may be picked, in Unix nanoseconds
	acknowledged chan freshSpan
	looking      sync.WaitGroup

	byID, bySearch tries // read after stop
}

// freshSpan is a span that is looked for.
type freshSpan struct {
	trace dendro.TraceID
	span  dendro.SpanID
	start int64
	user  string    // the attribute userKey, which few other spans have
	since time.Time // its acknowledgement
}

// tries are the spans that were looked for in one way.
type tries struct {
	latencies     // of those that were found
	atOnce    int // found by the first request
	missing   int
	err       error // of the last request for one that is missing, if it has failed
}

// startFreshness returns a freshness that looks for spans on a page until stop is called.
func startFreshness(ctx context.Context, page *verifier, run loadRun) *freshness {
	f := &freshness{page: page, run: run, acknowledged: make(chan freshSpan)}
	f.looking.Go(func() {
		for s := range f.acknowledged {
			var bySearch sync.WaitGroup
			bySearch.Go(func() { f.bySearch.await(ctx, s, f.search) })
			f.byID.await(ctx, s, f.lookUp)
			bySearch.Wait()
		}
	})
	return f
}

// stop waits for the span that is looked for.
func (f *freshness) stop() {
	if f != nil {
		close(f.acknowledged)
		f.looking.Wait()
	}
}

// pick returns the last root span in a request, if there is one and it is time for another one.
func (f *freshness) pick(r *loadRequest) (s freshSpan, ok bool) {
	if f == nil || r.service != rootService {
		return s, false
	}
	now, next := time.Now(), f.next.Load()
	if now.UnixNano() < next || !f.next.CompareAndSwap(next, now.Add(freshInterval).UnixNano()) {
		return s, false
	}
	batches, err := otlp.DecodeTraces(bytes.Join(r.parts, nil))
	if err != nil {
		panic(err) // it is what the generator has made
	}
	for _, span := range slices.Backward(batches[0].Spans) {
		if span.ParentID.IsValid() {
			continue
		}
		user := span.Attributes[slices.IndexFunc(span.Attributes, func(a slog.Attr) bool { return a.Key == userKey })]
		return freshSpan{trace: span.TraceID, span: span.SpanID, start: span.Start, user: user.Value.String()}, true
	}
	return s, false
}

// look begins to look for a span that was acknowledged just now, unless another one is looked for.
func (f *freshness) look(s freshSpan) {
	s.since = time.Now()
	select {
	case f.acknowledged <- s:
	default:
	}
}

// await asks for a span until it is found.
func (t *tries) await(ctx context.Context, s freshSpan, find func(context.Context, *freshSpan) (bool, error)) {
	looking, cancel := context.WithDeadline(ctx, s.since.Add(freshPatience))
	defer cancel()
	var failed error
	for first := true; ; first = false {
		found, err := find(looking, &s)
		if found {
			t.add(time.Since(s.since))
			if first {
				t.atOnce++
			}
			return
		}
		if looking.Err() == nil {
			failed = err
		}
		select {
		case <-time.After(freshPause):
		case <-looking.Done():
			if ctx.Err() == nil { // not interrupted
				t.missing++
				t.err = failed
			}
			return
		}
	}
}

// lookUp looks for a span by the id of its trace.
func (f *freshness) lookUp(ctx context.Context, s *freshSpan) (bool, error) {
	n, err := f.page.spansOf(ctx, s.trace, map[dendro.SpanID]bool{s.span: true})
	return n > 0, err
}

// search looks for a span by its user, among the traces that began in the same second.
func (f *freshness) search(ctx context.Context, s *freshSpan) (bool, error) {
	second := s.start / int64(time.Second)
	q := parameters(fmt.Sprintf("{ resource.%s = %q && span.%s = %q }", runKey, f.run, userKey, s.user), second, second)
	q.Set("spss", strconv.Itoa(traceql.MaxSpans))
	var answer struct{ Traces []foundTrace }
	if err := f.page.ask(ctx, "/api/search", q, &answer); err != nil {
		return false, err
	}
	for _, t := range answer.Traces {
		for _, set := range t.SpanSets {
			for _, span := range set.Spans {
				if t.TraceID == s.trace.String() && span.SpanID == s.span.String() {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// String returns what was measured.
func (f *freshness) String() string {
	return fmt.Sprintf("by id %s; by search %s", &f.byID, &f.bySearch)
}

// String returns how long it took to find the spans.
func (t *tries) String() string {
	if t.Count() == 0 && t.missing == 0 {
		return "none was looked for"
	}
	out := fmt.Sprintf("%.0f spans, %d at once, %s", t.Count(), t.atOnce, &t.latencies)
	if t.missing > 0 {
		out += fmt.Sprintf(", %d not found", t.missing)
	}
	return out
}

// err returns an error if a span was not found.
func (f *freshness) err() error {
	if f == nil || f.byID.missing+f.bySearch.missing == 0 {
		return nil
	}
	if err := cmp.Or(f.byID.err, f.bySearch.err); err != nil {
		return fmt.Errorf("acknowledged spans were not found within %v: %w", freshPatience, err)
	}
	return fmt.Errorf("acknowledged spans were not found within %v", freshPatience)
}
