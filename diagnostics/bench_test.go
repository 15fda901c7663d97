package diagnostics

import (
	"context"
	"io"
	"runtime/trace"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// nothing takes spans and forgets them.
type nothing struct{}

func (nothing) Collect(*dendro.Batch) error { return nil }

func newTracer(o dendro.Observer) *dendro.Tracer {
	return dendro.New(dendro.Options{Collector: nothing{}, Sampler: dendro.AlwaysSample, Observer: o})
}

// request makes a local trace of four spans.
func request(tracer *dendro.Tracer) {
	ctx, root := tracer.Start(context.Background(), "GET /orders/{id}")
	for range 3 {
		_, child := dendro.Start(ctx, "SELECT orders")
		child.End()
	}
	root.End()
}

const spansPerRequest = 4

// A Diagnostics that does nothing allocates nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("with the race detector sync.Pool forgets what it was given")
	}
	d := New(Options{})
	d.SetLabels(true)
	request(newTracer(d))
	d.SetLabels(false)
	without, with := newTracer(nil), newTracer(d)
	want := testing.AllocsPerRun(1000, func() { request(without) })
	testkit.Equal(t, "allocations of a request", testing.AllocsPerRun(1000, func() { request(with) }), want)
}

// BenchmarkSpan has the time and the allocations of a span, as one of four of a request.
func BenchmarkSpan(b *testing.B) {
	for _, c := range []struct {
		name  string
		setUp func() (o dendro.Observer, done func())
	}{
		{"no observer", func() (dendro.Observer, func()) { return nil, func() {} }},
		{"off", func() (dendro.Observer, func()) { return New(Options{}), func() {} }},
		{"labels", func() (dendro.Observer, func()) {
			d := New(Options{})
			d.SetLabels(true)
			return d, func() { d.SetLabels(false) }
		}},
		{"open", func() (dendro.Observer, func()) {
			d := New(Options{Open: true})
			return d, func() { d.wantLabels(false) }
		}},
		{"flight recorder", func() (dendro.Observer, func()) {
			d := New(Options{})
			if err := d.StartFlightRecorder(FlightOptions{}); err != nil {
				b.Skip(err)
			}
			return d, d.StopFlightRecorder
		}},
		{"execution trace without observer", func() (dendro.Observer, func()) { return nil, traceTo(b, io.Discard) }},
		{"execution trace", func() (dendro.Observer, func()) { return New(Options{}), traceTo(b, io.Discard) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			o, done := c.setUp()
			defer done()
			tracer := newTracer(o)
			b.ReportAllocs()
			for range b.N / spansPerRequest {
				request(tracer)
			}
		})
	}
}

// traceTo starts an execution trace.
func traceTo(b *testing.B, w io.Writer) (stop func()) {
	if err := trace.Start(w); err != nil {
		b.Skip(err)
	}
	return trace.Stop
}

// BenchmarkOff compares spans with a Diagnostics that does nothing and spans without an observer, in turns, so that both have
// the same machine. It reports the fastest tenth of each, which is what a quiet machine does.
func BenchmarkOff(b *testing.B) {
	const requests = 100
	run := func(tracer *dendro.Tracer) float64 {
		began := time.Now()
		for range requests {
			request(tracer)
		}
		return float64(time.Since(began)) / requests / spansPerRequest
	}
	without, with := newTracer(nil), newTracer(New(Options{}))
	var before, after []float64
	for b.Loop() {
		before, after = append(before, run(without)), append(after, run(with))
	}
	slices.Sort(before)
	slices.Sort(after)
	tenth := len(before) / 10
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(before[tenth], "ns/span")
	b.ReportMetric(after[tenth]-before[tenth], "more-ns/span")
}
