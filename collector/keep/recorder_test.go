package keep_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// client is what is behind a recorder: the queue of a client.
type client struct {
	mu    sync.Mutex
	full  bool
	most  int // spans that it takes at once, if not zero
	after int // batches after which it is full, if not zero
	got   []dendro.SpanData
	res   []*dendro.Resource
}

func (c *client) Collect(b *dendro.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full {
		return &dendro.DropError{Reason: "queue_full"}
	}
	if c.most > 0 && len(b.Spans) > c.most {
		return &dendro.DropError{Reason: collector.DropTooLarge}
	}
	for _, s := range b.Spans {
		c.got = append(c.got, *s.Clone())
		c.res = append(c.res, b.Resource)
	}
	if c.after > 0 {
		c.after--
		c.full = c.after == 0
	}
	return nil
}

func (c *client) setFull(full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = full
}

// spans returns the names of the spans of a trace that have come, in order.
func (c *client) spans(id dendro.TraceID) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.got {
		if c.got[i].TraceID == id {
			names = append(names, c.got[i].Name)
		}
	}
	slices.Sort(names)
	return names
}

// reasons returns why traces were kept, by trace.
func (c *client) reasons() map[dendro.TraceID]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[dendro.TraceID]string{}
	for i := range c.got {
		for _, a := range c.got[i].Attributes {
			if a.Key == dendro.KeepReason {
				out[c.got[i].TraceID] = a.Value.String()
			}
		}
	}
	return out
}

func (c *client) weight(id dendro.TraceID) (w float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.got {
		for _, a := range c.got[i].Attributes {
			if c.got[i].TraceID == id && a.Key == keep.WeightKey {
				w = a.Value.Float64()
			}
		}
	}
	return w
}

// process is a tracer with a recorder, in a bubble of synctest.
type process struct {
	*dendro.Tracer
	*keep.Recorder
	client *client
}

// bubble runs f with a process that samples nothing at the head.
func bubble(t *testing.T, o keep.Options, f func(t *testing.T, p *process)) {
	synctest.Test(t, func(t *testing.T) {
		if o.Sample == 0 {
			o.Sample = -1
		}
		p := &process{client: new(client)}
		p.Recorder = keep.New(p.client, o)
		p.Tracer = dendro.New(dendro.Options{Service: "shop", Collector: p.Recorder})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Run(ctx)
		}()
		f(t, p)
		stop()
		<-done
	})
}

// request makes a trace of a root and a child that takes some time.
func (p *process) request(name string, d time.Duration, with func(ctx context.Context, root, child *dendro.Span)) dendro.TraceID {
	ctx, root := p.Start(context.Background(), name)
	inner, child := dendro.Start(ctx, "child")
	time.Sleep(d)
	if with != nil {
		with(inner, root, child)
	}
	child.End()
	root.End()
	return root.Context().TraceID
}

func (p *process) announced() map[dendro.TraceID]string {
	out := map[dendro.TraceID]string{}
	for as := p.Announcements(10); len(as) > 0; as = p.Announcements(10) {
		for _, a := range as {
			out[a.TraceID] = a.Reason
		}
	}
	return out
}

