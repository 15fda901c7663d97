// Package propagation implements header formats other than W3C's, for services that
// talk to Zipkin, Datadog or Appdash clients, and for moving from one format to
// another. Use one of them as Propagator in [dendro.Options].
//
// Malformed headers are ignored. A header with an id that occurs twice is ignored as
// well, like a second traceparent. If a sampling state is repeated, the first value is
// used. Header names are in the canonical form of net/http.
package propagation

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// composite is the result of [Composite].
type composite []dendro.Propagator

// Composite returns a [dendro.Propagator] that writes all formats in p. It reads them
// in order and returns the first valid span context and the first baggage that is not
// empty.
func Composite(p ...dendro.Propagator) dendro.Propagator {
	return composite(slices.Clone(p))
}

// Inject implements [dendro.Propagator].
func (c composite) Inject(header map[string][]string, sc dendro.SpanContext, b dendro.Baggage) {
	for _, p := range c {
		p.Inject(header, sc, b)
	}
}

// Extract implements [dendro.Propagator].
func (c composite) Extract(header map[string][]string) (sc dendro.SpanContext, b dendro.Baggage) {
	for _, p := range c {
		parent, baggage := p.Extract(header)
		if !sc.IsValid() {
			sc = parent
		}
		if b.Len() == 0 {
			b = baggage
		}
	}
	return sc, b
}

// formats maps the values of OTEL_PROPAGATORS to propagators. "none" is not among
// them.
var formats = map[string]dendro.Propagator{
	"tracecontext": dendro.W3C{NoBaggage: true},
	"baggage":      dendro.W3C{NoTraceContext: true},
	"b3":           B3{},
	"b3multi":      B3{Multi: true},
	"datadog":      Datadog{},
	"appdash":      Appdash{},
}

// FromEnv returns the composite of the formats in OTEL_PROPAGATORS, a comma-separated
// list of tracecontext, baggage, b3, b3multi, datadog, appdash, or none. Unknown
// formats are logged by [slog.Default] and left out. If no known format is left,
// FromEnv returns OpenTelemetry's default, tracecontext,baggage (specification,
// "Environment Variable Specification").
func FromEnv() dendro.Propagator {
	var names []string
	var all composite
	for name := range strings.SplitSeq(os.Getenv("OTEL_PROPAGATORS"), ",") {
		name = strings.TrimSpace(name)
		format := formats[name]
		switch {
		case name == "" || slices.Contains(names, name):
			continue
		case format != nil:
			all = append(all, format)
		case name != "none":
			slog.Warn("dendro: OTEL_PROPAGATORS: unknown propagator ignored; supported are "+
				"tracecontext, baggage, b3, b3multi, datadog, appdash, or none", "value", name)
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return dendro.W3C{}
	}
	return all
}

// only returns the value of a header, or "" if it is missing or has more than one
// value.
func only(header map[string][]string, name string) string {
	if values := header[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// first returns the first value of a header, or "" if it is missing.
func first(header map[string][]string, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
