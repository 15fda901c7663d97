package remote_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/collector/server"
)

// printer is a collector that prints the names of spans.
type printer struct{}

func (printer) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		fmt.Println(b.Resource.Service()+":", s.Name)
	}
	return nil
}

// The spans of one program arrive in the collector of another one.
func ExampleDial() {
	far := httptest.NewServer(server.New(collector.WriterOf(printer{}), server.Options{}))
	defer far.Close()

	client, err := remote.Dial(far.URL, remote.Options{})
	if err != nil {
		log.Fatal(err)
	}
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: client, Sampler: dendro.AlwaysSample})
	_, span := tracer.Start(context.Background(), "charge card")
	span.End()

	// At the end of the program, shut down the tracer first, then the client.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = tracer.Shutdown(ctx)
	if err := client.Shutdown(ctx); err != nil {
		log.Print(err, client.Stats().Dropped)
	}
	// Output: shop: charge card
}
