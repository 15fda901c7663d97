package integration

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/systeminfo"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// browser is a tab that shows the page of a store. At its end the test fails if there
// were errors on the console or requests to another host.
type browser struct {
	t      *testing.T
	ctx    context.Context
	origin string
	// expected is a text that the browser may log.
	expected string

	mu       sync.Mutex
	problems []string // guarded by mu
}

// openBrowser starts Chromium with an empty tab, for the page of store. The test fails for
// everything it logs, unless that contains expected.
func openBrowser(t *testing.T, store collector.Store, expected string) *browser {
	t.Helper()
	server := httptest.NewServer(web.New(store, web.Options{}))
	t.Cleanup(server.Close)
	return openBrowserAt(t, server.URL, expected)
}

// openBrowserAt is openBrowser for a page that is served at origin.
func openBrowserAt(t *testing.T, origin, expected string) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		testkit.Missing(t, "Chromium is not installed, so the page is not tested in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 800))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, origin: origin, expected: expected}
	err := b.start(ctx, options)
	for n := 1; n < browserStarts && err != nil && strings.Contains(err.Error(), "chrome failed to start"); n++ {
		t.Logf("starting the browser again: %v", err)
		err = b.start(ctx, options)
	}
	testkit.NoError(t, err)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Error(p)
		}
	})
	return b
}

// browserStarts is how often a browser is started that crashes before it shows anything.
const browserStarts = 3

// start starts the browser, which ends with the test.
func (b *browser) start(ctx context.Context, options []chromedp.ExecAllocatorOption) error {
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	b.t.Cleanup(cancel)
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.listen))
	b.t.Cleanup(cancel)
	_, err := chromedp.Call(b.ctx, network.Enable, network.EnableParams{})
	return err
}

// listen records what must not happen.
func (b *browser) listen(event any) {
	var problem string
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, b.origin+"/") && url != "about:blank" && !strings.HasPrefix(url, "data:") {
			problem = "a request left the origin: " + url
		}
	case *runtime.EventConsoleAPICalled:
		problem = fmt.Sprintf("console.%s was called", e.Type)
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("exception: %+v", e.ExceptionDetails)
	case *page.EventJavascriptDialogOpening:
		problem = "a dialog opened: " + e.Message
	case *log.EventEntryAdded:
		if b.expected == "" || !strings.Contains(e.Entry.Text, b.expected) {
			problem = fmt.Sprintf("the browser logs: %s %s", e.Entry.Level, e.Entry.Text)
		}
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	testkit.NoError(b.t, chromedp.Do(b.ctx, steps...))
}

// open loads a path and waits until condition, in JavaScript, is true.
func (b *browser) open(path, condition string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(b.origin+path))
	b.wait(condition)
}

// wait waits until condition, in JavaScript, is true, even if pages change meanwhile.
func (b *browser) wait(condition string) {
	b.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		holds, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+condition+")"))
		if holds {
			return
		}
		select {
		case <-deadline:
			b.t.Fatalf("waited for %s: %v\n%s", condition, err, eval[string](b, "document.body.innerText.slice(0, 2000)"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// click clicks the first element that selector finds, on a page that may be replacing it.
func (b *browser) click(selector string) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf("(document.querySelector(%q).click(), true)", selector))
}

func (b *browser) key(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// eval returns the value of an expression or of its promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

const (
	ready    = `document.querySelector("#trace")?.dataset.ready`
	selected = `document.querySelector('.rows .row[aria-selected="true"] .label')?.textContent`
	// shownRows is how many rows there are to scroll through.
	shownRows = `document.querySelector(".rows").offsetHeight / document.querySelector(".rows .row").offsetHeight`
	rows      = `[...document.querySelectorAll(".rows .row")].map(r => [Number(r.dataset.row), r.querySelector(".label").textContent]).sort((a, b) => a[0] - b[0]).map(r => r[1])`
	panel     = `document.querySelector(".detail:not([hidden])")`
)

// bars returns where the bars of a row are, in pixels from the left: what has a color on the
// canvas, in the middle of the row.
func bars(row int) string {
	return fmt.Sprintf(`(() => {
		const canvas = document.querySelector(".bars"), copy = new OffscreenCanvas(canvas.width, canvas.height);
		const g = copy.getContext("2d", {willReadFrequently: true});
		g.drawImage(canvas, 0, 0);
		const box = canvas.getBoundingClientRect(), row = document.querySelector("#row-%d").getBoundingClientRect();
		const pixels = g.getImageData(0, Math.round(row.top + row.height / 2 - box.top), canvas.width, 1).data;
		const out = [];
		let inside = false;
		for (let x = 0; x < canvas.width; x++) {
			const [r, g, b, a] = pixels.subarray(4 * x, 4 * x + 4);
			const colored = a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 40;
			if (colored && !inside) out.push([x, x]);
			if (colored) out.at(-1)[1] = x + 1;
			inside = colored;
		}
		return out;
	})()`, row)
}

// send stores spans of a service. They need ids, names and times in milliseconds.
func send(t *testing.T, store collector.Store, service string, spans ...*dendro.SpanData) {
	t.Helper()
	scope := &dendro.Scope{Name: "test"}
	for _, s := range spans {
		s.Scope = scope
	}
	testkit.NoError(t, store.Collect(&dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}},
		Spans:    spans,
	}))
}

