package web_test

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The page of a trace as a file has the details of all spans, and nothing in it leads elsewhere.
func TestFile(t *testing.T) {
	store := memory.New(memory.Options{})
	server := serve(t, store, web.Options{})
	const evil = `</script><script src="https://evil.example/">`
	var spans []*dendro.SpanData
	for i := range byte(3) {
		s := &dendro.SpanData{Name: evil, Start: 1, End: 2, Attributes: []slog.Attr{slog.String(evil, evil), slog.String("db.query.text", evil)}}
		s.TraceID, s.SpanID = dendro.TraceID{15: 1}, dendro.SpanID{7: i + 1}
		spans = append(spans, s)
	}
	testkit.NoError(t, store.Collect(&dendro.Batch{Resource: &dendro.Resource{}, Spans: spans}))

	file := followed(t, server.URL+"/api/dendro/traces/1/html")
	testkit.Equal(t, "name", file.header.Get("Content-Disposition"), `attachment; filename="trace-00000000000000000000000000000001.html"`)
	data := func(id string, into any) {
		t.Helper()
		found := regexp.MustCompile(`(?s)<script type="application/json" id="` + id + `">(.*?)</script>`).FindStringSubmatch(file.body)
		if found == nil {
			t.Fatalf("the file has no %s", id)
		}
		testkit.NoError(t, json.Unmarshal([]byte(found[1]), into))
	}
	var details []struct{ SpanID, Name string }
	data("spans", &details)
	testkit.Equal(t, "details", len(details), 3)
	testkit.Equal(t, "name of a span", details[2].Name, evil)
	var rows struct{ ID []string }
	data("rows", &rows)
	testkit.Equal(t, "rows", len(rows.ID), 3)
	for _, m := range regexp.MustCompile(`<(script|link|img|iframe)[^>]*(src|href)="([^"]*)"`).FindAllStringSubmatch(file.body, -1) {
		if m[3] != "data:," {
			t.Errorf("the file loads %s", m[3])
		}
	}
	testkit.Equal(t, "no such trace", followed(t, server.URL+"/api/dendro/traces/2/html").status, 404)
	testkit.Equal(t, "wrong clocks", followed(t, server.URL+"/api/dendro/traces/1/html?clocks=x").status, 400)
}
