package otelbridge

import (
	"context"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
)

// register tells package dendro where OpenTelemetry keeps its spans and its baggage.
var register = sync.OnceFunc(func() {
	var spanKey, baggageKey keyReader
	trace.SpanFromContext(&spanKey)
	baggage.FromContext(&baggageKey)
	bridge.Register(&bridge.API{
		SpanKey: spanKey.key,
		Span: func(value any) any {
			if s, ok := value.(*dendro.Span); ok && s != nil {
				return span{s: s}
			}
			return hidden{value: value}
		},
		Current: func(value any) any {
			switch s := value.(type) {
			case span:
				return s.s
			case hidden:
				return s.value
			case trace.Span:
				if u, ok := s.(unrecorded); ok && !u.remote && u.in != nil {
					return u.in
				}
				if sc := contextOf(s); sc.IsValid() {
					return sc
				}
			}
			return nil
		},
		BaggageKey: baggageKey.key,
		Baggage: func(b any) any {
			ctx := baggage.ContextWithBaggage(context.Background(), toOTelBaggage(b.(dendro.Baggage)))
			return ctx.Value(baggageKey.key)
		},
		CurrentBaggage: func(value any) any {
			ctx := context.WithValue(context.Background(), baggageKey.key, value)
			return fromOTelBaggage(baggage.FromContext(ctx))
		},
		Made: madeByOthers,
	})
})

// keyReader is a context that remembers the key that it was asked for. OpenTelemetry does not
// export its keys.
type keyReader struct {
	context.Context
	key any
}

func (r *keyReader) Value(key any) any {
	r.key = key
	return nil
}

// hidden is a [trace.Span] for contexts in which package dendro has no span, although one
// above them has: below [dendro.Detach], for example.
type hidden struct {
	noop.Span
	value any
}

// unrecorded is a [trace.Span] that only has a span context.
type unrecorded struct {
	noop.Span
	sc     dendro.SpanContext
	remote bool
	in     *dendro.Span // in the context that it was made in, or nil
}

// SpanContext implements [trace.Span].
func (u unrecorded) SpanContext() trace.SpanContext { return toOTel(u.sc).WithRemote(u.remote) }

// TracerProvider implements [trace.Span].
func (u unrecorded) TracerProvider() trace.TracerProvider { return providerOf(u.in.Tracer()) }

// contextOf returns the span context of any span.
func contextOf(s trace.Span) dendro.SpanContext {
	switch s := s.(type) {
	case span:
		return s.s.Context()
	case unrecorded:
		return s.sc
	}
	return fromOTel(s.SpanContext())
}

// toOTel returns sc as OpenTelemetry's. It is not remote.
func toOTel(sc dendro.SpanContext) trace.SpanContext {
	c := trace.SpanContextConfig{TraceID: trace.TraceID(sc.TraceID), SpanID: trace.SpanID(sc.SpanID), TraceFlags: trace.TraceFlags(sc.Flags)}
	if state := sc.State.String(); state != "" {
		var err error
		if c.TraceState, err = trace.ParseTraceState(state); err != nil {
			c.TraceState = membersOf(state)
		}
	}
	return trace.NewSpanContext(c)
}

// membersOf returns the members that OpenTelemetry accepts. It refuses names that begin with a digit.
func membersOf(state string) (out trace.TraceState) {
	for _, member := range slices.Backward(strings.Split(state, ",")) {
		name, value, _ := strings.Cut(strings.Trim(member, " \t"), "=")
		if next, err := out.Insert(name, value); err == nil {
			out = next
		}
	}
	return out
}

func fromOTel(sc trace.SpanContext) dendro.SpanContext {
	out := dendro.SpanContext{TraceID: dendro.TraceID(sc.TraceID()), SpanID: dendro.SpanID(sc.SpanID()), Flags: dendro.TraceFlags(sc.TraceFlags())}
	if state := sc.TraceState(); state.Len() > 0 {
		out.State, _ = dendro.ParseTraceState(state.String())
	}
	return out
}

// toOTelBaggage returns the members of b that OpenTelemetry accepts, which are all unless it is
// stricter than W3C.
func toOTelBaggage(b dendro.Baggage) baggage.Baggage {
	out, _ := baggage.Parse(b.String())
	return out
}

// fromOTelBaggage returns the members of b that W3C allows, by name: OpenTelemetry's have no order,
// and their names may be any UTF-8.
func fromOTelBaggage(b baggage.Baggage) (out dendro.Baggage) {
	members := b.Members()
	slices.SortFunc(members, func(a, b baggage.Member) int { return strings.Compare(a.Key(), b.Key()) })
	var header []string
	for _, m := range members {
		text := strings.TrimRight(m.String(), ";") // after properties that it leaves out
		if _, err := dendro.ParseBaggage(text); err == nil && text != "" {
			header = append(header, text)
		}
	}
	out, _ = dendro.ParseBaggage(strings.Join(header, ","))
	return out
}
