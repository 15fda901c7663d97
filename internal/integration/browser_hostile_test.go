package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// naughty are texts for every field of a span.
var naughty = []struct{ what, text string }{
	{"markup", `"'><img src=x onerror="window.harm=1;alert(1)"><script>window.harm=1</script><a href="javascript:window.harm=1">`},
	{"end of elements", `</td></tr></table></textarea></title></style></script></svg><svg onload=window.harm=1><iframe src=//evil.example>-->]]>`},
	{"templates", `${window.harm=1}{{.}}{{template "head" .}}{{constructor.constructor('window.harm=1')()}}<%= 1 %>#{1}`},
	{"attributes", `x" onmouseover="window.harm=1" autofocus onfocus="window.harm=1" style="position:fixed;inset:0" y="`},
	{"URL of a script", `javascript:window.harm=1`},
	{"URLs", `https://evil.example/ //evil.example data:text/html,<script>window.harm=1</script>`},
	{"CSS", `red;background:url(https://evil.example/x)} *{display:none} @import url(//evil.example);/*`},
	{"bidi", "a\u202eb\u2066c\u2067d\u2068e\u200ff\u061cg\u202d"},
	{"nothing to see", "\u200b\u200c\u200d\u2060\ufeff\u00ad"},
	{"zero width", "in\u200bvi\u200dsi\u2060ble\ufeff"},
	{"controls", "a\x00b\x01c\x07d\x1b[31me\x7ff\r\ng\th\u0085i"},
	{"lines", "one\u2028two\u2029three\nfour\vfive\ffive"},
	{"not UTF-8", "a\xffb\xfe\xed\xa0\x80c\xc3"},
	{"a long word", strings.Repeat("W", 5000)},
	{"words", strings.Repeat("many words ", 500)},
	{"__proto__", "__proto__"},
	{"constructor", "constructor"},
	{"right to left", "مرحبا بالعالم (abc) שלום"},
	{"emoji", "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽 ﷽ 𒐫"},
	{"combining", "Z" + strings.Repeat("\u0351\u036b\u0343\u036a\u0302\u0316\u0330", 20) + "algo"},
	{"queries", "`\"\\' } || { true } /* -- ; DROP TABLE spans %00%n%s $& $1"},
	{"spaces", "   \u3000 \u00a0  "},
}

// hostileTrace returns a trace with text in every field.
func hostileTrace(number byte, text string) []*dendro.SpanData {
	attributes := []slog.Attr{
		slog.String(text, text), slog.Any("list", []string{text, text}), slog.String("db.system.name", text), slog.String("db.namespace", text),
		slog.String("db.query.text", text), slog.String("http.route", text), slog.String("peer.service", text), slog.String("error.type", text),
		slog.String("code.function.name", text), slog.String("code.file.path", text), slog.Int("code.line.number", 1),
	}
	failed := dendro.Status{Code: dendro.StatusError, Message: text}
	root := spanAt(number, 1, 0, text, -900, -100)
	root.Kind, root.Attributes = dendro.KindServer, attributes
	root.Events = []dendro.Event{{Name: "repeated statement", Time: root.Start, Attributes: attributes}}
	root.State, _ = dendro.ParseTraceState("evil=<img src>&\"'")
	call := spanAt(number, 2, 1, text, -890, -600)
	call.Kind, call.Status, call.Attributes = dendro.KindClient, failed, attributes
	call.Events = []dendro.Event{
		{Name: text, Time: call.Start, Attributes: attributes},
		{Name: "pool wait", Time: call.Start, Duration: 100 * time.Millisecond, Attributes: attributes},
		{Name: "exception", Time: call.Start, Attributes: []slog.Attr{slog.String("exception.type", text), slog.String("exception.message", text), slog.String("exception.stacktrace", text)}},
	}
	call.Links = []dendro.Link{{SpanContext: root.SpanContext, Attributes: attributes}}
	spans := []*dendro.SpanData{root, call, spanAt(number, 3, 99, text, -500, -400)}
	for i := range 6 {
		s := spanAt(number, 10+i, 1, text, int64(-390+10*i), int64(-385+10*i))
		s.Kind, s.Attributes = dendro.KindClient, attributes
		spans = append(spans, s)
	}
	return spans
}

// sendHostile stores spans of a service, scope and resource that are text.
func sendHostile(t *testing.T, store collector.Store, text string, spans []*dendro.SpanData) {
	t.Helper()
	scope := &dendro.Scope{Name: text, Version: text, Attributes: []slog.Attr{slog.String(text, text)}}
	for _, s := range spans {
		s.Scope = scope
	}
	testkit.NoError(t, store.Collect(&dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", text), slog.String(text, text)}},
		Spans:    spans,
	}))
}

