package transport_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

// Each redirect is numbered and has a link to the one before: also if a timeout
// wraps the bodies, and if there are none.
func TestRedirects(t *testing.T) {
	for _, version := range testkit.Protocols {
		for _, body := range []string{"", "moved"} {
			testkit.NoLeaks(t)
			s := serve(t, version, func(w http.ResponseWriter, r *http.Request) {
				if next := map[string]string{"/a": "/b", "/b": "/c"}[r.URL.Path]; next != "" {
					w.Header().Set("Location", next)
					w.WriteHeader(http.StatusFound)
				}
				_, _ = io.WriteString(w, body)
			})
			c, recorder := client(t, s)
			for _, timeout := range []time.Duration{0, time.Minute} {
				recorder.Reset()
				c.Timeout = timeout
				get(t, c, context.Background(), s.URL+"/a")
				spans := recorder.Wait(t, 3)
				for i, span := range spans {
					want := any(nil)
					if i > 0 {
						want = int64(i)
						testkit.Equal(t, "links", len(span.Links), 1)
						testkit.Equal(t, "link", span.Links[0].SpanContext, spans[i-1].SpanContext)
					}
					testkit.Equal(t, "http.request.resend_count", span.Attr("http.request.resend_count"), want)
				}
				get(t, c, context.Background(), s.URL+"/c")
				testkit.Equal(t, "links of the next", len(recorder.Wait(t, 4)[3].Links), 0)
			}
			c.CloseIdleConnections()
			collectUntil(t, func() bool { return transport.Redirects(c.Transport) == 0 })
		}
	}
}
