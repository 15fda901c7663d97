package web_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func newHub(t testing.TB, rules ...keep.Rule) *keep.Hub {
	hub, err := keep.NewHub(keep.HubOptions{Rules: rules})
	testkit.NoError(t, err)
	return hub
}

// kept returns the announcement of a trace of the tests.
func kept(trace byte, reason string) []keep.Announcement {
	return []keep.Announcement{{TraceID: dendro.TraceID{15: trace}, Reason: reason}}
}

// keptFor gives a span a reason.
func keptFor(s collector.Span, reason string, weight float64) collector.Span {
	s.Attributes = append(s.Attributes, slog.String(dendro.KeepReason, reason), slog.Float64(keep.WeightKey, weight))
	return s
}

// ask sends a request to h from this machine and returns the answer.
func ask(h http.Handler, method, path string, fields url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(fields.Encode()))
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Who may read asks all processes for a trace, or has them keep everything for some time. A page of another site cannot.
func TestAskToKeep(t *testing.T) {
	const path = "/api/dendro/keep"
	for _, test := range []struct {
		fields url.Values
		header []string
		status int
		text   string // of the answer, or where it leads to
		asked  int
		hold   time.Duration
	}{
		{url.Values{"trace": {"1"}}, nil, 204, "", 1, 0},
		{url.Values{"trace": {"1", traceOne, "2"}}, nil, 204, "", 2, 0},
		{url.Values{"trace": {"1"}}, []string{"Accept", "text/html"}, 303, "./../../trace/" + traceOne, 1, 0},
		{url.Values{"hold": {"300"}}, nil, 204, "", 0, 300 * time.Second},
		{url.Values{"hold": {"300"}}, []string{"Accept", "text/html"}, 303, "./../../?view=kept", 0, 300 * time.Second},
		{url.Values{"hold": {"3601"}}, nil, 400, "from 0 to 3600", 0, 0},
		{url.Values{"hold": {"-1"}}, nil, 400, "from 0 to 3600", 0, 0},
		{url.Values{"trace": {"1", "x"}}, nil, 400, `"x" is not a trace id`, 0, 0},
		{url.Values{"trace": {"1"}, "hold": {"x"}}, nil, 400, "from 0 to 3600", 0, 0},
		{url.Values{}, nil, 400, "want trace=ID", 0, 0},
		{url.Values{"trace": {strings.Repeat("1", 65<<10)}}, nil, 413, "too large", 0, 0},
		{url.Values{"trace": {"1"}}, []string{"Sec-Fetch-Site", "same-origin"}, 204, "", 1, 0},
		{url.Values{"trace": {"1"}}, []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site", 0, 0},
		{url.Values{"hold": {"300"}}, []string{"Origin", "https://evil.example"}, 403, "another site", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			hub := newHub(t)
			got := ask(web.New(&fakeStore{}, web.Options{Keep: hub}), http.MethodPost, path, test.fields, test.header...)
			name := test.fields.Encode()[:min(len(test.fields.Encode()), 40)] + " " + strings.Join(test.header, " ")
			testkit.Equal(t, name+": status", got.Code, test.status)
			has(t, got.Body.String()+got.Header().Get("Location"), test.text)
			testkit.Equal(t, name+": asked", len(hub.Kept()), test.asked)
			testkit.Equal(t, name+": hold", hub.Stats().Hold, test.hold)
			for _, k := range hub.Kept() {
				testkit.Equal(t, name+": reason", k.Reason, keep.ReasonRequest)
			}
		})
	}
	hub := newHub(t)
	h := web.New(&fakeStore{}, web.Options{Keep: hub, Authorize: func(*http.Request) bool { return false }})
	testkit.Equal(t, "status without permission", ask(h, http.MethodPost, path, url.Values{"trace": {"1"}}).Code, http.StatusForbidden)
	testkit.Equal(t, "asked without permission", len(hub.Kept()), 0)
	h = web.New(&fakeStore{}, web.Options{Keep: hub})
	testkit.Equal(t, "status of DELETE", ask(h, http.MethodDelete, path, nil).Code, http.StatusMethodNotAllowed)
	testkit.Equal(t, "status of a POST elsewhere", ask(h, http.MethodPost, "/trace/1", url.Values{"trace": {"1"}}).Code, http.StatusMethodNotAllowed)
	h = web.New(&fakeStore{}, web.Options{})
	testkit.Equal(t, "status without a hub", ask(h, http.MethodPost, path, url.Values{"trace": {"1"}}).Code, http.StatusNotFound)
	testkit.Equal(t, "GET without a hub", ask(h, http.MethodGet, path, nil).Code, http.StatusNotFound)
}

