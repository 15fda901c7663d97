// Package server receives spans over the network, from package collector/remote, from any
// OpenTelemetry exporter and from Zipkin's reporters:
//
//   - OTLP/HTTP in protobuf and JSON (OpenTelemetry Protocol 1.x, section "OTLP/HTTP") at
//     /v1/traces.
//   - OTLP/gRPC (section "OTLP/gRPC"; gRPC over HTTP/2, PROTOCOL-HTTP2.md of gRPC) at
//     /opentelemetry.proto.collector.trace.v1.TraceService/Export.
//   - Zipkin's v2 JSON at /api/v2/spans, as package collector/zipkin decodes it.
//   - Which traces are kept, at /v1/dendro/keep, if Options.Keep is set: see package collector/keep.
//
// One [Handler] serves all of them, on as many ports as it is given. Bodies may be compressed
// with gzip or zstd.
package server

import (
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
)

// Options configures [New]. The zero value is ready to use. A bound that is zero or less has
// its default, so everything is always bounded.
type Options struct {
	// MaxBodyBytes bounds the body of a request, as it is sent. The default is 16 MiB.
	MaxBodyBytes int64
	// MaxDecompressedBytes bounds a compressed body once it is decompressed. The default is
	// MaxBodyBytes.
	MaxDecompressedBytes int64
	// MaxInFlightBytes bounds the bodies of all requests that are being read, decoded or
	// written: their bytes before and after decompression, and 4 KiB for each request. Above
	// it, requests are refused until others have ended. Decoded spans are not counted; they
	// take a few times the bytes of their body. The default is 64 MiB. It is at least what one
	// request may take.
	MaxInFlightBytes int64
	// ReadTimeout bounds the time in which the body of a request must arrive, whatever the
	// ReadTimeout of the [http.Server] is. The default is 30 seconds. The WriteTimeout of the
	// http.Server, if it has one, must be longer, because it begins before the body. ReadTimeout has
	// no effect if a wrapper hides the methods that [http.ResponseController] needs.
	ReadTimeout time.Duration

	// MaxSpans bounds the spans of a request. One with more is refused. The default is 100,000.
	MaxSpans int
	// MaxAttributes bounds the attributes of a span, an event, a link, a resource and a scope.
	// The first ones are kept, and the others are counted in DroppedAttributes. The default
	// is 1000.
	MaxAttributes int
	// MaxEvents bounds the events of a span. The first ones are kept, and the others are
	// counted in DroppedEvents. The default is 1000.
	MaxEvents int
	// MaxLinks bounds the links of a span. The first ones are kept, and the others are counted
	// in DroppedLinks. The default is 1000.
	MaxLinks int
	// MaxValueBytes bounds the value of an attribute and the message of a status. A longer
	// string is cut before the first character that does not fit, as OpenTelemetry's
	// OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT does. An array or a map ends with the last
	// element that fits; each element counts 8 bytes, plus its text. The default is 64 KiB.
	MaxValueBytes int
	// MaxKeyBytes bounds the key of an attribute. An attribute with a longer key is dropped
	// and counted in DroppedAttributes: if the key were cut, it would be another one. The
	// default is 16 KiB, as much as a [dendro.Tracer] keeps.
	MaxKeyBytes int
	// MaxNameBytes bounds names of spans, events and scopes, versions of scopes and schema
	// URLs. A longer one is cut as a value is. The default is 16 KiB.
	MaxNameBytes int

	// AllowedOrigins are the origins of web pages whose scripts may send spans, as browsers write
	// them: in lower case and without the default port, for example "https://shop.example.com", or
	// "*" for all (Fetch Standard, "CORS protocol"; RFC 6454, section 6.2). By default
	// there are none: browsers do not let scripts of other origins send any of the formats.
	AllowedOrigins []string

	// Keep tells processes that decide themselves which traces to send what the others have decided, at
	// /v1/dendro/keep. See package collector/keep. If it is nil, nobody is told.
	Keep *keep.Hub
	// Operations takes the counts of operations of these processes, at /v1/dendro/operations. If it is nil, they are
	// refused.
	Operations collector.OperationWriter
}

// requestBytes counts for a request besides its body.
const requestBytes = 4 << 10

