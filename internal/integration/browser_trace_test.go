package integration

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const (
	axis  = `[...document.querySelectorAll(".axis span")].map(e => e.textContent)`
	whole = `document.querySelector(".minimap").classList.contains("whole")`
)

// drag moves the pointer with the button held, over the element that selector finds. from and to
// are shares of its width.
func (b *browser) drag(selector string, from, to float64) {
	b.t.Helper()
	box := eval[[]float64](b, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.left, r.width, r.top + r.height / 2]; })()`, selector))
	at := func(share float64) float64 { return box[0] + share*box[1] }
	b.do(chromedp.MouseEvent(chromedp.MousePressed, at(from), box[2], chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseMoved, at((from+to)/2), box[2], chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseMoved, at(to), box[2], chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseReleased, at(to), box[2], chromedp.ButtonLeft))
}

// slash presses the key / as a keyboard sends it. KeyEvent would also type it.
func (b *browser) slash() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"})
	testkit.NoError(b.t, err)
}

// TestBrowserZoom looks at a part of the time of a trace: by keys, on the minimap, on the axis and
// by link.
func TestBrowserZoom(t *testing.T) {
	store := memory.New(memory.Options{})
	send(t, store, "shop", spanAt(1, 1, 0, "root", 0, 100), spanAt(1, 2, 1, "first", 10, 20), spanAt(1, 3, 1, "second", 60, 90))
	b := openBrowser(t, store, "")
	b.open("/trace/1", ready)
	width := eval[int](b, `document.querySelector(".bars").width`)
	share := func(row int) [2]int {
		t.Helper()
		found := eval[[][]int](b, bars(row))
		if len(found) == 0 {
			return [2]int{-1, -1}
		}
		return [2]int{(100*found[0][0] + width/2) / width, (100*found[len(found)-1][1] + width/2) / width}
	}
	testkit.Equal(t, "all", share(1), [2]int{10, 20})
	testkit.Equal(t, "whole", eval[bool](b, whole), true)

	b.key(kb.ArrowDown, "z")
	testkit.Equal(t, "the selected span fills the room", share(1), [2]int{5, 95})
	testkit.Equal(t, "the other is outside", share(2), [2]int{-1, -1})
	testkit.Equal(t, "axis", eval[[]string](b, axis), []string{"10 ms", "12 ms", "14 ms", "16 ms", "18 ms"})
	b.wait(`location.hash === "#from=9500000&to=20500000"`)
	b.key(kb.ArrowDown)
	testkit.Equal(t, "the next one comes into view", share(2)[0], 10)
	b.key("-")
	b.wait(`new URLSearchParams(location.hash.slice(1)).get("to") - new URLSearchParams(location.hash.slice(1)).get("from") + "" === "22000000"`)
	b.key("0")
	testkit.Equal(t, "all again", share(1), [2]int{10, 20})
	b.wait(`location.hash === ""`)

	b.drag(".minimap", 0.5, 1)
	testkit.Equal(t, "the second half", share(2), [2]int{20, 80})
	b.drag(".minimap", 0.75, 0.5)
	testkit.Equal(t, "moved by a quarter", share(2), [2]int{70, 100})
	b.drag(".minimap", 0.25, 0)
	testkit.Equal(t, "from the start", share(2), [2]int{80, 100})
	testkit.Equal(t, "focus", eval[string](b, `document.activeElement.getAttribute("role")`), "treegrid")
	b.do(chromedp.DoubleClick(".minimap"))
	b.wait(whole)

	b.drag(".axis", 0.1, 0.2)
	testkit.Equal(t, "a part of the axis", share(1), [2]int{0, 100})
	b.do(chromedp.DoubleClick(".axis"))
	b.wait(whole)

	b.open("/trace/1#from=50000000&to=100000000", ready)
	testkit.Equal(t, "by link", share(2), [2]int{20, 80})
	b.open("/trace/1#from=x&to=1", ready)
	testkit.Equal(t, "a wrong link shows all", eval[bool](b, whole), true)
}

// TestBrowserViewsAndBack changes things while the timeline is not shown, and goes back to it.
func TestBrowserViewsAndBack(t *testing.T) {
	b := openBrowser(t, storeOfMany(t, 500), "")
	b.open("/trace/1#view=flame", ready)
	back := func() {
		b.key("t", "t", "t", "t")
		b.wait(`document.querySelector(".rows .row")`)
	}
	back()
	testkit.Equal(t, "the bar has its color", len(eval[[][]int](b, bars(0))) > 0, true)
	b.key("t")
	b.do(chromedp.Click(".theme"))
	back()
	testkit.Equal(t, "with another theme", len(eval[[][]int](b, bars(0))) > 0, true)
	b.key(kb.End, "t")
	back()
	testkit.Equal(t, "the selected row is in view", eval[string](b, selected), "span 110")
}

// TestBrowserFind looks for spans in a large trace.
func TestBrowserFind(t *testing.T) {
	store := memory.New(memory.Options{})
	spans := []*dendro.SpanData{spanAt(1, 1, 0, "root", 0, 1000)}
	for i := range 300 {
		s := spanAt(1, 2+i, 1, fmt.Sprint("step ", i), int64(3*i), int64(3*i+2))
		s.Attributes = []slog.Attr{slog.Int("customer", i%100)}
		spans = append(spans, s)
	}
	for i := range 6 {
		spans = append(spans, spanAt(1, 1000+i, 1, "repeat", int64(900+3*i), int64(901+3*i)))
	}
	spans[len(spans)-1].Status.Message = "No Money"
	send(t, store, "shop", spans...)
	b := openBrowser(t, store, "status of 400")
	b.open("/trace/1", ready)
	said := `document.querySelector(".findbox output").textContent`
	b.slash()
	testkit.Equal(t, "focus", eval[string](b, "document.activeElement.type"), "search")
	b.key("s", "t", "e", "p", " ", "4", "2")
	b.wait(said + ` === "1 span"`)
	b.key(kb.Enter)
	testkit.Equal(t, "it is selected", eval[string](b, selected), "step 42")
	b.key(kb.Escape, kb.Escape)
	testkit.Equal(t, "back in the tree", eval[string](b, `document.activeElement.getAttribute("role")`), "treegrid")

	b.open("/trace/1#q="+`%7B+span.customer+%3D+7+%7D`, ready)
	b.wait(said + ` === "3 spans"`)
	b.key("n")
	testkit.Equal(t, "first", eval[string](b, selected), "step 7")
	b.key("n", "n", "n")
	testkit.Equal(t, "around", eval[string](b, selected), "step 7")
	b.key("N")
	testkit.Equal(t, "backwards", eval[string](b, selected), "step 207")
	testkit.Equal(t, "marked", eval[string](b, `[...document.querySelectorAll(".row.found .label")].map(e => e.textContent).join()`), "step 207")

	b.open("/trace/1#q=no+money", ready)
	b.wait(said + ` === "1 span"`)
	b.key("n")
	testkit.Equal(t, "in a fold", eval[string](b, `document.querySelector('[aria-selected="true"]').id`), "row-307")

	b.open("/trace/1#q=%7B+nonsense", ready)
	b.wait(`document.querySelector(".findbox output.lost")`)
	if have := eval[string](b, said); !strings.Contains(have, "nonsense") {
		t.Errorf("it says %q", have)
	}
}

// TestBrowserLogs shows the events of all spans, and the stack of a panic.
func TestBrowserLogs(t *testing.T) {
	const stack = `goroutine 7 [running]:
