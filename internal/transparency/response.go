package transparency

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing/iotest"
	"time"
)

// deprecatedCloseNotifier is http.CloseNotifier, which handlers still use.
type deprecatedCloseNotifier interface{ CloseNotify() <-chan bool }

// interfaces names the optional interfaces of w.
func interfaces(w http.ResponseWriter) string {
	var has []string
	add := func(name string, ok bool) {
		if ok {
			has = append(has, name)
		}
	}
	_, ok := w.(http.Flusher)
	add("Flusher", ok)
	_, ok = w.(interface{ FlushError() error })
	add("FlushError", ok)
	_, ok = w.(http.Hijacker)
	add("Hijacker", ok)
	_, ok = w.(io.ReaderFrom)
	add("ReaderFrom", ok)
	_, ok = w.(io.StringWriter)
	add("StringWriter", ok)
	_, ok = w.(http.Pusher)
	add("Pusher", ok)
	_, ok = w.(deprecatedCloseNotifier)
	add("CloseNotifier", ok)
	return strings.Join(has, " ")
}

// noteWrite records the results of a Write.
func (x *exchange) noteWrite(n int, err error) { x.handler("wrote %d, %s", n, describe(err)) }

var responseCases = []Case{
	{"interfaces of the response writer", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			x.handler("interfaces %s", interfaces(w))
			c := http.NewResponseController(w)
			x.handler("SetReadDeadline %s", describe(c.SetReadDeadline(time.Time{})))
			x.handler("SetWriteDeadline %s", describe(c.SetWriteDeadline(time.Time{})))
			x.handler("EnableFullDuplex %s", describe(c.EnableFullDuplex()))
			x.handler("Flush %s", describe(c.Flush()))
		})
		x.get(s, "/", "/")
	}},
	{"nothing written", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "1") })
		x.get(s, "/", "/")
	}},
	{"Write without WriteHeader", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			x.noteWrite(w.Write(nil))
			x.noteWrite(w.Write([]byte("<html>hello")))
			x.noteWrite(w.Write(nil))
		})
		x.get(s, "/")
	}},
	{"WriteString", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			x.noteWrite(io.WriteString(w, "one, "))
			x.noteWrite(fmt.Fprintf(w, "%s", "two, "))
			x.noteWrite(io.WriteString(w, ""))
		})
		x.get(s, "/")
	}},
	{"headers of all kinds", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h["Date"] = nil
			h["X-Many"] = []string{"1", "2"}
			h["x-not-canonical"] = []string{"3"}
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			w.WriteHeader(http.StatusCreated)
			h.Set("X-Late", "1")
			w.Header().Set("X-Late", "2")
			x.handler("the same map %t", w.Header().Get("X-Late") == h.Get("X-Late"))
		})
		x.get(s, "/")
	}},
	{"a large body in small pieces", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			total := 0
			for range 1000 {
				n, err := w.Write([]byte(strings.Repeat("x", 999)))
				if total += n; err != nil {
					x.handler("%s", describe(err))
				}
			}
			x.handler("wrote %d", total)
		})
		x.get(s, "/", "/")
	}},
	{"Connection: close", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			io.WriteString(w, "last")
		})
		x.get(s, "/", "/")
	}},
	{"103 Early Hints", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Add("Link", "</b.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "tea")
		})
		x.get(s, "/", "/")
	}},
	{"103 arrives before the handler goes on", everywhere, func(x *exchange) {
		arrived := make(chan struct{})
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			x.handler("hint arrived: %t", x.await(arrived, "the hint"))
			io.WriteString(w, "done")
		})
		r := x.newRequest("GET", s, "/", nil)
		x.do(s, r.WithContext(onInformational(r.Context(), func() { close(arrived) })))
	}},
	{"WriteHeader twice", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
		})
		x.get(s, "/", "/")
	}},
	{"WriteHeader again, by http.Error", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "first", 401)
			http.Error(w, "second", 500)
			w.WriteHeader(0) // an invalid status, which is no longer checked
		})
		x.get(s, "/", "/")
	}},
	{"WriteHeader again, by a handler inside", everywhere, func(x *exchange) {
		inner := x.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) }))
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "not for you", 401)
			inner.ServeHTTP(w, r)
		}))
		x.get(s, "/", "/")
	}},
	{"WriteHeader twice in TimeoutHandler", everywhere, func(x *exchange) {
		s := x.serve(http.TimeoutHandler(x.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			io.WriteString(w, "x")
			w.WriteHeader(500)
		})), time.Minute, "too slow"))
		x.get(s, "/", "/")
	}},
	{"WriteHeader after Write", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "x")
			w.WriteHeader(500)
		})
		x.get(s, "/")
	}},
	{"an invalid status", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			defer func() { x.handler("panic %v", recover()) }()
			w.WriteHeader(map[string]int{"/0": 0, "/99": 99, "/1000": 1000}[r.URL.Path])
		})
		x.get(s, "/0", "/99", "/1000")
	}},
	{"HEAD", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/length" {
				w.Header().Set("Content-Length", "5")
			}
			x.noteWrite(w.Write([]byte("hello")))
		})
		x.do(s, x.newRequest("HEAD", s, "/", nil))
		x.do(s, x.newRequest("HEAD", s, "/length", nil))
	}},
	{"a body with 204 and 304", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(map[string]int{"/204": 204, "/304": 304}[r.URL.Path])
			x.noteWrite(w.Write([]byte("no")))
			x.noteWrite(io.WriteString(w, "no"))
			n, err := io.Copy(w, strings.NewReader("no"))
			x.handler("copied %d, %s", n, describe(err))
		})
		x.get(s, "/204", "/304", "/204")
	}},
	{"more than Content-Length", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			x.noteWrite(w.Write([]byte("12345")))
			n, err := w.Write([]byte("6"))
			x.noteWrite(n, err)
			x.handler("ErrContentLength %t", errors.Is(err, http.ErrContentLength))
		})
		x.get(s, "/")
	}},
	{"less than Content-Length", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			x.noteWrite(w.Write([]byte("123")))
		})
		x.get(s, "/")
	}},
	{"Content-Length that is no number", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "many")
			io.WriteString(w, "x")
		})
		x.get(s, "/")
	}},
	{"Hijack", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			conn, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer conn.Close()
			x.handler("connection %T", conn)
			_, _ = buf.WriteString("HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
			_ = buf.Flush()
			x.noteWrite(w.Write([]byte("x")))
			x.noteWrite(io.WriteString(w, "x"))
			w.WriteHeader(200)
			_, _, err = w.(http.Hijacker).Hijack()
			x.handler("again: %s", describe(err))
			http.Error(w, "too late", 500)
			fmt.Fprint(w, "x")
			_, err = io.Copy(w, strings.NewReader("x"))
			x.handler("Copy: %s", describe(err))
		})
		x.raw(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"Flush after Hijack", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer conn.Close()
			x.handler("Flush: %s", describe(http.NewResponseController(w).Flush()))
		})
		x.raw(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"Hijack with bytes that have come already", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer conn.Close()
			line, err := buf.ReadString('\n')
			x.handler("read %q, %s", line, describe(err))
			_, _ = io.WriteString(conn, "bye\n")
		})
		x.raw(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\nhello\n")
	}},
	{"Hijack after the body has begun", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "first ")
			w.(http.Flusher).Flush()
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer conn.Close()
			_, _ = buf.WriteString("second")
			_ = buf.Flush()
		})
		x.raw(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"Hijack of HTTP/2", onlyHTTP2, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			_, ok := w.(http.Hijacker)
			_, _, err := http.NewResponseController(w).Hijack()
			x.handler("Hijacker %t, %s", ok, describe(err))
		})
		x.get(s, "/", "/")
	}},
	{"101 Switching Protocols", onlyHTTP1, func(x *exchange) {
		s := x.handle(x.echoUpgraded)
		conn := x.upgrade(s)
		if conn == nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "hello\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		x.client("echo %q, %s", line, describe(err))
	}},
	{"101 without Hijack", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "none")
			w.Header().Set("Connection", "Upgrade, close")
			w.WriteHeader(http.StatusSwitchingProtocols)
			x.noteWrite(w.Write([]byte("x")))
		})
		x.halfClosed(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"an event stream", everywhere, func(x *exchange) {
		arrived := make(chan struct{}, 3)
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n", i)
				x.flush(w, i)
				if !x.await(arrived, "message") {
					return
				}
				x.handler("message %d has arrived", i)
			}
		})
		resp := x.begin(s, x.newRequest("GET", s, "/", nil))
		if resp == nil {
			return
		}
		lines := bufio.NewReader(resp.Body)
		for range 3 {
			line, err := lines.ReadString('\n')
			x.client("%q, %s", line, describe(err))
			if err != nil {
				break
			}
			arrived <- struct{}{}
		}
		x.readBody(resp)
	}},
	{"Flush before Write", everywhere, func(x *exchange) {
		arrived := make(chan struct{})
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Early", "1")
			x.handler("Flush %s", describe(http.NewResponseController(w).Flush()))
			x.handler("header has arrived: %t", x.await(arrived, "the header"))
			w.WriteHeader(500)
			io.WriteString(w, "late")
		})
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil)); resp != nil {
			close(arrived)
			x.readBody(resp)
		}
	}},
	{"trailers", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-A")
			w.Header().Add("Trailer", "X-C")
			if r.URL.Path == "/body" {
				io.WriteString(w, "x")
			}
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-B", "2")
		})
		x.get(s, "/body", "/none", "/body")
	}},
	{"full duplex", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.handler("EnableFullDuplex %s", describe(http.NewResponseController(w).EnableFullDuplex()))
			lines := bufio.NewReader(r.Body)
			for i := range 3 {
				line, err := lines.ReadString('\n')
				x.handler("%q, %s", line, describe(err))
				io.WriteString(w, line)
				x.flush(w, i)
			}
			_, err := lines.ReadByte()
			x.handler("end %s", describe(err))
		})
		body, send := io.Pipe()
		go func() { _, _ = io.WriteString(send, "line\n") }()
		resp := x.begin(s, x.newRequest("POST", s, "/", body))
		if resp == nil {
			send.Close()
			return
		}
		lines := bufio.NewReader(resp.Body)
		for range 2 {
			line, err := lines.ReadString('\n')
			x.client("%q, %s", line, describe(err))
			_, _ = io.WriteString(send, "line\n")
		}
		send.Close()
		line, err := lines.ReadString('\n')
		x.client("%q, %s", line, describe(err))
		x.readBody(resp)
	}},
	{"write deadline in the past", everywhere, func(x *exchange) {
		x.quiet = true
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			c := http.NewResponseController(w)
			x.handler("SetWriteDeadline %s", describe(c.SetWriteDeadline(time.Unix(1, 0))))
			err := c.Flush()
			if x.protocol == HTTP1 { // otherwise who is first is up to chance
				x.handler("Flush fails: %t", err != nil)
			}
		})
		_, err := s.Client().Get(s.URL)
		x.client("fails: %t", err != nil)
	}},
	{"read deadline in the past", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			x.handler("SetReadDeadline %s", describe(c.SetReadDeadline(time.Unix(1, 0))))
			_, err := r.Body.Read(make([]byte, 1))
			x.handler("Read %s", describe(timeoutOf(err)))
			w.WriteHeader(http.StatusRequestTimeout)
		})
		x.raw(s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
	}},
	{"read deadline of a stream", onlyHTTP2, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			x.handler("SetReadDeadline %s", describe(c.SetReadDeadline(time.Unix(1, 0))))
			_, err := r.Body.Read(make([]byte, 1))
			x.handler("Read %s", describe(timeoutOf(err)))
			w.WriteHeader(http.StatusRequestTimeout)
		})
		body, send := io.Pipe()
		defer send.Close()
		x.do(s, x.newRequest("POST", s, "/", body))
	}},
	{"Error, NotFound and Redirect", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1")
			switch r.URL.Path {
			case "/error":
				http.Error(w, "sorry", http.StatusServiceUnavailable)
			case "/redirect":
				http.Redirect(w, r, "there?a=1", http.StatusFound)
			default:
				http.NotFound(w, r)
			}
		})
		x.get(s, "/error", "/redirect", "/none")
	}},
	{"io.Copy from what fails", everywhere, func(x *exchange) {
		broken := errors.New("broken")
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			src := iotest.ErrReader(broken)
			if r.URL.Path == "/late" {
				src = io.MultiReader(strings.NewReader("part"), src)
			}
			n, err := io.Copy(w, src)
			x.handler("copied %d, %s", n, describe(err))
			if n == 0 {
				http.Error(w, "no source", http.StatusInternalServerError)
			}
		})
		x.get(s, "/at-once", "/late")
	}},
	{"Push", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			p, ok := w.(http.Pusher)
			x.handler("Pusher %t", ok)
			if ok {
				x.handler("Push %s", describe(p.Push("/style.css", &http.PushOptions{})))
			}
		})
		x.get(s, "/")
	}},
}

