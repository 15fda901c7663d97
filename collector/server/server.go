// Package server receives spans over OTLP/HTTP (OpenTelemetry Protocol 1.x, section
// "OTLP/HTTP"), in protobuf and JSON. They may come from package collector/remote or
// from any OpenTelemetry exporter.
package server

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro/collector"
)

// Options configures [New]. The zero value is ready to use.
type Options struct {
	// MaxBodyBytes bounds the body of a request in bytes, before and after
	// decompression. If it is zero or less, the bound is 16 MiB.
	MaxBodyBytes int64
}

const defaultMaxBodyBytes = 16 << 20

const tracesPath = "/v1/traces"

// New returns a handler that writes the spans of POST requests to c, which may be a
// [collector.Store] or the result of [collector.WriterOf]. It serves any path that ends in
// /v1/traces, so that it can be mounted under a prefix.
//
// A request is decoded completely before any span reaches c. The response is
//
//	200  c has written the spans. If it rejected some, rejected_spans has their number.
//	400  the body is not OTLP
//	404  the path does not end in /v1/traces
//	405  the method is not POST
//	413  the body is too large
//	415  the Content-Type is neither application/x-protobuf nor application/json,
//	     or the Content-Encoding is neither gzip nor identity
//	503  c could not write the spans now. Retry-After makes senders try again.
//
// An error about the content of the body is a google.rpc.Status in the format of the
// request. Other errors are plain text.
//
// The handler waits for a slow body as long as the [http.Server] does, so set its
// ReadTimeout. Bodies of more than 1 MiB are decoded one at a time, because decoded
// spans may need many times the memory of the body that a hostile client sends.
func New(c collector.Writer, o Options) http.Handler {
	h := &handler{receiver: receiver{writer: c, large: make(chan struct{}, 1)}, maxBody: o.MaxBodyBytes}
	if h.maxBody <= 0 {
		h.maxBody = defaultMaxBodyBytes
	}
	return h
}

type handler struct {
	receiver
	maxBody int64
}

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
	body := buffers.Get().(*bytes.Buffer)
	defer func() {
		if body.Cap() <= maxPooledBytes {
			body.Reset()
			buffers.Put(body)
		}
	}()
	if bad := h.fill(body, w, r); bad != nil {
		if bad.status == http.StatusUnsupportedMediaType {
			w.Header().Set("Accept-Encoding", "gzip")
		}
		f.fail(w, bad.status, codeInvalidArgument, bad.message)
		return
	}
	result, err := h.receive(r.Context(), f, body.Bytes())
	if invalid := (invalidError{}); errors.As(err, &invalid) {
		f.fail(w, http.StatusBadRequest, codeInvalidArgument, "decoding "+f.contentType+": "+err.Error())
		return
	}
	if err != nil {
		w.Header().Set("Retry-After", "1")
		f.fail(w, http.StatusServiceUnavailable, codeUnavailable, err.Error())
		return
	}
	f.write(w, http.StatusOK, f.appendResult(result, nil))
}
