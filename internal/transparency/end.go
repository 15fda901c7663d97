package transparency

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
)

// catching serves h, wrapped, inside a handler that records a panic and continues it.
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

// ends are the ways in which a handler can end.
var ends = []struct {
	name string
	end  func()
}{
	{"return", func() {}},
	{"panic with an error", func() { panic(errors.New("broken")) }},
	{"panic with a value that Go cannot compare", func() { panic([]int{1, 2}) }},
	{"panic of the runtime", func() { _ = []int{}[len(os.Args)] }},
	{"panic(nil)", panicNil},
	{"ErrAbortHandler", func() { panic(http.ErrAbortHandler) }},
	{"runtime.Goexit", runtime.Goexit},
}

func panicNil() { panic(nil) }

// stages are how far a response has come when its handler ends.
var stages = []struct {
	name string
	run  func(http.ResponseWriter)
}{
	{"before the first byte", func(w http.ResponseWriter) { w.Header().Set("X-A", "1") }},
	{"after WriteHeader and Write", func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "begin")
	}},
	{flushed, func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "begin")
		flushNow(w)
	}},
}

const flushed = "after Flush"

// everyEnd returns a case for each end at each stage.
func everyEnd() (cases []Case) {
	for _, stage := range stages {
		for _, e := range ends {
			cases = append(cases, Case{e.name + " " + stage.name, everywhere, func(x *exchange) {
				x.endAt(stage.name, x.catching, stage.run, e.end)
			}})
		}
		cases = append(cases, Case{"panic(nil) with GODEBUG=panicnil=1 " + stage.name, everywhere, func(x *exchange) {
			old := os.Getenv("GODEBUG")
			os.Setenv("GODEBUG", old+",panicnil=1")
			x.atEnd = func() { os.Setenv("GODEBUG", old) }
			x.endAt(stage.name, x.handle, stage.run, panicNil) // a handler that catches would see nothing, and end the panic
		}})
	}
	return cases
}

// endAt makes a request to a handler, served by serve, that runs run and then end.
// Afterwards it tests whether the connection can be reused.
func (x *exchange) endAt(stage string, serve func(http.HandlerFunc) *httptest.Server, run func(http.ResponseWriter), end func()) {
	x.quiet = x.protocol != HTTP1
	arrived := make(chan struct{})
	s := serve(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/next" {
			return
		}
		run(w)
		if stage == flushed {
			x.await(arrived, "the first byte")
		}
		end()
	})
	resp := x.begin(s, x.newRequest("GET", s, "/", nil))
	if resp != nil {
		if stage == flushed {
			first := make([]byte, 5)
			_, err := io.ReadFull(resp.Body, first)
			x.client("%q, %s", first, describe(err))
			close(arrived)
		}
		x.readBody(resp)
	}
	x.get(s, "/next")
}

var endCases = append(everyEnd(), []Case{
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
	{"nil handler", everywhere, func(x *exchange) {
		s := x.catching(func(_ http.ResponseWriter, r *http.Request) {
			var next http.HandlerFunc
			next(nil, r)
		})
		x.get(s, "/")
	}},
}...)
