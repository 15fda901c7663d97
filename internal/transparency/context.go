package transparency

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

var contextCases = []Case{
	{"the context of a request", everywhere, func(x *exchange) {
		ended := make(chan struct{})
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			_, server := ctx.Value(http.ServerContextKey).(*http.Server)
			_, local := ctx.Value(http.LocalAddrContextKey).(net.Addr)
			x.handler("server %t, local address %t", server, local)
			_, deadline := ctx.Deadline()
			x.handler("deadline %t, error %s, cause %s", deadline, describe(ctx.Err()), describe(context.Cause(ctx)))
			x.handler("Cancel nil=%t", r.Cancel == nil) //nolint:staticcheck // deprecated, but there
			context.AfterFunc(ctx, func() {
				x.note("after the handler", "error %s, cause %s", describe(ctx.Err()), describe(context.Cause(ctx)))
				close(ended)
			})
		})
		x.get(s, "/")
		x.await(ended, "the end of the context")
	}},
	{"values of outer handlers", everywhere, func(x *exchange) {
		type key struct{}
		inner := x.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("value %v", r.Context().Value(key{}))
			x.handler("path value %q", r.PathValue("id"))
			r.SetPathValue("id", "8")
			x.handler("path value %q", r.PathValue("id"))
		}))
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.SetPathValue("id", "7")
			inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "mine")))
		}))
		x.get(s, "/")
	}},
	{"the client goes while the answer is sent", everywhere, func(x *exchange) {
		x.quiet = true
		done := make(chan struct{})
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			io.WriteString(w, "first")
			flushNow(w)
			ctx := r.Context()
			x.await(ctx.Done(), "the end of the context")
			x.handler("error %s, cause %s", describe(ctx.Err()), describe(context.Cause(ctx)))
			var err error
			for range 100 { // until the buffers are full
				if _, err = w.Write(make([]byte, 1<<16)); err != nil {
					break
				}
			}
			x.handler("Write fails: %t", err != nil)
		})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		resp := x.begin(s, x.newRequest("GET", s, "/", nil).WithContext(ctx))
		if resp == nil {
			return
		}
		first := make([]byte, 5)
		_, err := io.ReadFull(resp.Body, first)
		x.client("%q, %s", first, describe(err))
		cancel()
		_, err = resp.Body.Read(first)
		x.client("Read %s", describe(err))
		resp.Body.Close()
		x.await(done, "the handler")
	}},
	{"the client goes while the handler reads", everywhere, func(x *exchange) {
		x.quiet = true
		started, done := make(chan struct{}), make(chan struct{})
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			defer close(done)
			_, err := io.ReadFull(r.Body, make([]byte, 5))
			x.handler("ReadFull %s", describe(err))
			close(started)
			_, err = r.Body.Read(make([]byte, 5))
			x.handler("Read fails: %t, end=%t", err != nil, errors.Is(err, io.EOF))
			x.await(r.Context().Done(), "the end of the context")
			x.handler("cause %s", describe(context.Cause(r.Context())))
		})
		body, send := io.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			_, _ = io.WriteString(send, "hello")
			x.await(started, "the handler")
			cancel()
			_ = send.CloseWithError(context.Canceled) // the transport waits for it
		}()
		x.do(s, x.newRequest("POST", s, "/", body).WithContext(ctx))
		x.await(done, "the handler")
	}},
	{"CloseNotify", everywhere, func(x *exchange) {
		x.quiet = true
		done := make(chan struct{})
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			n, ok := w.(deprecatedCloseNotifier)
			x.handler("CloseNotifier %t", ok)
			flushNow(w)
			if !ok {
				return
			}
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				x.handler("gone %t", <-n.CloseNotify())
			}()
			x.await(gone, "the notice")
		})
		ctx, cancel := context.WithCancel(context.Background())
		if resp := x.begin(s, x.newRequest("GET", s, "/", nil).WithContext(ctx)); resp != nil {
			defer resp.Body.Close()
		}
		cancel()
		x.await(done, "the handler")
	}},
	{"the context of a hijacked connection", onlyHTTP1, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer conn.Close()
			x.handler("error %s", describe(r.Context().Err()))
		})
		x.raw(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}},
	{"copies of the request by inner handlers", everywhere, func(x *exchange) {
		type key struct{}
		for _, copied := range []func(*http.Request) *http.Request{
			func(r *http.Request) *http.Request {
				return r.WithContext(context.WithValue(r.Context(), key{}, "with"))
			},
			func(r *http.Request) *http.Request {
				return r.Clone(context.WithValue(r.Context(), key{}, "clone"))
			},
		} {
			inner := x.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r = copied(r)
				x.handler("ParseForm %s, %v", describe(r.ParseForm()), r.Form)
				x.handler("value %v, %s", r.Context().Value(key{}), r.URL)
				r.Header.Set("X-Inner", "1")
				io.WriteString(w, r.PathValue("id"))
			}))
			s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.SetPathValue("id", "7")
				inner.ServeHTTP(w, r)
				x.outer("form %v, header %q, pattern %q", r.Form, r.Header["X-Inner"], r.Pattern)
			}))
			r := x.newRequest("POST", s, "/?b=2", strings.NewReader("a=1"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			x.do(s, r)
		}
	}},
}
