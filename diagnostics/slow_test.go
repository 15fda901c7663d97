package diagnostics

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// fast is how long the requests of newShop take.
const fast = 10 * time.Millisecond

// newShop returns a tracer that d observes, and whose store knows n requests GET /fast and half as
// many GET /other.
func newShop(t *testing.T, o Options, n int) (*Diagnostics, *dendro.Tracer) {
	t.Helper()
	store := memory.New(memory.Options{})
	o.Operations = store
	d := New(o)
	if o.Open {
		t.Cleanup(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.wantLabels(false)
		})
	}
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store, Observer: d})
	for i := range n {
		past(tracer, "GET /fast", fast).End()
		if i%2 == 0 {
			past(tracer, "GET /other", 3*fast).End()
		}
	}
	return d, tracer
}

// ended ends a span at some time.
type ended struct {
	*dendro.Span
	at time.Time
}

func (e ended) End() { e.EndAt(e.at) }

func past(tracer *dendro.Tracer, name string, took time.Duration) ended {
	now := time.Now()
	_, s := tracer.StartWith(context.Background(), name, dendro.StartOptions{Kind: dendro.KindServer, Time: now.Add(-took)})
	return ended{s, now}
}

func TestUsual(t *testing.T) {
	d, _ := newShop(t, Options{}, leastSpans+100)
	testkit.NoError(t, d.usual.refresh(t.Context()))
	within := func(name string, kind dendro.Kind, least, most time.Duration) {
		t.Helper()
		if got := d.usual.p99(operation{"shop", name, kind}); got < least || got > most {
			t.Errorf("p99 of %q: %v is not from %v to %v", name, got, least, most)
		}
	}
	within("GET /fast", dendro.KindServer, fast, fast+fast/8)
	within("GET /other", dendro.KindServer, 0, 0) // too few
	within("GET /fast", dendro.KindClient, 0, 0)
	within("GET /none", dendro.KindServer, 0, 0)
}

// reader is an OperationReader that counts how often it is read.
type reader struct {
	collector.OperationReader
	reads int
	err   error
}

func (r *reader) Operations(_ context.Context, _ collector.OperationScan, visit func(*collector.Operation) bool) error {
	r.reads++
	o := &collector.Operation{Service: "shop"}
	o.Total.Durations.Add(time.Second, leastSpans)
	for more := true; more; {
		o.Name += "x"
		more = visit(o)
	}
	return r.err
}

// The counts are read seldom, and only so many operations are known.
func TestUsualIsBounded(t *testing.T) {
	r := &reader{err: errors.New("no store")}
	u := usual{reader: r}
	testkit.Equal(t, "an error", u.refresh(t.Context()), r.err)
	testkit.Equal(t, "p99 after an error", u.p99(operation{service: "shop", name: "x"}), time.Duration(0))
	r.err = nil
	for range 10 {
		testkit.NoError(t, u.refresh(t.Context()))
	}
	testkit.Equal(t, "reads", r.reads, 2)
	testkit.Equal(t, "operations", len(*u.p99s.Load()), maxOperations)
	testkit.NoError(t, New(Options{}).usual.refresh(t.Context()))
}