// spanAt returns a span of trace. from and to are milliseconds from now.
func spanAt(trace byte, id, parent int, name string, from, to int64) *dendro.SpanData {
	spanID := func(n int) dendro.SpanID { return dendro.SpanID{5: byte(n >> 16), 6: byte(n >> 8), 7: byte(n)} }
	s := &dendro.SpanData{ParentID: spanID(parent), Name: name, Start: now + from*1e6, End: now + to*1e6}
	s.TraceID, s.SpanID = dendro.TraceID{15: trace}, spanID(id)
	return s
}

var now = time.Now().UnixNano()

// TestBrowserWalk does what a new user does: open the list, a trace, and a span.
func TestBrowserWalk(t *testing.T) {
	store := memory.New(memory.Options{})
	insert := spanAt(1, 3, 1, "INSERT orders", 10, 30)
	insert.Kind, insert.Status = dendro.KindClient, dendro.Status{Code: dendro.StatusError, Message: "duplicate number"}
	insert.Attributes = []slog.Attr{slog.String("db.query.text", "INSERT INTO orders VALUES (?)"), slog.Int("tries", 2)}
	insert.Events = []dendro.Event{{Name: "exception", Time: insert.Start + 5e6, Attributes: []slog.Attr{slog.String("exception.stacktrace", "main.go:1\nmain.go:2")}}}
	insert.Links = []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{15: 2}, SpanID: dendro.SpanID{7: 1}}}}
	send(t, store, "shop", spanAt(1, 1, 0, "POST /orders", 0, 50), spanAt(1, 2, 1, "BEGIN", 2, 5), insert)
	send(t, store, "stock", spanAt(1, 4, 3, "POST /reserve", 12, 28), spanAt(1, 6, 9, "orphan", 40, 45))
	send(t, store, "mailer", spanAt(2, 1, 0, "send mail", 60, 61))
	b := openBrowser(t, store, "")

	b.open("/?limit=50", `document.querySelectorAll("tbody tr").length === 2 && !document.querySelector("#live").hidden`)
	testkit.Equal(t, "times are told", eval[bool](b, `/now|ago/.test(document.querySelector("time").textContent)`), true)
	for _, width := range []int64{360, 500, 770, 1010, 1600} {
		b.do(chromedp.EmulateViewport(width, 800))
		testkit.Equal(t, fmt.Sprint("something sticks out at ", width), eval[bool](b, `[...document.querySelectorAll(".top, .top h1:not(.sr), .filter, .filter label, .filter .buttons")].some(e => e.scrollWidth > e.clientWidth)`), false)
	}
	b.do(chromedp.EmulateViewport(1280, 800))
	b.do(chromedp.Click(`a[href$="0001"]`))
	b.wait(ready)
	testkit.Equal(t, "tree", strings.Join(eval[[]string](b, rows), ", "), "POST /orders, BEGIN, INSERT orders, POST /reserve, parent span not received, orphan")
	testkit.Equal(t, "levels", eval[string](b, `[...document.querySelectorAll(".rows .row")].map(r => r.ariaLevel).join("")`), "122312")
	testkit.Equal(t, "role", eval[string](b, `document.activeElement.getAttribute("role")`), "treegrid")

	// With the mouse.
	b.do(chromedp.Click(`#row-2 .label`))
	b.wait(panel + `?.querySelector("h2").textContent === "INSERT orders"`)
	text := eval[string](b, panel+".innerText")
	for _, want := range []string{"duplicate number", "20.0 ms", "+10.0 ms", "tries", "INSERT INTO orders VALUES (?)", "exception", "main.go:2", "trace 00000000000000000000000000000002", "service.name"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the details:\n%s", want, text)
		}
	}
	testkit.Equal(t, "link to the span", eval[string](b, "location.hash"), "#span=0000000000000003")

	// With the keyboard.
	b.key(kb.Escape)
	b.wait("!" + panel)
	b.key(kb.ArrowLeft)
	testkit.Equal(t, "folded", strings.Join(eval[[]string](b, rows), ", "), "POST /orders, BEGIN, INSERT orders, parent span not received, orphan")
	testkit.Equal(t, "says so", eval[string](b, `document.querySelector("#row-2").ariaExpanded`), "false")
	b.key(kb.ArrowRight, kb.ArrowRight)
	testkit.Equal(t, "into the subtree", eval[string](b, selected), "POST /reserve")
	b.key(kb.ArrowLeft, kb.ArrowUp)
	testkit.Equal(t, "out and up", eval[string](b, selected), "BEGIN")
	testkit.Equal(t, "active descendant", eval[string](b, `document.activeElement.getAttribute("aria-activedescendant")`), "row-1")
	b.key("e")
	testkit.Equal(t, "next error", eval[string](b, selected), "INSERT orders")
	b.key(kb.Home)
	b.key(kb.Enter)
	b.wait(panel + `?.querySelector("h2").textContent === "POST /orders"`)
	testkit.Equal(t, "self time", eval[bool](b, panel+`.innerText.includes("27.0 ms")`), true)
	b.key(kb.End, kb.ArrowUp, kb.Enter)
	b.wait(panel + `?.querySelector("h2").textContent === "Parent span not received"`)
	b.key("?")
	b.wait(`document.querySelector("dialog").open`)
	b.key(kb.Escape)
	b.wait(`!document.querySelector("dialog").open`)

	// The flame graph, and a part of it.
	b.key("t")
	b.wait(`document.querySelector(".frame")`)
	frames := `[...document.querySelectorAll(".frame")].map(f => f.innerText)`
	testkit.Equal(t, "frames", strings.Join(eval[[]string](b, frames), ", "), "all spans, parent span not received, orphan, POST /orders, BEGIN, INSERT orders, POST /reserve")
	b.do(chromedp.Click(`.frame[title^="INSERT"]`))
	b.wait(`document.querySelectorAll(".frame").length === 4`)
	testkit.Equal(t, "a part", strings.Join(eval[[]string](b, frames), ", "), "all spans, POST /orders, INSERT orders, POST /reserve")
	testkit.Equal(t, "about it", eval[bool](b, `/INSERT orders of shop . 1 span . 20.0 ms with all below, 4.00 ms itself/.test(document.querySelector(".flame .about").innerText)`), true)

	testkit.Equal(t, "link to the view", eval[string](b, "location.hash"), "#view=flame&span=0000000000000009")

	// By name, and back to the longest span of a name.
	b.key("t")
	b.wait(`document.querySelector(".groups tbody tr")`)
	testkit.Equal(t, "by self time", eval[[]string](b, `[...document.querySelectorAll(".groups tbody tr")].map(r => r.querySelector(".what button").textContent)`), []string{"POST /orders", "POST /reserve", "orphan", "INSERT orders", "BEGIN"})
	b.do(chromedp.Click(`.groups thead th:nth-child(3) button`))
	testkit.Equal(t, "by errors", eval[string](b, `document.querySelector(".groups tbody .what button").textContent`), "INSERT orders")
	b.do(chromedp.Click(`.groups tbody .what button`))
	b.wait(panel + `?.querySelector("h2").textContent === "INSERT orders"`)
	testkit.Equal(t, "the timeline again", eval[string](b, selected), "INSERT orders")

	// To the traces with the same value.
	b.do(chromedp.Click(`.detail td.int .find`))
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 1`)
	testkit.Equal(t, "query", eval[string](b, `document.querySelector("[name=q]").value`), `{ span."tries" = 2 }`)

	// Light and dark.
	background := `getComputedStyle(document.body).backgroundColor`
	before := eval[string](b, background)
	b.do(chromedp.Click(".theme"), chromedp.Click(".theme"))
	testkit.Equal(t, "theme", eval[string](b, `document.querySelector(".theme").textContent`), "Theme: dark")
	if after := eval[string](b, background); after == before {
		t.Errorf("dark and light have the same background %s", after)
	}
	b.open("/trace/1", ready)
	testkit.Equal(t, "theme is kept", eval[string](b, background), "rgb(16, 19, 23)")
	b.do(chromedp.Click(".theme"))
	testkit.Equal(t, "theme of the system", eval[string](b, background), before)

	// With a link, also into a folded subtree and to another trace.
	b.open("/trace/1#span=0000000000000004", panel+`?.querySelector("h2").textContent === "POST /reserve"`)
	b.do(chromedp.Click(`#row-2 .label`))
	b.wait(panel + `?.querySelector("h2").textContent === "INSERT orders"`)
	b.do(chromedp.Click(`.detail .events a:not(.find)`))
	b.wait(`location.pathname.endsWith("0002") && ` + ready + ` && ` + panel + `?.querySelector("h2").textContent === "send mail"`)
	b.click(".brand")
	b.wait(`document.querySelector("#errors-title")`)
	b.click(".pages a:nth-child(2)")
	b.wait(`document.querySelectorAll("tbody tr").length === 2`)
}