func TestReasons(t *testing.T) {
	o := keep.Options{Attributes: []string{"order.id", "tier=gold"}, Baggage: []string{"debug=1"}}
	bubble(t, o, func(t *testing.T, p *process) {
		want := map[dendro.TraceID]string{}
		keepBecause := func(reason string, with func(ctx context.Context, root, child *dendro.Span)) {
			want[p.request("GET /", 0, with)] = reason
		}
		want[p.request("GET /", 0, nil)] = keep.ReasonNew
		nothing := []dendro.TraceID{
			p.request("GET /", 0, nil),
			p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) { root.SetAttributes(slog.String("tier", "silver")) }),
			p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) {
				root.AddEventAt(time.Now(), time.Millisecond, semconv.PoolWaitEvent)
			}),
		}
		keepBecause(keep.ReasonError, func(_ context.Context, _, child *dendro.Span) { child.RecordError(fmt.Errorf("no stock")) })
		keepBecause("refund", func(_ context.Context, _, child *dendro.Span) { child.Keep("refund") })
		keepBecause(keep.ReasonRepeats, func(_ context.Context, root, _ *dendro.Span) { root.AddEvent(semconv.DBRepeatedEvent) })
		keepBecause(keep.ReasonPoolWait, func(_ context.Context, root, _ *dendro.Span) {
			root.AddEventAt(time.Now(), time.Second, semconv.PoolWaitEvent)
		})
		keepBecause(keep.ReasonAttribute, func(_ context.Context, _, child *dendro.Span) { child.SetAttributes(slog.Int("order.id", 1)) })
		keepBecause(keep.ReasonAttribute, func(_ context.Context, _, child *dendro.Span) { child.SetAttributes(slog.String("tier", "gold")) })
		testkit.NoError(t, p.SetRules([]keep.Rule{{Name: "carts", Query: `{ name = "child" && span.cart = 7 }`}}))
		keepBecause("carts", func(_ context.Context, _, child *dendro.Span) { child.SetAttributes(slog.Int("cart", 7)) })
		synctest.Wait()
		testkit.Equal(t, "reasons", p.client.reasons(), want)
		testkit.Equal(t, "announced", p.announced(), want)
		for id := range want {
			testkit.Equal(t, "spans of one kept because of "+want[id], p.client.spans(id), []string{"GET /", "child"})
			testkit.Equal(t, "weight", p.client.weight(id), 1.0)
		}
		for _, id := range nothing {
			testkit.Equal(t, "spans of one that is not kept", p.client.spans(id), []string(nil))
		}
		s := p.Recorder.Stats()
		testkit.Equal(t, "kept", s.Kept, map[string]uint64{
			"new": 1, "error": 1, "refund": 1, "repeats": 1, "pool_wait": 1, "attribute": 2, "carts": 1})
		testkit.Equal(t, "lost", s.Lost, map[string]uint64(nil))
		testkit.Equal(t, "in the ring", s.RingSpans, 2*(len(want)+len(nothing)))
		if got := p.client.res[0].Get(semconv.Counted); got != "true" {
			t.Errorf("the resource of what is sent: %v", p.client.res[0])
		}

		baggage, err := dendro.ParseBaggage("debug=1")
		testkit.NoError(t, err)
		_, root := p.Start(dendro.ContextWithBaggage(context.Background(), baggage), "GET /")
		testkit.Equal(t, "sampled because of its baggage", root.Context().Flags.Sampled(), true)
		root.End()
		testkit.Equal(t, "and sent", p.client.spans(root.Context().TraceID), []string{"GET /"})
	})
}

// The slowest of each operation are kept, once there is something to compare with, and not many others.
func TestSlow(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		r := rand.New(rand.NewPCG(1, 2))
		duration := func() time.Duration { return time.Duration((1 + r.ExpFloat64()) * float64(time.Millisecond)) }
		for range 2000 {
			p.request("GET /", duration(), nil)
			p.request("GET /report", 100*duration(), nil)
		}
		synctest.Wait()
		before := len(p.client.reasons())
		type request struct {
			id dendro.TraceID
			d  time.Duration
		}
		const n = 10_000
		byName := map[string][]request{}
		for range n {
			for name, factor := range map[string]time.Duration{"GET /": 1, "GET /report": 100} {
				d := factor * duration()
				byName[name] = append(byName[name], request{p.request(name, d, nil), d})
			}
		}
		synctest.Wait()
		reasons := p.client.reasons()
		for name, all := range byName {
			slices.SortFunc(all, func(a, b request) int { return int(b.d - a.d) })
			missed := 0
			for _, r := range all[:n/100] {
				if reasons[r.id] == "" {
					missed++
				}
			}
			if missed > n/100/20 {
				t.Errorf("%s: %d of the %d slowest were not kept", name, missed, n/100)
			}
		}
		if kept := len(reasons) - before; kept > 2*n*2/100 {
			t.Errorf("%d of %d were kept", kept, 2*n)
		}
	})
}

// A process that is slow at first forgets that soon.
func TestSlowAtFirst(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 150 {
			p.request("GET /", time.Second, nil)
		}
		for range 2000 {
			p.request("GET /", time.Duration((1+r.ExpFloat64())*float64(time.Millisecond)), nil)
		}
		id := p.request("GET /", 20*time.Millisecond, nil)
		synctest.Wait()
		testkit.Equal(t, "reason of a slow request", p.client.reasons()[id], keep.ReasonSlow)
	})
}

// An operation that repeats a statement each time is known for it: six traces a minute are enough.
func TestRepeatsLimit(t *testing.T) {
	bubble(t, keep.Options{Slow: -1}, func(t *testing.T, p *process) {
		const n = 6000
		for range n {
			p.request("GET /", 10*time.Millisecond, func(_ context.Context, root, _ *dendro.Span) { root.AddEvent(semconv.DBRepeatedEvent) })
		}
		synctest.Wait()
		if kept := p.Recorder.Stats().Kept[keep.ReasonRepeats]; kept < 3 || kept > 40 {
			t.Errorf("%d of %d kept in a minute", kept, n)
		}
	})
}

