package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// maxClicks is how many clicks a new user needs from the start page to a reason.
const maxClicks = 3

// TestBrowserPaths walks from the start page of "chi-app -load" to what is wrong with it.
func TestBrowserPaths(t *testing.T) {
	page := startShop(t, "-page=127.0.0.1:0")
	b := openBrowserAt(t, page, "")
	for _, test := range []struct {
		what string
		// has is what the start page shows, or the page that the first click leads to.
		path, has string
		clicks    []string // XPath expressions
		shows     []string // in the details of the span
	}{
		{"the N+1 query", "/", ">GET /orders</a>", []string{
			`//table//a[. = "GET /orders"]`,
			`//table//a[. = "GET /orders"]`,
			`//*[@class = "label"][. = "20 × SELECT shop_items"]`,
		}, []string{"The same 20 times", "WHERE order_id = ?", "main.selectItems, database.go:"}},
		{"the stack of a panic", "/", "somebody pulled the plug", []string{
			`//*[@class = "errors"]//a[contains(., "somebody pulled the plug")]`,
		}, []string{"GET /panic", "main.panics", "front.go:"}},
		{"the wait for a connection", "/?view=sql", `class="waited"`, []string{
			`//nav//a[. = "SQL"]`,
			`//a[@class = "waited"]`,
		}, []string{"pool wait"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			waitForText(t, page+test.path, test.has)
			b.open("/", `document.body.dataset.ready`)
			for _, link := range test.clicks {
				b.follow(link)
			}
			if n := len(test.clicks); n > maxClicks {
				t.Errorf("it takes %d clicks", n)
			}
			b.wait(panel + `?.querySelector("article")`)
			text := eval[string](b, panel+".innerText")
			for _, want := range test.shows {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in the details:\n%s", want, text)
				}
			}
		})
	}
}

// follow clicks what an XPath expression finds, on a page that may be replacing it, and waits until
// the address is another one.
func (b *browser) follow(link string) {
	b.t.Helper()
	before := eval[string](b, "location.href")
	b.wait(fmt.Sprintf(`(() => { const e = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue; if (!e?.checkVisibility()) return false; setTimeout(() => e.click()); return true; })()`, link))
	b.wait(fmt.Sprintf("location.href !== %q", before))
}

// startShop runs examples/chi-app with load until the test ends, and returns the URL of the page
// that it names.
func startShop(t *testing.T, args ...string) string {
	t.Helper()
	program := buildProgram(t, "../../examples/chi-app", "-trimpath")
	shop := startProgram(t, nil, program, append(args, "-front=127.0.0.1:0", "-a=127.0.0.1:0", "-b=127.0.0.1:0", "-load=10m")...)
	return shop.find(t, `^Traces: .*(http://[^/]+)/`)
}

// waitForText waits until the page at url has text.
func waitForText(t *testing.T, url, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		res, err := http.Get(url)
		testkit.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		testkit.NoError(t, err)
		if strings.Contains(string(body), text) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s does not have %s:\n%s", url, text, body)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
