package integration

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// sendRequests stores requests that are slow if they are of version 2, most of all in region eu. Each is a
// second after the one before. Those of version 2 have more attributes.
func sendRequests(t *testing.T, store collector.Store, n int, more ...slog.Attr) {
	t.Helper()
	for i := range n {
		at := int64(1000 * (i - n))
		version, region := 1+i%2, []string{"eu", "us", "us"}[i%3]
		took := int64(10 + i%7)
		if version == 2 && (region == "eu" || i%10 == 1) {
			took += 1500
		}
		root := spanAt(byte(i+1), 1, 0, "GET /orders", at, at+took)
		root.Kind = dendro.KindServer
		root.Attributes = []slog.Attr{slog.String("region", region), slog.Int("request.id", i), slog.String("http.route", "/orders")}
		if version == 2 {
			root.Attributes = append(root.Attributes, more...)
		}
		query := spanAt(byte(i+1), 2, 1, "SELECT", at+1, at+3)
		if i%20 == 19 {
			query.Status.Code = dendro.StatusError
		}
		testkit.NoError(t, store.Collect(&dendro.Batch{
			Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop"), slog.Int("service.version", version)}},
			Spans:    []*dendro.SpanData{root, query},
		}))
	}
}

// fits fails if the page is wider than the window.
func (b *browser) fits(selectors string) {
	b.t.Helper()
	for _, width := range []int64{360, 500, 770, 1010, 1600, 2560} {
		b.do(chromedp.EmulateViewport(width, 900))
		out := eval[[]string](b, fmt.Sprintf(`[document.documentElement, ...document.querySelectorAll(%q)].filter(e => e.scrollWidth > e.clientWidth).map(e => e.tagName + "." + e.className)`, selectors))
		testkit.Equal(b.t, fmt.Sprint("sticks out at ", width), out, []string{})
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

// hasContrast fails if text has too little contrast, in light or dark.
func (b *browser) hasContrast() {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		testkit.NoError(b.t, err)
		testkit.Equal(b.t, "low contrast, "+scheme, eval[[]string](b, lowContrast), []string{})
	}
}

const listed = `document.querySelectorAll(".traces tbody tr").length`

// facet selects a link of a facet.
func facet(title, value string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(".facets div")].find(d => d.querySelector("dt").textContent === %q)?.querySelectorAll("a")`, title) +
		fmt.Sprintf(` && [...[...document.querySelectorAll(".facets div")].find(d => d.querySelector("dt").textContent === %q).querySelectorAll("a")].find(a => a.textContent.startsWith(%q))`, title, value)
}

// TestBrowserSearch narrows the list with facets, removes conditions, and uses a query again.
func TestBrowserSearch(t *testing.T) {
	store := memory.New(memory.Options{})
	sendRequests(t, store, 40)
	b := openBrowser(t, store, "")
	const box = `document.querySelector("[name=q]").value`
	const settled = ` && document.querySelector("[name=q]").role === "combobox"`
	b.open("/?limit=50", listed+` === 40`+settled)
	testkit.Equal(t, "miniatures", eval[int](b, `document.querySelectorAll(".traces .mini").length`), 40)
	testkit.Equal(t, "of two spans", eval[int](b, `document.querySelector(".traces tbody tr:last-child .mini path").getAttribute("d").split("M").length - 1`), 2)
	testkit.Equal(t, "with errors", eval[int](b, `document.querySelectorAll(".traces .mini .failed").length`), 2)
	b.fits(".filter, .facets, .facets div, .chosen, .top")
	b.hasContrast()

	// Facets.
	click := func(title, value, until string) {
		t.Helper()
		b.wait(facet(title, value))
		eval[bool](b, "("+facet(title, value)+").click(), true")
		b.wait(until + settled)
	}
	click("service.version", "2", listed+` === 20`)
	testkit.Equal(t, "query", eval[string](b, box), `{ resource.service.version = 2 }`)
	click("region", "eu", listed+` === 7`)
	testkit.Equal(t, "both", eval[string](b, box), `{ resource.service.version = 2 } && { span.region = "eu" }`)
	testkit.Equal(t, "no facet of what is different each time", eval[bool](b, `document.querySelector(".facets")?.innerText.includes("request.id") ?? false`), false)
	b.fits(".filter, .facets, .chosen")
	b.hasContrast()
	b.click(`.chosen li:first-child a`)
	b.wait(listed + ` === 14` + settled)
	testkit.Equal(t, "without the first", eval[string](b, box), `{ span.region = "eu" }`)
	b.click(`.chosen a`)
	b.wait(listed + ` === 40` + settled)
	click("Duration", "slowest tenth", listed+" === 10")
	testkit.Equal(t, "duration", eval[string](b, `document.querySelector("[name=minDuration]").value`), "1.51s")

	// The queries that were used before, with the keyboard.
	suggested := `[...document.querySelectorAll(".suggestions:not([hidden]) li")].map(e => e.textContent)`
	b.open("/?limit=50", listed+" === 40"+settled)
	b.do(chromedp.Click("[name=q]"))
	b.wait(suggested + `.length > 1`)
	testkit.Equal(t, "the newest first", eval[[]string](b, suggested), []string{"{ ", `{ span.region = "eu" }`, `{ resource.service.version = 2 } && { span.region = "eu" }`, `{ resource.service.version = 2 }`, "Clear these queries"})
	b.hasContrast()
	b.key(kb.Escape)
	b.wait(suggested + ".length === 0")
	b.key(kb.ArrowDown, kb.ArrowDown, kb.ArrowDown)
	b.wait(`document.querySelector(".suggestions li[aria-selected=true]")?.textContent === '{ span.region = "eu" }'`)
	b.key(kb.Tab)
	testkit.Equal(t, "taken", eval[string](b, box), `{ span.region = "eu" }`)
	b.key(kb.Enter)
	b.wait(listed + ` === 14` + settled)
	eval[bool](b, `(() => { const q = document.querySelector("[name=q]"); q.value = ""; return true; })()`)
	b.do(chromedp.Click("[name=q]"))
	b.wait(suggested + `.length === 5`)
	b.key(kb.ArrowUp, kb.Tab)
	b.wait(suggested + `.length === 1`)
	testkit.Equal(t, "cleared", eval[string](b, `String(localStorage.getItem("dendro.queries"))`), "null")

	// A query that is wrong is marked, and not remembered.
	b.open("/?limit=50", listed+" === 40"+settled)
	b.expected = "status of 400"
	eval[bool](b, `(() => { const q = document.querySelector("[name=q]"); q.value = "{ region = }"; q.form.submit(); return true; })()`)
	b.wait(`document.querySelector(".problem mark")?.textContent.startsWith("region")` + settled)
	testkit.Equal(t, "not remembered", eval[string](b, `String(localStorage.getItem("dendro.queries"))`), "null")

	// Live, a trace that grows is drawn again.
	b.open("/?limit=50", listed+` === 40 && document.querySelector("#live").ariaChecked === "true"`+settled)
	send(t, store, "bank", spanAt(40, 3, 1, "late", -999, -998))
	b.wait(`document.querySelector(".traces tbody tr .num").textContent === "3"`)
	testkit.Equal(t, "bars", eval[int](b, `[...document.querySelectorAll(".traces tbody tr:first-child .mini path")].map(p => p.getAttribute("d").split("M").length - 1).reduce((a, b) => a + b)`), 3)

	// A dot, and a part of the scatter.
	b.do(chromedp.Click(`#scatter a:nth-child(20) circle`))
	b.wait(ready)
	b.open("/?limit=50", listed+" === 40"+settled)
	at := eval[[]float64](b, `(() => { const r = document.querySelector("#scatter").getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; })()`)
	b.do(chromedp.MouseEvent(chromedp.MousePressed, at[0]+1, at[1]+1, chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseMoved, at[2]-1, at[1]+40, chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseReleased, at[2]-1, at[1]+40, chromedp.ButtonLeft))
	b.wait(`location.search.includes("maxDuration") && document.querySelectorAll(".chosen li").length === 3`)
	testkit.Equal(t, "the slow ones", eval[bool](b, `[...document.querySelectorAll(".traces tbody .duration")].every(e => /1.5\d s/.test(e.textContent))`), true)
}

