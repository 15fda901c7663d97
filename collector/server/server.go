// Package server receives spans by OTLP/HTTP (OpenTelemetry Protocol 1.x, section
// "OTLP/HTTP"), protobuf and JSON, from package collector/remote and from
// whatever else speaks OpenTelemetry.
package server

import (
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Options configures [New]. The zero value works.
type Options struct {
	// MaxBodyBytes bounds the body of a request, before and after
	// decompression, in bytes. Zero or less: the default, 16 MiB.
	MaxBodyBytes int64
}

const defaultMaxBodyBytes = 16 << 20

const tracesPath = "/v1/traces"

// New returns a handler that gives the spans of POST requests to c. It answers
// any path that ends in /v1/traces, so that it can be mounted under a prefix.
//
// A request counts as a whole or not at all: nothing reaches c before all of it
// has been decoded. If c then refuses all spans, the answer is 503 with
// Retry-After, and senders try again; if it refuses some, 200 with their number
// as rejected_spans. Otherwise the answer is 200, or 400 for what is no OTLP, 404,
// 405, 413 for a body that is too large, and 415 for a Content-Type other than
// application/x-protobuf and application/json or a Content-Encoding other than
// gzip. Errors about the content are a google.rpc.Status in the format of the
// request.
//
// The handler waits for a slow body as long as the [http.Server] does: set its
// ReadTimeout.
func New(c dendro.Collector, o Options) http.Handler {
	h := &handler{collector: c, maxBody: o.MaxBodyBytes}
	if h.maxBody <= 0 {
		h.maxBody = defaultMaxBodyBytes
	}
	return h
}

type handler struct {
	collector dendro.Collector
	maxBody   int64
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix("/"+r.URL.Path, tracesPath) {
		http.Error(w, "dendro receives traces, by OTLP/HTTP at …"+tracesPath, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "traces are sent by POST", http.StatusMethodNotAllowed)
		return
	}
	f, ok := formatOf(r)
	if !ok {
		http.Error(w, "want Content-Type "+protobuf.contentType+" or "+json.contentType, http.StatusUnsupportedMediaType)
		return
	}
	batches, err := h.read(w, r, f)
	if err != nil {
		if err.status == http.StatusUnsupportedMediaType {
			w.Header().Set("Accept-Encoding", "gzip")
		}
		f.fail(w, err.status, codeInvalidArgument, err.message)
		return
	}
	accepted, refused, cause := h.collect(batches)
	if accepted == 0 && refused > 0 {
		w.Header().Set("Retry-After", "1")
		f.fail(w, http.StatusServiceUnavailable, codeUnavailable, cause.Error())
		return
	}
	result := otlp.Result{Rejected: refused}
	if cause != nil {
		result.Message = cause.Error()
	}
	f.write(w, http.StatusOK, f.appendResult(result, nil))
}

// collect hands the batches over. It returns how many spans were taken and how
// many were not, with the last error.
func (h *handler) collect(batches []*dendro.Batch) (accepted, refused int64, cause error) {
	for _, b := range batches {
		n := int64(len(b.Spans))
		if err := h.collector.Collect(b); err != nil {
			refused += n
			cause = err
		} else {
			accepted += n
		}
	}
	return accepted, refused, cause
}
