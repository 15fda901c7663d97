package propagation

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Datadog is the [dendro.Propagator] for Datadog's headers, as in dd-trace-go 2.12
// (ddtrace/tracer/textmap.go). The header x-datadog-trace-id has the last 64 bits of
// the trace id and x-datadog-parent-id the span id, both in decimal. The first 64 bits
// of the trace id are the tag _dd.p.tid in x-datadog-tags, in 16 hexadecimal digits.
// The sampling decision is x-datadog-sampling-priority.
//
// A priority above zero means sampled. Inject writes 1 for sampled and 0 for not
// sampled. Without a priority the span context is Deferred, and a Deferred span
// context is sent without a priority. A malformed _dd.p.tid, and x-datadog-tags of
// more than 512 bytes, are ignored. Other tags, x-datadog-origin and ot-baggage are
// neither read nor sent on.
type Datadog struct{}

// Header names in the canonical form of net/http.
const (
	headerDatadogTraceID  = "X-Datadog-Trace-Id"
	headerDatadogParentID = "X-Datadog-Parent-Id"
	headerDatadogPriority = "X-Datadog-Sampling-Priority"
	headerDatadogTags     = "X-Datadog-Tags"
)

const (
	datadogHighBits = "_dd.p.tid"
	// maxDatadogTags bounds the length of x-datadog-tags, as in dd-trace-go.
	maxDatadogTags = 512
	// maxDecimal is the number of decimal digits of the largest id.
	maxDecimal = 20
)

// Inject implements [dendro.Propagator].
func (Datadog) Inject(header map[string][]string, sc dendro.SpanContext, _ dendro.Baggage) {
	if !sc.IsValid() {
		return
	}
	b := make([]byte, 0, 2*maxDecimal+len(datadogHighBits)+1+spanIDLen)
	b = strconv.AppendUint(b, binary.BigEndian.Uint64(sc.TraceID[8:]), 10)
	trace := len(b)
	b = strconv.AppendUint(b, binary.BigEndian.Uint64(sc.SpanID[:]), 10)
	span := len(b)
	b = append(b, datadogHighBits+"="...)
	b = hex.AppendEncode(b, sc.TraceID[:8])
	text := string(b)
	values := []string{text[:trace], text[trace:span], "0", text[span:]}
	header[headerDatadogTraceID] = values[0:1:1]
	header[headerDatadogParentID] = values[1:2:2]
	if sc.Deferred {
		delete(header, headerDatadogPriority)
	} else {
		if sc.Flags.Sampled() {
			values[2] = "1"
		}
		header[headerDatadogPriority] = values[2:3:3]
	}
	if binary.BigEndian.Uint64(sc.TraceID[:8]) != 0 {
		header[headerDatadogTags] = values[3:4:4]
	} else {
		delete(header, headerDatadogTags)
	}
}

// Extract implements [dendro.Propagator].
func (Datadog) Extract(header map[string][]string) (sc dendro.SpanContext, _ dendro.Baggage) {
	if !parseDecimal(sc.TraceID[8:], only(header, headerDatadogTraceID)) ||
		!parseDecimal(sc.SpanID[:], only(header, headerDatadogParentID)) {
		return dendro.SpanContext{}, dendro.Baggage{}
	}
	if high, err := dendro.ParseSpanID(datadogTag(first(header, headerDatadogTags), datadogHighBits)); err == nil {
		copy(sc.TraceID[:8], high[:])
	}
	var ok bool
	if sc.Flags, sc.Deferred, ok = parsePriority(first(header, headerDatadogPriority)); !ok || !sc.IsValid() {
		return dendro.SpanContext{}, dendro.Baggage{}
	}
	return sc, dendro.Baggage{}
}

// parseDecimal fills dst, which has 8 bytes, from decimal digits.
func parseDecimal(dst []byte, s string) bool {
	if len(s) > maxDecimal {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	binary.BigEndian.PutUint64(dst, n)
	return err == nil
}

func parsePriority(s string) (flags dendro.TraceFlags, deferred, ok bool) {
	if s == "" || len(s) > maxDecimal {
		return 0, s == "", s == ""
	}
	n, err := strconv.Atoi(s)
	if n > 0 {
		flags = dendro.FlagSampled
	}
	return flags, false, err == nil
}

// datadogTag returns the value of key in a list of key=value, or "" if it is missing.
func datadogTag(list, key string) string {
	if len(list) > maxDatadogTags {
		return ""
	}
	for tag := range strings.SplitSeq(list, ",") {
		if k, v, _ := strings.Cut(tag, "="); k == key {
			return v
		}
	}
	return ""
}