runtime/debug.Stack()
	/usr/local/go/src/runtime/debug/stack.go:26 +0x5e
panic({0x8c5a20?, 0xa0b1c0?})
	/usr/local/go/src/runtime/panic.go:792 +0x132
example.com/shop/orders.(*Store).Load(0xc000010000, 0x2a)
	/src/shop/orders/store.go:42 +0x9c
main.handle({0x9f3e60, 0xc00019e000}, 0xc0001a4000)
	/src/shop/main.go:17 +0x45
net/http.HandlerFunc.ServeHTTP(0xc0001a4000?, {0x9f3e60?, 0xc00019e000?}, 0x0?)
	/usr/local/go/src/net/http/server.go:2294 +0x29
github.com/go-chi/chi/v5.(*Mux).routeHTTP(0xc000126060, {0x9f3e60, 0xc00019e000}, 0xc0001a4000)
	/root/go/pkg/mod/github.com/go-chi/chi/v5@v5.2.1/mux.go:478 +0x2ba
created by net/http.(*Server).Serve in goroutine 1
	/usr/local/go/src/net/http/server.go:3454 +0x485`
	store := memory.New(memory.Options{})
	root, query := spanAt(1, 1, 0, "GET /orders", 0, 50), spanAt(1, 2, 1, "SELECT orders", 10, 20)
	root.Status = dendro.Status{Code: dendro.StatusError, Message: "panic"}
	root.Events = []dendro.Event{{Name: "exception", Time: root.Start + 30e6, Attributes: []slog.Attr{
		slog.String("exception.type", "panic"), slog.String("exception.message", "no order 42"), slog.String("exception.stacktrace", stack)}}}
	query.Attributes = []slog.Attr{slog.String("db.system.name", "sqlite"), slog.String("db.query.text", "SELECT * FROM orders")}
	query.Events = []dendro.Event{{Name: "rows", Time: query.Start + 5e6, Attributes: []slog.Attr{slog.Int("count", 3)}}}
	send(t, store, "shop", root, query)
	b := openBrowser(t, store, "")

	b.open("/trace/1#view=logs", `document.querySelector(".logs tbody tr")`)
	testkit.Equal(t, "events", eval[[]string](b, `[...document.querySelectorAll(".logs tbody tr")].map(r => r.innerText.replace(/\s+/g, " ").trim())`), []string{
		"+15.0 ms rows count=3 shop SELECT orders", "+30.0 ms exception no order 42 exception.type=panic shop GET /orders"})
	b.click(".logs tbody tr:nth-child(2) button")
	b.wait(panel + `?.querySelector(".stack")`)
	testkit.Equal(t, "own calls", strings.ReplaceAll(eval[string](b, panel+`.querySelector(".stack").innerText`), "\n\n", "\n"), `example.com/shop/orders.(*Store).Load
