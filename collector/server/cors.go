package server

import (
	"net/http"
	"slices"
)

// preflightSeconds is how long a browser may remember that an origin is allowed. It is the
// longest time that Chromium respects.
const preflightSeconds = "7200"

// preflight lets scripts of the allowed origins read the response to r, and reports whether r
// was a question of a browser whether they may send, which it has answered (Fetch Standard,
// "CORS protocol").
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request) bool {
	if len(h.options.AllowedOrigins) == 0 {
		return false
	}
	header, origin := w.Header(), r.Header.Get("Origin")
	header.Add("Vary", "Origin")
	switch {
	case origin == "":
		return false
	case slices.Contains(h.options.AllowedOrigins, origin):
		header.Set("Access-Control-Allow-Origin", origin)
		// Navigator.sendBeacon, which exporters use, always sends credentials.
		header.Set("Access-Control-Allow-Credentials", "true")
	case slices.Contains(h.options.AllowedOrigins, "*"):
		header.Set("Access-Control-Allow-Origin", "*")
	default:
		return false
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		header.Set("Access-Control-Expose-Headers", "Retry-After")
		return false
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", http.MethodPost)
	if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
		header.Set("Access-Control-Allow-Headers", names)
	}
	header.Set("Access-Control-Max-Age", preflightSeconds)
	w.WriteHeader(http.StatusNoContent)
	return true
}
