package server

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
)

// serveKeep serves the processes that decide themselves which traces to send: see package keep.
func (h *Handler) serveKeep(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case h.options.Keep == nil:
		http.Error(w, "this collector tells nobody which traces are kept", http.StatusNotFound)
	case r.Method == http.MethodGet:
		h.tellNews(w, r)
	case r.Method == http.MethodPost:
		h.hearMessage(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "405 method not allowed: use GET or POST", http.StatusMethodNotAllowed)
	}
}

// tellNews waits for news.
func (h *Handler) tellNews(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	seconds, err := strconv.ParseUint(query.Get("wait"), 10, 31)
	if query.Has("wait") && err != nil {
		http.Error(w, "wait: want a number of seconds", http.StatusBadRequest)
		return
	}
	wait := min(time.Duration(seconds)*time.Second, keep.MaxWait)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + h.options.ReadTimeout))
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	body, err := stdjson.Marshal(h.options.Keep.Wait(ctx, query.Get("next")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// hearMessage passes on what a process has to say.
func (h *Handler) hearMessage(w http.ResponseWriter, r *http.Request) {
	body, ok := h.readSmall(w, r, "application/json", keep.MaxMessageBytes)
	if !ok {
		return
	}
	m, err := keep.DecodeMessage(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.options.Keep.Announce(m.Service, m.Keep)
	if m.Report != nil {
		h.options.Keep.Report(m.Service, m.Instance, *m.Report)
	}
	w.WriteHeader(http.StatusNoContent)
}

// readSmall reads the body of a request with at most n bytes. It has answered if it returns false. A browser lets
// no page of another origin send these types.
func (h *Handler) readSmall(w http.ResponseWriter, r *http.Request, mediaType string, n int64) ([]byte, bool) {
	if mediaTypeOf(r) != mediaType {
		http.Error(w, "want Content-Type "+mediaType, http.StatusUnsupportedMediaType)
		return nil, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.options.ReadTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, n))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, "the body has more than "+strconv.FormatInt(n, 10)+" bytes", http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "reading the body: "+err.Error(), http.StatusBadRequest)
	}
	return body, err == nil
}

// serveOperations adds the counts of operations of a process.
func (h *Handler) serveOperations(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.options.Operations == nil:
		http.Error(w, "this collector takes no counts of operations", http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		http.Error(w, "405 method not allowed: use POST", http.StatusMethodNotAllowed)
		return
	}
	body, ok := h.readSmall(w, r, "application/octet-stream", keep.MaxOperationsBytes)
	if !ok {
		return
	}
	switch err := h.options.Operations.WriteOperations(r.Context(), body); {
	case errors.Is(err, collector.ErrSnapshot):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