/src/shop/orders/store.go:42
main.handle
/src/shop/main.go:17`)
	testkit.Equal(t, "the rest is folded", eval[string](b, panel+`.querySelector("details:not([open]) summary").textContent`), "The whole stack of 7 calls")
	b.click(".detail summary")
	testkit.Equal(t, "whole", eval[string](b, panel+`.querySelector("details pre").innerText`), stack)

	b.open("/trace/1#view=sql", `document.querySelector(".groups .statements tbody tr")`)
	testkit.Equal(t, "statement", eval[string](b, `document.querySelector(".statements .what code").textContent`), "SELECT * FROM orders")
	b.click(".statements .what a")
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 1`)
}

// TestBrowserMarks shows what is wrong with a tree, and straightens clocks.
func TestBrowserMarks(t *testing.T) {
	store := memory.New(memory.Options{})
	call := spanAt(1, 2, 1, "POST", 10, 50)
	call.Kind = dendro.KindClient
	charge := spanAt(1, 3, 2, "POST /charge", 1010, 1030)
	charge.Kind, charge.Remote = dendro.KindServer, true
	send(t, store, "shop", spanAt(1, 1, 0, "GET /orders", 0, 100), call, spanAt(1, 4, 2, "late", 60, 70), spanAt(1, 5, 1, "same id", 80, 85), spanAt(1, 5, 1, "same id again", 86, 90),
		spanAt(1, 6, 7, "circle", 20, 30), spanAt(1, 7, 6, "circle too", 22, 25))
	send(t, store, "bank", charge)
	b := openBrowser(t, store, "")
	b.open("/trace/1", ready)
	marks := `Object.fromEntries([...document.querySelectorAll(".rows .row")].map(r => [r.querySelector(".label").textContent, [...r.querySelectorAll(".badge.warn")].map(e => e.textContent).join(", ")]).filter(([, marks]) => marks))`
	want := map[string]string{"POST /charge": "clock −990 ms", "late": "after its parent", "same id": "id used twice", "same id again": "id used twice", "circle": "circular parent"}
	recorded := map[string]string{"POST /charge": "after its parent, clock −990 ms"}
	for name, mark := range want {
		if recorded[name] == "" {
			recorded[name] = mark
		}
	}
	testkit.Equal(t, "as recorded", eval[map[string]string](b, marks), recorded)
	took := `[...document.querySelectorAll(".facts dl div")].find(e => e.innerText.startsWith("Duration")).innerText.replace(/\s+/g, " ")`
	testkit.Equal(t, "duration", eval[string](b, took), "Duration 1.03 s")
	b.click(`.facts a[href*="clocks"]`)
	b.wait(ready + ` && location.search === "?clocks=straight"`)
	testkit.Equal(t, "straightened", eval[map[string]string](b, marks), want)
	testkit.Equal(t, "duration without the skew", eval[string](b, took), "Duration 100 ms")
	testkit.Equal(t, "says so", eval[bool](b, `/straightened/.test(document.querySelector(".facts").innerText)`), true)
}

// save writes the page of a trace as the file /trace.html of a new origin.
func (b *browser) save(trace string) {
	b.t.Helper()
	response, err := http.Get(b.origin + "/api/dendro/traces/" + trace + "/html")
	testkit.NoError(b.t, err)
	page, err := io.ReadAll(response.Body)
	testkit.NoError(b.t, err)
	testkit.NoError(b.t, response.Body.Close())
	dir := b.t.TempDir()
	testkit.NoError(b.t, os.WriteFile(filepath.Join(dir, "trace.html"), page, 0o600))
	b.origin = "file://" + dir
}

