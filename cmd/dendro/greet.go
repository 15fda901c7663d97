package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro/collector"
)

// greet prints the addresses of the program and how to use them.
func greet(out io.Writer, about string, a *access, otlp, grpc, web *endpoint) {
	if otlp.on() {
		fmt.Fprintf(out, "dendro receives  %s/v1/traces  (OTLP/HTTP)\n", otlp.url())
	}
	if grpc.on() {
		fmt.Fprintf(out, "dendro receives  %s  (OTLP/gRPC)\n", grpc.url())
	}
	if web.on() {
		fmt.Fprintf(out, "dendro shows     %s/\n", web.url())
	}
	fmt.Fprintf(out, "%s\n\n", about)
	switch {
	case otlp.on():
		fmt.Fprintf(out, `To send, in dendro:          remote.Dial("%[1]s", remote.Options{})
in any OpenTelemetry SDK:    OTEL_EXPORTER_OTLP_ENDPOINT=%[1]s OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
`, otlp.url())
	case grpc.on():
		fmt.Fprintf(out, "To send:                     OTEL_EXPORTER_OTLP_ENDPOINT=%s OTEL_EXPORTER_OTLP_PROTOCOL=grpc\n", grpc.url())
	}
	fmt.Fprint(out, "Ctrl-C ends.\n")

	for _, e := range []*endpoint{otlp, grpc, web} {
		if !e.on() || e.address().IP.IsLoopback() {
			continue
		}
		tokens := a.writers
		if e == web {
			tokens = a.readers
		}
		switch {
		case tokens != nil && a.certificates == nil:
			fmt.Fprintf(out, "Warning: tokens and spans reach %s unencrypted: set -tls-cert and -tls-key, or put a proxy with TLS before it.\n", e.address())
		case tokens != nil || a.clients:
		case e == web:
			fmt.Fprintf(out, "Warning: %s listens to other machines, but the page answers this one only: set -web-token-file.\n", e.address())
		default:
			fmt.Fprintf(out, "Warning: whoever reaches %s can send spans: set -token-file.\n", e.address())
		}
	}
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
