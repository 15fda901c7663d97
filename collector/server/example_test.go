package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/server"
)

// Any store, or any function, can receive spans from whatever speaks OTLP or Zipkin's JSON. gRPC
// needs HTTP/2.
func ExampleNew() {
	printer := collect(func(b *dendro.Batch) error {
		for _, s := range b.Spans {
			fmt.Println(b.Resource.Service()+":", s.Name, s.Duration())
		}
		return nil
	})
	srv := &http.Server{
		Handler:           server.New(collector.WriterOf(printer), server.Options{}),
		ReadHeaderTimeout: 10 * time.Second,
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)

	r := httptest.NewRequest("POST", "/v1/traces", strings.NewReader(`{"resourceSpans":[{
		"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
		"scopeSpans": [{"spans": [{
			"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
			"name": "charge card", "startTimeUnixNano": "1000000", "endTimeUnixNano": "3000000"}]}]}]}`))
	r.Header.Set("Content-Type", "application/json")
	srv.Handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output: shop: charge card 2ms
}
