package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/http"
)

// op does a piece of work n times. Several goroutines may call it at once.
type op func(n int)

// library is a tracing library under test, set up in one way. It also has the
// methods of those of the interfaces below for which it has the means.
type library interface {
	// flush waits until everything that has ended is delivered. want is how
	// many spans that makes since the beginning, for libraries that cannot
	// wait themselves; 0 if it is not known.
	flush(want uint64)
	// delivered counts the spans that have arrived.
	delivered() uint64
}

type (
	spanner  interface{ spans(work spanWork) op }
	serverer interface {
		// serve mounts h at pattern of a chi router, as the library's
		// documentation says.
		serve(pattern string, h http.HandlerFunc) http.Handler
	}
	// rooter begins a span, which comes with the context, for others below it.
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

	// paced libraries lose spans unless they are given time after so many.
	paced interface{ pace() int }
	// stores grow with the spans in them, until they are full.
	store interface{ full() bool }
	// holders know how many spans they hold.
	holder interface{ held() uint64 }
)

// environment is what a library is opened with.
type environment struct {
	sink     string // URL
	maxBytes int64  // of a store
}

// libraries are all that can be opened, by the name in the table.
var libraries = map[string]func(environment) (library, error){
	"bare":                                func(environment) (library, error) { return bare{}, nil },
	"dendro":                              openDendroStore,
	"dendro, remote":                      openDendroRemote,
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

// versions are the modules to name above the table.
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
