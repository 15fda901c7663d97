package propagation

import (
	"encoding/hex"
	"strings"

	"github.com/dendrotrace/dendro"
)

// B3 is the [dendro.Propagator] for Zipkin's B3
// (https://github.com/openzipkin/b3-propagation). It uses the header b3, or several
// headers whose names begin with X-B3-. Extract reads both forms and prefers a valid
// b3, as OpenTelemetry's propagator does. B3 carries neither baggage nor tracestate.
//
// Ids are lower-case hexadecimal. A trace id of 64 bits is padded with zeros on the
// left and sent on in that form. Without a sampling state the span context is
// Deferred, and a Deferred span context is sent without a sampling state. Debug is
// read as sampled and sent on as sampled. A header with a sampling state but without
// ids (b3: 0) counts as missing. ParentSpanId is never sent.
type B3 struct {
	// Multi makes Inject write X-B3-TraceId, X-B3-SpanId and X-B3-Sampled instead of
	// b3. If the header map already has b3, because a request is passed on, Inject
	// replaces it: receivers prefer it.
	Multi bool
}

// Header names in the canonical form of net/http.
const (
	headerB3             = "B3"
	headerB3TraceID      = "X-B3-Traceid"
	headerB3SpanID       = "X-B3-Spanid"
	headerB3ParentSpanID = "X-B3-Parentspanid"
	headerB3Sampled      = "X-B3-Sampled"
	headerB3Flags        = "X-B3-Flags"
)

// Lengths of the ids in hexadecimal digits.
const (
	traceIDLen = 32
	spanIDLen  = 16
)

// Inject implements [dendro.Propagator].
func (f B3) Inject(header map[string][]string, sc dendro.SpanContext, _ dendro.Baggage) {
	if !sc.IsValid() {
		return
	}
	text, state := singleB3(sc)
	if _, stale := header[headerB3]; stale || !f.Multi {
		header[headerB3] = []string{text}
	}
	if !f.Multi {
		return
	}
	values := []string{text[:traceIDLen], text[traceIDLen+1 : traceIDLen+1+spanIDLen], state}
	header[headerB3TraceID] = values[0:1:1]
	header[headerB3SpanID] = values[1:2:2]
	if state != "" {
		header[headerB3Sampled] = values[2:3:3]
	} else {
		delete(header, headerB3Sampled)
	}
	delete(header, headerB3Flags)
	delete(header, headerB3ParentSpanID)
}

// singleB3 returns the value of b3 for sc and its sampling state.
func singleB3(sc dendro.SpanContext) (text, state string) {
	b := make([]byte, 0, traceIDLen+1+spanIDLen+1+1)
	b = hex.AppendEncode(b, sc.TraceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, sc.SpanID[:])
	switch {
	case sc.Deferred:
		return string(b), ""
	case sc.Flags.Sampled():
		return string(append(b, "-1"...)), "1"
	default:
		return string(append(b, "-0"...)), "0"
	}
}

// Extract implements [dendro.Propagator].
func (f B3) Extract(header map[string][]string) (dendro.SpanContext, dendro.Baggage) {
	sc := parseSingleB3(only(header, headerB3))
	if !sc.IsValid() {
		sc = extractMultiB3(header)
	}
	return sc, dendro.Baggage{}
}

// parseSingleB3 parses {TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}. The last two
// fields are optional. It returns the zero value for anything else.
func parseSingleB3(s string) dendro.SpanContext {
	traceID, rest, _ := strings.Cut(s, "-")
	spanID, rest, hasState := strings.Cut(rest, "-")
	state, parent, hasParent := strings.Cut(rest, "-")
	if hasParent {
		if _, err := dendro.ParseSpanID(parent); err != nil {
			return dendro.SpanContext{}
		}
	}
	switch {
	case !hasState:
		return parseB3(traceID, spanID, "")
	case state == "d":
		return parseB3(traceID, spanID, "1")
	case state == "0" || state == "1":
		return parseB3(traceID, spanID, state)
	}
	return dendro.SpanContext{}
}

func extractMultiB3(header map[string][]string) dendro.SpanContext {
	state := first(header, headerB3Sampled)
	switch {
	case first(header, headerB3Flags) == "1": // debug
		state = "1"
	case strings.EqualFold(state, "true"): // sent by early implementations
		state = "1"
	case strings.EqualFold(state, "false"):
		state = "0"
	}
	return parseB3(only(header, headerB3TraceID), only(header, headerB3SpanID), state)
}

// parseB3 returns the zero value if an id is malformed or state is not "0", "1" or "".
func parseB3(traceID, spanID, state string) (sc dendro.SpanContext) {
	var ok bool
	var err error
	if sc.TraceID, ok = parseTraceID(traceID); !ok {
		return dendro.SpanContext{}
	}
	if sc.SpanID, err = dendro.ParseSpanID(spanID); err != nil {
		return dendro.SpanContext{}
	}
	switch state {
	case "":
		sc.Deferred = true
	case "1":
		sc.Flags = dendro.FlagSampled
	case "0":
	default:
		return dendro.SpanContext{}
	}
	return sc
}

// parseTraceID parses an id of 16 or 32 digits.
func parseTraceID(s string) (id dendro.TraceID, ok bool) {
	if len(s) != spanIDLen {
		id, err := dendro.ParseTraceID(s)
		return id, err == nil
	}
	low, err := dendro.ParseSpanID(s)
	copy(id[8:], low[:])
	return id, err == nil
}
