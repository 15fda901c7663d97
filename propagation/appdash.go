package propagation

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Appdash is the [dendro.Propagator] of Appdash's headers
// (sourcegraph.com/sourcegraph/appdash, httptrace/header.go and span.go). Clients
// send Span-ID, trace/span or trace/span/parent, each id 64 bits in hexadecimal.
// Programs that cannot make ids, such as scripts in a web page, send Parent-Span-ID
// in the same form. Appdash's server makes the first its own span, as Zipkin does,
// and a child of the second; here the span of either is the parent, and Span-ID
// wins, even if it is malformed.
//
// Span-ID is what is sent, with the last 64 bits of the trace id and without a
// parent. A trace id whose last 64 bits are zero cannot be sent. Appdash knows no
// sampling: whoever sends the header records, whoever receives it is not told to,
// so that the span context is Deferred. What is not sampled here is sent all the
// same, and recorded there.
type Appdash struct{}

// The header names in the canonical form of net/http.
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

// parseAppdash returns the zero value for what Appdash would not read, and for
// ids of more than 16 digits.
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

// parseHex fills dst, 8 bytes, from up to 16 hexadecimal digits of either case.
func parseHex(dst []byte, s string) bool {
	if len(s) > spanIDLen {
		return false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	binary.BigEndian.PutUint64(dst, n)
	return err == nil
}
