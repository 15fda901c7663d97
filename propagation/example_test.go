package propagation_test

import (
	"fmt"
	"net/http"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/propagation"
)

// While services move from Zipkin to W3C Trace Context, they write both formats and
// read the one they get.
func Example_migrate() {
	tracer := dendro.New(dendro.Options{
		Service:    "shop",
		Propagator: propagation.Composite(dendro.W3C{}, propagation.B3{}),
	})
	dendro.SetDefault(tracer) // middleware and transport do the rest
	defer dendro.SetDefault(nil)

	fromZipkin := http.Header{"B3": {"80f198ee56343ba864fe8b2a57d3eff7-05e3ac9a4f6e3b90-1"}}
	caller, baggage := tracer.Propagator().Extract(fromZipkin)
	fmt.Println(caller.TraceID)

	out := http.Header{}
	tracer.Propagator().Inject(out, caller, baggage)
	fmt.Println(out.Get("traceparent"))
	fmt.Println(out.Get("b3"))
	// Output:
	// 80f198ee56343ba864fe8b2a57d3eff7
	// 00-80f198ee56343ba864fe8b2a57d3eff7-05e3ac9a4f6e3b90-01
	// 80f198ee56343ba864fe8b2a57d3eff7-05e3ac9a4f6e3b90-1
}
