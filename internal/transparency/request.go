package transparency

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// readAll records the rest of the body of r.
func (x *exchange) readAll(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	x.handler("body %s, %s", show(body), describe(err))
}

// pipelined is two requests at once, the first of them with a body.
const pipelined = "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" +
	"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

var requestCases = []Case{
	{"the request as it came", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("%s %s %s %d.%d host %q", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, withoutAddresses(r.Host))
			x.handler("URL %q, length %d, encoding %q, close=%t", withoutAddresses(r.URL.String()), r.ContentLength, r.TransferEncoding, r.Close)
			x.handler("headers %s", headers(r.Header))
			x.handler("body nil=%t none=%t, GetBody nil=%t", r.Body == nil, r.Body == http.NoBody, r.GetBody == nil)
			x.handler("form nil=%t, trailer nil=%t, response nil=%t", r.Form == nil, len(r.Trailer) == 0, r.Response == nil)
			x.handler("pattern %q, remote %q, TLS %s", r.Pattern, withoutAddresses(r.RemoteAddr), secure(r.TLS))
			_, writerTo := r.Body.(io.WriterTo)
			x.handler("body is a WriterTo=%t", writerTo)
		})
		x.get(s, "/a%2Fb?q=1&q=2#part")
		x.post(s, "/known", "length")
		x.do(s, x.newRequest("POST", s, "/unknown", io.MultiReader(strings.NewReader("length"))))
		x.do(s, x.newRequest("OPTIONS", s, "/", nil))
	}},
	{"HTTP/1.0", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.handler("%s host %q", r.Proto, r.Host)
			io.WriteString(w, "old")
			w.(http.Flusher).Flush()
			io.WriteString(w, "er")
		})
		x.raw(s, "GET / HTTP/1.0\r\n\r\n")
	}},
	{"requests in a pipeline", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			fmt.Fprintf(w, "answer to %s", r.URL.Path)
		})
		x.raw(s, pipelined)
	}},
	{"requests in a pipeline, nothing read", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "answer to %s", r.URL.Path) })
		x.raw(s, pipelined)
	}},
	{"100-continue, body read", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			io.WriteString(w, "thanks")
		})
		x.expect(s)
	}},
	{"100-continue, refused", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
		x.expect(s)
	}},
	{"100-continue, by WriteHeader", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusContinue)
			x.readAll(r)
			w.WriteHeader(http.StatusAccepted)
		})
		x.expect(s)
	}},
	{"the body, read and closed", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			x.readAll(r)
			x.handler("Close %s", describe(r.Body.Close()))
			x.handler("Close %s", describe(r.Body.Close()))
			_, err := r.Body.Read(make([]byte, 1))
			x.handler("Read %s, ErrBodyReadAfterClose=%t", describe(err), errors.Is(err, http.ErrBodyReadAfterClose))
		})
		x.post(s, "/", "hello")
		x.do(s, x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("hello"))))
		x.get(s, "/")
	}},
	{"a small body that is not read", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "no, thanks") })
		x.post(s, "/", "hello")
		x.post(s, "/", "hello")
	}},
	{"a large body that is not read", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "no, thanks") })
		x.raw(s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\nbegin")
	}},
	{"a body that is read in part", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			n, err := io.ReadFull(r.Body, make([]byte, 10))
			x.handler("read %d, %s", n, describe(err))
		})
		x.post(s, "/", strings.Repeat("x", 1000))
		x.do(s, x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader(strings.Repeat("x", 1000)))))
		x.get(s, "/")
	}},
	{"a goroutine that reads when the handler has returned", onlyHTTP1, func(x *exchange) {
		answered, read := make(chan struct{}), make(chan struct{})
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/next" {
				return
			}
			go func() {
				defer close(read)
				x.await(answered, "the answer")
				_, err := r.Body.Read(make([]byte, 1))
				x.handler("Read %s", describe(err))
			}()
		})
		x.post(s, "/", "hello")
		x.get(s, "/next") // when it arrives the server has done with the first
		close(answered)
		x.await(read, "the reader")
	}},
	{"a handler that replaces the body", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			first, err := io.ReadAll(r.Body)
			x.handler("%q, %s", first, describe(err))
			r.Body = io.NopCloser(bytes.NewReader(first))
			x.readAll(r)
		})
		x.post(s, "/", "hello")
		x.post(s, "/", "again")
	}},
	{"ParseForm", everywhere, func(x *exchange) {
		inner := x.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("ParseForm %s", describe(r.ParseForm()))
			x.handler("form %v, post %v", r.Form, r.PostForm)
			x.handler("value %q", r.FormValue("a"))
		}))
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(w, r)
			x.outer("form %v, post %v", r.Form, r.PostForm)
		}))
		r := x.newRequest("POST", s, "/?a=1&c=3", strings.NewReader("a=2&b=%20"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		x.do(s, r)
		r = x.newRequest("POST", s, "/?a=%zz", strings.NewReader("a=2;b=3"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		x.do(s, r)
		x.get(s, "/?a=1")
	}},
	{"trailers of the request", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("before %v", r.Trailer)
			x.readAll(r)
			x.handler("after %v", r.Trailer)
		})
		r := x.newRequest("POST", s, "/", io.MultiReader(strings.NewReader("body")))
		r.Trailer = http.Header{"X-A": {"1"}, "X-B": {"2"}}
		x.do(s, r)
	}},
	{"trailers of the request, not announced", onlyHTTP1, func(x *exchange) {
		inner := x.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			x.handler("trailer %v", r.Trailer)
		}))
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(w, r)
			x.outer("trailer %v", r.Trailer)
		}))
		x.raw(s, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n")
	}},
	{"a body that breaks off", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.readAll(r)
			io.WriteString(w, "pity")
		})
		x.halfClosed(s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
		x.halfClosed(s, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nbad")
	}},
	{"what a handler changes in the request's maps", everywhere, func(x *exchange) {
		s := x.changing(func(r *http.Request) {
			r.Header.Set("X-Inner", "1")
			r.Header.Del("User-Agent")
			r.URL.Path = "/changed"
			r.URL.RawQuery = "q=2"
		})
		x.get(s, "/")
	}},
	{"pattern and forms that a handler assigns", everywhere, func(x *exchange) {
		s := x.changing(func(r *http.Request) {
			r.Pattern = "/{pattern}"
			r.Form = url.Values{"a": {"1"}}
			r.PostForm = url.Values{"b": {"2"}}
		})
		x.get(s, "/")
	}},
	{"other fields that a handler assigns", everywhere, func(x *exchange) {
		s := x.changing(func(r *http.Request) {
			r.Method, r.Host, r.RemoteAddr, r.RequestURI = "PUT", "other", "192.0.2.1:1", "/other"
			r.URL = &url.URL{Path: "/new"}
			r.Header = http.Header{"X-New": {"1"}}
		})
		x.get(s, "/")
	}},
	{"Accept-Encoding and gzip by hand", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			x.handler("accepts %q", r.Header["Accept-Encoding"])
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(gzipped("small"))
		})
		x.get(s, "/")
	}},
	{"MaxBytesReader inside", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 5)
			x.readOrRefuse().ServeHTTP(w, r)
		})
		x.post(s, "/", "12345")
		x.post(s, "/", "123456")
		x.post(s, "/", "12345")
	}},
	{"MaxBytesHandler inside", everywhere, func(x *exchange) {
		s := x.handle(http.MaxBytesHandler(x.readOrRefuse(), 5).ServeHTTP)
		x.post(s, "/", "123456")
		x.post(s, "/", "12345")
	}},
	{"MaxBytesHandler outside", everywhere, func(x *exchange) {
		s := x.serve(http.MaxBytesHandler(x.wrap(x.readOrRefuse()), 5))
		x.post(s, "/", "123456")
		x.post(s, "/", "12345")
	}},
}