// TestBrowserKeys goes from page to page and from row to row without a mouse.
func TestBrowserKeys(t *testing.T) {
	b := openBrowser(t, storeOfAll(t), "")
	b.open("/?limit=50", `document.querySelector("[name=q]").role === "combobox"`)
	focused := func() string { return eval[string](b, `document.activeElement.textContent`) }
	listed := func() string {
		return strings.Join(eval[[]string](b, `[...document.querySelectorAll("dialog[open] dt")].map(e => e.innerText.replace(/\s+/g, " "))`), ", ")
	}
	b.key("?")
	testkit.Equal(t, "keys of the list", listed(), "l, j, k, /, g then o, g then t, g then s, g then c, g then i, ?")
	b.key("j", kb.Escape)
	b.wait(`!document.querySelector("dialog").open`)
	// As a keyboard sends it. KeyEvent would also type it.
	_, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"})
	testkit.NoError(t, err)
	b.key("?", "j", "g", "s", kb.Escape)
	testkit.Equal(t, "keys in the box are text", eval[string](b, `document.activeElement.value`), "?jgs")
	b.open("/?limit=50", `document.querySelector("[name=q]").role === "combobox"`)
	b.key("j", "j")
	testkit.Equal(t, "the first and only row", focused(), "root")
	b.key(kb.Enter)
	b.wait(ready)
	b.key("?")
	if have := listed(); !strings.HasPrefix(have, "↑ ↓, → ←, ") {
		t.Errorf("keys of a trace: %s", have)
	}
	b.key(kb.Escape, "g", "o")
	b.wait(`document.body.dataset.ready && document.querySelector("#map-title")`)
	b.do(chromedp.Click("#keys"))
	testkit.Equal(t, "keys of the overview", listed(), "j, k, g then o, g then t, g then s, g then c, g then i, ?")
	b.key(kb.Escape, "k")
	testkit.Equal(t, "the first row", focused(), "root")
	b.key("g", "s")
	b.wait(`document.body.dataset.ready && document.querySelector("#sql-title")`)
	b.key("j")
	testkit.Equal(t, "the first statement", focused(), "SELECT 1")
}

