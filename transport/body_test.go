package transport_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// collectUntil lets the garbage collector run until done, at most ten seconds.
func collectUntil(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("what is waited for does not happen")
		}
		runtime.GC()
	}
}

// A body that the caller lets go of ends its span, though the connection waits for
// somebody to read on.
func TestForgottenBody(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s := serve(t, version, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "first")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			c, recorder := client(t, s)
			func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
				resp, err := c.Do(req)
				testkit.NoError(t, err)
				_, err = io.ReadFull(resp.Body, make([]byte, 5))
				testkit.NoError(t, err)
				runtime.GC()
				testkit.Equal(t, "spans while somebody has the body", len(recorder.Spans()), 0)
				runtime.KeepAlive(resp)
			}()
			collectUntil(t, func() bool { return len(recorder.Spans()) > 0 })
			span := recorder.Spans()[0]
			testkit.Equal(t, "error.type", span.Attr("error.type"), any("body_not_closed"))
			testkit.Equal(t, "size", span.Attr("http.response.body.size"), any(int64(5)))
			testkit.Equal(t, "status", span.Status.Code, dendro.StatusError)
		})
	}
}

// Bodies that have ended are left alone, whoever has their sentinels now.
func TestEndedBodiesAreNotForgotten(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "four") })
	c, recorder := client(t, s)
	for i := range 20 {
		resp, err := c.Get(s.URL)
		testkit.NoError(t, err)
		if i%2 == 0 {
			_, _ = io.ReadAll(resp.Body)
		} else {
			resp.Body.Close()
		}
	}
	collected := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
	collectUntil(t, func() bool {
		select {
		case <-collected:
			return true
		default:
			return false
		}
	})
	runtime.GC() // what was in the pool
	runtime.GC()
	for _, span := range recorder.Wait(t, 20) {
		testkit.Equal(t, "status", span.Status, dendro.Status{})
	}
}
