package integration

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/remote"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// openBrowserThatKeeps is openBrowser for a page of a process that keeps its spans, of which two traces were kept.
func openBrowserThatKeeps(t *testing.T, store collector.Store) *browser {
	hub, err := keep.NewHub(keep.HubOptions{Rules: []keep.Rule{{Name: "slow-pay", Query: `{ span.http.route = "/pay" && duration > 2s }`}}})
	testkit.NoError(t, err)
	hub.Report("shop", "1", keep.Report{RingAge: time.Minute, Lost: map[string]uint64{keep.LostPending: 1}})
	hub.Announce("shop", []keep.Announcement{{TraceID: dendro.TraceID{15: 2}, Reason: keep.ReasonError}, {TraceID: dendro.TraceID{15: 0x77}, Reason: "refund"}})
	server := httptest.NewServer(web.New(store, web.Options{Keep: hub}))
	t.Cleanup(server.Close)
	return openBrowserAt(t, server.URL, "")
}

// TestBrowserKeep asks a process for traces that it has kept for itself, and has it keep everything.
func TestBrowserKeep(t *testing.T) {
	store := memory.New(memory.Options{})
	hub, err := keep.NewHub(keep.HubOptions{Rules: []keep.Rule{{Name: "slow-pay", Query: `{ span.http.route = "/pay" && duration > 2s }`}}})
	testkit.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/v1/", otlpserver.New(store, otlpserver.Options{Keep: hub}))
	mux.Handle("/", web.New(store, web.Options{Keep: hub}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(hub.Close)
	const kept, waiting = `document.querySelector("#kept-title")`, `document.querySelector("[data-wait], [data-waiting]")`
	b := openBrowserAt(t, server.URL, "status of 404")
	fine := func() {
		t.Helper()
		b.hasContrast()
		for _, width := range []int64{360, 1280} {
			b.do(chromedp.EmulateViewport(width, 800))
			testkit.Equal(t, "layout", eval[[]string](b, brokenLayout), []string{})
		}
	}
	b.open("/?view=kept", `document.querySelector(".empty")`)
	fine()

	client, err := remote.Dial(server.URL, remote.Options{Keep: &keep.Options{Sample: -1}})
	testkit.NoError(t, err)
	t.Cleanup(func() { _ = client.Shutdown(context.Background()) })
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client})
	request := func() string {
		_, root := tracer.Start(context.Background(), "GET /cart")
		root.End()
		return root.Context().TraceID.String()
	}
	request() // which is kept, as the first of its operation
	asked := request()
	b.open("/?view=kept", `document.body.dataset.ready`)
	b.wait(`(` + kept + ` && document.querySelector(".processes .service") && document.querySelector(".kept tbody a")) || (location.reload(), false)`)
	fine()

	// A trace that is not here is shown when the process has sent it.
	b.open("/trace/"+asked, `document.querySelector("#fetch button")`)
	fine()
	b.click("#fetch button")
	b.wait(ready)
	testkit.Equal(t, "trace", eval[string](b, `document.querySelector("#trace").dataset.trace`), asked)
	b.wait(`document.querySelector(".facts").textContent.includes("request")`)
	b.open("/trace/99", `document.querySelector("#fetch button")`)
	b.click("#fetch button")
	b.wait(waiting)
	fine()
	send(t, store, "prices", spanAt(0x99, 1, 0, "late", 0, 5))
	b.wait(ready)

	// So is the rest of a trace, and the reader goes on seeing the same part of it.
	send(t, store, "shop", spanAt(0x98, 1, 0, "root", 0, 5))
	b.open("/trace/98#view=names", `document.querySelector(".groups")`)
	b.wait(`document.querySelector("#fetch button")`)
	fine()
	b.click("#fetch button")
	b.wait(waiting + ` && document.querySelector(".groups")`)
	testkit.Equal(t, "fragment", eval[string](b, "location.hash"), "#view=names")
	send(t, store, "prices", spanAt(0x98, 2, 1, "the rest", 1, 2))
	b.wait(`document.querySelector(".groups").textContent.includes("the rest")`)

	// Everything is kept for five minutes, or until somebody ends it.
	b.open("/?view=kept", kept)
	b.click("#hold")
	b.wait(`document.querySelector(".hold")?.textContent.includes("Everything is kept for another")`)
	fine()
	if hub.Stats().Hold == 0 {
		t.Error("nothing is kept")
	}
	b.click("#hold")
	b.wait(`document.querySelector("#hold")?.textContent === "Keep everything for 5 minutes"`)
}