// A kept trace is whole if it has a root, and the parent of each span. Those that were kept just now or long ago do not count.
func TestCoherence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t)
		store := &fakeStore{}
		h := web.New(store, web.Options{Keep: hub})
		hub.Announce("shop", kept(9, "old")) // and dropped by the store since
		time.Sleep(15 * time.Minute)
		store.add(threeCalls(1)...)
		store.add(threeCalls(2)[1:]...)
		store.add(span(3, 1, 0, "shop", "GET /", 0, 9), span(3, 3, 2, "b", "lost its parent", 1, 2), span(3, 5, 4, "b", "too", 1, 2))
		for trace, reason := range map[byte]string{1: "error", 2: "error", 3: "slow", 4: "slow"} {
			hub.Announce("shop", kept(trace, reason))
		}
		time.Sleep(5 * time.Second)
		hub.Announce("prices", kept(5, "new"))

		var got struct {
			Kept   map[string]int
			Traces []struct {
				TraceID, Reason, Service, RootName, Missing string
				Spans                                       int
			}
			Coherence struct{ Traces, Whole int }
		}
		testkit.NoError(t, json.Unmarshal(ask(h, http.MethodGet, "/api/dendro/keep", nil).Body.Bytes(), &got))
		testkit.Equal(t, "coherence", got.Coherence, struct{ Traces, Whole int }{4, 1})
		testkit.Equal(t, "reasons", got.Kept, map[string]int{"old": 1, "error": 2, "slow": 2, "new": 1})
		missing := map[string]string{}
		for _, k := range got.Traces {
			missing[k.TraceID[31:]] = k.Missing
		}
		testkit.Equal(t, "missing", missing, map[string]string{"1": "", "2": "root, 1 parent", "3": "2 parents", "4": "not found", "5": "not found", "9": "not found"})
		testkit.Equal(t, "newest", []string{got.Traces[0].TraceID[31:], got.Traces[0].Service}, []string{"5", "prices"})

		page := ask(h, http.MethodGet, "/?view=kept", nil).Body.String()
		has(t, page, `<b class="slower">25.0 %</b> of 4`, `<td class="num">arriving</td>`, `<td class="num bad">root, 1 parent</td>`, "A call whose server has sent nothing at all cannot be seen")
	})
}

// Of many kept traces a page reads a bounded number, and says how many of them are whole.
func TestCoherenceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t)
		announce := func(n int, from int) {
			for i := range n {
				hub.Announce("shop", []keep.Announcement{{TraceID: dendro.TraceID{1: byte(from), 14: byte(i >> 8), 15: byte(i)}, Reason: "error"}})
			}
		}
		announce(200, 1)
		time.Sleep(10 * time.Second)
		announce(200, 2)
		var got struct {
			Traces    []struct{ TraceID string }
			Coherence struct{ Traces, Whole int }
		}
		h := web.New(&fakeStore{}, web.Options{Keep: hub})
		testkit.NoError(t, json.Unmarshal(ask(h, http.MethodGet, "/api/dendro/keep", nil).Body.Bytes(), &got))
		testkit.Equal(t, "traces", len(got.Traces), 120)
		testkit.Equal(t, "counted", got.Coherence.Traces, 100)
	})
}

// The page of kept traces says what the processes have, and everything in it is text.
func TestKeptPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t, keep.Rule{Name: "slow-pay", Query: `{ span.http.route = "/pay" && duration > 2s }`, Limit: 7})
		h := web.New(&fakeStore{}, web.Options{Keep: hub})
		shown := func() string { return ask(h, http.MethodGet, "/?view=kept", nil).Body.String() }
		has(t, shown(), "No process keeps its spans yet", "OTEL_TRACES_SAMPLER=dendro_retroactive")

		for lost := range uint64(3) {
			hub.Report("shop<b>", "1234567890", keep.Report{RingAge: 4*time.Minute + 10*time.Second, RingBytes: 1 << 20, RingMaxBytes: 4 << 20, Asked: 9, Found: 8, Lost: map[string]uint64{"pending": 1 + lost}})
		}
		hub.Report("prices", "x", keep.Report{RingAge: time.Minute})
		hub.Announce("shop<b>", kept(1, `refund "<b>"`))
		hub.Hold(5 * time.Minute)
		const query = "?q=%7b%20span.dendro.keep.reason%20%3d%20%22refund%20%5c%22%3cb%3e%5c%22%22%20%7d"
		has(t, shown(), "the last 1m 00s", "4m 10s", "25.0 %", "8 of 9", "pending 2", "<b><bdi>slow-pay</bdi></b>", "7 a minute", "shop&lt;b&gt;", `refund &#34;&lt;b&gt;&#34;`,
			"Everything is kept", "for another 5m 00s", `name="hold" value="0"`, "End now", `href="`+query+`"`)
		testkit.Equal(t, "status of the traces with a reason", ask(h, http.MethodGet, "/"+query, nil).Code, http.StatusOK)
		hub.Hold(0)
		has(t, shown(), `name="hold" value="300"`, "Keep everything for 5 minutes")

		has(t, ask(h, http.MethodGet, "/", nil).Body.String(), `<a href="./?view=kept">Kept</a>`)
		if body := ask(web.New(&fakeStore{}, web.Options{}), http.MethodGet, "/", nil).Body.String(); strings.Contains(body, "view=kept") {
			t.Error("there is a link to a page without a hub")
		}
		for i := range 30 {
			hub.Report("many", strconv.Itoa(i), keep.Report{})
		}
		has(t, shown(), "12 more are not shown")
	})
}

