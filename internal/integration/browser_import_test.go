package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestBrowserImport looks at files without storing them: one that is dropped, one that is
// chosen, and some that cannot be shown.
func TestBrowserImport(t *testing.T) {
	const zipkin = "../../collector/zipkin/testdata/trace.json"
	store := memory.New(memory.Options{})
	send(t, store, "shop", spanAt(1, 1, 0, "GET /live", 0, 50))
	b := openBrowser(t, store, "status of 4")

	// drop drops a file with a JavaScript string as its content.
	drop := func(name, content string) {
		t.Helper()
		eval[bool](b, fmt.Sprintf(`(() => {
			const files = new DataTransfer();
			files.items.add(new File([%s], %q));
			for (const type of ["dragenter", "dragover", "drop"])
				document.querySelector(".top").dispatchEvent(new DragEvent(type, {dataTransfer: files, bubbles: true, cancelable: true}));
			return true;
		})()`, content, name))
	}
	problem := `document.querySelector(".problem")?.textContent`
	text := `document.body.innerText`

	b.open("/", `document.body.dataset.ready`)
	b.click(`nav a[href$="view=import"]`)
	b.wait(`document.querySelector("#import") && document.body.dataset.ready`)
	b.click(`#keys`)
	testkit.Equal(t, "keys", eval[bool](b, `document.querySelector("dialog[open]").innerText.includes("Overview")`), true)
	b.click(`dialog button`)
	drop("notes.txt", `"no traces"`)
	b.wait(problem + `?.includes("line 1 is not JSON")`)
	drop("large.json", `"x".repeat(64 * 2 ** 20 + 1)`)
	b.wait(problem + `?.includes("it has more than 64 MiB")`)
	testkit.Equal(t, "the form is ready again", eval[bool](b, `document.querySelector("#progress").hidden && !document.querySelector("#import button").disabled`), true)

	data, err := os.ReadFile(zipkin)
	testkit.NoError(t, err)
	drop(`<b>trace.json`, fmt.Sprintf("%q", data))
	b.wait(`location.pathname.startsWith("/import/") && document.querySelector("#operations-title") && document.body.dataset.ready`)
	testkit.Equal(t, "says what it shows", eval[string](b, `document.querySelector(".imported span").innerText`), "Imported file <b>trace.json, which is not stored")
	b.click(`nav a[href$="limit=50"]`)
	b.wait(`document.querySelectorAll("tbody tr").length === 2`)
	b.wait(text + `.includes("2016")`) // times of long ago have a year
	testkit.Equal(t, "traces of the store", eval[bool](b, text+`.includes("GET /live")`), false)
	testkit.Equal(t, "nothing is live", eval[bool](b, `document.querySelector("#live") === null`), true)
	b.click(`tbody tr:last-child a`)
	b.wait(ready)
	testkit.Equal(t, "tree", strings.Join(eval[[]string](b, rows), ", "), "get /, get /spans, get /spans, query")
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		testkit.NoError(t, err)
		testkit.Equal(t, "contrast, "+scheme, strings.Join(eval[[]string](b, lowContrast), "; "), "")
	}
	for _, width := range []int64{360, 1280, 2560} {
		b.do(chromedp.EmulateViewport(width, 800))
		testkit.Equal(t, fmt.Sprint("something sticks out at ", width), eval[bool](b, `[...document.querySelectorAll(".imported, .top")].some(e => e.scrollWidth > e.clientWidth)`), false)
	}
	b.click(`.imported a`)
	b.wait(`location.pathname === "/" && document.body.dataset.ready`)
	testkit.Equal(t, "back at the store", eval[bool](b, text+`.includes("1 traces") && !`+text+`.includes("zipkin-client") && !document.querySelector(".imported")`), true)

	// With the form.
	path, err := filepath.Abs("../../collector/jaeger/testdata/trace.json")
	testkit.NoError(t, err)
	b.open("/?view=import", `document.body.dataset.ready`)
	b.do(chromedp.SetUploadFiles(`[type=file]`, []string{path}))
	b.click(`#import button`)
	b.wait(ready)
	testkit.Equal(t, "one trace is shown at once", strings.Join(eval[[]string](b, rows), ", "), "HTTP GET /dispatch, GetDriver")

	// Without scripts.
	b.do(chromedp.Navigate("about:blank"))
	_, err = chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	testkit.NoError(t, err)
	b.do(chromedp.Navigate(b.origin + "/?view=import"))
	b.do(chromedp.SetUploadFiles(`[type=file]`, []string{path}))
	b.do(chromedp.Click(`#import button`))
	b.do(chromedp.WaitVisible(`.imported`))

	stats, err := store.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans in the store", stats.Spans, 1)
	testkit.NoError(t, store.Scan(t.Context(), collector.Scan{}, func(tr *collector.Trace) bool {
		testkit.Equal(t, "in the store", tr.Spans[0].Name, "GET /live")
		return true
	}))
}
