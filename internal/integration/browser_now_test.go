package integration

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/diagnostics"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// openBrowserNow is openBrowser for a program with a request that hangs until it is told to end, and a flight recording.
func openBrowserNow(t *testing.T) (b *browser, end func()) {
	store := memory.New(memory.Options{})
	diag := diagnostics.New(diagnostics.Options{Operations: store, Open: true})
	testkit.NoError(t, diag.StartFlightRecorder(diagnostics.FlightOptions{}))
	t.Cleanup(diag.StopFlightRecorder)
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store, Observer: diag})
	mux := http.NewServeMux()
	ctx, end := context.WithCancel(context.Background())
	mux.HandleFunc("GET /hang/{id}", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, span := dendro.Start(r.Context(), "reserve")
		defer span.End()
		waitForStock(ctx)
	})
	mux.HandleFunc("GET /fail", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.Handle("/", web.New(store, web.Options{Diagnostics: diag}))
	server := httptest.NewServer(middleware.New(middleware.Options{Tracer: tracer})(mux))
	t.Cleanup(server.Close)
	t.Cleanup(end)
	for _, path := range []string{"/fail", "/hang/7"} {
		res, err := http.Get(server.URL + path)
		testkit.NoError(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
	}
	return openBrowserAt(t, server.URL, ""), end
}

// waitForStock is where a request hangs.
func waitForStock(ctx context.Context) { <-ctx.Done() }

// TestBrowserNow looks at a request that hangs. What the reader has opened stays open while the page looks again.
func TestBrowserNow(t *testing.T) {
	b, end := openBrowserNow(t)
	b.open("/", `document.querySelector(".pages a[href$='view=open']")`)
	b.key("g", "n")
	const stack = `document.querySelector(".requests [open] .stack")?.checkVisibility() && document.querySelector(".stack").textContent.includes("waitForStock")`
	const age = `document.querySelector(".age").textContent`
	b.wait(`document.querySelector(".requests summary")`)
	b.wait(`document.querySelector(".requests .stack")`) // there after a second
	b.wait(`(document.querySelector(".requests summary").focus(), true)`)
	b.click(".requests summary")
	b.wait(stack)
	before := eval[string](b, age)
	b.wait(age + " !== " + `"` + before + `"`)
	b.wait(stack)
	testkit.Equal(t, "focus", eval[bool](b, `document.activeElement.matches(".requests summary")`), true)
	b.wait(`document.querySelector("a[href$='/recording']")`)
	b.hasContrast()
	for _, width := range []int64{360, 1280} {
		b.do(chromedp.EmulateViewport(width, 800))
		testkit.Equal(t, "layout", eval[[]string](b, brokenLayout), []string{})
	}
	end()
	b.wait(`!document.querySelector(".requests")`)
}
