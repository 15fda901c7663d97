package otlp_test

import (
	"fmt"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// A receiver decodes a request and responds with what it did.
func ExampleDecodeTracesJSON() {
	batches, err := otlp.DecodeTracesJSON([]byte(`{"resourceSpans":[{
		"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
		"scopeSpans":[{"spans":[{
			"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
			"name":"GET /orders","kind":2,
			"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712660250000000"}]}]}]}`))
	if err != nil {
		fmt.Printf("%s\n", otlp.AppendStatusJSON(nil, 3, err.Error()))
		return
	}
	for _, b := range batches {
		for _, s := range b.Spans {
			fmt.Println(b.Resource.Service(), s.Kind, s.Name, s.Duration())
		}
	}
	fmt.Printf("%s\n", otlp.Result{}.AppendJSON(nil))
	// Output:
	// shop server GET /orders 250ms
	// {}
}

// A sender that must not retain spans encodes them when they arrive. When it sends
// them, it puts the resource in front.
func ExampleAppendResourceSpans() {
	var spans []byte
	for id := range byte(3) {
		spans = otlp.AppendSpan(spans, &dendro.SpanData{
			SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{1, id}},
			Name:        "work",
		})
	}
	request := otlp.AppendResourceSpans(nil, &dendro.Resource{}, &dendro.Scope{Name: "example"}, len(spans))
	request = append(request, spans...)

	batches, err := otlp.DecodeTraces(request)
	fmt.Println(len(batches), len(batches[0].Spans), err)
	// Output: 1 3 <nil>
}
