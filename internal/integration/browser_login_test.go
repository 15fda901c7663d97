package integration

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/auth"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const readToken = "token-that-may-read-0123456789"

// openBrowserToLogIn is openBrowser for a page that wants readToken.
func openBrowserToLogIn(t *testing.T, store collector.Store) *browser {
	file := filepath.Join(t.TempDir(), "tokens")
	testkit.NoError(t, os.WriteFile(file, []byte(readToken), 0o600))
	tokens, err := auth.Open(file)
	testkit.NoError(t, err)
	server := httptest.NewServer(web.New(store, web.Options{Sessions: auth.NewSessions(tokens)}))
	t.Cleanup(server.Close)
	return openBrowserAt(t, server.URL, "status of 401")
}

// TestBrowserLogIn logs in with a token and comes to the page that was asked for, and logs out, with
// scripts and without.
func TestBrowserLogIn(t *testing.T) {
	store := memory.New(memory.Options{})
	sendRequests(t, store, 3)
	b := openBrowserToLogIn(t, store)
	const form, atList = `document.querySelector("#login")`, `document.querySelector(".traces")`
	b.open("/?limit=5", form)
	b.fits("form")
	b.hasContrast()
	for _, disabled := range []bool{false, true} {
		_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled})
		testkit.NoError(t, err)
		b.open("/?limit=5", form)
		b.wait(`document.activeElement.name === "token"`)
		b.key("wrong", kb.Enter)
		b.wait(`document.querySelector("[role=alert]")?.textContent.includes("the token is not valid")`)
		b.wait(`document.activeElement.name === "token"`)
		b.key(readToken, kb.Enter)
		b.wait(atList)
		testkit.Equal(t, "address", eval[string](b, "location.pathname + location.search"), "/?limit=5")
		b.fits("#strip")
		b.hasContrast()
		b.click(`form[action$="view=logout"] button`)
		b.wait(form)
		b.open("/?limit=5", form)
	}
}
