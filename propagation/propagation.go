// Package propagation has the header formats that are not W3C's, for services
// that talk to Zipkin, Datadog or Appdash clients, and for fleets that move from
// one format to another. [dendro.Options] takes one of them as Propagator.
//
// None of them panics or fails: what is malformed counts as none. An id that a
// header names twice counts as none, too, as two traceparents do; of a repeated
// sampling state the first value holds. Header names are in the canonical form of
// net/http.
package propagation

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// composite is what [Composite] returns.
type composite []dendro.Propagator

// Composite returns a [dendro.Propagator] that writes all the formats of p. It
// reads them in that order: the first valid span context holds, and the first
// baggage that is not empty.
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

// formats are the values of OTEL_PROPAGATORS that this package knows beside
// "none".
var formats = map[string]dendro.Propagator{
	"tracecontext": dendro.W3C{NoBaggage: true},
	"baggage":      dendro.W3C{NoTraceContext: true},
	"b3":           B3{},
	"b3multi":      B3{Multi: true},
	"datadog":      Datadog{},
	"appdash":      Appdash{},
}

// FromEnv returns the composite of what OTEL_PROPAGATORS lists, separated by
// commas: tracecontext, baggage, b3, b3multi, datadog, appdash, or none. What it
// does not know it logs by [slog.Default] and leaves out. Without anything that
// it knows it returns the default of OpenTelemetry, tracecontext,baggage
// (specification, "Environment Variable Specification").
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
			slog.Warn("dendro: OTEL_PROPAGATORS: unknown, left out; want some of "+
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

// only returns the value of a header, "" if it has none or more than one.
func only(header map[string][]string, name string) string {
	if values := header[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// first returns the first value of a header, "" if it has none.
func first(header map[string][]string, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
