package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

// panics is a log formatter of chi's that keeps the panics.
type panics struct{ got []string }

func (p *panics) NewLogEntry(*http.Request) chimiddleware.LogEntry { return p }
func (p *panics) Write(int, int, http.Header, time.Duration, any)  {}
func (p *panics) Panic(v any, stack []byte) {
	p.got = append(p.got, fmt.Sprintf("%v, handler in the stack: %t", v, bytes.Contains(stack, []byte("brokenHandler"))))
}

var errBroken = errors.New("no stock")

func brokenHandler(http.ResponseWriter, *http.Request) { panic(errBroken) }

// A panic is recorded once, in whatever order the two middlewares are, and the recoverer
// responds and logs as without the middleware.
func TestRecoverer(t *testing.T) {
	rethrowing := func(next http.Handler) http.Handler { // as some do, after they have logged
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if p := recover(); p != nil {
					panic(p)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	teapot := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					w.WriteHeader(http.StatusTeapot)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	recoverer := middleware.Recoverer(chimiddleware.Recoverer)
	type use = []func(http.Handler) http.Handler
	trace, recorder := traced(t)
	for name, c := range map[string]struct {
		use, bare use
		status    int
	}{
		"chi's, inside":         {use{trace, recoverer}, use{chimiddleware.Recoverer}, 500},
		"chi's, outside":        {use{recoverer, trace}, use{chimiddleware.Recoverer}, 500},
		"chi's, on both sides":  {use{recoverer, trace, recoverer}, use{chimiddleware.Recoverer}, 500},
		"one that lets them go": {use{chimiddleware.Recoverer, trace, middleware.Recoverer(rethrowing)}, use{chimiddleware.Recoverer}, 500},
		"one within another":    {use{trace, recoverer, middleware.Recoverer(rethrowing)}, use{chimiddleware.Recoverer}, 500},
		"another answer":        {use{trace, middleware.Recoverer(teapot)}, use{teapot}, 418},
	} {
		ask := func(use use) (*http.Response, []string) {
			log := new(panics)
			r := chi.NewRouter()
			r.Use(chimiddleware.RequestLogger(log))
			r.Use(use...)
			r.Get("/orders/{id}", brokenHandler)
			return serve(r, httptest.NewRequest("GET", "/orders/7", nil)), log.got
		}
		recorder.Reset()
		resp, logged := ask(c.use)
		bare, want := ask(c.bare)
		testkit.Equal(t, name+": answer", resp.StatusCode, bare.StatusCode)
		testkit.Equal(t, name+": header", resp.Header, bare.Header)
		testkit.Equal(t, name+": log", logged, want)
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": span", span.Name, "GET /orders/{id}")
		testkit.Equal(t, name+": error.type", span.Attr("error.type"), any("*errors.errorString"))
		testkit.Equal(t, name+": code", span.Attr("http.response.status_code"), any(int64(c.status)))
		testkit.Equal(t, name+": status", span.Status, dendro.Status{Code: dendro.StatusError, Message: "panic: no stock"})
		exceptions := 0
		for _, e := range span.Events {
			if e.Name == "exception" {
				exceptions++
				testkit.Equal(t, name+": stack", strings.Contains(fmt.Sprint(e.Attributes), "brokenHandler"), true)
			}
		}
		testkit.Equal(t, name+": exceptions", exceptions, 1)
	}
}

// Without a panic, with one that must not be recovered, and for requests that are not
// traced, the result is that of the recoverer alone.
func TestRecovererLeavesTheRest(t *testing.T) {
	recoverer := middleware.Recoverer(chimiddleware.Recoverer)
	trace, recorder := traced(t)
	ask := func(h http.Handler) (outcome string) {
		defer func() {
			if p := recover(); p != nil {
				outcome = fmt.Sprint("panic ", p)
			}
		}()
		return fmt.Sprint(serve(h, httptest.NewRequest("GET", "/", nil)).StatusCode)
	}
	for name, h := range map[string]http.HandlerFunc{
		"return":          ok,
		"ErrAbortHandler": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"panic(nil)":      func(http.ResponseWriter, *http.Request) { panic(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GODEBUG", "panicnil=1")
			recorder.Reset()
			want := ask(chimiddleware.Recoverer(h))
			testkit.Equal(t, "traced", ask(trace(recoverer(h))), want)
			testkit.Equal(t, "not traced", ask(recoverer(h)), want)
			testkit.Equal(t, "exception", recorder.Wait(t, 1)[0].Event("exception") != nil, false)
		})
	}
}

// What chi's Recoverer prints begins with the handler that panicked, as without the
// middleware.
func TestRecovererPrints(t *testing.T) {
	if which := os.Getenv("DENDRO_TEST_PRINTS"); which != "" {
		recoverer := chimiddleware.Recoverer
		if which == "wrapped" {
			trace, _ := traced(t)
			recoverer = func(next http.Handler) http.Handler {
				return trace(middleware.Recoverer(chimiddleware.Recoverer)(next))
			}
		}
		serve(recoverer(http.HandlerFunc(brokenHandler)), httptest.NewRequest("GET", "/", nil))
		return
	}
	print := func(which string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRecovererPrints$")
		cmd.Env = append(os.Environ(), "DENDRO_TEST_PRINTS="+which)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		testkit.NoError(t, cmd.Run())
		head, _, _ := strings.Cut(stderr.String(), "ServeHTTP")
		return head
	}
	bare := print("bare")
	if !strings.Contains(bare, "no stock") || !strings.Contains(bare, "brokenHandler") {
		t.Fatalf("chi prints %q", bare)
	}
	testkit.Equal(t, "printed", print("wrapped"), bare)
}
