package integration

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var screenshotsTo = flag.String("screenshots", "", "the `directory` to which TestScreenshots writes pictures of the pages")

const (
	shopTraces  = 2500    // of chi-app, in the pictures of full pages
	hugeTrace   = 100_000 // spans
	window      = 15 * time.Minute
	largestFile = 60_000 // bytes
)

// widths are the sizes of the window.
var widths = map[string][2]int64{"wide": {1440, 900}, "narrow": {390, 844}}

// screenshots are the pictures. %s is a trace of the query.
var screenshots = []struct {
	store           string // full, empty or huge
	name            string
	path, query     string
	condition       string
	schemesAndWidth []string
}{
	{"full", "overview", "/", "", `document.body.dataset.ready && document.querySelector("#map-title")`, []string{"light wide", "dark wide", "light narrow", "dark narrow"}},
	{"full", "traces", "/?limit=50", "", `document.querySelector(".traces")`, []string{"light wide", "dark wide", "light narrow"}},
	{"full", "sql", "/?view=sql", "", `document.body.dataset.ready`, []string{"light wide", "dark narrow"}},
	{"full", "trace", "/trace/%s", `{ name = "GET /front" }`, ready, []string{"light wide", "dark wide", "light narrow"}},
	{"full", "repeats", "/trace/%s", `{ name = "GET /orders" && span:childCount > 19 }`, ready + ` && (document.querySelector(".why a").click(), ` + panel + `?.querySelector("article"))`, []string{"light wide", "dark narrow"}},
	{"full", "panic", "/trace/%s", `{ name = "GET /panic" }`, ready + ` && (` + panel + ` ?? document.querySelector(".row .label").click(), ` + panel + `?.querySelector("article"))`, []string{"dark wide", "light narrow"}},
	{"full", "flame", "/trace/%s#view=flame", `{ name = "GET /" && kind = server }`, `document.querySelector(".frame")`, []string{"light wide", "dark wide"}},
	{"full", "names", "/trace/%s#view=names", `{ name = "GET /" && kind = server }`, `document.querySelector(".groups")`, []string{"light wide"}},
	{"full", "compare", "/?view=compare&a=%s", `{ name = "GET /front" }`, `document.querySelector(".comparison")`, []string{"light wide", "dark narrow"}},
	{"full", "groups", "/?view=compare&since=1h&q=%7B+duration+%3E%3D+40ms+%26%26+kind+%3D+server+%7D&against=%7B+kind+%3D+server+%7D", "", `document.querySelector(".grouped")`, []string{"light wide", "dark narrow"}},
	{"full", "logs", "/trace/%s#view=logs", `{ name = "GET /front" }`, `document.querySelector(".logs tbody")`, []string{"dark wide"}},
	{"full", "import", "/?view=import", "", `document.body.dataset.ready`, []string{"light wide"}},
	{"empty", "overview", "/", "", `document.querySelector(".empty")`, []string{"light wide", "dark narrow"}},
	{"huge", "trace", "/trace/1", "", ready, []string{"light wide", "dark wide"}},
	{"huge", "zoomed", "/trace/1#from=0&to=20000000000&q=span+1112", "", `document.querySelector(".findbox output").textContent`, []string{"light wide"}},
	{"huge", "flame", "/trace/1#view=flame", "", `document.querySelector(".frame")`, []string{"light wide"}},
}

// TestScreenshots writes pictures of the pages, with the flag -screenshots.
func TestScreenshots(t *testing.T) {
	if *screenshotsTo == "" {
		t.Skip("writes pictures only with -screenshots")
	}
	testkit.NoError(t, os.MkdirAll(*screenshotsTo, 0o755))
	browsers := map[string]*browser{
		"full":  openBrowser(t, storeOfShop(t), ""),
		"empty": openBrowser(t, memory.New(memory.Options{}), ""),
		"huge":  openBrowser(t, storeOfMany(t, hugeTrace), ""),
	}
	for _, s := range screenshots {
		b := browsers[s.store]
		path := s.path
		if s.query != "" {
			path = strings.Replace(path, "%s", b.traceOf(s.query), 1)
		}
		for _, how := range s.schemesAndWidth {
			scheme, width, _ := strings.Cut(how, " ")
			b.scheme(scheme)
			b.do(chromedp.EmulateViewport(widths[width][0], widths[width][1]))
			b.open(path, s.condition)
			name := strings.Join([]string{s.name, s.store, scheme, width}, "-") + ".webp"
			quality := int64(70)
			picture, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
			testkit.NoError(t, err)
			testkit.NoError(t, os.WriteFile(filepath.Join(*screenshotsTo, name), picture.Data, 0o644))
			if n := len(picture.Data); n > largestFile {
				t.Errorf("%s has %d bytes", name, n)
			}
		}
	}
}

// traceOf returns the id of the newest trace that query finds.
func (b *browser) traceOf(query string) string {
	b.t.Helper()
	res, err := http.Get(b.origin + "/api/search?limit=1&q=" + url.QueryEscape(query))
	testkit.NoError(b.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	testkit.NoError(b.t, err)
	var found struct{ Traces []struct{ TraceID string } }
	if err := json.Unmarshal(body, &found); err != nil || len(found.Traces) == 0 {
		b.t.Fatalf("%s: %v: %s", query, err, body)
	}
	return found.Traces[0].TraceID
}

// storeOfShop returns a store with traces of "chi-app -load", as if they had come over half an
// hour.
func storeOfShop(t *testing.T) collector.Store {
	store := memory.New(memory.Options{})
	receiver := httptest.NewServer(otlpserver.New(spread{store}, otlpserver.Options{}))
	t.Cleanup(receiver.Close)
	t.Run("load", func(t *testing.T) {
		startShop(t, "-collector="+receiver.URL)
		deadline := time.After(2 * time.Minute)
		for {
			stats, err := store.Stats(t.Context())
			testkit.NoError(t, err)
			if stats.Traces >= shopTraces {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("%d traces have come", stats.Traces)
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return store
}

// spread moves traces to some time of the window before they came, or of the one before.
type spread struct{ collector.Writer }

func (w spread) Write(ctx context.Context, batches []*dendro.Batch) error {
	for _, batch := range batches {
		for _, s := range batch.Spans {
			by := int64(binary.BigEndian.Uint64(s.TraceID[8:]) % uint64(2*window))
			s.Start, s.End = s.Start-by, s.End-by
			for i := range s.Events {
				s.Events[i].Time -= by
			}
		}
	}
	return w.Writer.Write(ctx, batches)
}
