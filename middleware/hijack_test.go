package middleware_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// hijack takes the connection of w over.
func hijack(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn, buf
}

// upgrade asks s for another protocol and returns the connection.
func upgrade(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	testkit.NoError(t, err)
	if s.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	testkit.NoError(t, err)
	return conn
}

// A span says that the connection was hijacked, what for, and the status if it was
// written in a way that can be seen.
func TestHijack(t *testing.T) {
	testkit.NoLeaks(t)
	written := func(response string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, buf := hijack(w)
			defer conn.Close()
			_, _ = buf.WriteString(response)
			_ = buf.Flush()
		}
	}
	backend := testkit.Serve(t, "1.1", written(switching))
	target, err := url.Parse(backend.URL)
	testkit.NoError(t, err)
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		code   any
		status dendro.Status
	}{
		"buffered":        {written(switching), int64(101), dendro.Status{}},
		"by ReverseProxy": {httputil.NewSingleHostReverseProxy(target).ServeHTTP, int64(101), dendro.Status{}},
		"another status":  {written("HTTP/1.1 502 Bad Gateway\r\n\r\n"), int64(502), dendro.Status{Code: dendro.StatusError}},
		"not HTTP":        {written("hello, this is something else"), nil, dendro.Status{}},
		"too short":       {written("HTTP/1.1 10"), nil, dendro.Status{}},
		"no number":       {written("HTTP/1.1 abc Hello\r\n\r\n"), nil, dendro.Status{}},
		"nothing":         {written(""), nil, dendro.Status{}},
		"copied from reader": {func(w http.ResponseWriter, _ *http.Request) {
			conn, buf := hijack(w)
			defer conn.Close()
			_, _ = buf.ReadFrom(strings.NewReader(switching))
			_ = buf.Flush()
		}, nil, dendro.Status{}},
		"on the connection": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _ := hijack(w)
			defer conn.Close()
			_, _ = io.WriteString(conn, switching)
		}, nil, dendro.Status{}},
		"by WriteHeader": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "echo")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, _ := hijack(w)
			conn.Close()
		}, int64(101), dendro.Status{}},
		"Write afterwards": {func(w http.ResponseWriter, r *http.Request) {
			written(switching)(w, r)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
				panic(fmt.Sprint("Write after Hijack: ", err))
			}
		}, int64(101), dendro.Status{}},
	} {
		t.Run(name, func(t *testing.T) {
			trace, recorder := traced(t)
			s := testkit.Serve(t, "1.1", trace(c.handle))
			want := exchange(t, testkit.Serve(t, "1.1", c.handle), upgradeRequest)
			testkit.Equal(t, "bytes", exchange(t, s, upgradeRequest), want)
			span := recorder.Wait(t, 1)[0]
			testkit.Equal(t, "code", span.Attr("http.response.status_code"), c.code)
			testkit.Equal(t, "hijacked", span.Attr("dendro.http.hijacked"), any(true))
			testkit.Equal(t, "why", span.Attr("http.request.header.upgrade"), any([]string{"echo"}))
			testkit.Equal(t, "event", span.Event("hijacked") != nil, true)
			testkit.Equal(t, "size", span.Attr("http.response.body.size"), nil)
			testkit.Equal(t, "status", span.Status, c.status)
		})
	}
}

const upgradeRequest = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// A handler may give the connection to another goroutine and return: the span lasts as
// long as the conversation.
func TestConversationOutlivesTheHandler(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){
		"TCP": (*httptest.Server).Start,
		"TLS": (*httptest.Server).StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			trace, recorder := traced(t)
			returned, took := make(chan struct{}), make(chan time.Duration, 1)
			h := trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				began := time.Now()
				conn, buf := hijack(w)
				go func() {
					_, _ = buf.WriteString(switching)
					_ = buf.Flush()
					_, _ = io.Copy(conn, buf)
					took <- time.Since(began)
					conn.Close()
				}()
			}))
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r)
				close(returned)
			}))
			start(s)
			defer s.Close()
			conn := upgrade(t, s)
			<-returned
			lines := bufio.NewReader(conn)
			_, err := http.ReadResponse(lines, nil)
			testkit.NoError(t, err)
			_, _ = io.WriteString(conn, "hello\n")
			line, _ := lines.ReadString('\n')
			testkit.Equal(t, "echo", line, "hello\n")
			testkit.Equal(t, "spans during the conversation", len(recorder.Spans()), 0)
			conn.Close()
			span := recorder.Wait(t, 1)[0]
			if least := <-took; time.Duration(span.End-span.Start) < least {
				t.Errorf("the span took %v, the conversation %v", time.Duration(span.End-span.Start), least)
			}
			testkit.Equal(t, "code", span.Attr("http.response.status_code"), any(int64(101)))
		})
	}
}

// A connection that the program forgets is closed by the garbage collector, as without
// the middleware.
func TestForgottenConversation(t *testing.T) {
	testkit.NoLeaks(t)
	trace, recorder := traced(t)
	s := testkit.Serve(t, "1.1", trace(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, buf := hijack(w)
		_, _ = buf.WriteString(switching)
		_ = buf.Flush()
	})))
	conn := upgrade(t, s)
	_, err := http.ReadResponse(bufio.NewReader(conn), nil)
	testkit.NoError(t, err)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for open := true; open; {
		runtime.GC()
		select {
		case <-closed:
			open = false
		case <-ctx.Done():
			t.Fatal("the connection stays open")
		case <-time.After(time.Millisecond):
		}
	}
	recorder.Wait(t, 1)
}
