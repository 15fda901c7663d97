package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestTail: a tail has the traces that match and begin after it was opened, once they have
// settled, and again when they have grown. It outlives the timeouts of the server, and ends
// with its client.
func TestTail(t *testing.T) {
	store := memory.New(memory.Options{})
	collect := func(trace, id byte, name string, start time.Time) {
		s := &dendro.SpanData{Name: name, Start: start.UnixNano(), End: start.UnixNano() + 5}
		s.TraceID, s.SpanID = dendro.TraceID{15: trace}, dendro.SpanID{7: id}
		testkit.NoError(t, store.Collect(&dendro.Batch{Spans: []*dendro.SpanData{s}}))
	}
	page, ended := web.New(store, web.Options{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		page.ServeHTTP(w, r)
	}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	server.Start()
	defer server.Close()
	collect(1, 1, "GET /", time.Now().Add(-time.Second)) // began before

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/dendro/tail?q="+url.QueryEscape(`{ name =~ "GET.*" }`), nil)
	testkit.NoError(t, err)
	res, err := server.Client().Do(req)
	testkit.NoError(t, err)
	defer res.Body.Close()
	testkit.Equal(t, "type", res.Header.Get("Content-Type"), "text/event-stream")
	lines := bufio.NewScanner(res.Body)
	next := func() (id string, spans int) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var got struct {
					TraceID   string
					SpanCount int
				}
				testkit.NoError(t, json.Unmarshal([]byte(data), &got))
				return got.TraceID[30:], got.SpanCount
			}
		}
		t.Fatalf("the tail ended: %v", lines.Err())
		return "", 0
	}
	collect(2, 1, "POST /", time.Now())
	collect(3, 1, "GET /", time.Now())
	id, spans := next()
	testkit.Equal(t, "trace", []any{id, spans}, []any{"03", 1})
	collect(3, 2, "below", time.Now())
	id, spans = next()
	testkit.Equal(t, "grown", []any{id, spans}, []any{"03", 2})
	cancel()
	<-ended
}

func TestTailOfNothing(t *testing.T) {
	server := serve(t, memory.New(memory.Options{}), web.Options{})
	for _, query := range []string{"q={", "spss=0", "q=" + url.QueryEscape("{ } | rate()")} {
		got := followed(t, server.URL+"/api/dendro/tail?"+query)
		testkit.Equal(t, query, got.status, 400)
	}
}