// One ordinary trace a minute of an operation is kept, and says for how many it stands.
func TestOrdinary(t *testing.T) {
	bubble(t, keep.Options{Slow: -1}, func(t *testing.T, p *process) {
		const n = 600
		for range n {
			p.request("GET /", time.Second, nil)
		}
		synctest.Wait()
		ordinary, sum := 0, 0.0
		for id, reason := range p.client.reasons() {
			if reason == keep.ReasonOrdinary {
				ordinary++
				sum += p.client.weight(id)
			}
		}
		if ordinary < n/60-2 || ordinary > n/60 || sum < n-120 || sum > n {
			t.Errorf("%d ordinary traces that stand for %v of %d", ordinary, sum, n)
		}
	})
}

// What comes late of a kept trace is sent at once, and so are the parts of a long one.
func TestLateSpans(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		p.request("GET /", 0, nil)
		ctx, root := p.Start(context.Background(), "GET /")
		for range 600 { // more than the tracer holds back
			_, child := dendro.Start(ctx, "child")
			child.End()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		id := root.Context().TraceID
		testkit.Equal(t, "spans before the error", len(p.client.spans(id)), 0)
		_, failed := dendro.Start(ctx, "failed")
		failed.SetStatus(dendro.StatusError, "")
		failed.End()
		synctest.Wait()
		testkit.Equal(t, "spans after it", len(p.client.spans(id)), 601)
		_, child := dendro.Start(ctx, "late")
		root.End()
		testkit.Equal(t, "spans with the root", len(p.client.spans(id)), 602)
		child.End()
		testkit.Equal(t, "spans at the end", len(p.client.spans(id)), 603)

		// And minutes later, as a consumer of a message.
		time.Sleep(5 * time.Minute)
		_, consumer := p.StartWith(context.Background(), "consume", dendro.StartOptions{Parent: root.Context(), Kind: dendro.KindConsumer})
		testkit.Equal(t, "what the consumer propagates", consumer.Context().Flags.Sampled(), true)
		consumer.End()
		testkit.Equal(t, "spans with the consumer", len(p.client.spans(id)), 604)
	})
}

// A trace that another process keeps is sent as far as the ring has it.
func TestAsked(t *testing.T) {
	bubble(t, keep.Options{RingBytes: 1 << 20}, func(t *testing.T, p *process) {
		p.request("GET /", 0, nil)
		old := p.request("GET /", 0, nil)
		for range 30_000 {
			p.request("GET /", 0, nil)
		}
		recent := p.request("GET /", 0, nil)
		asked := []keep.Announcement{{TraceID: old}, {TraceID: recent}, {TraceID: dendro.TraceID{1}}}
		p.Keep(asked)
		p.Keep(asked)
		synctest.Wait()
		testkit.Equal(t, "the recent one", p.client.spans(recent), []string{"GET /", "child"})
		testkit.Equal(t, "the old one", p.client.spans(old), []string(nil))
		testkit.Equal(t, "reasons", p.client.reasons()[recent], "")
		s := p.Recorder.Stats()
		testkit.Equal(t, "asked", s.Asked, uint64(3))
		testkit.Equal(t, "found", s.Found, uint64(1))
		if s.RingBytes > 1<<20 {
			t.Errorf("the ring has %d bytes", s.RingBytes)
		}
		if as := p.announced(); as[recent] != "" {
			t.Errorf("what others have announced is announced again: %v", as)
		}
	})
}

// While the client has no room, kept traces wait in the ring. Those with the highest priority are sent
// first.
func TestFullQueue(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		fail := func(_ context.Context, root, _ *dendro.Span) { root.SetStatus(dendro.StatusError, "") }
		p.request("GET /", 0, nil)
		kept := p.request("GET /", 0, fail)
		synctest.Wait()
		testkit.Equal(t, "before", p.client.spans(kept), []string{"GET /", "child"})
		p.client.setFull(true)
		failed := p.request("GET /", 0, fail)
		_, late := p.StartWith(context.Background(), "late", dendro.StartOptions{Parent: dendro.SpanContext{TraceID: kept, SpanID: dendro.SpanID{1}}})
		late.End()
		time.Sleep(10 * time.Second)
		testkit.Equal(t, "meanwhile", p.client.spans(failed), []string(nil))
		testkit.Equal(t, "pending", p.Recorder.Stats().Pending > 0, true)
		p.client.setFull(false)
		time.Sleep(10 * time.Second)
		testkit.Equal(t, "after", p.client.spans(failed), []string{"GET /", "child"})
		testkit.Equal(t, "late", slices.Contains(p.client.spans(kept), "late"), true)
		testkit.Equal(t, "pending", p.Recorder.Stats().Pending, 0)
		testkit.Equal(t, "lost", p.Recorder.Stats().Lost, map[string]uint64(nil))
	})
}

