package server

import (
	"net/http"
	"strconv"
	"time"
)

// reason is why a request is refused. It is also why its spans are rejected, if they have
// been decoded.
type reason int

const (
	notFound reason = iota
	wrongMethod
	wrongType
	wrongEncoding
	tooLarge
	invalid
	busy
	// The spans may have been decoded.
	tooSlow
	tooManySpans
	full
	unavailable
	canceled
	rejected // by the Writer, for good; the request is not refused
	numReasons
)

// Status codes of gRPC.
const (
	codeInvalidArgument   = 3
	codeDeadlineExceeded  = 4
	codeResourceExhausted = 8
	codeUnimplemented     = 12
	codeUnavailable       = 14
)

// reasons has what each reason is called in [Stats] and in responses.
var reasons = [numReasons]struct {
	name   string
	status int   // of HTTP
	code   int32 // of gRPC
	retry  bool  // the client should send the request again
}{
	notFound:      {"not_found", http.StatusNotFound, codeUnimplemented, false},
	wrongMethod:   {"method", http.StatusMethodNotAllowed, codeUnimplemented, false},
	wrongType:     {"content_type", http.StatusUnsupportedMediaType, codeUnimplemented, false},
	wrongEncoding: {"content_encoding", http.StatusUnsupportedMediaType, codeUnimplemented, false},
	tooLarge:      {"too_large", http.StatusRequestEntityTooLarge, codeResourceExhausted, false},
	invalid:       {"invalid", http.StatusBadRequest, codeInvalidArgument, false},
	busy:          {"busy", http.StatusTooManyRequests, codeResourceExhausted, true},
	tooSlow:       {"timeout", http.StatusServiceUnavailable, codeDeadlineExceeded, true},
	tooManySpans:  {"too_many_spans", http.StatusRequestEntityTooLarge, codeResourceExhausted, false},
	full:          {"full", http.StatusServiceUnavailable, codeResourceExhausted, true},
	unavailable:   {"unavailable", http.StatusServiceUnavailable, codeUnavailable, true},
	canceled:      {"canceled", http.StatusServiceUnavailable, codeUnavailable, true},
	rejected:      {name: "rejected"},
}

// retryAfter is when a client should try again.
const retryAfter = time.Second

// refusal is the response to a request that is refused.
type refusal struct {
	reason  reason
	message string
}

var errMethod = &refusal{wrongMethod, "traces must be sent with POST"}

// header counts bad and sets the headers of its response over HTTP.
func (c *call) header(w http.ResponseWriter, bad *refusal) {
	c.refused[bad.reason].Add(1)
	switch bad.reason {
	case wrongMethod:
		w.Header().Set("Allow", http.MethodPost)
	case wrongEncoding:
		w.Header().Set("Accept-Encoding", acceptEncoding)
	}
	if reasons[bad.reason].retry {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	}
}

// failText responds with plain text.
func (c *call) failText(w http.ResponseWriter, bad *refusal) {
	c.header(w, bad)
	http.Error(w, bad.message, reasons[bad.reason].status)
}
