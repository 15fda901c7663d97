package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// axe is what axe-core finds.
type axe struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, FailureSummary string }
}

// runAxe returns what axe-core finds on a page, as an expression of JavaScript.
const runAxe = `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => (
	{ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 3).map(n => ({HTML: n.html.slice(0, 300), FailureSummary: n.failureSummary}))})))`

// TestBrowserAxe lets axe-core look for barriers on each page. What is serious or critical
// fails the test. So does a broken layout.
func TestBrowserAxe(t *testing.T) {
	const path = "../../collector/web/node_modules/axe-core/axe.min.js"
	script, err := os.ReadFile(path)
	if err != nil {
		testkit.Missing(t, "axe-core is not installed (npm ci in collector/web), so the page is not tested for barriers: %v", err)
	}
	now, _ := openBrowserNow(t)
	for _, test := range []struct {
		name  string
		pages []struct{ path, condition string }
		b     *browser
	}{
		{"full", everyPage, openBrowser(t, storeOfAll(t), refused)},
		{"empty", []struct{ path, condition string }{{"/", `document.querySelector(".empty")`}}, openBrowser(t, memory.New(memory.Options{}), "")},
		{"kept", []struct{ path, condition string }{{"/?view=kept", `document.body.dataset.ready`}, {"/trace/1", ready}}, openBrowserThatKeeps(t, storeOfAll(t))},
		{"now", []struct{ path, condition string }{{"/?view=open", `document.querySelector(".requests .stack") && (document.querySelector(".requests details").open = true)`}}, now},
		{"log in", []struct{ path, condition string }{{"/", `document.querySelector("#login")`}}, openBrowserToLogIn(t, memory.New(memory.Options{}))},
	} {
		for _, page := range test.pages {
			test.b.open(page.path, page.condition)
			_, err = chromedp.Run(test.b.ctx, chromedp.Evaluate[any](string(script)))
			testkit.NoError(t, err)
			for _, width := range []int64{360, 1280} {
				test.b.do(chromedp.EmulateViewport(width, 800))
				for _, broken := range eval[[]string](test.b, brokenLayout) {
					t.Errorf("%s %s, %d px: %s", test.name, page.path, width, broken)
				}
				for _, scheme := range []string{"light", "dark"} {
					test.b.scheme(scheme)
					for _, v := range eval[[]axe](test.b, runAxe) {
						where := fmt.Sprintf("%s %s, %d px, %s: %s: %s (%s)", test.name, page.path, width, scheme, v.Impact, v.Help, v.ID)
						for _, n := range v.Nodes {
							where += "\n" + n.HTML + "\n" + n.FailureSummary
						}
						if v.Impact == "serious" || v.Impact == "critical" {
							t.Error(where)
						} else {
							t.Log(where)
						}
					}
				}
			}
		}
	}
}