// In a storm of errors, a share of the traces is kept, the same one in every process, and says for how many
// each stands.
func TestStorm(t *testing.T) {
	kept := make([]map[dendro.TraceID]string, 2)
	ids := make([]dendro.SpanContext, 20_000)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range ids {
		for j := range 16 {
			ids[i].TraceID[j] = byte(r.Uint32())
		}
		ids[i].SpanID = dendro.SpanID{1}
	}
	for i := range kept {
		bubble(t, keep.Options{Limit: 10}, func(t *testing.T, p *process) {
			weights := 0.0
			for _, parent := range ids {
				_, span := p.StartWith(context.Background(), "GET /", dendro.StartOptions{Parent: parent})
				time.Sleep(time.Millisecond)
				span.SetStatus(dendro.StatusError, "down")
				span.End()
			}
			synctest.Wait()
			kept[i] = p.client.reasons()
			for id := range kept[i] {
				weights += p.client.weight(id)
			}
			if n := len(kept[i]); n < 150 || n > 300 { // 20 seconds of 10, and the first one
				t.Errorf("%d kept", n)
			}
			if weights < 0.7*float64(len(ids)) || weights > 1.3*float64(len(ids)) {
				t.Errorf("they stand for %v of %d", weights, len(ids))
			}
		})
	}
	testkit.Equal(t, "the other process", kept[0], kept[1])
}

func TestHold(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		p.request("GET /", 0, nil)
		p.Hold(time.Minute)
		during := p.request("GET /", time.Second, nil)
		time.Sleep(time.Minute)
		after := p.request("GET /", 0, nil)
		p.Hold(time.Minute)
		p.Hold(0)
		ended := p.request("GET /", 0, nil)
		synctest.Wait()
		testkit.Equal(t, "during", p.client.reasons()[during], keep.ReasonHold)
		testkit.Equal(t, "after", p.client.reasons()[after], keep.ReasonOrdinary)
		testkit.Equal(t, "ended", p.client.spans(ended), []string(nil))
		if as := p.announced(); as[during] != "" {
			t.Errorf("announced: %v", as)
		}
	})
}

func TestRulesOfTheCollector(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		err := p.SetRules([]keep.Rule{{Name: "bad", Query: "{ name = "}})
		if err == nil || !strings.HasPrefix(err.Error(), "rule bad: ") {
			t.Errorf("error %v", err)
		}
		if err := p.SetRules([]keep.Rule{{Name: "metrics", Query: "{} | rate()"}}); err == nil {
			t.Error("no error for metrics")
		}
		p.request("GET /", 0, nil)
		testkit.NoError(t, p.SetRules([]keep.Rule{{Name: "all", Query: "{}", Limit: 60}}))
		for range 1000 {
			p.request("GET /", 10*time.Millisecond, nil)
		}
		synctest.Wait()
		if n := p.Recorder.Stats().Kept["all"]; n < 1 || n > 80 {
			t.Errorf("%d kept in ten seconds by a rule that keeps one a second", n)
		}
	})
}

// Announcements are not lost when they cannot be delivered, and are repeated for a new collector.
func TestAnnouncements(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		fail := func(_ context.Context, root, _ *dendro.Span) { root.SetStatus(dendro.StatusError, "") }
		first, second := p.request("GET /", 0, fail), p.request("GET /", 0, fail)
		p.WaitAnnouncements(t.Context())
		as := p.Announcements(1)
		testkit.Equal(t, "first", as, []keep.Announcement{{TraceID: first, Reason: keep.ReasonError}})
		p.Unannounced(as)
		as = p.Announcements(10)
		testkit.Equal(t, "both", []dendro.TraceID{as[0].TraceID, as[1].TraceID}, []dendro.TraceID{first, second})
		time.Sleep(30 * time.Second)
		p.Reannounce()
		testkit.Equal(t, "again", len(p.announced()), 2)
		time.Sleep(2 * time.Minute)
		p.Reannounce()
		testkit.Equal(t, "too late", len(p.announced()), 0)
	})
}

// Recording a trace that is not kept allocates nothing.
func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	r := keep.New(new(client), keep.Options{RingBytes: 4 << 20, Slow: -1, Sample: -1})
	b, next := traces()
	for range 20_000 {
		next()
		testkit.NoError(t, r.Collect(b))
	}
	if n := testing.AllocsPerRun(5000, func() {
		next()
		_ = r.Collect(b)
	}); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

