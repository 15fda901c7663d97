package main

import (
	"context"
)

// spanWork is what to do with spans, in one op.
type spanWork struct {
	below      bool // not a new trace but below a span that is there
	five       bool // with five attributes: three strings, an integer, a bool
	attributes int  // of attributeKeys, set one by one
	events     int
	children   int // below it, as five says
}

// tracing is a library as seen from a program that makes spans. C is what new
// spans are made below, usually a context. All calls go through this interface,
// which costs each some nanoseconds.
type tracing[C, S any] interface {
	background() C
	start(parent C) (C, S)
	startFive(parent C) (C, S) // with fiveAttributes
	setAttribute(s S, key, value string)
	addEvent(s S, name string)
	end(s S)
}

// attributeKeys are of the attributes of a span when one attribute is measured.
var attributeKeys = [...]string{
	"user.id", "shop.tenant", "order.id", "order.total", "cart.items", "payment.provider", "feature.flag", "cache.hit",
}

func spanOp[C, S any](t tracing[C, S], w spanWork) op {
	start := t.start
	if w.five {
		start = t.startFive
	}
	one := func(parent C) {
		c, s := start(parent)
		for i := range w.attributes {
			t.setAttribute(s, attributeKeys[i], "value")
		}
		for range w.events {
			t.addEvent(s, "event")
		}
		for range w.children {
			_, child := start(c)
			t.end(child)
		}
		t.end(s)
	}
	return func(n int) {
		parent := t.background()
		if w.below {
			c, s := t.start(parent)
			defer t.end(s)
			parent = c
		}
		for range n {
			one(parent)
		}
	}
}

func spans(w spanWork) func(library) op {
	return func(l library) op { return l.(spanner).spans(w) }
}

func spanCases() []benchmark {
	full := []string{"dendro", "dendro, remote", "OpenTelemetry", "OpenTelemetry, discarding", "zipkin-go", "Appdash", "dd-trace-go"}
	below := []string{"dendro", "dendro, remote", "OpenTelemetry", "OpenTelemetry, discarding", "zipkin-go", "dd-trace-go"}
	never := []string{"dendro, never sampled", "OpenTelemetry, NeverSample", "zipkin-go, NeverSample", "dd-trace-go, rate 0"}
	loop := func(library) op { return bare{}.spans(spanWork{}) }
	return []benchmark{
		{name: "root span", libraries: full, op: spans(spanWork{})},
		{name: "root span, 5 attributes", libraries: full, op: spans(spanWork{five: true})},
		{name: "child span", libraries: below, op: spans(spanWork{below: true})},
		{name: "child span, 5 attributes", libraries: below, op: spans(spanWork{below: true, five: true})},
		{name: "root span and 10 children, 5 attributes each", libraries: full, op: spans(spanWork{five: true, children: 10})},
		{name: "one of 8 attributes", libraries: below, op: spans(spanWork{below: true, attributes: 8}), base: spans(spanWork{below: true}), baseName: "the span", per: 8},
		{name: "one of 8 events", libraries: below, op: spans(spanWork{below: true, events: 8}), base: spans(spanWork{below: true}), baseName: "the span", per: 8},
		{name: "root span, not sampled", libraries: never, op: spans(spanWork{}), base: loop, baseName: "the loop"},
		{name: "child span, not sampled", libraries: never, op: spans(spanWork{below: true}), base: loop, baseName: "the loop"},
		{name: "span without a tracer", libraries: []string{"dendro, no tracer", "OpenTelemetry, no-op API"}, op: spans(spanWork{}), base: loop, baseName: "the loop"},
	}
}

// bare is no library.
type bare struct{}

func (bare) flush(uint64)      {}
func (bare) delivered() uint64 { return 0 }

func (b bare) spans(w spanWork) op { return spanOp[context.Context, int](b, w) }

func (bare) background() context.Context                             { return context.Background() }
func (bare) start(parent context.Context) (context.Context, int)     { return parent, 0 }
func (bare) startFive(parent context.Context) (context.Context, int) { return parent, 0 }
func (bare) setAttribute(int, string, string)                        {}
func (bare) addEvent(int, string)                                    {}
func (bare) end(int)                                                 {}
