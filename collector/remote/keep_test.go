package remote_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	// refuse, if it is set, answers a request with a status.
	refuse atomic.Pointer[func(r *http.Request) int]
	// handler is what serves.
	handler atomic.Pointer[server.Handler]
}

func newKeeping(t *testing.T) *keeping {
	k := &keeping{store: memory.New(memory.Options{})}
	k.restart(t)
	srv := testkit.Serve(t, "HTTP/1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := k.refuse.Load(); f != nil {
			if status := (*f)(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		k.handler.Load().ServeHTTP(w, r)
	}))
	k.url = srv.URL
	return k
}

// restart gives the collector a new hub, and keeps its store.
func (k *keeping) restart(t *testing.T) {
	if k.hub != nil {
		k.hub.Close()
	}
	var err error
	k.hub, err = keep.NewHub(keep.HubOptions{})
	testkit.NoError(t, err)
	k.handler.Store(server.New(k.store, server.Options{Keep: k.hub, Operations: k.store}))
}

// refuseIf answers the requests for which f returns a status.
func (k *keeping) refuseIf(f func(r *http.Request) int) {
	if f == nil {
		k.refuse.Store(nil)
		return
	}
	k.refuse.Store(&f)
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
	if !slices.ContainsFunc(kept, func(a keep.Kept) bool {
		return a.TraceID == failed && a.Reason == keep.ReasonError && a.Service == "prices"
	}) {
		t.Errorf("kept: %+v", kept)
	}
}

// While the collector is away, what is kept waits, and so do the announcements.
func TestKeepWhileAway(t *testing.T) {
	k := newKeeping(t)
	shop, _ := k.process(t, "shop", keep.Options{Sample: -1})
	prices, client := k.process(t, "prices", keep.Options{Sample: -1})
	k.wait(t, call(shop, prices, false), 3)
	k.refuseIf(func(*http.Request) int { return http.StatusServiceUnavailable })
	var failed []dendro.TraceID
	for range 20 {
		failed = append(failed, call(shop, prices, true))
	}
	for client.Stats().LastError == nil {
		time.Sleep(time.Millisecond)
	}
	k.refuseIf(nil)
	for _, id := range failed {
		k.wait(t, id, 3)
	}
	testkit.Equal(t, "lost", client.Stats().Keep.Lost, map[string]uint64(nil))
}

// A collector that has started again hears what was announced to the one before, which may not have passed it on.
func TestKeepAfterRestart(t *testing.T) {
	k := newKeeping(t)
	shop, _ := k.process(t, "shop", keep.Options{Sample: -1})
	prices, _ := k.process(t, "prices", keep.Options{Sample: -1})
	k.wait(t, call(shop, prices, false), 3) // so both processes have heard news
	k.refuseIf(func(r *http.Request) int {
		if r.Method == http.MethodGet {
			return http.StatusBadGateway
		}
		return 0
	})
	k.hub.Announce("", []keep.Announcement{{TraceID: dendro.TraceID{7}}}) // ends the requests for news that are open
	failed := call(shop, prices, true)
	for !slices.ContainsFunc(k.hub.Kept(), func(a keep.Kept) bool { return a.TraceID == failed }) {
		time.Sleep(time.Millisecond)
	}
	got := k.wait(t, failed, 1)
	testkit.Equal(t, "spans that arrive before the restart", len(got.Spans), 1)
	k.restart(t)
	k.refuseIf(nil)
	k.wait(t, failed, 3)
}

// A collector that knows nothing of this gets what each process keeps itself.
func TestKeepWithOtherCollector(t *testing.T) {
	k := newKeeping(t)
	k.handler.Store(server.New(k.store, server.Options{}))
	shop, _ := k.process(t, "shop", keep.Options{Sample: -1})
	prices, client := k.process(t, "prices", keep.Options{Sample: -1})
	id := call(shop, prices, true)
	k.wait(t, id, 1)
	testkit.Equal(t, "kept", client.Stats().Keep.Kept[keep.ReasonError], uint64(1))
}

