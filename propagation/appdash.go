package propagation

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Appdash is the [dendro.Propagator] for the headers of Appdash
// (sourcegraph.com/sourcegraph/appdash, httptrace/header.go and span.go). Clients send
// Span-ID as trace/span or trace/span/parent, with ids of 64 bits in hexadecimal.
// Programs that cannot make ids, such as scripts in a web page, send Parent-Span-ID in
// the same form. A server of Appdash uses the span in Span-ID as its own span, as
// Zipkin does, and makes a child of the span in Parent-Span-ID. Extract returns the
// span in either header, as the parent. If both are present, Span-ID is used, even if
// it is malformed.
//
// Inject writes Span-ID with the last 64 bits of the trace id and without a parent. It
// writes nothing if the last 64 bits of the trace id are zero. Appdash has no sampling
// decision: a client that sends the header records the trace, and the server is not
// told to. Extracted span contexts are therefore Deferred. Spans that are not sampled
// here are sent as well, and the receiver records them.
type Appdash struct{}

// Header names in the canonical form of net/http.
const (
	headerAppdashSpanID       = "Span-Id"
	headerAppdashParentSpanID = "Parent-Span-Id"
)

// Inject implements [dendro.Propagator].
func (Appdash) Inject(header map[string][]string, sc dendro.SpanContext, _ dendro.Baggage) {
	if !sc.IsValid() || binary.BigEndian.Uint64(sc.TraceID[8:]) == 0 {
		return
	}
	b := make([]byte, 0, 2*spanIDLen+1)
	b = hex.AppendEncode(b, sc.TraceID[8:])
	b = append(b, '/')
	b = hex.AppendEncode(b, sc.SpanID[:])
	header[headerAppdashSpanID] = []string{string(b)}
}

// Extract implements [dendro.Propagator].
func (Appdash) Extract(header map[string][]string) (dendro.SpanContext, dendro.Baggage) {
	name := headerAppdashSpanID
	if first(header, name) == "" {
		name = headerAppdashParentSpanID
	}
	return parseAppdash(only(header, name)), dendro.Baggage{}
}

// parseAppdash parses a header value. It returns the zero value if Appdash would not
// accept s, or if an id has more than 16 digits.
func parseAppdash(s string) dendro.SpanContext {
	sc := dendro.SpanContext{Deferred: true}
	trace, rest, _ := strings.Cut(s, "/")
	span, parent, hasParent := strings.Cut(rest, "/")
	if !parseHex(sc.TraceID[8:], trace) || !parseHex(sc.SpanID[:], span) ||
		hasParent && !parseHex(make([]byte, 8), parent) || !sc.IsValid() {
		return dendro.SpanContext{}
	}
	return sc
}

// parseHex fills dst, which has 8 bytes, from at most 16 hexadecimal digits of either
// case.
func parseHex(dst []byte, s string) bool {
	if len(s) > spanIDLen {
		return false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	binary.BigEndian.PutUint64(dst, n)
	return err == nil
}