// TestBrowserCompletion writes a query with the keyboard and what is suggested.
func TestBrowserCompletion(t *testing.T) {
	store := memory.New(memory.Options{})
	for n, route := range []string{"/orders", "/orders/{id}", "/users"} {
		s := spanAt(byte(n+1), 1, 0, "GET", 0, 10)
		s.Attributes = []slog.Attr{slog.String("http.route", route), slog.Int("http.status", 200), slog.String("odd key", `a"b`)}
		send(t, store, "shop", s)
	}
	b := openBrowser(t, store, "")
	b.open("/?limit=50", `document.querySelector("[name=q]").role === "combobox"`)
	suggested := `[...document.querySelectorAll(".suggestions:not([hidden]) li")].map(e => e.textContent).join(" ")`
	box := `document.querySelector("[name=q]").value`
	b.do(chromedp.Click("[name=q]"))
	b.wait(suggested + ` === "{ "`)
	b.key(kb.ArrowDown, kb.Tab, "r", "o", "u", "t")
	b.wait(suggested + ` === "span.http.route"`)
	b.key(kb.ArrowDown, kb.Tab, " ", "=", " ")
	b.wait(suggested + ` === '"/orders" "/orders/{id}" "/users"'`)
	b.key("\"", "u")
	b.wait(suggested + ` === '"/users"'`)
	b.key(kb.ArrowUp, kb.Tab, " ")
	b.wait(suggested + " === '&&  ||  }'")
	b.key("}", kb.Escape)
	testkit.Equal(t, "query", eval[string](b, box), `{ span.http.route = "/users" }`)
	testkit.Equal(t, "closed", eval[string](b, `document.querySelector("[name=q]").ariaExpanded`), "false")
	b.key(kb.Enter)
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 1 && ` + box + ` === '{ span.http.route = "/users" }' && document.querySelector("[name=q]").role === "combobox"`)

	// What has quotes is quoted.
	eval[bool](b, `(() => { const q = document.querySelector("[name=q]"); q.value = "{ odd"; q.focus(); q.setSelectionRange(5, 5); q.dispatchEvent(new Event("input")); return true; })()`)
	b.wait(suggested + ` === 'span."odd key"'`)
	b.key(kb.ArrowDown, kb.Tab, "=")
	b.wait(suggested + ` === '"a\\"b"'`)
	b.key(kb.ArrowDown, kb.Tab, "}", kb.Escape, kb.Enter)
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 3`)
}