// TestBrowserCompareGroups goes from the list to what slow requests have in common, and to them.
func TestBrowserCompareGroups(t *testing.T) {
	store := memory.New(memory.Options{})
	const evil = `"'><img src=x onerror="window.harm=1">`
	sendRequests(t, store, 120, slog.String(evil, evil))
	b := openBrowser(t, store, "status of 400")
	const loaded = `document.body.dataset.ready`
	b.open("/?limit=200&minDuration=1ms", listed+" === 120")
	presets := `[...document.querySelectorAll(".presets a")].map(a => a.textContent)`
	testkit.Equal(t, "presets", eval[[]string](b, presets), []string{"slow against fast", "errors against none", "newer against older half"})
	b.click(".presets a")
	b.wait(loaded)
	fields := `[...document.querySelectorAll(".grouped .field bdi:first-child")].map(e => e.textContent)`
	testkit.Equal(t, "fields", eval[[]string](b, fields+".slice(0, 3)"), []string{"resource.service.version", `span."\"'><img src=x onerror=\"window.harm=1\">"`, "span.region"})
	values := `[...document.querySelectorAll(".grouped .what")].map(e => e.textContent)`
	testkit.Equal(t, "values", eval[[]string](b, values+".slice(0, 5)"), []string{"2", "1", evil, "eu", "us"})
	testkit.Equal(t, "no markup", eval[bool](b, `"harm" in window || document.querySelector("img") !== null`), false)
	testkit.Equal(t, "the bar of A is longer", eval[bool](b, `document.querySelector(".pair .a").getBoundingClientRect().width > 2 * document.querySelector(".pair .b").getBoundingClientRect().width`), true)
	b.fits(".compared, .card > header, .grouped, .top, nav")
	b.hasContrast()

	// To the traces with a value.
	slow := eval[int](b, `Number(document.querySelector(".totals .num").textContent)`)
	b.click(".grouped .what a")
	b.wait(fmt.Sprint(listed, " === ", min(slow, 50)))
	testkit.Equal(t, "query", eval[bool](b, `document.querySelector("[name=q]").value.endsWith("| { resource.service.version = 2 }")`), true)

	// Two queries of one's own, with suggestions in both boxes.
	b.click(`.pages a[href*="compare"]`)
	b.wait(loaded + ` && document.querySelector(".empty")`)
	b.fits(".compared, .top")
	b.hasContrast()
	b.do(chromedp.Focus("[name=against]"))
	b.key("{", " ", "r", "e", "g")
	suggested := `[...document.querySelectorAll(".suggestions:not([hidden]) li")].map(e => e.textContent).join(" ")`
	b.wait(suggested + ` === "span.region"`)
	b.key(kb.ArrowDown, kb.Tab, "=", "\"", "u", "s", "\"", "}", kb.Escape)
	b.do(chromedp.Focus("[name=q]"))
	b.key("{", "s", "p", "a", "n", ".", "r", "e", "g", "i", "o", "n", "=", "\"", "e", "u", "\"", "}", kb.Escape, kb.Enter)
	b.wait(loaded + ` && document.querySelector(".totals")`)
	testkit.Equal(t, "spans", eval[[]string](b, `[...document.querySelectorAll(".totals tr:first-child .num")].map(e => e.textContent)`), []string{"40", "80"})
	b.open("/?view=compare&q=%7B+region&against=%7B+%7D+|+rate()", loaded)
	testkit.Equal(t, "both are wrong", eval[int](b, `document.querySelectorAll(".problem").length`), 2)
	testkit.Equal(t, "marked", eval[string](b, `document.querySelector(".problem mark").textContent`), "region")
	b.hasContrast()
}
