package server

import "net/http"

const zipkinPath = "/api/v2/spans"

// serveZipkin answers as Zipkin does (https://zipkin.io/zipkin-api/, POST /spans). Zipkin has
// no partial success: spans that are rejected are only counted.
func (h *Handler) serveZipkin(w http.ResponseWriter, r *http.Request, mediaType string) {
	c := h.begin(zipkinJSON)
	defer c.end()
	bad := &refusal{wrongType, "want Content-Type " + zipkinJSON.contentType}
	if mediaType == zipkinJSON.contentType || r.Method != http.MethodPost {
		_, bad = c.receiveHTTP(w, r)
	}
	if bad != nil {
		c.failText(w, bad)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