// TestBrowserOverview goes from the start page to the reason in three clicks.
func TestBrowserOverview(t *testing.T) {
	store := memory.New(memory.Options{})
	for n := range 30 {
		trace := byte(n + 1)
		root := spanAt(trace, 1, 0, "GET /orders", -900, -100)
		root.Kind = dendro.KindServer
		spans := []*dendro.SpanData{root}
		for i := range 20 {
			q := spanAt(trace, 100+i, 1, "SELECT items", int64(-890+35*i), int64(-860+35*i))
			q.Kind, q.Attributes = dendro.KindClient, []slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("db.query.text", "SELECT * FROM items WHERE id = ?")}
			spans = append(spans, q)
		}
		call := spanAt(trace, 50, 1, "POST", -110, -105)
		call.Kind = dendro.KindClient
		charge := spanAt(trace, 51, 50, "POST /charge", -109, -106)
		charge.Kind, charge.Remote = dendro.KindServer, true
		if n%10 == 0 {
			charge.Status = dendro.Status{Code: dendro.StatusError, Message: "no money"}
			charge.Events = []dendro.Event{{Name: "exception", Time: charge.Start + 1, Attributes: []slog.Attr{slog.String("exception.type", "*bank.Error"), slog.String("exception.message", fmt.Sprint("card ", n, " has no money"))}}}
		}
		send(t, store, "shop", append(spans, call)...)
		send(t, store, "bank", charge)
	}
	b := openBrowser(t, store, "")
	overview := func() { b.open("/", `document.body.dataset.ready`) }

	overview()
	testkit.Equal(t, "operations", eval[[]string](b, `[...document.querySelectorAll(".operations td.what")].map(e => e.innerText.replace(/\s+/g, " "))`), []string{"shop GET /orders", "bank POST /charge"})
	testkit.Equal(t, "map", eval[[]string](b, `[...document.querySelectorAll(".map .node title")].map(e => e.textContent).sort()`), []string{"bank", "shop", "shop (postgresql)"})
	testkit.Equal(t, "errors", eval[string](b, `document.querySelector(".errors li a").innerText`), "*bank.Error card 0 has no money")
	for _, width := range []int64{360, 500, 770, 1010, 1600, 2560} {
		b.do(chromedp.EmulateViewport(width, 800))
		testkit.Equal(t, fmt.Sprint("something sticks out at ", width), eval[bool](b, `[...document.querySelectorAll(".top, .card > header, .operations")].some(e => e.scrollWidth > e.clientWidth) || document.documentElement.scrollWidth > innerWidth`), false)
	}
	b.do(chromedp.EmulateViewport(1280, 1000))

	// The repeated query, in three clicks.
	b.click(`.operations a`)
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 30`)
	b.click(`.traces tbody a`)
	b.wait(ready)
	why := eval[string](b, `document.querySelector(".why").innerText`)
	if !strings.Contains(why, "20 × SELECT items one after another") {
		t.Errorf("the sentence is %q", why)
	}
	b.click(`.why a`)
	b.wait(panel + `?.innerText.includes("The same 20 times")`)

	// Against a typical one.
	b.click(`.raw a[href*="compare"]`)
	b.wait(`document.querySelectorAll(".comparison tbody tr").length === 4 && location.search.includes("&b=")`)
	testkit.Equal(t, "merged", eval[[]string](b, `[...document.querySelectorAll(".comparison .what b")].map(e => e.textContent)`), []string{"GET /orders", "SELECT items", "POST", "POST /charge"})

	// The error, in two.
	overview()
	b.click(`.errors a`)
	b.wait(ready + " && " + panel + `?.innerText.includes("has no money")`)

	// A part of the heatmap.
	overview()
	box := eval[[]float64](b, `(() => { const r = document.querySelector("#heatmap").getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; })()`)
	b.do(chromedp.MouseEvent(chromedp.MousePressed, box[0]+5, box[1]+1, chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseMoved, box[2]-2, box[1]+20, chromedp.ButtonLeft),
		chromedp.MouseEvent(chromedp.MouseReleased, box[2]-2, box[1]+20, chromedp.ButtonLeft))
	b.wait(`document.querySelectorAll(".traces tbody tr").length === 30`)
	testkit.Equal(t, "brushed", eval[bool](b, `/kind = server.*duration >= \d+ns && duration <= \d+ns/.test(document.querySelector("[name=q]").value)`), true)

	// It follows what happens.
	overview()
	send(t, store, "stock", spanAt(99, 1, 0, "new", -5, -1))
	b.open("/?kind=all", `document.body.innerText.includes("stock")`)
}

// TestBrowserLive watches the list while traces arrive. The focus stays where it is.
func TestBrowserLive(t *testing.T) {
	now = time.Now().UnixNano() // pages of old traces do not look for more spans
	store := memory.New(memory.Options{})
	b := openBrowser(t, store, "")
	b.open("/?limit=50", `document.querySelector("#live").ariaChecked === "true" && document.querySelector(".empty")`)
	send(t, store, "shop", spanAt(1, 1, 0, "first", 0, 10))
	b.wait(`document.querySelector("tbody tr")`)
	eval[bool](b, `window.kept = document.querySelector("tbody tr a"); window.kept.focus(); true`)
	send(t, store, "shop", spanAt(2, 1, 0, "second", 20, 30))
	b.wait(`document.querySelector("tbody tr a").textContent === "second"`)
	testkit.Equal(t, "focus stays", eval[bool](b, `document.activeElement === window.kept && window.kept.textContent === "first"`), true)
	send(t, store, "stock", spanAt(1, 2, 1, "late", 5, 8))
	b.wait(`document.querySelectorAll("tbody tr")[1].innerText.includes("stock")`)
	testkit.Equal(t, "focus stays again", eval[string](b, `document.activeElement.textContent`), "first")

	age := time.Since(time.Unix(0, now)).Milliseconds() // only a trace that has ended a moment ago grows
	send(t, store, "stock", spanAt(1, 4, 1, "last", age-1, age))
	b.open("/trace/1", ready)
	b.do(chromedp.Click("#row-1 .label"))
	b.wait(panel)
	send(t, store, "stock", spanAt(1, 3, 1, "earlier", 2, 3))
	b.wait(rows + ".includes('earlier')")
	testkit.Equal(t, "selection stays", eval[string](b, selected), "late")
	testkit.Equal(t, "facts follow", eval[bool](b, `/Spans\s+4/.test(document.querySelector(".facts").innerText)`), true)

	b.key("z", kb.ArrowUp)
	first, zoomed := spanAt(1, 5, 0, "first of all", -20, 4), eval[[][]int](b, bars(2))
	send(t, store, "stock", first, spanAt(1, 6, 5, "below the first", -10, 3))
	b.wait(rows + ".includes('first of all')")
	testkit.Equal(t, "the same time is shown", eval[[][]int](b, bars(4)), zoomed)
	testkit.Equal(t, "the link is to the span with details", strings.HasPrefix(eval[string](b, "location.hash"), "#span=0000000000000002"), true)
	b.do(chromedp.Click(".detail button.link"))
	b.wait(panel + `?.querySelector("h2").textContent === "first"`)

	b.open("/?limit=50", `document.querySelector("#live").ariaChecked === "true"`)
	b.do(chromedp.Click("#live"))
	send(t, store, "shop", spanAt(3, 1, 0, "third", 40, 50))
	testkit.Equal(t, "off", eval[string](b, `document.querySelector("#live").ariaChecked`), "false")
	b.open("/?limit=50", `document.querySelector("tbody tr")`)
	testkit.Equal(t, "the choice is kept", eval[string](b, `document.querySelector("#live").ariaChecked`), "false")
}

// TestBrowserFold opens a row of folded spans.
func TestBrowserFold(t *testing.T) {
	store := memory.New(memory.Options{})
	root := spanAt(1, 1, 0, "GET /orders", 0, 100)
	root.Events = []dendro.Event{{Name: "repeated statement", Time: root.Start + 3e6, Attributes: []slog.Attr{
		slog.String("db.query.text", "SELECT * FROM items WHERE id = ?"), slog.String("code.function.name", "main.list"),
		slog.String("code.file.path", "/src/orders.go"), slog.Int("code.line.number", 42)}}}
	spans := []*dendro.SpanData{root, spanAt(1, 2, 1, "SELECT orders", 1, 2)}
	for i := range 20 {
		s := spanAt(1, 10+i, 1, "SELECT items", int64(4*i+3), int64(4*i+5))
		s.Kind, s.Attributes = dendro.KindClient, []slog.Attr{slog.String("db.query.text", "SELECT * FROM items WHERE id = ?")}
		if i == 7 {
			s.Status.Code = dendro.StatusError
		}
		spans = append(spans, s)
	}
	send(t, store, "shop", append(spans, spanAt(1, 50, 1, "render", 90, 95))...)
	b := openBrowser(t, store, "")
	b.open("/trace/1", ready)
	const foldRow = `document.querySelector("#row-2")`
	testkit.Equal(t, "folded", strings.Join(eval[[]string](b, rows), ", "), "GET /orders, SELECT orders, 20 × SELECT items, render")
	testkit.Equal(t, "the mark of the request", eval[string](b, `document.querySelector("#row-0 .repeats").textContent`), "20 × SELECT items")
	text := eval[string](b, foldRow+`.innerText + " " + `+foldRow+`.querySelector(".time").ariaLabel`)
	for _, want := range []string{"called from main.list, orders.go:42", "40.0 ms", "1 error"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the row: %s", want, text)
		}
	}
	testkit.Equal(t, "bars", len(eval[[][]int](b, bars(2))), 20)
	testkit.Equal(t, "says that it is closed", eval[string](b, foldRow+".ariaExpanded"), "false")

	b.do(chromedp.Click("#row-2 .label"))
	b.wait(panel + `?.querySelector("h2").textContent === "20 × SELECT items"`)
	details := eval[string](b, panel+".innerText")
	for _, want := range []string{"SELECT * FROM items WHERE id = ?", "main.list, orders.go:42", "Median", "2.00 ms", "40.0 ms"} {
		if !strings.Contains(details, want) {
			t.Errorf("%q is not in the details:\n%s", want, details)
		}
	}
	testkit.Equal(t, "link to the fold", eval[string](b, "location.hash"), "#fold=000000000000000a")

	b.key(kb.Escape, kb.ArrowRight)
	testkit.Equal(t, "opened by key", eval[int](b, shownRows), 24)
	b.key(kb.ArrowLeft)
	testkit.Equal(t, "closed by key", eval[int](b, rows+".length"), 4)
	b.do(chromedp.Click("#row-2 .toggle"))
	testkit.Equal(t, "opened by mouse", eval[int](b, shownRows), 24)
	b.do(chromedp.Click("#row-2 .toggle"))
	b.key(kb.Home, "e")
	testkit.Equal(t, "the next error is in the fold", eval[string](b, `document.querySelector('[aria-selected="true"]').id`), "row-10")

	b.open("/trace/1#span=000000000000000c", panel+`?.querySelector("h2").textContent === "SELECT items"`)
	testkit.Equal(t, "the parent is a span", eval[string](b, panel+`.querySelector("button.link").textContent`), "GET /orders")
	testkit.Equal(t, "a link into the fold opens it", eval[string](b, `document.querySelector('[aria-selected="true"]').id`), "row-5")
	b.open("/trace/1#fold=000000000000000a", panel+`?.querySelector("h2").textContent === "20 × SELECT items"`)
	testkit.Equal(t, "a link to the fold leaves it closed", eval[int](b, rows+".length"), 4)

	for _, width := range []int64{360, 500, 770, 1600} {
		b.do(chromedp.EmulateViewport(width, 800))
		testkit.Equal(t, fmt.Sprint("something sticks out at ", width), eval[bool](b, `[...document.querySelectorAll(".row .name")].some(e => e.scrollWidth > e.clientWidth)`), false)
	}
}

var manySpans = flag.Int("spans", 10_000, "number of spans of TestBrowserManySpans, up to 16 million")

// TestBrowserManySpans looks at ten thousand spans, or at as many as -spans says. It logs how fast
// that is, beside the floor: what the same loop measures for an empty canvas.
func TestBrowserManySpans(t *testing.T) {
	n := *manySpans
	b := openBrowser(t, storeOfMany(t, n), "")
	_, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		addEventListener("click", () => sessionStorage.clicked = performance.timeOrigin + performance.now(), true);
		const look = () => document.querySelector(".rows .row") ? requestAnimationFrame(() => window.drawn = performance.timeOrigin + performance.now()) : requestAnimationFrame(look);
		requestAnimationFrame(look)`})
	testkit.NoError(t, err)

	floor := b.frames(`const canvas = document.querySelector("canvas") ?? document.body.appendChild(document.createElement("canvas"));
		const to = canvas.getContext("2d"); to.clearRect(0, 0, canvas.width, canvas.height); to.fillRect(200 * at, 0, 20, 20)`)
	t.Logf("an empty canvas: %v; %s", floor, b.memory())
	b.open("/?limit=50", `document.querySelector(".traces tbody a")`)
	b.do(chromedp.Click(".traces tbody a"))
	b.wait(ready + " && window.drawn")
	t.Logf("%d spans: first rows %.0f ms after the click; %s", n, eval[float64](b, "window.drawn - sessionStorage.clicked"), b.memory())
	t.Logf("scrolling by 50 pixels a frame: %v", b.frames(`document.querySelector(".waterfall").scrollTop += 50`))
	scroll := b.frames(`const box = document.querySelector(".waterfall"); box.scrollTop = (1 - Math.cos(2 * Math.PI * at)) / 2 * box.scrollHeight;
		window.rows = Math.max(window.rows ?? 0, document.querySelectorAll(".rows .row").length)`)
	t.Logf("scrolling through all and back: %v", scroll)
	zoom := b.frames(`const box = document.querySelector(".waterfall"), {left, width, top} = box.getBoundingClientRect();
		const e = new WheelEvent("wheel", {ctrlKey: true, deltaY: at < 0.5 ? -40 : 40, clientX: left + 0.8 * width, clientY: top + 40, bubbles: true, cancelable: true});
		box.dispatchEvent(e);
		window.zooms = e.defaultPrevented`)
	if eval[bool](b, "window.zooms") {
		t.Logf("zooming: %v", zoom)
	}
	t.Log("afterwards: ", b.memory())
	_, err = chromedp.Call(b.ctx, heapprofiler.CollectGarbage, cdp.Empty{})
	testkit.NoError(t, err)
	t.Log("after garbage collection: ", b.memory())
	if rows := eval[int](b, "window.rows"); rows == 0 || rows > 150 {
		t.Errorf("%d rows are in the document", rows)
	}
	if scroll.Median > 100 || scroll.Most > 1000 {
		t.Errorf("scrolling is not smooth: %v", scroll)
	}

	b.key(kb.End)
	testkit.Equal(t, "last row", eval[string](b, selected), eval[string](b, rows+".at(-1)"))
	testkit.Equal(t, "is in view", eval[bool](b, `(() => { const row = document.querySelector('[aria-selected="true"]').getBoundingClientRect(), box = document.querySelector(".waterfall").getBoundingClientRect(); return row.top >= box.top && row.bottom <= box.bottom + 1 })()`), true)
	testkit.Equal(t, "row index", eval[string](b, `document.querySelector('[aria-selected="true"]').ariaRowIndex`), fmt.Sprint(n+1))
	b.key(kb.Enter)
	b.wait(panel + `?.querySelector("article")`)
	b.key(kb.Home, kb.ArrowLeft)
	testkit.Equal(t, "all folded", eval[int](b, rows+".length"), 1)
}

