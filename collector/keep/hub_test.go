package keep_test

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func newHub(t testing.TB, rules ...keep.Rule) *keep.Hub {
	h, err := keep.NewHub(keep.HubOptions{Rules: rules})
	testkit.NoError(t, err)
	return h
}

func announcement(n byte, reason string) keep.Announcement {
	return keep.Announcement{TraceID: dendro.TraceID{n}, Reason: reason}
}

// news returns what there is without waiting.
func news(h *keep.Hub, next string) keep.News {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return h.Wait(ctx, next)
}

func TestHubPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		h.Announce("shop", []keep.Announcement{announcement(1, "error")})
		first := h.Wait(t.Context(), "")
		testkit.Equal(t, "a new process is told of", first.Keep, []keep.Announcement{announcement(1, "error")})
		testkit.Equal(t, "restarted", first.Restarted, true)

		heard := make(chan keep.News, 1)
		go func() { heard <- h.Wait(t.Context(), first.Next) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		testkit.Equal(t, "heard while nothing is new", len(heard), 0)
		at := time.Now()
		h.Announce("shop", []keep.Announcement{announcement(2, "slow"), announcement(1, "error"), announcement(2, "error")})
		got := <-heard
		testkit.Equal(t, "it takes", time.Since(at), time.Duration(0))
		testkit.Equal(t, "news", got.Keep, []keep.Announcement{announcement(2, "slow")})
		testkit.Equal(t, "restarted", got.Restarted || got.Changed || got.Missed > 0, false)

		// Shortly after, news are gathered.
		go func() { heard <- h.Wait(t.Context(), got.Next) }()
		synctest.Wait()
		for n := byte(10); n < 15; n++ {
			h.Announce("shop", []keep.Announcement{announcement(n, "error")})
			time.Sleep(time.Millisecond)
		}
		got = <-heard
		testkit.Equal(t, "gathered", len(got.Keep), 5)
		s := h.Stats()
		testkit.Equal(t, "announced", s.Announced, uint64(9))
		testkit.Equal(t, "repeated", s.Repeated, uint64(2))
		testkit.Equal(t, "kept", s.Kept, map[string]uint64{"error": 6, "slow": 1})
		testkit.Equal(t, "the last one", h.Kept()[0].Announcement, announcement(14, "error"))
		h.Close()
		testkit.Equal(t, "after the end", len(h.Wait(t.Context(), got.Next).Keep), 0)
	})
}

// A process that is too slow learns how much it has missed, and one of an earlier hub that this is another.
func TestHubMissed(t *testing.T) {
	h := newHub(t)
	next := news(h, "").Next
	const n = 200_000
	for i := range n {
		h.Announce("", []keep.Announcement{{TraceID: dendro.TraceID{1, byte(i), byte(i >> 8), byte(i >> 16)}}})
	}
	heard, missed := 0, uint64(0)
	for {
		got := news(h, next)
		if len(got.Keep) == 0 {
			break
		}
		heard, missed, next = heard+len(got.Keep), missed+got.Missed, got.Next
	}
	testkit.Equal(t, "heard and missed", uint64(heard)+missed, uint64(n))
	if missed == 0 || missed > n-1<<16 {
		t.Errorf("missed %d of %d", missed, n)
	}
	testkit.Equal(t, "listed", len(h.Kept()), 1000)
	other := newHub(t)
	other.Announce("shop", []keep.Announcement{announcement(1, "error")}) // by a process that was faster
	got := news(other, next)
	testkit.Equal(t, "restarted", got.Restarted, true)
	testkit.Equal(t, "announced to the other hub", got.Keep, []keep.Announcement{announcement(1, "error")})
	testkit.Equal(t, "after that", len(news(other, got.Next).Keep), 0)
	for _, wrong := range []string{"x", "a.b.c", "a.1.2.3", strings.Split(next, ".")[0] + ".99999999.0"} {
		testkit.Equal(t, "restarted with "+wrong, news(h, wrong).Restarted, true)
	}
}

