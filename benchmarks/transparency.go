package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/riandyrn/otelchi"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/dendrotrace/dendro/internal/transparency"
	"github.com/dendrotrace/dendro/middleware"
)

// contestant is a wrapper of handlers or transports in the part "transparency".
type contestant struct {
	name string
	transparency.Wrapper
}

// transparencyPeers are the modules that are named above the table.
var transparencyPeers = []string{
	"github.com/go-chi/chi/v5",
	"go.opentelemetry.io/otel/sdk",
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
	"github.com/riandyrn/otelchi",
}

// contestants returns the wrappers, configured as their documentation recommends.
func contestants(p trace.TracerProvider, own *dendroLibrary) []contestant {
	return []contestant{
		{"dendro middleware", transparency.Wrapper{Handler: middleware.Trace}},
		{"otelhttp.NewHandler", transparency.Wrapper{Handler: func(h http.Handler) http.Handler {
			return otelhttp.NewHandler(h, "server", otelhttp.WithTracerProvider(p), otelhttp.WithPropagators(propagator))
		}}},
		{"otelchi.Middleware", transparency.Wrapper{Handler: otelchi.Middleware("server", otelchi.WithTracerProvider(p), otelchi.WithPropagators(propagator))}},
		{"dendro transport", transparency.Wrapper{Transport: func(base http.RoundTripper) http.RoundTripper {
			return own.wrapTransport(context.Background(), base)
		}}},
		{"otelhttp.NewTransport", transparency.Wrapper{Transport: func(base http.RoundTripper) http.RoundTripper {
			return otelhttp.NewTransport(base, otelhttp.WithTracerProvider(p), otelhttp.WithPropagators(propagator))
		}}},
	}
}

// compareTransparency writes what each wrapper changes. Wrappers of handlers run the
// cases for handlers, and wrappers of transports the other cases.
func compareTransparency(s settings, match *regexp.Regexp, _ *results) (string, error) {
	log.SetOutput(io.Discard) // of net/http, about connections that cases break
	defer log.SetOutput(os.Stderr)
	opened, err := openDendroStore(environment{maxBytes: 64 << 20})
	if err != nil {
		return "", err
	}
	own := opened.(storing).dendroLibrary
	otel, err := openOTelDiscarding(environment{})
	if err != nil {
		return "", err
	}
	var table, details strings.Builder
	fmt.Fprintf(&table, "%s. Peers: %s.\n", runtime.Version(), linked(transparencyPeers))
	fmt.Fprint(&table, "\n| wrapper | cases | protocols × cases | cases that differ |\n|---|--:|--:|--:|\n")
	for _, c := range contestants(otel.(*otelLibrary).provider, own) {
		cases := transparency.Client()
		if c.Handler != nil {
			cases = transparency.Server()
		}
		ran, runs, differ := 0, 0, 0
		var lines strings.Builder
		for _, x := range cases {
			if !match.MatchString(x.Name + "/" + c.name) {
				continue
			}
			ran++
			runs += len(x.Protocols)
			if line := differences(x, c.Wrapper); line != "" {
				differ++
				fmt.Fprintf(&lines, "- **%s** (%s\n", x.Name, line)
			}
		}
		fmt.Fprintf(&table, "| %s | %d | %d | %d |\n", c.name, ran, runs, differ)
		if differ > 0 {
			fmt.Fprintf(&details, "\n### %s\n\n%s", c.name, lines.String())
		}
	}
	return table.String() + details.String(), nil
}

// differences returns with which protocols w differs in a case, and the first
// difference. It returns "" if there is none. It runs the case twice to exclude
// differences that occur by chance.
func differences(c transparency.Case, w transparency.Wrapper) string {
	var protocols []string
	var first []string
	for _, p := range c.Protocols {
		var lines []string
		for range 2 {
			lines = transparency.Diff(c.Observe(p, transparency.Wrapper{}), c.Observe(p, w))
			if len(lines) == 0 {
				break
			}
		}
		if len(lines) > 0 {
			protocols = append(protocols, p)
			if first == nil {
				first = lines
			}
		}
	}
	if first == nil {
		return ""
	}
	return strings.Join(protocols, ", ") + "): " + sample(first)
}

// sample returns the first line that only the bare exchange has, and the first that
// only the wrapped one has.
func sample(lines []string) string {
	var out []string
	for _, sign := range []string{"- ", "+ "} {
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, sign) })
		if at < 0 {
			continue
		}
		text := []rune(strings.ReplaceAll(lines[at][2:], "`", "'"))
		if len(text) > 120 {
			text = append(text[:120], '…')
		}
		out = append(out, map[string]string{"- ": "bare", "+ ": "wrapped"}[sign]+" `"+string(text)+"`")
	}
	return strings.Join(out, ", ")
}