// storeOfMany returns a store with a trace of n spans, ten below each.
func storeOfMany(t *testing.T, n int) collector.Store {
	store := memory.New(memory.Options{})
	spans := make([]*dendro.SpanData, n)
	for i := range spans {
		spans[i] = spanAt(1, i+1, (i+9)/10, fmt.Sprint("span ", i), int64(i), int64(n+1))
	}
	spans[0].ParentID = dendro.SpanID{}
	send(t, store, "shop", spans...)
	return store
}

// frames is how long the frames of an animation took, in milliseconds.
type frames struct{ Median, P95, Most float64 }

func (f frames) String() string {
	return fmt.Sprintf("frames of %.1f ms, p95 %.1f ms, at most %.1f ms", f.Median, f.P95, f.Most)
}

// frames runs statements of JavaScript in each of 120 frames. at goes from 0 to 1.
func (b *browser) frames(statements string) frames {
	b.t.Helper()
	return eval[frames](b, `new Promise(done => {
		const times = [];
		let last = 0, n = 0;
		const step = now => {
			if (last) times.push(now - last);
			last = now;
			if (n === 120) {
				times.sort((a, b) => a - b);
				done({Median: times[times.length >> 1], P95: times[Math.floor(times.length * 0.95)], Most: times.at(-1)});
				return;
			}
			const at = n++ / 120;
			`+statements+`;
			requestAnimationFrame(step);
		};
		requestAnimationFrame(step);
	})`)
}