// flush flushes in one of three ways.
func (x *exchange) flush(w http.ResponseWriter, way int) {
	switch way % 3 {
	case 0:
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		} else {
			x.handler("no Flusher")
		}
	case 1:
		if f, ok := w.(interface{ FlushError() error }); ok {
			x.handler("FlushError %s", describe(f.FlushError()))
		} else {
			x.handler("no FlushError")
		}
	case 2:
		x.handler("Flush %s", describe(http.NewResponseController(w).Flush()))
	}
}

// flushNow ignores errors, which depend on whether the client has disconnected.
func flushNow(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// timeoutOf returns which of the timeout errors err is. Their texts contain addresses.
func timeoutOf(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return context.DeadlineExceeded
	}
	return err
}

// echoUpgraded is a handler that echoes on an upgraded connection.
func (x *exchange) echoUpgraded(w http.ResponseWriter, r *http.Request) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		x.handler("%s", describe(err))
		return
	}
	defer conn.Close()
	x.handler("upgrade to %q", r.Header["Upgrade"])
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(conn, buf)
	_, _ = io.WriteString(conn, "bye\n")
}

// upgrade requests an upgraded connection. It returns nil if there is none.
func (x *exchange) upgrade(s *httptest.Server) io.ReadWriteCloser {
	r := x.newRequest("GET", s, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	resp := x.begin(s, r)
	if resp == nil {
		return nil
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		x.client("body is no io.ReadWriteCloser")
		resp.Body.Close()
		return nil
	}
	return conn
}

// onInformational calls f for each informational response.
func onInformational(ctx context.Context, f func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { f(); return nil },
	})
}
