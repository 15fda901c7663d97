package dendrotest

import (
	"context"
	"errors"
	"sync"

	"github.com/dendrotrace/dendro"
)

// owners maps the ids of traces to the *spans of their tests.
var owners sync.Map

func ownerOf(id dendro.TraceID) *spans {
	owner, _ := owners.Load(id)
	s, _ := owner.(*spans)
	return s
}

// shared returns the default tracer of all tests. It records the spans of traces that tests
// began, for these tests.
var shared = sync.OnceValue(func() *dendro.Tracer {
	return dendro.New(dendro.Options{
		Collector:  byTrace{},
		Propagator: dendro.W3C{},
		Sampler: func(p dendro.SamplingParameters) dendro.SamplingResult {
			return dendro.SamplingResult{Sampled: ownerOf(p.TraceID) != nil, State: p.Parent.State}
		},
	})
})

// byTrace passes spans to the tests that they belong to.
type byTrace struct{}

var errNoTest = &dendro.DropError{Reason: "no_test", Err: errors.New("the test of the trace is over")}

func (byTrace) Collect(b *dendro.Batch) error {
	if s := ownerOf(b.Spans[0].TraceID); s != nil { // a tracer's batch is of one trace
		return s.Collect(b)
	}
	return errNoTest
}

func (byTrace) SpanStarted(ctx context.Context, span *dendro.Span, d *dendro.SpanData, root bool) (_ context.Context, ends bool) {
	if s := ownerOf(d.TraceID); s != nil {
		return s.SpanStarted(ctx, span, d, root)
	}
	return ctx, false
}

func (byTrace) SpanEnded(*dendro.Span, *dendro.SpanData, bool) {}
