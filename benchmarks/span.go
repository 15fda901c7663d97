package main

import (
	"context"
	"fmt"
)

// spanWork describes what an op does with spans.
type spanWork struct {
	below      bool // not a new trace but below a span that is there
	five       bool // with five attributes: three strings, an integer, a bool
	attributes int  // of attributeKeys, set one by one
	events     int
	children   int  // below it, as five says
	request    bool // those of makeRequest
}

// tracing is a library from the perspective of a program that makes spans. C is what
// new spans are started from, usually a context. All calls go through this interface,
// which costs each of them some nanoseconds.
type tracing[C, S any] interface {
	background() C
	start(parent C) (C, S)
	startFive(parent C) (C, S) // with fiveAttributes
	setAttribute(s S, key, value string)
	addEvent(s S, name string)
	end(s S)
}

// attributeKeys are the keys used when a single attribute is measured.
var attributeKeys = [...]string{
	"user.id", "shop.tenant", "order.id", "order.total", "cart.items", "payment.provider", "feature.flag", "cache.hit",
}

func spanOp[C, S any](t tracing[C, S], w spanWork) op {
	start := t.start
	if w.five {
		start = t.startFive
	}
	n := 0
	one := func(parent C) {
		c, s := start(parent)
		if w.request {
			makeRequest(t, c, s, n)
			n++
			return
		}
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

// makeRequest makes the other spans of the request whose first span is s, and ends all
// of them: two queries, an update and a call, with the attributes of wrappers.
func makeRequest[C, S any](t tracing[C, S], c C, s S, n int) {
	set := func(s S, attributes ...string) {
		for i := 0; i < len(attributes); i += 2 {
			t.setAttribute(s, attributes[i], attributes[i+1])
		}
	}
	set(s, "http.request.method", "GET", "url.scheme", "http", "url.path", fmt.Sprint("/orders/", n), "http.route", route,
		"server.address", "shop.example", "network.protocol.version", "1.1", "client.address", fmt.Sprint("192.0.2.", n%250),
		"user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
		"http.response.status_code", "200", "http.response.body.size", fmt.Sprint(1000+n%3000))
	for _, text := range []string{
		"SELECT id, customer_id, state, total FROM orders WHERE id = ?",
		"SELECT sku, quantity, price FROM order_lines WHERE order_id = ? ORDER BY position",
		"UPDATE orders SET state = ?, seen_at = ? WHERE id = ?",
	} {
		_, query := t.start(c)
		set(query, "db.system.name", "postgresql", "db.namespace", "shop", "db.operation.name", text[:6], "db.collection.name", "orders",
			"db.query.summary", text[:6]+" orders", "db.query.text", text, "server.address", "db-1.internal", "server.port", "5432",
			"db.response.returned_rows", fmt.Sprint(n%20))
		t.end(query)
	}
	_, call := t.start(c)
	set(call, "http.request.method", "GET", "url.full", fmt.Sprintf("http://stock.internal:8080/items/%d?warehouse=REDACTED", n%5000),
		"server.address", "stock.internal", "server.port", "8080", "network.protocol.version", "1.1",
		"http.response.status_code", "200", "http.response.body.size", fmt.Sprint(300+n%700), "network.peer.address", "10.0.3.17")
	t.end(call)
	t.end(s)
}

func spans(w spanWork) func(library) op {
	return func(l library) op { return l.(spanner).spans(w) }
}

func spanCases() []benchmark {
	full := []string{"dendro", "dendro, remote", "dendro, OpenTelemetry's API", "OpenTelemetry", "OpenTelemetry, discarding", "zipkin-go", "Appdash", "dd-trace-go"}
	below := []string{"dendro", "dendro, remote", "dendro, OpenTelemetry's API", "OpenTelemetry", "OpenTelemetry, discarding", "zipkin-go", "dd-trace-go"}
	never := []string{"dendro, never sampled", "OpenTelemetry, NeverSample", "zipkin-go, NeverSample", "dd-trace-go, rate 0"}
	loop := func(library) op { return bare{}.spans(spanWork{}) }
	return []benchmark{
		{name: "root span", libraries: full, op: spans(spanWork{})},
		{name: "root span, 5 attributes", libraries: full, op: spans(spanWork{five: true})},
		{name: "child span", libraries: below, op: spans(spanWork{below: true})},
		{name: "child span, 5 attributes", libraries: below, op: spans(spanWork{below: true, five: true})},
		{name: "root span and 10 children, 5 attributes each", libraries: full, op: spans(spanWork{five: true, children: 10})},
		{name: "root span and 10 children, 5 attributes each, 2 processors", libraries: full, op: spans(spanWork{five: true, children: 10}), cpu: 2},
		{name: "one of 8 attributes", libraries: below, op: spans(spanWork{below: true, attributes: 8}), base: spans(spanWork{below: true}), baseName: "the span", per: 8},
		{name: "one of 8 events", libraries: below, op: spans(spanWork{below: true, events: 8}), base: spans(spanWork{below: true}), baseName: "the span", per: 8},
		{name: "one of 8 attributes, not sampled", libraries: never[:2], op: spans(spanWork{below: true, attributes: 8}), base: spans(spanWork{below: true}), baseName: "the span", per: 8},
		{name: "root span, not sampled", libraries: never, op: spans(spanWork{}), base: loop, baseName: "the loop"},
		{name: "child span, not sampled", libraries: never, op: spans(spanWork{below: true}), base: loop, baseName: "the loop"},
		{name: "span without a tracer", libraries: []string{"dendro, no tracer", "OpenTelemetry, no-op API"}, op: spans(spanWork{}), base: loop, baseName: "the loop"},
	}
}

// bare is a run without a library.
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
