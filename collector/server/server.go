// Package server receives spans over OTLP/HTTP (OpenTelemetry Protocol 1.x, section
// "OTLP/HTTP"), in protobuf and JSON. They may come from package collector/remote or
// from any OpenTelemetry exporter.
package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Options configures [New]. The zero value is ready to use.
type Options struct {
	// MaxBodyBytes bounds the body of a request in bytes, before and after
	// decompression. If it is zero or less, the bound is 16 MiB.
	MaxBodyBytes int64
}

const defaultMaxBodyBytes = 16 << 20

const tracesPath = "/v1/traces"

// New returns a handler that passes the spans of POST requests to c. It serves any
// path that ends in /v1/traces, so that it can be mounted under a prefix.
//
// A request is decoded completely before any span reaches c. The response is
//
//	200  c accepted the spans. If it refused some, or all of them for the reason
//	     collector.DropTooLarge, rejected_spans has their number.
//	400  the body is not OTLP
//	404  the path does not end in /v1/traces
//	405  the method is not POST
//	413  the body is too large
//	415  the Content-Type is neither application/x-protobuf nor application/json,
//	     or the Content-Encoding is neither gzip nor identity
//	503  c refused all spans for another reason. Retry-After makes senders try again.
//
// An error about the content of the body is a google.rpc.Status in the format of the
// request. Other errors are plain text.
//
// The handler waits for a slow body as long as the [http.Server] does, so set its
// ReadTimeout. Bodies of more than 1 MiB are decoded one at a time, because decoded
// spans may need many times the memory of the body that a hostile client sends.
func New(c dendro.Collector, o Options) http.Handler {
	h := &handler{collector: c, maxBody: o.MaxBodyBytes, large: make(chan struct{}, 1)}
	if h.maxBody <= 0 {
		h.maxBody = defaultMaxBodyBytes
	}
	return h
}

type handler struct {
	collector dendro.Collector
	maxBody   int64
	large     chan struct{} // holds a token while a large body is decoded
}

// largeBytes is the size above which bodies are decoded one at a time. Decoding may
// allocate about a hundred times the size of the body.
const largeBytes = 1 << 20

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix("/"+r.URL.Path, tracesPath) {
		http.Error(w, "dendro receives traces by OTLP/HTTP at …"+tracesPath, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "traces must be sent with POST", http.StatusMethodNotAllowed)
		return
	}
	f, ok := formatOf(r)
	if !ok {
		http.Error(w, "want Content-Type "+protobuf.contentType+" or "+json.contentType, http.StatusUnsupportedMediaType)
		return
	}
	result, retry, err := h.receive(w, r, f)
	if err != nil {
		if err.status == http.StatusUnsupportedMediaType {
			w.Header().Set("Accept-Encoding", "gzip")
		}
		f.fail(w, err.status, codeInvalidArgument, err.message)
		return
	}
	if retry {
		w.Header().Set("Retry-After", "1")
		f.fail(w, http.StatusServiceUnavailable, codeUnavailable, result.Message)
		return
	}
	f.write(w, http.StatusOK, f.appendResult(result, nil))
}

// collect passes the batches to the collector. It returns which spans were rejected,
// and whether the sender should try again: no batch was accepted, and the collector
// may accept one later.
func (h *handler) collect(batches []*dendro.Batch) (result otlp.Result, retry bool) {
	taken := false
	for _, b := range batches {
		err := h.collector.Collect(b)
		if err == nil {
			taken = true
			continue
		}
		result.Rejected += int64(len(b.Spans))
		result.Message = err.Error()
		var drop *dendro.DropError
		retry = retry || !errors.As(err, &drop) || drop.Reason != collector.DropTooLarge
	}
	return result, retry && !taken
}