// memory returns how large the heap of the tab is, and on Linux the memory that only its
// process has.
func (b *browser) memory() string {
	b.t.Helper()
	heap, err := chromedp.Call(b.ctx, runtime.GetHeapUsage, cdp.Empty{})
	testkit.NoError(b.t, err)
	text := fmt.Sprintf("heap %.0f MB", heap.UsedSize/1e6)
	processes, err := chromedp.CallBrowser(b.ctx, systeminfo.GetProcessInfo, cdp.Empty{})
	testkit.NoError(b.t, err)
	largest := 0 // there is one for this tab, and perhaps a spare one
	for _, p := range processes.ProcessInfo {
		smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.ID))
		if err != nil || p.Type != "renderer" {
			continue
		}
		private := 0
		for _, m := range regexp.MustCompile(`(?m)^Private_\w+: +(\d+) kB`).FindAllSubmatch(smaps, -1) {
			kB, err := strconv.Atoi(string(m[1]))
			testkit.NoError(b.t, err)
			private += kB
		}
		largest = max(largest, private)
	}
	if largest > 0 {
		text += fmt.Sprintf(", process %.0f MB", float64(largest)*1024/1e6)
	}
	return text
}

// everyPage are the pages of storeOfAll, and conditions that hold when they are drawn.
var everyPage = []struct{ path, condition string }{
	{"/", `document.body.dataset.ready && document.querySelector("#map-title")`},
	{"/?limit=50", `document.querySelector("tbody tr")`},
	{"/?limit=x", `document.querySelector(".problem")`},
	{"/?name=no", `document.querySelector(".empty")`},
	{"/?view=sql", `document.querySelector("#sql-title")`},
	{"/?view=import", `document.body.dataset.ready`},
	{"/?view=compare&a=1&b=1", `document.querySelector(".comparison")`},
	{"/trace/1#view=flame", `document.querySelector(".frame")`},
	{"/trace/1#view=names", `document.querySelector(".groups")`},
	{"/trace/1#span=0000000000000002", panel + `?.querySelector("article")`},
	{"/trace/1#fold=000000000000000a", panel + `?.querySelector("article")`},
}