// TestBrowserLinkedFrom opens spans that others link to, in a page and in a file: not all are
// shown if there are many, and the panel says so.
func TestBrowserLinkedFrom(t *testing.T) {
	store := memory.New(memory.Options{})
	spans := []*dendro.SpanData{spanAt(1, 1, 0, "batch", 0, 100)}
	for n := range 41 {
		s := spanAt(1, n+2, 1, "mail", 10, 20)
		s.Links = []dendro.Link{{SpanContext: spanAt(1, 1+n/21, 0, "", 0, 0).SpanContext}} // 21 and 20
		spans = append(spans, s)
	}
	send(t, store, "shop", spans...)
	b := openBrowser(t, store, "")
	linked := `[...` + panel + `.querySelectorAll(":scope > section")].map(e => [e.querySelectorAll("li").length, e.querySelector(".more")?.textContent ?? ""].join(" "))`
	look := func(page string) {
		b.open(page+"#span=0000000000000001", panel+`?.innerText.includes("Linked from")`)
		testkit.Equal(t, page+": more than are shown", eval[[]string](b, linked), []string{"20 More are not shown."})
		b.open(page+"#span=0000000000000002", panel+`?.innerText.includes("Linked from")`)
		testkit.Equal(t, page+": as many as are shown", eval[[]string](b, linked), []string{"20 "})
	}
	look("/trace/1")
	b.save("1")
	look("/trace.html")
}

// TestBrowserFile opens the page of a trace that was saved as a file, without a collector.
func TestBrowserFile(t *testing.T) {
	const evil = `</script><script>window.harm=1</script><img src=x onerror="window.harm=1">` + "\u2028\x00\xff"
	store := memory.New(memory.Options{})
	root, query := spanAt(1, 1, 0, "GET /orders "+evil, 0, 50), spanAt(1, 2, 1, "SELECT orders", 10, 20)
	query.Kind, query.Status.Code = dendro.KindClient, dendro.StatusError
	query.Attributes = []slog.Attr{slog.String("db.system.name", "sqlite"), slog.String("db.query.text", "SELECT * FROM "+evil), slog.String(evil, evil)}
	query.Events = []dendro.Event{{Name: "rows", Time: query.Start + 5e6, Attributes: []slog.Attr{slog.String("text", evil)}}}
	query.Links = []dendro.Link{{SpanContext: root.SpanContext}, {SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{15: 2}, SpanID: dendro.SpanID{7: 1}}}}
	send(t, store, "shop", root, query)
	b := openBrowser(t, store, "")
	b.save("1")

	b.open("/trace.html", ready)
	testkit.Equal(t, "tree", len(eval[[]string](b, rows)), 2)
	b.do(chromedp.Click("#row-1 .label"))
	b.wait(panel + `?.querySelector("h2").textContent === "SELECT orders"`)
	testkit.Equal(t, "details", eval[bool](b, panel+`.innerText.includes("SELECT * FROM </script>") && `+panel+`.innerText.includes("trace 00000000000000000000000000000002")`), true)
	b.key("t", "t")
	b.wait(`document.querySelector(".groups tbody tr")`)
	b.key("t")
	b.wait(`document.querySelector(".statements tbody tr")`)
	b.key("t")
	b.wait(`document.querySelector(".logs tbody tr")`)
	testkit.Equal(t, "events", eval[string](b, `document.querySelector(".logs .num").textContent`), "+15.0 ms")
	b.click(".logs tbody button")
	b.wait(selected + ` === "SELECT orders"`)
	b.slash()
	b.key("s", "q", "l", "i", "t", "e", kb.Enter)
	b.wait(`document.querySelector(".findbox output").textContent === "1 span"`)
	b.open("/trace.html#q=string", ready)
	b.wait(`document.querySelector(".findbox output").textContent === "0 spans"`)
	b.open("/trace.html#span=0000000000000002", panel+`?.querySelector(".events a")`)
	b.do(chromedp.Click(`.detail .events a`))
	b.wait(panel + `?.querySelector("h2").textContent.startsWith("GET /orders")`)
	b.wait(panel + `?.innerText.includes("Linked from")`)
	testkit.Equal(t, "nothing leads elsewhere", eval[[]string](b, `[...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href")).filter(h => !h.startsWith("#"))`), []string{})
	testkit.Equal(t, "markup stays text", eval[bool](b, `"harm" in window || document.querySelector("img") !== null`), false)
}