// everything is the trace with all texts, each below a span of its own.
const everything = "fa"

// hostileViews are the views that show all texts, and those that show the one of trace %x.
var hostileViews = []struct{ name, path, condition string }{
	{"overview", "/", `document.body.dataset.ready`},
	{"all operations", "/?kind=all", `document.body.dataset.ready`},
	{"list", "/?limit=100", `document.querySelector("[name=q]").role === "combobox"`},
	{"SQL", "/?view=sql", `document.body.dataset.ready`},
	{"SQL of a trace", "/?view=sql&trace=" + everything, `document.querySelector("tbody")`},
	{"compare", "/?view=compare&a=" + everything + "&b=1", `document.querySelector(".comparison")`},
	{"JSON", "/api/v2/traces/" + everything, `document.contentType === "application/json" && document.body`},
	{"rows", "/trace/" + everything, ready},
	{"fold", "/trace/" + everything + "#fold=0100000000000002", panel + `?.innerText.includes("The same 7 times")`},
	{"flame", "/trace/" + everything + "#view=flame", `document.querySelector(".frame")`},
	{"names", "/trace/" + everything + "#view=names", `document.querySelector(".groups tbody tr")`},
	{"statements of a trace", "/trace/" + everything + "#view=sql", `document.querySelector(".statements tbody tr")`},
	{"logs", "/trace/" + everything + "#view=logs", `document.querySelector(".logs tbody tr")`},
	{"groups", "/?view=compare&q=%7B+resource.service.name+%3D~+%22.*onerror.*%22+%7D", `document.querySelector(".grouped tbody tr")`},
	{"details", "/trace/%x#span=0000000000000002", panel + `?.innerText.includes("Self time")`},
}

// TestBrowserHostile shows hostile texts in every field of spans, in every view. None comes to
// life, leaves the page or breaks its layout.
func TestBrowserHostile(t *testing.T) {
	store := memory.New(memory.Options{})
	all := spanAt(0xfa, 1, 0, "all texts", -1000, 0)
	send(t, store, "shop", all)
	for n, naughty := range naughty {
		spans := hostileTrace(byte(n+1), naughty.text)
		sendHostile(t, store, naughty.text, spans)
		for i, s := range spans { // again, below all
			s.TraceID = all.TraceID
			s.SpanID[0], s.ParentID[0] = byte(n+1), byte(n+1)
			if i == 0 {
				s.ParentID = all.SpanID
			}
		}
		sendHostile(t, store, naughty.text, spans)
	}
	large := spanAt(200, 1, 0, "large", -800, -700)
	large.Attributes = []slog.Attr{slog.String("word", strings.Repeat("W", 1<<20)), slog.String("lines", strings.Repeat("line\n", 1<<17))}
	send(t, store, "large", large)
	b := openBrowser(t, store, "This document requires 'TrustedHTML' assignment") // the last line of the test

	for _, view := range hostileViews {
		if !strings.Contains(view.path, "%x") {
			b.open(view.path, view.condition)
			b.harmless(view.name)
			b.linksWork(view.name)
			testkit.Equal(t, view.name+" shows the text", eval[bool](b, `document.body.textContent.includes("onerror=")`), true)
			continue
		}
		for n, naughty := range naughty {
			b.open(fmt.Sprintf(view.path, n+1), view.condition)
			b.harmless(view.name + " with " + naughty.what)
			testkit.Equal(t, view.name+" shows the text", eval[string](b, panel+`.querySelector("h2").textContent`), string([]rune(naughty.text)))
		}
	}

	b.open("/?limit=100", `document.querySelectorAll(".traces tbody tr").length > 0 && document.querySelector("[name=q]").role === "combobox"`)
	for n, naughty := range naughty {
		sendHostile(t, store, naughty.text, []*dendro.SpanData{spanAt(byte(n+101), 1, 0, naughty.text, -50, -10)})
	}
	b.wait(fmt.Sprintf(`document.querySelectorAll(".traces tbody tr").length === %d`, 2*len(naughty)+2))
	b.harmless("live list")
	b.do(chromedp.SendKeys("[name=q]", "{ resource.service.name = "))
	b.wait(`document.querySelectorAll(".suggestions li").length > 3`)
	b.harmless("suggestions")
	b.open("/trace/c8", ready)
	b.do(chromedp.Click(".row .label"))
	b.wait(panel + `?.querySelector("article")`)
	b.harmless("large values")

	for n, naughty := range naughty {
		for _, export := range []string{"/api/traces/%x", "/api/v2/traces/%x", "/api/dendro/traces/%x/events", "/api/dendro/traces/%x/perfetto", "/api/dendro/traces/%x/spans/0000000000000002"} {
			checkExport(t, b.origin+fmt.Sprintf(export, n+1), naughty.text)
		}
	}
	testkit.Equal(t, "the browser makes no HTML from strings", eval[string](b,
		`(() => { try { document.createElement("div").innerHTML = "<b>"; return "made" } catch (e) { return e.name } })()`), "TypeError")
}