func (o Options) withDefaults() Options {
	set := func(bound *int64, def int64) {
		if *bound <= 0 {
			*bound = def
		}
		*bound = min(*bound, math.MaxInt64/4) // so that sums do not overflow
	}
	set(&o.MaxBodyBytes, 16<<20)
	set(&o.MaxDecompressedBytes, o.MaxBodyBytes)
	set(&o.MaxInFlightBytes, 64<<20)
	o.MaxInFlightBytes = max(o.MaxInFlightBytes, o.MaxBodyBytes+o.MaxDecompressedBytes+requestBytes)
	set((*int64)(&o.ReadTimeout), int64(30*time.Second))
	for _, b := range []struct {
		bound *int
		def   int
	}{
		{&o.MaxSpans, 100_000}, {&o.MaxAttributes, 1000}, {&o.MaxEvents, 1000}, {&o.MaxLinks, 1000},
		{&o.MaxValueBytes, 64 << 10}, {&o.MaxKeyBytes, 16 << 10}, {&o.MaxNameBytes, 16 << 10},
	} {
		if *b.bound <= 0 {
			*b.bound = b.def
		}
	}
	return o
}

// Handler receives spans. It is safe for concurrent use.
type Handler struct {
	writer   collector.Writer
	options  Options
	counters [numFormats]counters
	inFlight atomic.Int64

	large         chan struct{} // holds a token while a large body is decoded
	decompressing chan struct{} // holds a token for each body that is being decompressed
}

// New returns a handler that writes the spans of requests to c, which may be a
// [collector.Store] or the result of [collector.WriterOf]. OTLP/HTTP and Zipkin are served at
// any path that ends in theirs, so that the handler can be mounted under a prefix. Requests
// with the Content-Type application/grpc are gRPC. They need HTTP/2, which an [http.Server]
// speaks with TLS, and without if its Protocols have UnencryptedHTTP2.
//
// A request is decoded completely before any span reaches c, and acknowledged when c has
// written the spans. The response is
//
//	HTTP  gRPC
//	200   OK                  c has written the spans; 202 for Zipkin. If it rejected some, rejected_spans has their number.
//	400   INVALID_ARGUMENT    the body cannot be decoded
//	404   UNIMPLEMENTED       there is nothing at the path
//	405                       the method is not POST
//	413   RESOURCE_EXHAUSTED  the body is too large, or has too many spans
//	415   UNIMPLEMENTED       the Content-Type, Content-Encoding or grpc-encoding is unknown
//	429   RESOURCE_EXHAUSTED  MaxInFlightBytes are in flight
//	503   DEADLINE_EXCEEDED   the body has not arrived within ReadTimeout, or the client's deadline has passed
//	503   RESOURCE_EXHAUSTED  c has returned a [*dendro.DropError]: it has no room now
//	503   UNAVAILABLE         c could not write the spans now
//
// With 429 and 503, Retry-After and google.rpc.RetryInfo make senders try again. (After 408, which
// says that a body was too slow, OTLP/HTTP does not try again.) The body of an error of OTLP/HTTP is
// a google.rpc.Status in the format of the request, if that is known. Other errors are plain text.
//
// Bodies of more than 1 MiB are decoded one at a time, because decoded spans may need many
// times the memory of the body that a hostile client sends.
func New(c collector.Writer, o Options) *Handler {
	return &Handler{
		writer:        c,
		options:       o.withDefaults(),
		large:         make(chan struct{}, 1),
		decompressing: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.preflight(w, r) {
		return
	}
	path := "/" + r.URL.Path
	switch mediaType := mediaTypeOf(r); {
	case mediaType == grpc.contentType || mediaType == grpc.contentType+"+proto":
		h.serveGRPC(w, r)
	case strings.HasSuffix(path, tracesPath):
		h.serveOTLP(w, r, mediaType)
	case strings.HasSuffix(path, zipkinPath):
		h.serveZipkin(w, r, mediaType)
	case strings.HasSuffix(path, keep.OperationsPath):
		h.serveOperations(w, r)
	case strings.HasSuffix(path, keep.Path):
		h.serveKeep(w, r)
	default:
		c := h.begin(unknown)
		defer c.end()
		c.failText(w, &refusal{notFound, "dendro receives traces by OTLP/HTTP at …" + tracesPath + ", by OTLP/gRPC, and from Zipkin at …" + zipkinPath})
	}
}
