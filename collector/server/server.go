// Package server receives spans by OTLP/HTTP (OpenTelemetry Protocol 1.x, section
// "OTLP/HTTP"), protobuf and JSON, from package collector/remote and from
// whatever else speaks OpenTelemetry.
package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
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
// Retry-After, and senders try again; if it refuses some, or all for the reason
// [collector.DropTooLarge], 200 with their number as rejected_spans. Otherwise the answer is 200, or 400 for what is no OTLP, 404,
// 405, 413 for a body that is too large, and 415 for a Content-Type other than
// application/x-protobuf and application/json or a Content-Encoding other than
// gzip. Errors about the content are a google.rpc.Status in the format of the
// request.
//
// The handler waits for a slow body as long as the [http.Server] does: set its
// ReadTimeout. Bodies of more than 1 MiB are decoded one after the other, because
// spans take many times the room of what a hostile client can send.
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
	large     chan struct{} // holds a token while a large body is at work
}

// largeBytes is from where on bodies are decoded one at a time: what they become
// can take fifty times their room.
const largeBytes = 1 << 20

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

// collect hands the batches over. It returns which spans were not taken, and
// whether to try again: none were, and room for some may come.
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
