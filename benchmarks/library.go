package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/http"
)

// op does a piece of work n times. Several goroutines may call it at once.
type op func(n int)

// library is a tracing library with one configuration. It also implements those of the
// interfaces below that it supports.
type library interface {
	// flush waits until everything that has ended is delivered. want is the number of
	// spans made since the beginning, or 0 if it is not known. It is for libraries
	// that cannot wait by themselves.
	flush(want uint64)
	// delivered returns the number of spans that have arrived.
	delivered() uint64
}

type (
	spanner  interface{ spans(work spanWork) op }
	serverer interface {
		// serve mounts h at pattern of a chi router, as the documentation of the
		// library recommends.
		serve(pattern string, h http.HandlerFunc) http.Handler
	}
	// rooter begins a span, and a context for spans below it.
	rooter interface {
		root() (ctx context.Context, end func())
	}
	clienter interface {
		rooter
		wrapTransport(ctx context.Context, base http.RoundTripper) http.RoundTripper
	}
	databaser interface {
		rooter
		openDB(c driver.Connector) *sql.DB
	}
	encoder interface{ encode() op }

	// paced libraries lose spans unless they get time after a number of spans.
	paced interface{ pace() int }
	// stores grow with their spans until they are full.
	store interface{ full() bool }
	// fillers fill the memory that they take for spans.
	filler interface{ fill() }
	// holders know the number of spans that they hold.
	holder interface{ held() uint64 }
)

// environment is the configuration for opening a library.
type environment struct {
	sink     string // URL
	maxBytes int64  // of a store
}

// libraries maps the names in the tables to functions that open a library.
var libraries = map[string]func(environment) (library, error){
	"bare":                                func(environment) (library, error) { return bare{}, nil },
	"dendro":                              openDendroStore,
	"dendro, remote":                      openDendroRemote,
	"dendro, retroactive":                 openDendroRetroactive,
	"dendro, OpenTelemetry's API":         openDendroBridge,
	"dendro, never sampled":               openDendroNever,
	"dendro, no tracer":                   openDendroNone,
	"OpenTelemetry":                       openOTelExporting(otelhttpServer, otelsqlDefault),
	"OpenTelemetry, otelchi":              openOTelExporting(otelchiServer, otelsqlDefault),
	"OpenTelemetry, one span":             openOTelExporting(otelhttpServer, otelsqlOneSpan),
	"OpenTelemetry, discarding":           openOTelDiscarding,
	"OpenTelemetry, NeverSample":          openOTelNever(otelhttpServer),
	"OpenTelemetry, otelchi, NeverSample": openOTelNever(otelchiServer),
	"OpenTelemetry, no-op API":            openOTelNoop,
	"zipkin-go":                           openZipkin,
	"zipkin-go, NeverSample":              openZipkinNever,
	"Appdash":                             openAppdash,
	"dd-trace-go":                         openDatadog(1),
	"dd-trace-go, rate 0":                 openDatadog(0),
}

// versions are the modules that are named above the tables.
var versions = []string{
	"github.com/go-chi/chi/v5",
	"go.opentelemetry.io/otel/sdk",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp",
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
	"github.com/riandyrn/otelchi",
	"github.com/XSAM/otelsql",
	"github.com/openzipkin/zipkin-go",
	"sourcegraph.com/sourcegraph/appdash",
	"github.com/DataDog/dd-trace-go/v2",
	"github.com/DataDog/dd-trace-go/contrib/net/http/v2",
}