// harmless fails the test if markup of a span is in the document, or if its layout is broken.
func (b *browser) harmless(where string) {
	b.t.Helper()
	for _, width := range []int64{360, 1280} {
		b.do(chromedp.EmulateViewport(width, 800))
		if broken := eval[[]string](b, brokenLayout); len(broken) > 0 {
			b.t.Errorf("%s, %d px: %s", where, width, strings.Join(broken, "\n"))
		}
	}
	if alive := eval[[]string](b, alive); len(alive) > 0 {
		b.t.Errorf("%s: markup came to life: %q", where, alive)
	}
}

// alive lists the elements and attributes of a page that it does not have by itself.
const alive = `[...("harm" in window ? ["window.harm"] : []), ...[...document.querySelectorAll("*")].filter(e =>
	e.matches("img, iframe, object, embed, base, style, script:not([src])") ||
	[...e.attributes].some(a => a.name.startsWith("on") || a.name === "autofocus") ||
	e.href && new URL(e.href.baseVal ?? e.href, location).origin !== location.origin).map(e => e.outerHTML.slice(0, 300))]`

// brokenLayout lists what is wrong with the layout of a page: it is wider than the window, text
// sticks out, or rows of a table differ in height or cover each other.
const brokenLayout = `(() => {
	const broken = [], say = (what, e) => broken.push(what + ": " + e.outerHTML.slice(0, 200));
	if (document.contentType !== "text/html") return [];
	const wide = document.documentElement.scrollWidth;
	if (wide > innerWidth) broken.push("the page is " + wide + " px wide");
	const clipped = e => e && (getComputedStyle(e).overflowX !== "visible" || clipped(e.parentElement));
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
	for (let text = walk.nextNode(); text; text = walk.nextNode()) {
		if (!text.data.trim()) continue;
		range.selectNodeContents(text);
		const box = range.getBoundingClientRect();
		if ((box.left < -1 || box.right > innerWidth + 1) && !clipped(text.parentElement)) say("sticks out", text.parentElement);
	}
	for (const of of [".traces tbody tr", ".operations:not(.comparison) tbody tr", ".comparison tbody tr", ".rows .row", ".errors li", ".frame"]) {
		const rows = [...document.querySelectorAll(of)].filter(e => e.offsetHeight > 0).map(e => [e, e.getBoundingClientRect()]);
		const heights = rows.map(([, box]) => box.height).sort((a, b) => a - b);
		rows.sort(([, a], [, b]) => a.top - b.top);
		rows.forEach(([e, box], i) => {
			const above = rows[i - 1]?.[1];
			if (box.height > heights[0] + 8 && !of.startsWith(".comparison") && !e.matches(".field")) say(box.height + " px instead of " + heights[0], e);
			if (of !== ".frame" && above && above.bottom > box.top + 1) say("covers the row above", e);
		});
	}
	return broken;
})()`

// linksWork fails the test if a link of the page leads to an error.
func (b *browser) linksWork(where string) {
	b.t.Helper()
	for _, failed := range eval[[]string](b, `Promise.all([...new Set([...document.querySelectorAll("a")].map(a => a.href.baseVal ?? a.href))].map(async href =>
		[href, (await fetch(href)).status])).then(all => all.filter(([, status]) => status !== 200).map(String))`) {
		b.t.Errorf("%s: a link leads to an error: %s", where, failed)
	}
}

// checkExport fails the test if an export is no JSON, if a browser may take it for something
// else, or if a text is not in it.
func checkExport(t *testing.T, url, text string) {
	t.Helper()
	res, err := http.Get(url)
	testkit.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	testkit.Equal(t, url, res.StatusCode, http.StatusOK)
	testkit.Equal(t, url, res.Header.Get("Content-Type"), "application/json")
	testkit.Equal(t, url, res.Header.Get("X-Content-Type-Options"), "nosniff")
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Errorf("%s: %v", url, err)
	}
	valid, each := strings.ToValidUTF8(text, "\uFFFD"), string([]rune(text)) // a replacement for some bytes or for each
	if texts := textsIn(v); !slices.Contains(texts, valid) && !slices.Contains(texts, each) {
		t.Errorf("%s: %q is not in %q", url, text, texts)
	}
}

// textsIn returns the strings and keys in JSON.
func textsIn(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			out = append(out, textsIn(e)...)
		}
	case map[string]any:
		for key, e := range v {
			out = append(append(out, key), textsIn(e)...)
		}
	}
	return out
}
