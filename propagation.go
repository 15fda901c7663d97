package dendro

import (
	"context"
	"fmt"
	"strings"
)

// Propagator writes what has to travel into the headers of a request, and reads
// it from there. Header names are in the canonical form of net/http. Its methods
// are called by many goroutines at once.
//
// Package propagation has the formats that are not W3C's.
type Propagator interface {
	// Inject replaces in header what it knows how to write; what sc and b do
	// not have it leaves alone. The values that it sets are its own. It does
	// not change values that are there.
	Inject(header map[string][]string, sc SpanContext, b Baggage)
	// Extract returns the zero value for what header does not have or what is
	// malformed. It does not change header.
	Extract(header map[string][]string) (SpanContext, Baggage)
}

// W3C is the [Propagator] of W3C Trace Context level 2 and W3C Baggage: headers
// traceparent, tracestate and baggage. The zero value does both.
type W3C struct {
	// NoTraceContext leaves traceparent and tracestate alone.
	NoTraceContext bool
	// NoBaggage leaves baggage alone.
	NoBaggage bool
}

// The header names in the canonical form of net/http.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerBaggage     = "Baggage"
)

// Inject implements [Propagator]. A baggage that was emptied on purpose, by
// [Baggage.Delete] or [ContextWithBaggage], removes the header; the zero value leaves
// it alone.
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
	case b.members != nil: // emptied, not just absent
		delete(header, headerBaggage)
	}
}

// Extract implements [Propagator]. As the specifications ask, a malformed
// traceparent counts as none, a malformed tracestate or baggage as empty.
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

// propagatorFromEnv reads OTEL_PROPAGATORS, as far as this package has the
// formats.
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

// Propagator returns the one that the wrappers use with t: that of its options;
// W3C{} for a nil t.
func (t *Tracer) Propagator() Propagator {
	if t == nil {
		return W3C{}
	}
	return t.propagator
}

// Inject writes the span and the baggage of ctx into header, a [net/http.Header]
// for example, in the format of the tracer that made the span: see
// [Options.Propagator]. Without a span the default tracer has the format.
//
// [net/http.Header]: https://pkg.go.dev/net/http#Header
func Inject(ctx context.Context, header map[string][]string) {
	s := SpanFromContext(ctx)
	t := s.Tracer()
	if t == nil {
		t = Default()
	}
	t.Propagator().Inject(header, s.Context(), BaggageFromContext(ctx))
}

// Extract reads from header what a caller has written with [Inject], in the
// format of the default tracer.
func Extract(header map[string][]string) (SpanContext, Baggage) {
	return Default().Propagator().Extract(header)
}
