package remote_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// keeping is a collector, and processes that keep their spans until they are wanted.
type keeping struct {
	store *memory.Store
	hub   *keep.Hub
	url   string
}

func newKeeping(t *testing.T) *keeping {
	k := &keeping{store: memory.New(memory.Options{})}
	var err error
	k.hub, err = keep.NewHub(keep.HubOptions{})
	testkit.NoError(t, err)
	srv := testkit.Serve(t, "HTTP/1.1", server.New(k.store, server.Options{Keep: k.hub}))
	t.Cleanup(k.hub.Close)
	k.url = srv.URL
	return k
}

// process returns the tracer of a new process.
func (k *keeping) process(t *testing.T, service string, o keep.Options) (*dendro.Tracer, *remote.Client) {
	client, err := remote.Dial(k.url, remote.Options{Keep: &o})
	testkit.NoError(t, err)
	tracer := dendro.New(dendro.Options{Service: service, Collector: client})
	t.Cleanup(func() { _ = client.Shutdown(context.Background()) })
	return tracer, client
}

// wait waits until the collector has n spans of a trace.
func (k *keeping) wait(t *testing.T, id dendro.TraceID, n int) *collector.Trace {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		got, err := k.store.Trace(t.Context(), id, collector.TimeRange{})
		testkit.NoError(t, err)
		switch {
		case got != nil && len(got.Spans) >= n:
			return got
		case time.Now().After(deadline):
			t.Fatalf("trace %s: %+v", id, got)
		}
	}
}

// call makes a span of caller and below it one of callee, as if that were in another process.
func call(caller, callee *dendro.Tracer, fail bool) dendro.TraceID {
	ctx, root := caller.StartWith(context.Background(), "GET /cart", dendro.StartOptions{Kind: dendro.KindServer})
	_, client := dendro.StartWith(ctx, "GET", dendro.StartOptions{Kind: dendro.KindClient})
	_, server := callee.StartWith(context.Background(), "GET /price", dendro.StartOptions{Kind: dendro.KindServer, Parent: client.Context()})
	if fail {
		server.SetStatus(dendro.StatusError, "no price")
	}
	server.End()
	client.End()
	root.End()
	return root.Context().TraceID
}

// An error in one process makes the trace whole at the collector; other traces stay where they are.
func TestKeepAcrossProcesses(t *testing.T) {
	k := newKeeping(t)
	never := keep.Options{Sample: -1}
	shop, shopClient := k.process(t, "shop", never)
	prices, pricesClient := k.process(t, "prices", never)
	k.wait(t, call(shop, prices, false), 3) // the first of its operation
	var ordinary []dendro.TraceID
	for range 50 {
		ordinary = append(ordinary, call(shop, prices, false))
	}
	failed := call(shop, prices, true)
	got := k.wait(t, failed, 3)
	var services, reasons []string
	for i := range got.Spans {
		s := &got.Spans[i]
		services = append(services, s.Resource.Service())
		for _, a := range s.Attributes {
			if a.Key == dendro.KeepReason {
				reasons = append(reasons, s.Name+" "+a.Value.String())
			}
		}
	}
	testkit.Equal(t, "services", services, []string{"shop", "shop", "prices"})
	testkit.Equal(t, "reasons", reasons, []string{"GET /price error"})
	for _, id := range ordinary {
		got, err := k.store.Trace(t.Context(), id, collector.TimeRange{})
		testkit.NoError(t, err)
		if got != nil {
			t.Errorf("an ordinary trace was sent: %+v", got.Spans)
		}
	}
	if s := pricesClient.Stats().Keep; s.Kept[keep.ReasonError] != 1 || s.RingSpans < 52 {
		t.Errorf("prices: %+v", s)
	}
	if s := shopClient.Stats().Keep; s.Found == 0 {
		t.Errorf("shop: %+v", s)
	}

	// Somebody asks for an ordinary trace.
	k.hub.Announce("", []keep.Announcement{{TraceID: ordinary[0], Reason: keep.ReasonRequest}})
	k.wait(t, ordinary[0], 3)
	kept := k.hub.Kept()
	testkit.Equal(t, "kept last", kept[0].TraceID, ordinary[0])
	if !slices.ContainsFunc(kept, func(a keep.Kept) bool { return a.TraceID == failed && a.Reason == keep.ReasonError && a.Service == "prices" }) {
		t.Errorf("kept: %+v", kept)
	}
}
