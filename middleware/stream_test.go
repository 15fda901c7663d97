package middleware

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// parts waits for the spans that tell of an open response, n at least.
func parts(t *testing.T, recorder *testkit.Recorder, n int) []testkit.Span {
	t.Helper()
	spans := recorder.Wait(t, n)
	for _, s := range spans {
		testkit.Equal(t, "name", strings.HasSuffix(s.Name, " (open)"), true)
	}
	return spans
}

// impatient is a middleware whose parts come after a millisecond.
func impatient(tracer *dendro.Tracer) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		h := New(Options{Tracer: tracer})(next).(*handler)
		h.firstPart = time.Millisecond
		return h
	}
}

func TestStreamIsVisibleWhileOpen(t *testing.T) {
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			tracer, recorder := testkit.NewTracer(t)
			done := make(chan struct{})
			r := chi.NewRouter()
			r.Use(impatient(tracer))
			r.Get("/events/{topic}", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusAccepted)
				for range 3 {
					_, _ = io.WriteString(w, "data: x\n\n")
					_ = http.NewResponseController(w).Flush()
				}
				<-done
			})
			s := testkit.Serve(t, version, r)
			resp, err := s.Client().Get(s.URL + "/events/news")
			testkit.NoError(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, 27))
			testkit.NoError(t, err)
			flush(t, tracer, recorder, 2)
			open := parts(t, recorder, 2)
			last := open[len(open)-1]
			testkit.Equal(t, "name", last.Name, "GET /events/{topic} (open)")
			testkit.Equal(t, "flushes", last.Attr("dendro.http.response.flushes"), any(int64(3)))
			testkit.Equal(t, "bytes", last.Attr("http.response.body.size"), any(int64(27)))
			testkit.Equal(t, "status", last.Attr("http.response.status_code"), any(int64(202)))
			testkit.Equal(t, "route", last.Attr("http.route"), any("/events/{topic}"))
			testkit.Equal(t, "one after the other", open[0].End <= open[1].Start, true)
			close(done)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()

			server := serverSpan(t, recorder)
			testkit.Equal(t, "parent", last.ParentID, server.SpanID)
			testkit.Equal(t, "flushes at the end", server.Attr("dendro.http.response.flushes"), any(int64(3)))
			testkit.Equal(t, "first byte", server.Event("first byte") != nil, true)
		})
	}
}

// flush hands over what has ended until n spans have arrived.
func flush(t *testing.T, tracer *dendro.Tracer, recorder *testkit.Recorder, n int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(recorder.Spans()) < n && time.Now().Before(deadline) {
		testkit.NoError(t, tracer.Flush(context.Background()))
	}
}

// serverSpan waits for the span of the request, which comes last.
func serverSpan(t *testing.T, recorder *testkit.Recorder) testkit.Span {
	t.Helper()
	for n := 1; ; n++ {
		for _, s := range recorder.Wait(t, n) {
			if s.Kind == dendro.KindServer {
				return s
			}
		}
		n = len(recorder.Spans())
	}
}

func TestHijackedIsVisibleWhileOpen(t *testing.T) {
	testkit.NoLeaks(t)
	tracer, recorder := testkit.NewTracer(t)
	s := testkit.Serve(t, "1.1", impatient(tracer)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = buf.Flush()
		_, _ = io.Copy(conn, buf)
	})))
	req, _ := http.NewRequest("GET", s.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := s.Client().Do(req)
	testkit.NoError(t, err)
	conn := resp.Body.(io.ReadWriteCloser)
	_, _ = io.WriteString(conn, "hello\n")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	testkit.Equal(t, "echo", line, "hello\n")
	flush(t, tracer, recorder, 1)
	part := parts(t, recorder, 1)[0]
	testkit.Equal(t, "status", part.Attr("http.response.status_code"), any(int64(101)))
	testkit.Equal(t, "size", part.Attr("http.response.body.size"), nil)
	conn.Close()
	testkit.Equal(t, "hijacked", serverSpan(t, recorder).Event("hijacked") != nil, true)
}

// What is short makes no stream: no timer, no event.
func TestWhatMakesAStream(t *testing.T) {
	long := strings.NewReader(strings.Repeat("x", streamBytes+1))
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   bool
	}{
		"nothing":     {func(http.ResponseWriter, *http.Request) {}, false},
		"short":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, false},
		"short copy":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, strings.NewReader("xyz"), 2) }, false},
		"long":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, streamBytes+1)) }, true},
		"long copy":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, long, streamBytes+1) }, true},
		"flush":       {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, true},
		"informative": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) }, false},
	} {
		tracer, recorder := testkit.NewTracer(t)
		var began bool
		h := New(Options{Tracer: tracer})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.handle(w, r)
			began = r.Context().Value(exchangeKey{}).(*exchange).writer.open.Load() != nil
		}))
		s := testkit.Serve(t, "1.1", h)
		resp, err := s.Client().Get(s.URL)
		testkit.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		recorder.Wait(t, 1)
		testkit.Equal(t, name, began, c.want)
	}
}

// A part that comes when the response has ended says nothing.
func TestNoPartAfterTheEnd(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	var s *stream
	h := New(Options{Tracer: tracer})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		s = r.Context().Value(exchangeKey{}).(*exchange).writer.open.Load()
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	s.part()
	testkit.Equal(t, "spans", testkit.Names(recorder.Wait(t, 1)), []string{"GET"})
}

// A goroutine that the handler left behind begins no stream, which nobody would
// end.
func TestNoStreamAfterTheEnd(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	var left http.ResponseWriter
	var x *exchange
	h := New(Options{Tracer: tracer})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left, x = w, r.Context().Value(exchangeKey{}).(*exchange)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	left.(http.Flusher).Flush()
	_, _ = left.Write(make([]byte, streamBytes+1))
	testkit.Equal(t, "no stream", x.writer.open.Load() == ended && ended.timer == nil, true)
	testkit.Equal(t, "spans", testkit.Names(recorder.Wait(t, 1)), []string{"GET"})
}

// A copy that has nothing to send yet has no status, and its error can still be reported.
func TestStatusOfAnOpenCopy(t *testing.T) {
	testkit.NoLeaks(t)
	tracer, recorder := testkit.NewTracer(t)
	s := testkit.Serve(t, "1.1", impatient(tracer)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		src, backend := io.Pipe()
		go func() {
			flush(t, tracer, recorder, 1)
			backend.CloseWithError(io.ErrUnexpectedEOF)
		}()
		if _, err := io.Copy(w, src); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})))
	resp, err := s.Client().Get(s.URL)
	testkit.NoError(t, err)
	resp.Body.Close()
	server := serverSpan(t, recorder)
	testkit.Equal(t, "in the end", server.Attr("http.response.status_code"), any(int64(502)))
	for _, s := range recorder.Spans() {
		if s.ParentID == server.SpanID {
			testkit.Equal(t, "while open", s.Attr("http.response.status_code"), nil)
		}
	}
}