// readOrRefuse returns a handler that reads the body.
func (x *exchange) readOrRefuse() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.handler("length %d", r.ContentLength)
		if _, err := io.ReadAll(r.Body); err != nil {
			var tooLarge *http.MaxBytesError
			x.handler("%s, MaxBytesError=%t", describe(err), errors.As(err, &tooLarge))
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}
	})
}

// changing serves a handler that changes its request. A handler outside the wrapper
// records what it sees of that.
func (x *exchange) changing(change func(*http.Request)) *httptest.Server {
	inner := x.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { change(r) }))
	return x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		x.outer("header %s", headers(r.Header))
		x.outer("URL %s", r.URL)
		x.outer("pattern %q", r.Pattern)
		x.outer("form %v, post %v", r.Form, r.PostForm)
		x.outer("method %q, host %q, remote %q, URI %q", r.Method, withoutAddresses(r.Host), withoutAddresses(r.RemoteAddr), r.RequestURI)
	}))
}

// expect sends a body with 100-continue and then another request.
func (x *exchange) expect(s *httptest.Server) {
	transportOf(s).ExpectContinueTimeout = patience
	body := &countingReader{Reader: strings.NewReader("body")}
	r := x.newRequest("POST", s, "/", body)
	r.Header.Set("Expect", "100-continue")
	r = r.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got100Continue: func() { x.client("100 Continue") },
	}))
	x.do(s, r)
	x.client("body was asked for: %t", body.asked.Load())
	x.post(s, "/", "next")
}

// countingReader records whether it was read.
type countingReader struct {
	io.Reader
	asked atomic.Bool
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Reader.Read(p)
}

func gzipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}
