package memory_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// A program stores its own spans in memory and finds them again.
func ExampleStore() {
	ctx := context.Background()
	store := memory.New(memory.Options{MaxBytes: 64 << 20})
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: store})

	func() {
		ctx, order := tracer.Start(ctx, "order")
		defer order.End()
		_, charge := tracer.Start(ctx, "charge card", slog.String("card.brand", "visa"))
		defer charge.End()
	}()

	query, err := traceql.Parse(`{ span.card.brand = "visa" }`)
	if err != nil {
		panic(err)
	}
	found, _, err := query.Search(ctx, store, traceql.SearchOptions{})
	if err != nil {
		panic(err)
	}
	for _, result := range found {
		fmt.Println(result.RootService, result.RootName, result.Spans)
		trace, err := store.Trace(ctx, result.TraceID, collector.TimeRange{})
		if err != nil {
			panic(err)
		}
		for _, span := range trace.Spans {
			fmt.Println("-", span.Name)
		}
	}
	// Output:
	// shop order 2
	// - order
	// - charge card
}
