package main

import "go/ast"

// suite is the tests of a package of Go.
type suite struct {
	path  string
	rules []rule
	// leftOut are tests that would wait forever with dendro, in the syntax of go test
	// -skip.
	leftOut []named
	runs    []run
}

// run is one way to run a suite with dendro.
type run struct {
	name string
	env  []string // variables that testdata reads
	// server and client report which kinds of spans the run must produce.
	server, client bool
	// differ are tests that cannot pass. If one of them passes, the list is wrong.
	differ []named
}

// named is a test and the reason why it is listed.
type named struct{ test, reason string }

var suites = []suite{{
	path: "net/http",
	rules: []rule{
		{"DendroHandler", "Server{Handler: x}", field("Server", "Handler")},
		{"DendroHandler", "Serve(l, x)", argument("Serve", 1)},
		{"DendroHandler", "httptest.NewServer(x)", argument("NewServer", 0)},
		{"DendroHandler", "httptest.NewUnstartedServer(x)", argument("NewUnstartedServer", 0)},
		{"DendroTransport", "Client{Transport: x}", field("Client", "Transport")},
		{"DendroTransport", "c.Transport = x", assigned("Transport")},
		{"DendroTransport", "x.RoundTrip(req)", receiver("RoundTrip", 1)},
		{"DendroClient", "server.Client()", result("Client")},
		{"DendroUnwrap", "x.(*Transport)", asserted(pointer("Transport"))},
		{"DendroMain", "m.Run()", func(n ast.Node) ast.Expr {
			if m, ok := receiver("Run", 0)(n).(*ast.Ident); ok && m.Name == "m" {
				return m
			}
			return nil
		}},
	},
	leftOut: []named{
		{"TestTransportAndServerSharedBodyRace/h1", cancelRequest},
		{"TestTransportCancelRequest.*/h1/TransportCancel", cancelRequest},
	},
	runs: []run{
		{name: "middleware", env: []string{"DENDRO_WRAP=middleware"}, server: true},
		{name: "transport", env: []string{"DENDRO_WRAP=transport"}, client: true},
		{name: "both", env: []string{"DENDRO_WRAP=middleware transport"}, server: true, client: true},
		{name: "both, and headers that name the span", env: []string{"DENDRO_WRAP=middleware transport", "DENDRO_PROPAGATE=1"},
			server: true, client: true, differ: []named{
				{"TestClientCopyHeadersOnRedirect", "compares all headers of a request"},
				{"TestRetryRequestsOnError", "compares the bytes that are sent"},
				{"TestTransportFlushesBodyChunks", "compares the bytes that are sent"},
			}},
	},
}, {
	path: "database/sql",
	rules: []rule{
		{"DendroDriver", "Register(name, x)", argument("Register", 1)},
		{"DendroConnector", "OpenDB(x)", argument("OpenDB", 0)},
		{"DendroUnwrap", "db.Driver()", result("Driver")},
		{"DendroUnwrap", "x.(*fakeConn)", asserted(own)},
	},
	runs: []run{
		{name: "`WrapDriver`", env: []string{"DENDRO_WRAP=driver"}, client: true},
		{name: "`WrapConnector`", env: []string{"DENDRO_WRAP=connector"}, client: true},
	},
}}

const cancelRequest = "calls the deprecated `CancelRequest` of the base with a request that the base has not seen: " +
	"a `RoundTripper` must not change a request, so the base gets a copy"
