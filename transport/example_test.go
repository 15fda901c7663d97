package transport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/transport"
)

// printer is a collector that prints the names of spans.
type printer struct{}

func (printer) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		fmt.Println(s.Kind, s.Name)
	}
	return nil
}

// A client whose requests are spans below the one in their context.
func ExampleNew() {
	stock := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("traceparent arrived:", r.Header.Get("Traceparent") != "")
	}))
	defer stock.Close()

	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	client := &http.Client{Transport: transport.New(nil, transport.Options{})}
	defer client.CloseIdleConnections()

	ctx, span := tracer.Start(context.Background(), "check stock")
	req, err := http.NewRequestWithContext(ctx, "GET", stock.URL, nil)
	if err != nil {
		panic(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	span.End()
	// Output:
	// traceparent arrived: true
	// client GET
	// internal check stock
}

// Only the own services get headers, and health checks are not traced.
func ExampleOptions() {
	client := &http.Client{Transport: transport.New(nil, transport.Options{
		PropagateTo:     []string{"*.shop.example", "localhost"},
		Filter:          func(r *http.Request) bool { return r.URL.Path != "/healthz" },
		ResponseHeaders: []string{"Retry-After", "X-Request-Id"},
	})}
	defer client.CloseIdleConnections()
}
