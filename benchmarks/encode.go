package main

// encodeCount is the number of spans in an OTLP request, which is the batch size of
// OpenTelemetry.
const encodeCount = 512

// serverAttributes are the attributes of the span of a request. Values are strings and
// ints.
var serverAttributes = []struct {
	key   string
	value any
}{
	{"http.request.method", "GET"},
	{"url.scheme", "http"},
	{"url.path", "/orders/42"},
	{"http.route", route},
	{"network.protocol.version", "1.1"},
	{"server.address", "shop.example"},
	{"server.port", 8080},
	{"client.address", "192.0.2.1"},
	{"user_agent.original", "curl/8.5.0"},
	{"http.response.status_code", 200},
	{"http.response.body.size", 2},
}

func encodeCases() []benchmark {
	return []benchmark{{
		name: "OTLP encoding of a span with 11 attributes", per: encodeCount,
		libraries: []string{"dendro", "OpenTelemetry, discarding"},
		op:        func(l library) op { return l.(encoder).encode() },
	}}
}