// What is kept shortly before the end of a process is sent and announced.
func TestKeepShutdown(t *testing.T) {
	k := newKeeping(t)
	shop, client := k.process(t, "shop", keep.Options{Sample: -1})
	id := call(shop, shop, true)
	testkit.NoError(t, client.Shutdown(t.Context()))
	got, err := k.store.Trace(t.Context(), id, collector.TimeRange{})
	testkit.NoError(t, err)
	if got == nil || len(got.Spans) != 3 {
		t.Errorf("stored: %+v", got)
	}
	testkit.Equal(t, "announced", k.hub.Stats().Announced, uint64(1))
}

// The environment variable has the same effect as the option.
func TestKeepFromEnvironment(t *testing.T) {
	k := newKeeping(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "dendro_retroactive")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
	client, err := remote.Dial(k.url, remote.Options{})
	testkit.NoError(t, err)
	defer client.Shutdown(context.Background())
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client})
	_, span := tracer.Start(context.Background(), "x")
	testkit.Equal(t, "recorded", span.IsRecorded(), true)
	testkit.Equal(t, "sampled", span.Context().Flags.Sampled(), false)
	span.End()
	k.wait(t, span.Context().TraceID, 1) // the first of its operation

	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "much")
	if _, err := remote.Dial(k.url, remote.Options{}); err == nil {
		t.Error("no error for a share that is no number")
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "")
	if _, err := remote.Dial(k.url+"/v1/traces?x=1", remote.Options{Keep: &keep.Options{}}); err == nil {
		t.Error("no error for an endpoint with a query")
	}
}

// roundTrip is a function that is a [http.RoundTripper].
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Where something ends requests that are open for long, those for news get shorter.
func TestKeepBehindImpatientProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Int64
		proxy := roundTrip(func(r *http.Request) (*http.Response, error) {
			res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"next":"1"}`)), Request: r}
			if r.Method == http.MethodGet {
				wait, err := time.ParseDuration(r.URL.Query().Get("wait") + "s")
				testkit.NoError(t, err)
				select {
				case <-time.After(min(wait, 4*time.Second)):
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
				if wait > 4*time.Second {
					return nil, io.ErrUnexpectedEOF
				}
				heard.Add(1)
			}
			return res, nil
		})
		client, err := remote.Dial("http://collector:4318", remote.Options{Keep: &keep.Options{RingBytes: 1 << 20}, HTTPClient: &http.Client{Transport: proxy}})
		testkit.NoError(t, err)
		time.Sleep(5 * time.Minute)
		if n := heard.Load(); n < 50 {
			t.Errorf("%d answers in five minutes", n)
		}
		testkit.NoError(t, client.Shutdown(t.Context()))
	})
}

// The collector has the counts of all requests, though it has the spans of few.
func TestKeepCounts(t *testing.T) {
	k := newKeeping(t)
	shop, client := k.process(t, "shop", keep.Options{Sample: 0.05}) // those count as one each, too
	for range 200 {
		call(shop, shop, false)
	}
	call(shop, shop, true)
	testkit.NoError(t, client.Shutdown(t.Context()))
	got := map[string]string{}
	err := k.store.Operations(t.Context(), collector.OperationScan{Start: time.Now().Add(-time.Hour), End: time.Now().Add(time.Hour)}, func(o *collector.Operation) bool {
		got[o.Service+" "+o.Name] = fmt.Sprintf("%v spans, %v errors", o.Total.Spans, o.Total.Errors)
		return true
	})
	testkit.NoError(t, err)
	testkit.Equal(t, "operations", got, map[string]string{
		"shop GET /cart": "201 spans, 0 errors", "shop GET": "201 spans, 0 errors", "shop GET /price": "201 spans, 1 errors"})
	stats, err := k.store.Stats(t.Context())
	testkit.NoError(t, err)
	if stats.Spans > 200 {
		t.Errorf("%d spans were sent", stats.Spans)
	}
}

// A request that is not kept allocates what a span does, and nothing to keep it.
func TestKeepAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	client, err := remote.Dial("http://127.0.0.1:1", remote.Options{Keep: &keep.Options{RingBytes: 4 << 20, Slow: -1, Sample: -1}})
	testkit.NoError(t, err)
	defer func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = client.Shutdown(now)
	}()
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client})
	request := func() {
		_, span := tracer.Start(background, "GET /")
		span.End()
	}
	for range 20_000 {
		request()
	}
	if n := testing.AllocsPerRun(5000, request); n > 1.1 {
		t.Errorf("%v allocations", n)
	}
}
