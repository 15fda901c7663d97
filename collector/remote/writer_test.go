package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A Writer returns what the collector says about the spans, after as many attempts as that takes.
func TestWriter(t *testing.T) {
	partial := answer(200, "Content-Type", "application/x-protobuf")
	partial.Body = io.NopCloser(bytes.NewReader(otlp.Result{Rejected: 2, Message: "too old"}.AppendProto(nil)))
	for _, c := range []struct {
		name     string
		answers  []*http.Response // nil: it cannot be reached
		rejected int
		err      string // part of the error
	}{
		{"accepted", []*http.Response{answer(200)}, 0, ""},
		{"accepted later", []*http.Response{nil, answer(429, "Retry-After", "7"), answer(502), answer(503), answer(504), answer(200)}, 0, ""},
		{"partial success", []*http.Response{answer(503), partial}, 2, "2 spans rejected: too old"},
		{"not OTLP", []*http.Response{answer(400)}, 3, "3 spans rejected: 400 Bad Request"},
		{"too large", []*http.Response{answer(413)}, 3, "3 spans rejected: 413"},
		{"unauthorized", []*http.Response{answer(401)}, 0, "remote: http://collector/v1/traces: 401 Unauthorized"},
		{"wrong path", []*http.Response{answer(404)}, 0, "404 Not Found"},
		{"asks to wait too long", []*http.Response{answer(429, "Retry-After", "301")}, 0, "429 Too Many Requests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &far{t: t, respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
					if res := c.answers[n-1]; res != nil {
						return res, nil
					}
					return nil, errors.New("connection refused")
				}}
				w := writer(t, f)
				err := w.Write(t.Context(), []*dendro.Batch{batch("a"), batch("b", "c")})
				testkit.Equal(t, "attempts", f.requests, len(c.answers))
				if err == nil && c.err != "" || err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				rejected := &collector.RejectedError{}
				if errors.As(err, &rejected); rejected.Spans != c.rejected {
					t.Errorf("%d spans are rejected, want %d", rejected.Spans, c.rejected)
				}
			})
		})
	}
}

func writer(t *testing.T, f http.RoundTripper) *remote.Writer {
	w, err := remote.NewWriter("http://collector", remote.Options{HTTPClient: &http.Client{Transport: f}})
	testkit.NoError(t, err)
	return w
}

// A Writer gives up after MaxElapsed, or when its context is done, and says what went wrong last.
func TestWriterGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := writer(t, roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }))
		start := time.Now()
		err := w.Write(t.Context(), []*dendro.Batch{batch("a")})
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "connection refused") || took < 4*time.Minute || took > 5*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = w.Write(ctx, []*dendro.Batch{batch("a")})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("when the context is done: %v", err)
		}
	})
	_, err := remote.NewWriter("collector:4318", remote.Options{})
	if err == nil || !strings.Contains(err.Error(), "has no scheme") {
		t.Errorf("a wrong endpoint: %v", err)
	}
}