// storeOfAll returns a store with a bit of everything that pages show.
func storeOfAll(t *testing.T) collector.Store {
	store := memory.New(memory.Options{})
	failed := spanAt(1, 2, 1, "failed", 2, 5)
	failed.Kind, failed.Status = dendro.KindClient, dendro.Status{Code: dendro.StatusError, Message: "boom"}
	failed.Attributes = []slog.Attr{slog.String("key", "value"), slog.String("db.query.text", "SELECT 1")}
	failed.DroppedAttributes = 3
	failed.Events = []dendro.Event{{Name: "exception", Time: failed.End, Attributes: []slog.Attr{slog.String("exception.stacktrace", strings.Repeat("main.go:1\n", 100))}}}
	root := spanAt(1, 1, 0, "root", 0, 50)
	root.Kind = dendro.KindServer
	send(t, store, "shop", root, failed, spanAt(1, 3, 9, "orphan", 5, 20))
	for i := range 5 {
		repeated := spanAt(1, 10+i, 1, "repeated", int64(20+i), int64(21+i))
		repeated.Kind, repeated.Attributes = dendro.KindClient, []slog.Attr{slog.String("db.system.name", "sqlite")}
		send(t, store, "shop", repeated)
	}
	return store
}

// refused is what the browser logs about the page of everyPage that is an error.
const refused = "status of 400"

// scheme lets the system prefer "light" or "dark".
func (b *browser) scheme(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	testkit.NoError(b.t, err)
}

// TestBrowserContrast measures the contrast of all text with its background. WCAG 2.1
// AA requires 4.5.
func TestBrowserContrast(t *testing.T) {
	b := openBrowser(t, storeOfAll(t), refused)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for _, p := range everyPage {
			b.open(p.path, p.condition)
			if low := eval[[]string](b, lowContrast); len(low) > 0 {
				t.Errorf("%s, %s: %s", p.path, scheme, strings.Join(low, "; "))
			}
		}
	}
}

// TestBrowserPrint looks at the pages on paper: black on white, all that can be read, and nothing
// to click.
func TestBrowserPrint(t *testing.T) {
	b := openBrowser(t, storeOfAll(t), refused)
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: "print", Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	testkit.NoError(t, err)
	b.do(chromedp.EmulateViewport(718, 1047)) // A4 with margins
	for _, p := range everyPage {
		b.open(p.path, p.condition)
		testkit.Equal(t, p.path+": paper", eval[string](b, `getComputedStyle(document.body).backgroundColor`), "rgb(255, 255, 255)")
		testkit.Equal(t, p.path+": to click", eval[[]string](b, `[...document.querySelectorAll("button, input, .strip")].filter(e => e.checkVisibility() && !e.matches(".link, .frame, th button")).map(e => e.outerHTML)`), []string{})
		testkit.Equal(t, p.path+": cut off", eval[[]string](b, `[...document.querySelectorAll(".detail, .detail pre, .groups, .flame, .map")].filter(e => e.clientHeight < e.scrollHeight).map(e => e.className)`), []string{})
		testkit.Equal(t, p.path+": layout", eval[[]string](b, brokenLayout), []string{})
	}
}

// lowContrast lists the elements whose text has too little contrast.
const lowContrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	const over = (colour, below) => {
		canvas.fillStyle = "rgb(" + below.join() + ")";
		canvas.fillRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
	};
	const behind = e => over(getComputedStyle(e).backgroundColor, e.parentElement ? behind(e.parentElement) : [255, 255, 255]);
	const light = c => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const low = [];
	for (const e of document.body.querySelectorAll("*")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
		const below = behind(e), a = light(below), b = light(over(getComputedStyle(e).color, below));
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) low.push(e.tagName + "." + e.className + " " + contrast.toFixed(2) + " " + e.textContent.trim().slice(0, 20));
	}
	return low;
})()`
