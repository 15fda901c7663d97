package dendro

import (
	"context"
	"fmt"
	"strings"
)

// Propagator writes a span context and baggage to the headers of a request, and reads
// them. Header names are in the canonical form of net/http. Its methods must be safe
// for concurrent use.
//
// Package propagation has formats other than W3C's.
type Propagator interface {
	// Inject sets the headers of its format. It leaves a header alone if sc and b have
	// nothing for it. The values that it sets are new slices; it does not modify
	// existing ones.
	Inject(header map[string][]string, sc SpanContext, b Baggage)
	// Extract returns the zero value for what is missing in header or is malformed. It
	// does not modify header.
	Extract(header map[string][]string) (SpanContext, Baggage)
}

// W3C is the [Propagator] of W3C Trace Context Level 2 and W3C Baggage, with the
// headers traceparent, tracestate and baggage. The zero value propagates both.
type W3C struct {
	// NoTraceContext disables traceparent and tracestate.
	NoTraceContext bool
	// NoBaggage disables baggage.
	NoBaggage bool
}

// Header names in the canonical form of net/http.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerBaggage     = "Baggage"
)

// Inject implements [Propagator]. A baggage that was emptied by [Baggage.Delete] or
// [ContextWithBaggage] removes the header. The zero value leaves it alone.
func (w W3C) Inject(header map[string][]string, sc SpanContext, b Baggage) {
	if sc.IsValid() && !w.NoTraceContext {
		header[headerTraceparent] = []string{sc.Traceparent()}
		if state := sc.State.String(); state != "" {
			header[headerTracestate] = []string{state}
		} else {
			delete(header, headerTracestate)
		}
	}
	switch {
	case w.NoBaggage:
	case b.Len() > 0:
		header[headerBaggage] = []string{b.String()}
	case b.members != nil: // the program removed all members
		delete(header, headerBaggage)
	}
}

// Extract implements [Propagator]. As the specifications ask, it ignores a malformed
// traceparent, tracestate or baggage.
func (w W3C) Extract(header map[string][]string) (SpanContext, Baggage) {
	var baggage Baggage
	if lines := header[headerBaggage]; len(lines) > 0 && !w.NoBaggage {
		baggage, _ = ParseBaggage(strings.Join(lines, ","))
	}
	lines := header[headerTraceparent]
	if len(lines) != 1 || w.NoTraceContext {
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

// propagatorFromEnv reads OTEL_PROPAGATORS. It knows only the formats of this package.
func propagatorFromEnv(getenv func(string) string) (Propagator, error) {
	list := getenv("OTEL_PROPAGATORS")
	if list == "" {
		return W3C{}, nil
	}
	w := W3C{NoTraceContext: true, NoBaggage: true}
	for name := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(name) {
		case "tracecontext":
			w.NoTraceContext = false
		case "baggage":
			w.NoBaggage = false
		case "none", "":
		default:
			return W3C{}, fmt.Errorf("OTEL_PROPAGATORS=%q: %q needs Options.Propagator: propagation.FromEnv(); "+
				"using tracecontext,baggage", list, strings.TrimSpace(name))
		}
	}
	return w, nil
}

// Propagator returns the propagator that wrappers use with t, see
// [Options.Propagator]. For a nil t it returns W3C{}.
func (t *Tracer) Propagator() Propagator {
	if t == nil {
		return W3C{}
	}
	return t.propagator
}

// Inject writes the span and the baggage of ctx to header, for example a
// [net/http.Header]. It uses the propagator of the tracer that made the span, see
// [Options.Propagator], or that of the default tracer if ctx has no span.
//
// [net/http.Header]: https://pkg.go.dev/net/http#Header
func Inject(ctx context.Context, header map[string][]string) {
	var t *Tracer
	var sc SpanContext
	switch v := current(ctx).(type) {
	case *Span:
		t, sc = v.Tracer(), v.Context()
	case SpanContext:
		sc = v
	}
	if t == nil {
		t = Default()
	}
	t.Propagator().Inject(header, sc, BaggageFromContext(ctx))
}

// Extract reads what a caller has written to header with [Inject], using the
// propagator of the default tracer.
func Extract(header map[string][]string) (SpanContext, Baggage) {
	return Default().Propagator().Extract(header)
}