// The page of a trace says why it was kept.
func TestReasonOfTrace(t *testing.T) {
	store := &fakeStore{}
	spans := threeCalls(1)
	spans[2] = keptFor(spans[2], "error", 12.2)
	spans[4] = keptFor(spans[4], "error", 12.2)
	spans[0] = keptFor(spans[0], "slow<b>", 1)
	store.add(append(spans, keptFor(span(1, 8, 1, "shop", "again", 1, 2), "slow<b>", 1), keptFor(span(1, 9, 1, "shop", "another", 2, 3), "refund", 1))...)
	sampled := span(2, 1, 0, "shop", "GET /", 0, 1)
	sampled.Flags = dendro.FlagSampled
	store.add(sampled)
	store.add(span(3, 1, 0, "shop", "GET /", 0, 1))
	hub := newHub(t)
	hub.Announce("", kept(3, keep.ReasonRequest))
	hub.Report("shop", "a", keep.Report{})
	server := serve(t, store, web.Options{Keep: hub})

	const reasons = `<bdi>slow&lt;b&gt;</bdi></span> by <bdi>shop</bdi>; <span title=""><bdi>refund</bdi></span> by <bdi>shop</bdi>; ` +
		`<span title="A span has an error."><bdi>error</bdi></span> by <bdi>service1</bdi>, stands for 12 traces; `
	has(t, followed(t, server.URL+"/trace/1").body, reasons)
	has(t, followed(t, server.URL+"/trace/2").body, "sampled when it began")
	has(t, followed(t, server.URL+"/trace/3").body, `<span title="Somebody has asked for it."><bdi>request</bdi></span></dd>`)

	// Without a hub, what is known is in the spans. A page that is a file has no form.
	body := followed(t, serve(t, store, web.Options{}).URL+"/trace/1").body + followed(t, server.URL+"/api/dendro/traces/1/html").body
	testkit.Equal(t, "pages with the reason", strings.Count(body, reasons), 2)
	if body += followed(t, serve(t, store, web.Options{}).URL+"/trace/2").body; strings.Contains(body, "sampled when it began") || strings.Contains(body, "api/dendro/keep") {
		t.Errorf("somebody could be asked:\n%s", body)
	}
}

// The page of a trace, also of one that is not here, has a button to ask the processes for it, unless they were asked or
// there are none.
func TestFetchTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t)
		store := &fakeStore{}
		store.add(threeCalls(1)...)
		h := web.New(store, web.Options{Keep: hub})
		const form = `<form id="fetch" method="post" action="../api/dendro/keep"><input type="hidden" name="trace" value="`
		shows := func(path string, wants ...string) string {
			t.Helper()
			body := ask(h, http.MethodGet, path, nil).Body.String()
			has(t, body, wants...)
			return body
		}
		no := func(body string) {
			t.Helper()
			if strings.Contains(body, form) {
				t.Errorf("there is a button:\n%s", body)
			}
		}
		no(shows("/trace/1"))
		no(shows("/trace/2", "No process is connected"))
		no(shows("/trace/xyz", "not a trace id"))
		hub.Report("shop", "a", keep.Report{RingAge: 90 * time.Second})
		shows("/trace/1", form+traceOne, "Fetch the rest")
		shows("/trace/2", form+"00000000000000000000000000000002", "the memory of a process, which has the last 1m 30s")
		for _, trace := range []string{"1", "2"} {
			testkit.Equal(t, "status", ask(h, http.MethodPost, "/api/dendro/keep", url.Values{"trace": {trace}}).Code, http.StatusNoContent)
		}
		no(shows("/trace/1", "<main id=\"trace\" data-trace=\""+traceOne+"\" data-waiting>", "Somebody has asked for it"))
		no(shows("/trace/2", "Waiting for the trace", `data-wait="00000000000000000000000000000002"`, "wait.js"))
		time.Sleep(31 * time.Second)
		no(shows("/trace/2", "There is no such trace", "All processes were asked for it", "none has sent it"))
	})
}
