package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/middleware"
)

// front is the service that users call.
type front struct {
	client    *http.Client
	endpoints []string // URLs that GET / calls
	a, b      string   // URLs that GET /front calls
	next      []string // URLs that GET /tree calls
	orders    orders
}

func (f *front) routes(tracer *dendro.Tracer) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.New(middleware.Options{Tracer: tracer, TraceResponse: true})) // dendro: a span for every request
	r.Use(middleware.Recoverer(chimiddleware.Recoverer))                           // dendro: chi's Recoverer, and panics on the span
	r.Get("/", f.home)
	r.Get("/front", f.both)
	r.Post("/orders", f.orders.place)
	r.Get("/orders", f.orders.list)
	r.Get("/orders/{id}", f.orders.show)
	r.Get("/tree", f.tree)
	r.Get("/slow", slow)
	r.Get("/error", fail)
	r.Get("/panic", panics)
	return r
}

// home calls the endpoints one after the other.
func (f *front) home(w http.ResponseWriter, r *http.Request) {
	for _, endpoint := range f.endpoints {
		if err := get(r.Context(), f.client, endpoint); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	io.WriteString(w, "welcome\n")
}

// both calls service A and then service B.
func (f *front) both(w http.ResponseWriter, r *http.Request) {
	if err := get(r.Context(), f.client, f.a+"/service1"); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if err := get(r.Context(), f.client, f.b+"/service2"); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	io.WriteString(w, "access serviceA ok\naccess serviceB ok\n")
}

// tree calls the front services of other processes at the same time, which do the same, and then takes as many milliseconds as
// the parameter ms says. It fails if the parameter fail is its own address. A failure of one that it calls is none of its own.
func (f *front) tree(w http.ResponseWriter, r *http.Request) {
	takes, err := duration(r, 0)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var calls sync.WaitGroup
	for _, url := range f.next {
		calls.Go(func() { _ = get(r.Context(), f.client, url+"/tree?"+r.URL.RawQuery) })
	}
	calls.Wait()
	if work(r.Context(), takes) != nil {
		return
	}
	if r.FormValue("fail") == r.Host {
		fail(w, r)
		return
	}
	io.WriteString(w, "grown\n")
}

// maxSlow bounds how long GET /slow and each process of GET /tree take.
const maxSlow = 10 * time.Second

// slow takes as many milliseconds as the parameter ms says, 500 by default.
func slow(w http.ResponseWriter, r *http.Request) {
	takes, err := duration(r, 500*time.Millisecond)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if work(r.Context(), takes) == nil {
		fmt.Fprintf(w, "took %v\n", takes)
	}
}

// duration returns the parameter ms of r.
func duration(r *http.Request, otherwise time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get("ms")
	if text == "" {
		return otherwise, nil
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 0 || ms > int(maxSlow.Milliseconds()) {
		return 0, fmt.Errorf("ms is not a number from 0 to %d", maxSlow.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond, nil
}

var errOutOfTea = errors.New("out of tea")

func fail(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, errOutOfTea.Error(), http.StatusInternalServerError)
}

func panics(http.ResponseWriter, *http.Request) {
	panic("somebody pulled the plug")
}