// traces returns a batch of a request with a query, and a function that makes it that of another trace.
func traces() (*dendro.Batch, func()) {
	attrs := func(n int) (out []slog.Attr) {
		for i := range n {
			out = append(out, slog.String(fmt.Sprintf("some.attribute.%d", i), "value"))
		}
		return out
	}
	now := time.Now().UnixNano()
	child := &dendro.SpanData{Name: "SELECT orders", Kind: dendro.KindClient, ParentID: dendro.SpanID{1}, Start: now, End: now + 1e6, Attributes: attrs(8), Scope: &dendro.Scope{}}
	root := &dendro.SpanData{Name: "GET /orders/{id}", Kind: dendro.KindServer, Start: now, End: now + 2e6, Attributes: attrs(10), Scope: child.Scope}
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: attrs(5)}, Spans: []*dendro.SpanData{child, root}, Fresh: true, Last: true}
	rnd := rand.New(rand.NewPCG(1, 2))
	return b, func() {
		var id dendro.TraceID
		for i := range id {
			id[i] = byte(rnd.Uint32())
		}
		child.TraceID, root.TraceID, root.SpanID, child.SpanID = id, id, dendro.SpanID{1}, dendro.SpanID(id[:8])
	}
}

func BenchmarkCollect(b *testing.B) {
	r := keep.New(new(client), keep.Options{Sample: -1})
	batch, next := traces()
	b.ReportAllocs()
	for b.Loop() {
		next()
		_ = r.Collect(batch)
	}
}

// A trace that is larger than what the client takes at once does not keep the others waiting.
func TestLargeTrace(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		p.client.most = 7
		p.request("GET /", 0, nil)
		ctx, root := p.Start(context.Background(), "GET /")
		for range 3000 {
			_, child := dendro.Start(ctx, "child")
			child.End()
		}
		root.SetStatus(dendro.StatusError, "")
		root.End()
		small := p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) { root.SetStatus(dendro.StatusError, "") })
		testkit.NoError(t, p.Tracer.Flush(t.Context()))
		testkit.Equal(t, "the large one", len(p.client.spans(root.Context().TraceID)), 3001)
		testkit.Equal(t, "a small one", len(p.client.spans(small)), 2)
	})
}

// A program keeps a trace whatever else it is.
func TestKeepByHand(t *testing.T) {
	bubble(t, keep.Options{}, func(t *testing.T, p *process) {
		p.request("GET /", 0, nil)
		noReason := p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) { root.Keep("") })
		full := p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) {
			for i := range 200 {
				root.SetAttributes(slog.Int(fmt.Sprint("key ", i), i))
			}
			root.Keep("refund")
			root.Keep("refund of gold")
		})
		synctest.Wait()
		testkit.Equal(t, "without a reason", p.client.reasons()[noReason], "program")
		testkit.Equal(t, "with many attributes", p.client.reasons()[full], "refund of gold")
	})
}

// Traces that are sampled are sent as they end, with a reason if there is one, and are not announced.
func TestSampledTraces(t *testing.T) {
	bubble(t, keep.Options{Sample: 1}, func(t *testing.T, p *process) {
		id := p.request("GET /", 0, func(_ context.Context, root, _ *dendro.Span) { root.SetStatus(dendro.StatusError, "") })
		testkit.Equal(t, "sent", p.client.spans(id), []string{"GET /", "child"})
		testkit.Equal(t, "reason", p.client.reasons()[id], keep.ReasonError)
		testkit.Equal(t, "announced", len(p.announced()), 0)
	})
}

// At the end, what there is room for is sent, the rest is counted, and nothing more is taken.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(client)
		r := keep.New(c, keep.Options{Sample: -1})
		p := &process{dendro.New(dendro.Options{Collector: r}), r, c}
		first := p.request("GET /", 0, nil)
		c.setFull(true)
		second := p.request("GET /new", 0, nil)
		third := p.request("GET /newer", 0, nil)
		c.setFull(false)
		c.after = 1
		r.Close()
		sent := 0
		for _, id := range []dendro.TraceID{first, second, third} {
			sent += len(c.spans(id)) / 2
		}
		testkit.Equal(t, "sent", sent, 1)
		testkit.Equal(t, "lost", r.Stats().Lost, map[string]uint64{keep.LostShutdown: 2})
		p.request("GET /", 0, nil)
		testkit.Equal(t, "dropped", p.Tracer.Stats().Dropped, map[string]uint64{"shutdown": 2})
	})
}
