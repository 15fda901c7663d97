package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/pebblestore"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/diagnostics"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// Timeouts of the shutdown.
const (
	stopTimeout = 5 * time.Second // for open requests to finish
	sendTimeout = 3 * time.Second // then for the spans to reach a remote collector
)

// app is the running program.
type app struct {
	parts      []part // in the order of their start
	tracers    []*dendro.Tracer
	diag       *diagnostics.Diagnostics
	spans      dendro.Collector // the collector of all tracers
	remote     *remote.Client   // nil if the spans stay in this process
	closeStore func() error     // nil unless they are on disk
	client     *http.Client
	failed     chan error // errors of servers that stopped by themselves
	ready      time.Time  // when the latest part was ready
}

// part is something that was started and must be stopped.
type part struct {
	name, address string
	took          time.Duration // time to start it
	stop          func(context.Context) error
}

// start starts the services of o.role.
func start(ctx context.Context, o options) (_ *app, err error) {
	listeners, err := listen(o)
	if err != nil {
		return nil, err
	}
	a := &app{failed: make(chan error, 1), ready: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop(context.WithoutCancel(ctx)))
			listeners.close()
		}
	}()

	var store collector.Store
	switch {
	case o.spans != nil:
		a.spans = o.spans
	case o.collector != "":
		a.remote, err = remote.Dial(o.collector, remote.Options{}) // dendro: send the spans to another process
		if err != nil {
			return nil, fmt.Errorf("-collector: %w", err)
		}
		a.spans = a.remote
	case o.data != "":
		disk, err := pebblestore.Open(o.data, pebblestore.Options{}) // dendro: or keep them on disk
		if err != nil {
			return nil, fmt.Errorf("-data: %w", err)
		}
		a.closeStore = disk.Close
		store, a.spans = disk, disk
	default:
		store = memory.New(memory.Options{}) // dendro: or in memory
		a.spans = store
	}
	a.diag = diagnostics.New(diagnostics.Options{Operations: store, Open: store != nil}) // dendro: profiles, execution traces, open requests
	if o.flight != "" {
		if err := a.diag.StartFlightRecorder(diagnostics.FlightOptions{Dir: o.flight}); err != nil { // dendro: what happened before a request failed
			return nil, fmt.Errorf("-flight: %w", err)
		}
	}
	a.client = &http.Client{
		Transport: transport.New(nil, transport.Options{}), // dendro: a span for every outgoing request, and headers for the server
		Timeout:   30 * time.Second,
	}

	addressA, addressB := "http://"+o.a, "http://"+o.b
	if o.plays(roleA) {
		addressA = a.service("serviceA", listeners[flagA], slowService("/service1", 101*time.Millisecond, "service1 ok"))
	}
	if o.plays(roleB) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		b1 := a.service("serviceB1", l, slowService("/service3", 30*time.Millisecond, "service3 ok"))
		addressB = a.service("serviceB", listeners[flagB], serviceB(a.client, b1))
	}
	if o.plays(roleFront) {
		f := &front{client: a.client, a: addressA, b: addressB, next: o.next}
		for i, delay := range endpointDelays {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("endpoint%d", i+1)
			f.endpoints = append(f.endpoints, a.service(name, l, slowService("/"+name, delay, name+" ok"))+"/"+name)
		}
		db, closeDB, err := openDatabase(ctx, o.db)
		if err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
		a.started("database", db.DriverName(), func(context.Context) error { return closeDB() })
		f.orders = orders{db}
		a.serve("front", listeners[flagFront], f.routes(a.tracer(cmp.Or(os.Getenv("OTEL_SERVICE_NAME"), "front"))))
	}
	if store != nil {
		a.serve("page", listeners[flagPage], page(web.New(store, web.Options{Tracers: a.tracers, Diagnostics: a.diag}))) // dendro: the page
	}
	return a, nil
}

// page serves h at / and at /debug/traces/. An app that serves something else at /
// would mount it at the latter.
func page(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.Handle("/debug/traces/", http.StripPrefix("/debug/traces", h))
	return mux
}

// tracer returns a new tracer. Most programs have one. This program has one for each
// service that it runs.
func (a *app) tracer(service string) *dendro.Tracer {
	t := dendro.New(dendro.Options{Service: service, Collector: a.spans, Observer: a.diag}) // dendro: makes the spans of a service
	a.tracers = append(a.tracers, t)
	return t
}

// service serves h with a tracer of its own and returns its URL.
func (a *app) service(name string, l net.Listener, h http.Handler) string {
	return a.serve(name, l, middleware.New(middleware.Options{Tracer: a.tracer(name)})(h))
}

func (a *app) serve(name string, l net.Listener, h http.Handler) string {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case a.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one error is enough
			}
		}
	}()
	url := "http://" + l.Addr().String()
	a.started(name, url, func(ctx context.Context) error {
		if s.Shutdown(ctx) == nil {
			return nil
		}
		return s.Close() // a client keeps its connection
	})
	return url
}

// started adds a part. It took the time since the previous part was ready.
func (a *app) started(name, address string, stop func(context.Context) error) {
	now := time.Now()
	a.parts = append(a.parts, part{name, address, now.Sub(a.ready), stop})
	a.ready = now
}

// address returns the address of a part, or "" if this process does not run it.
func (a *app) address(name string) string {
	for _, p := range a.parts {
		if p.name == name {
			return p.address
		}
	}
	return ""
}

// stop stops the parts, the last one first, and then delivers all spans.
func (a *app) stop(ctx context.Context) error {
	var errs []error
	ending, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for len(a.parts) > 0 {
		last := len(a.parts) - 1
		errs = append(errs, a.parts[last].stop(ending))
		a.parts = a.parts[:last]
	}
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for _, t := range a.tracers {
		_ = t.Shutdown(sending) // lost spans are counted
	}
	if a.remote != nil {
		_ = a.remote.Shutdown(sending)
	}
	if a.diag != nil {
		a.diag.StopFlightRecorder()
	}
	if a.closeStore != nil {
		errs = append(errs, a.closeStore())
	}
	return errors.Join(errs...)
}

// Flags for the addresses of listeners.
const (
	flagFront = "front"
	flagPage  = "page"
	flagA     = "a"
	flagB     = "b"
)

// listeners maps flags to listeners.
type listeners map[string]net.Listener

// listen opens all ports that have a flag before anything else is started, so that one
// error names all ports that are in use.
func listen(o options) (listeners, error) {
	ls := listeners{}
	var errs []error
	open := func(flagName, address string) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w; another address: -%s host:port", err, flagName))
			return
		}
		ls[flagName] = l
	}
	if o.plays(roleFront) {
		open(flagFront, o.front)
	}
	if o.keepsSpans() {
		open(flagPage, o.page)
	}
	if o.plays(roleA) {
		open(flagA, o.a)
	}
	if o.plays(roleB) {
		open(flagB, o.b)
	}
	if len(errs) > 0 {
		ls.close()
		return nil, errors.Join(errs...)
	}
	return ls, nil
}

func (ls listeners) close() {
	for _, l := range ls {
		l.Close()
	}
}
