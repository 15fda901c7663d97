package transparency

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
)

// catching serves h, wrapped, in a handler that notes what it panics with and
// lets it go on.
func (x *exchange) catching(h http.HandlerFunc) *httptest.Server {
	inner := x.wrap(h)
	return x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				x.outer("panic %T %v, ErrAbortHandler=%t", p, p, p == http.ErrAbortHandler) //nolint:errorlint // as net/http compares
				panic(p)
			}
			x.outer("no panic")
		}()
		inner.ServeHTTP(w, r)
	}))
}

var endCases = []Case{
	{"panic before the first byte", everywhere, func(x *exchange) {
		s := x.catching(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", "1")
			panic(errors.New("broken"))
		})
		x.get(s, "/", "/")
	}},
	{"panic after WriteHeader and Write", everywhere, func(x *exchange) {
		x.quiet = x.protocol != HTTP1
		s := x.catching(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			io.WriteString(w, "begin")
			panic([]int{1, 2})
		})
		x.get(s, "/")
	}},
	{"panic after Flush", everywhere, func(x *exchange) {
		arrived := make(chan struct{})
		s := x.catching(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "begin")
			flushNow(w)
			x.await(arrived, "the first byte")
			panic("late")
		})
		resp := x.begin(s, x.newRequest("GET", s, "/", nil))
		if resp == nil {
			return
		}
		first := make([]byte, 5)
		_, err := io.ReadFull(resp.Body, first)
		x.client("%q, %s", first, describe(err))
		close(arrived)
		x.readBody(resp)
	}},
	{"ErrAbortHandler before the first byte", everywhere, func(x *exchange) {
		s := x.catching(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		x.get(s, "/")
	}},
	{"ErrAbortHandler after Flush", everywhere, func(x *exchange) {
		arrived := make(chan struct{})
		s := x.catching(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "begin")
			flushNow(w)
			x.await(arrived, "the first byte")
			panic(http.ErrAbortHandler)
		})
		resp := x.begin(s, x.newRequest("GET", s, "/", nil))
		if resp == nil {
			return
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, 5))
		close(arrived)
		x.readBody(resp)
	}},
	{"panic that an outer handler answers", everywhere, func(x *exchange) {
		inner := x.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("answer me") }))
		s := x.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { http.Error(w, recover().(string), http.StatusBadGateway) }()
			inner.ServeHTTP(w, r)
		}))
		x.get(s, "/", "/")
	}},
	{"panic that an inner handler answers", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, _ *http.Request) {
			defer func() { http.Error(w, recover().(string), http.StatusBadGateway) }()
			panic("answer me")
		})
		x.get(s, "/", "/")
	}},
	{"runtime.Goexit", onlyHTTP1, func(x *exchange) {
		s := x.catching(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
		x.get(s, "/")
	}},
	{"nil handler", everywhere, func(x *exchange) {
		s := x.catching(func(_ http.ResponseWriter, r *http.Request) {
			var next http.HandlerFunc
			next(nil, r)
		})
		x.get(s, "/")
	}},
}