// A new process hears of what others have announced last: its first requests may have failed, or taken longer than theirs.
func TestHubTellsNewProcess(t *testing.T) {
	h := newHub(t)
	const n = 5000
	for i := range n {
		h.Announce("shop", []keep.Announcement{{TraceID: dendro.TraceID{1, byte(i), byte(i >> 8)}}})
	}
	got := news(h, "")
	testkit.Equal(t, "announcements", len(got.Keep), 4096)
	testkit.Equal(t, "the last one", got.Keep[4095].TraceID, dendro.TraceID{1, byte((n - 1) % 256), byte((n - 1) >> 8)})
	testkit.Equal(t, "missed", got.Missed, uint64(0))
	testkit.Equal(t, "afterwards", len(news(h, got.Next).Keep), 0)
}

func TestHubOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, keep.Rule{Name: "pay", Query: `{ span.http.route = "/pay" }`})
		got := news(h, "")
		testkit.Equal(t, "rules", len(got.Rules), 1)
		testkit.Equal(t, "nothing new", news(h, got.Next).Changed, false)
		h.Hold(5 * time.Minute)
		got = news(h, got.Next)
		testkit.Equal(t, "hold", got.Hold, 5*time.Minute)
		time.Sleep(2 * time.Minute)
		testkit.Equal(t, "rest for a new process", news(h, "").Hold, 3*time.Minute)
		h.Hold(0)
		got = news(h, got.Next)
		testkit.Equal(t, "ended", got.Changed && got.Hold == 0, true)
		if err := h.SetRules([]keep.Rule{{Name: "x", Query: "{"}}); err == nil {
			t.Error("no error for a rule that is not valid")
		}
		testkit.Equal(t, "rules after an error", len(h.Stats().Rules), 1)

		h.Report("shop", "a", keep.Report{RingAge: time.Minute})
		h.Report("shop", "b", keep.Report{RingAge: time.Second})
		testkit.Equal(t, "processes", len(h.Stats().Processes), 2)
		time.Sleep(4 * time.Minute)
		h.Report("shop", "b", keep.Report{RingAge: 2 * time.Second})
		time.Sleep(2 * time.Minute)
		processes := h.Stats().Processes
		testkit.Equal(t, "processes that still report", len(processes), 1)
		testkit.Equal(t, "age of the ring", processes[0].RingAge, 2*time.Second)
	})
}

// When all processes together announce too much, they are told to keep less, and more again afterwards.
func TestHubLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := keep.NewHub(keep.HubOptions{Limit: 100})
		testkit.NoError(t, err)
		p := &process{client: new(client)}
		p.Recorder = keep.New(p.client, keep.Options{Sample: -1, Limit: 10_000})
		p.Tracer = dendro.New(dendro.Options{Service: "shop", Collector: p.Recorder})
		next := news(h, "").Next
		fail := func(_ context.Context, root, _ *dendro.Span) { root.SetStatus(dendro.StatusError, "") }
		second := func(requests int) (announced int) {
			for range requests {
				p.request("GET /", time.Second/time.Duration(requests), fail)
			}
			as := p.Announcements(10_000)
			h.Announce("shop", as)
			if n := news(h, next); n.Changed {
				next = n.Next
				p.SetShare(n.Share)
			}
			return len(as)
		}
		for range 10 {
			second(5000)
		}
		for range 10 {
			if n := second(5000); n < 50 || n > 200 {
				t.Errorf("%d were announced in a second", n)
			}
		}
		for range 10 {
			second(20)
		}
		testkit.Equal(t, "afterwards", second(20), 20)
		testkit.Equal(t, "share", h.Stats().Share, 1.0)
	})
}

