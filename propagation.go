package dendro

import (
	"context"
	"strings"
)

// The header names of W3C Trace Context and W3C Baggage, in the canonical form
// of net/http.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerBaggage     = "Baggage"
)

// Inject writes the span and the baggage of ctx into header, a [net/http.Header]
// for example, as W3C traceparent, tracestate and baggage. It replaces what
// stood there; what ctx does not have it leaves alone.
//
// [net/http.Header]: https://pkg.go.dev/net/http#Header
func Inject(ctx context.Context, header map[string][]string) {
	if sc := SpanFromContext(ctx).Context(); sc.IsValid() {
		header[headerTraceparent] = []string{sc.Traceparent()}
		if state := sc.State.String(); state != "" {
			header[headerTracestate] = []string{state}
		} else {
			delete(header, headerTracestate)
		}
	}
	if b := BaggageFromContext(ctx); b.Len() > 0 {
		header[headerBaggage] = []string{b.String()}
	}
}

// Extract reads what [Inject] writes, from a header whose names are in the
// canonical form of net/http. As the specifications ask, a malformed
// traceparent counts as none, a malformed tracestate or baggage as empty.
func Extract(header map[string][]string) (SpanContext, Baggage) {
	var baggage Baggage
	if lines := header[headerBaggage]; len(lines) > 0 {
		baggage, _ = ParseBaggage(strings.Join(lines, ","))
	}
	lines := header[headerTraceparent]
	if len(lines) != 1 {
		return SpanContext{}, baggage
	}
	sc, err := ParseTraceparent(strings.Trim(lines[0], " \t"))
	if err != nil {
		return SpanContext{}, baggage
	}
	if lines := header[headerTracestate]; len(lines) > 0 {
		sc.State, _ = ParseTraceState(strings.Join(lines, ","))
	}
	return sc, baggage
}
