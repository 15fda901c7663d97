package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
)

// shutdownTimeout bounds how long open requests may take after Ctrl-C.
const shutdownTimeout = 5 * time.Second

// serveOptions are the flags of "dendro serve".
type serveOptions struct {
	otlp, web string
	memory    byteSize
}

// parseServe parses args. If it returns an error, it has written the usage to stderr.
func parseServe(args []string, stderr io.Writer) (serveOptions, error) {
	o := serveOptions{memory: 256 << 20}
	flags := flag.NewFlagSet("dendro serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.otlp, "otlp", "127.0.0.1:4318", "`address` that receives OTLP/HTTP, protobuf and JSON")
	flags.StringVar(&o.web, "web", "127.0.0.1:8700", "`address` of the page and the query API")
	flags.Var(&o.memory, "memory", "`size` of the memory of the process, at least 48MiB; four fifths are for the store, where new traces evict the oldest")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, "dendro serve:", err)
		flags.Usage()
		return o, err
	}
	return o, nil
}

// serve receives and shows spans until ctx is done or a server fails.
func serve(ctx context.Context, o serveOptions, stdout io.Writer) error {
	otlpListener, otlpErr := listen("otlp", o.otlp)
	webListener, webErr := listen("web", o.web)
	if err := errors.Join(otlpErr, webErr); err != nil {
		closeAll(otlpListener, webListener)
		return err
	}

	limit, share, err := divide(o.memory, givenLimit)
	if err != nil {
		closeAll(otlpListener, webListener)
		return err
	}
	debug.SetMemoryLimit(limit)
	defer debug.SetMemoryLimit(givenLimit)
	store := memory.New(memory.Options{MaxBytes: share})
	receiver := newServer(server.New(store, server.Options{}))
	page := newServer(web.New(store, web.Options{}))
	greet(stdout, o.memory, share, otlpListener.Addr().(*net.TCPAddr), webListener.Addr().(*net.TCPAddr))

	failed := make(chan error, 2)
	go func() { failed <- receiver.Serve(otlpListener) }()
	go func() { failed <- page.Serve(webListener) }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	shutdown(context.WithoutCancel(ctx), receiver, page)
	stats, _ := store.Stats(context.WithoutCancel(ctx)) // never fails
	report(stdout, stats)
	return err
}

func listen(flagName, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; another address: -%s host:port", err, flagName)
	}
	return l, nil
}

func closeAll(listeners ...net.Listener) {
	for _, l := range listeners {
		if l != nil {
			l.Close()
		}
	}
}

func newServer(h http.Handler) *http.Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &http.Server{
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
	}
	s.RegisterOnShutdown(cancel) // ends queries and live tails; spans are received to the end
	return s
}

// shutdown waits for open requests, for at most shutdownTimeout in all.
func shutdown(ctx context.Context, servers ...*http.Server) {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
}

// greet prints the addresses of the servers and how to use them.
func greet(out io.Writer, memory byteSize, store int64, otlp, web *net.TCPAddr) {
	fmt.Fprintf(out, `dendro receives  http://%[1]s/v1/traces  (OTLP/HTTP)
dendro shows     http://%[2]s/
memory           %[3]s, of which %[4]d MiB for the store

To send, in dendro:          remote.Dial("http://%[1]s", remote.Options{})
in any OpenTelemetry SDK:    OTEL_EXPORTER_OTLP_ENDPOINT=http://%[1]s OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
Ctrl-C ends.
`, local(otlp), local(web), &memory, store>>20)
	if !otlp.IP.IsLoopback() {
		fmt.Fprintf(out, "Warning: whoever reaches %s can send spans: there is no authentication.\n", otlp)
	}
	if !web.IP.IsLoopback() {
		fmt.Fprintf(out, "Warning: %s listens to other machines, but the page answers this one only.\n", web)
	}
}

// local returns the address at which this machine reaches a listener. The page refuses
// requests for a wildcard address.
func local(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", a.Port)
	}
	return a.String()
}

// report prints the last line.
func report(out io.Writer, s collector.Stats) {
	var lost uint64
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
		lost += s.Dropped[reason]
		reasons = append(reasons, fmt.Sprintf("%d %s", s.Dropped[reason], reason))
	}
	fmt.Fprintf(out, "received %d spans, held %d in %d traces, dropped %d", s.Accepted, s.Spans, s.Traces, lost)
	if lost > 0 {
		fmt.Fprintf(out, " (%s)", strings.Join(reasons, ", "))
	}
	fmt.Fprintln(out)
}