func FuzzMessage(f *testing.F) {
	for _, m := range []keep.Message{
		{Service: "shop", Instance: "i", Keep: []keep.Announcement{announcement(1, "error")}},
		{Instance: "i", Report: &keep.Report{RingAge: time.Second, Kept: map[string]uint64{"slow": 2}}},
	} {
		data, err := json.Marshal(m)
		testkit.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"instance":"i","keep":[{"traceId":"00000000000000000000000000000000"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := keep.DecodeMessage(data)
		if err != nil {
			return
		}
		h := newHub(t)
		h.Announce(m.Service, m.Keep)
		if m.Report != nil {
			h.Report(m.Service, m.Instance, *m.Report)
		}
		for _, k := range h.Kept() {
			if !k.TraceID.IsValid() || len(k.Reason) > 64 || len(k.Service) > 256 {
				t.Errorf("kept: %+v", k)
			}
		}
		if _, err := json.Marshal(news(h, "")); err != nil {
			t.Error(err)
		}
	})
}

func FuzzNews(f *testing.F) {
	h := newHub(f, keep.Rule{Name: "pay", Query: "{}"})
	data, err := json.Marshal(news(h, ""))
	testkit.NoError(f, err)
	f.Add(data)
	r := keep.New(new(client), keep.Options{RingBytes: 1 << 20})
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := keep.DecodeNews(data)
		if err != nil {
			return
		}
		r.Keep(n.Keep)
		r.Hold(n.Hold)
		r.SetShare(n.Share)
		_ = r.SetRules(n.Rules)
		news(h, n.Next)
	})
}

// The hub counts what processes lose after their first report, also of those that have gone. What a process says is bounded.
func TestHubReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		lost := func(n uint64) keep.Report {
			return keep.Report{RingAge: time.Duration(n) * time.Second, Lost: map[string]uint64{keep.LostPending: n}}
		}
		h.Report("shop", "a", lost(7))
		h.Report("shop", "a", lost(9))
		h.Report("prices", "b", lost(0))
		h.Report("prices", "b", lost(3))
		testkit.Equal(t, "lost", h.Stats().Lost, map[string]uint64{keep.LostPending: 5})
		h.Report("search", "empty", keep.Report{}) // which has recorded nothing yet
		testkit.Equal(t, "age of the rings", h.Stats().RingAge(), 3*time.Second)
		time.Sleep(5*time.Minute + time.Second)
		testkit.Equal(t, "processes", len(h.Stats().Processes), 0)
		h.Report("shop", "a", lost(9))
		h.Report("shop", "a", lost(1))
		testkit.Equal(t, "lost by those that have gone", h.Stats().Lost, map[string]uint64{keep.LostPending: 5})

		many := keep.Report{Kept: map[string]uint64{}}
		for i := range 1000 {
			many.Kept[strings.Repeat("x", 100+i)+"\n"] = 1
			many.Kept[strconv.Itoa(i)] = 1
		}
		h.Report("hostile", "c", many)
		sum := uint64(0)
		for reason, n := range h.Stats().Processes[0].Kept {
			if len(reason) > 64 {
				t.Errorf("a reason of %d bytes", len(reason))
			}
			sum += n
		}
		testkit.Equal(t, "reasons and traces", []uint64{uint64(len(h.Stats().Processes[0].Kept)), sum}, []uint64{65, 2000})
	})
}

// Find knows traces that are no longer listed.
func TestHubFind(t *testing.T) {
	h := newHub(t)
	id := func(n int) dendro.TraceID { return dendro.TraceID{14: byte(n >> 8), 15: byte(n)} }
	const forgotten = 3000
	for n := range forgotten {
		h.Announce("shop", []keep.Announcement{{id(n + 1), keep.ReasonError}})
	}
	k, ok := h.Find(id(forgotten))
	testkit.Equal(t, "newest", []any{ok, k.Reason, k.Service}, []any{true, keep.ReasonError, "shop"})
	k, ok = h.Find(id(1))
	testkit.Equal(t, "oldest", []any{ok, k.TraceID, k.Reason}, []any{true, id(1), ""})
	_, ok = h.Find(id(forgotten + 1))
	testkit.Equal(t, "unknown", ok, false)
}
