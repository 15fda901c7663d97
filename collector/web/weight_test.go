package web_test

import (
	"compress/gzip"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// maxWeight bounds a page with all that it loads, in compressed bytes.
const maxWeight = 150_000

// TestWeight weighs full pages.
func TestWeight(t *testing.T) {
	store := memory.New(memory.Options{})
	hub := newHub(t)
	server := serve(t, store, web.Options{Keep: hub})
	now := time.Now().UnixNano()
	for n := range 60 {
		hub.Announce(fmt.Sprint("service-", n%15), []keep.Announcement{{TraceID: dendro.TraceID{byte(n), 1}, Reason: []string{"error", "slow"}[n%2]}})
		spans := 20
		for i := range spans {
			service := fmt.Sprint("service-", (n+i)%15)
			s := &dendro.SpanData{
				Name: fmt.Sprintf("GET /some/resources/%d/{id}", (7*n+i)%90), Kind: []dendro.Kind{dendro.KindServer, dendro.KindClient}[i%2],
				Start: now - int64(i+2)*1e9, End: now - int64(i*i)*1e6,
				Attributes: []slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.query.text", fmt.Sprintf("SELECT name, price, weight, colour FROM table%d WHERE id = ?", (7*n+i)%90))},
			}
			s.TraceID, s.SpanID = dendro.TraceID{byte(n), 1}, dendro.SpanID{byte(i), 1}
			if i < spans-1 {
				s.ParentID = dendro.SpanID{byte(i + 1), 1}
			}
			if i == 0 {
				s.Status = dendro.Status{Code: dendro.StatusError, Message: fmt.Sprint("error of kind ", string(rune('a'+n%26)))}
			}
			testkit.NoError(t, store.Collect(&dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}}, Spans: []*dendro.SpanData{s}}))
		}
	}
	for _, path := range []string{"/", "/?limit=50", "/?view=sql", "/?view=compare&a=01010000000000000000000000000000", "/?view=kept", "/trace/01010000000000000000000000000000"} {
		got := weigh(t, server.URL+path, map[string]bool{})
		t.Logf("%s: %.1f kB", path, float64(got)/1e3)
		if got > maxWeight {
			t.Errorf("%s with all that it loads has %d compressed bytes", path, got)
		}
	}
}

// loaded matches the files that a page loads, and those that scripts import.
var loaded = regexp.MustCompile(`(?:src=|rel="stylesheet" href=|rel="icon" href=|crossorigin href=|from )"([^"]+)"`)

// weigh returns the compressed size of the file at address and of all that it loads, except for
// what was seen before.
func weigh(t *testing.T, address string, seen map[string]bool) int {
	t.Helper()
	if seen[address] {
		return 0
	}
	seen[address] = true
	p := followed(t, address)
	testkit.Equal(t, address, p.status, http.StatusOK)
	var size counter
	zip := gzip.NewWriter(&size)
	zip.Write([]byte(p.body))
	zip.Close()
	for _, m := range loaded.FindAllStringSubmatch(p.body, -1) {
		base, err := url.Parse(address)
		testkit.NoError(t, err)
		target, err := base.Parse(m[1])
		testkit.NoError(t, err)
		size += counter(weigh(t, target.String(), seen))
	}
	return int(size)
}

// counter counts the bytes that are written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
