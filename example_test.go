package dendro_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dendrotrace/dendro"
)

// printer is a collector that prints. Spans arrive when the request is over.
type printer struct{}

func (printer) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		fmt.Println(b.Resource.Service(), s.Kind, s.Name, s.Status.Code, s.Attributes)
		for _, e := range s.Events {
			fmt.Println("  event", e.Name, e.Duration, e.Attributes)
		}
	}
	return nil
}

// Card is what the shop charges.
type Card struct{ Number string }

func charge(ctx context.Context, orderID string, card Card) error {
	_, span := dendro.Start(ctx, "charge card", slog.String("order.id", orderID))
	defer span.End()
	err := errors.New("card expired")
	span.RecordError(err)
	return err
}

func Example() {
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	defer func() { _ = tracer.Shutdown(context.Background()) }()

	ctx, span := tracer.Start(context.Background(), "place order")
	_ = charge(ctx, "42", Card{"4111"})
	span.End()
	// Output:
	// shop internal charge card error [order.id=42]
	//   event exception 0s [exception.type=*errors.errorString exception.message=card expired]
	// shop internal place order unset []
}

// CacheEvent is a typed event: a struct with a LogValue method. With the
// Timespan method it can be recorded when the work is done.
type CacheEvent struct {
	Key        string
	Hit        bool
	Start, End time.Time
}

// LogValue implements [slog.LogValuer].
func (e CacheEvent) LogValue() slog.Value {
	return slog.GroupValue(slog.String("cache.key", e.Key), slog.Bool("cache.hit", e.Hit))
}

// Timespan implements [dendro.Timespan].
func (e CacheEvent) Timespan() (start, end time.Time) { return e.Start, e.End }

func ExampleSpan_RecordEvent() {
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	_, span := tracer.Start(context.Background(), "load cart")
	begin := time.Now()
	span.RecordEvent("cache", CacheEvent{Key: "cart:7", Hit: true, Start: begin, End: begin.Add(3 * time.Millisecond)})
	span.End()
	// Output:
	// shop internal load cart unset []
	//   event cache 3ms [cache.key=cart:7 cache.hit=true]
}

// A sampler that knows no probability only says whether it samples.
func ExampleSampler() {
	notPolls := func(p dendro.SamplingParameters) dendro.SamplingResult {
		return dendro.SamplingResult{Sampled: p.Name != "poll"}
	}
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}, Sampler: dendro.ParentSample(notPolls)})
	for _, name := range []string{"poll", "import", "poll"} {
		_, span := tracer.Start(context.Background(), name)
		span.End()
	}
	// Output:
	// shop internal import unset []
}

func ExampleDetach() {
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	ctx, request := tracer.Start(context.Background(), "place order")
	done := make(chan struct{})
	go func(ctx context.Context) { // ctx is not cancelled with the request
		defer close(done)
		_, span := dendro.Start(ctx, "send mail")
		span.End()
	}(dendro.Detach(ctx))
	<-done
	request.End()
	// Output:
	// shop internal send mail unset []
	// shop internal place order unset []
}

func ExampleNewLogHandler() {
	text := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey:
			return slog.Attr{}
		case "span_id":
			return slog.String("span_id", "…")
		}
		return a
	}})
	logger := slog.New(dendro.NewLogHandler(text, dendro.LogOptions{Events: true}))

	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	caller, err := dendro.ParseTraceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if err != nil {
		panic(err)
	}
	ctx, span := tracer.StartWith(context.Background(), "place order", dendro.StartOptions{Parent: caller})
	logger.WithGroup("order").InfoContext(ctx, "paid", "id", 42)
	span.End()
	// Output:
	// level=INFO msg=paid trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=… order.id=42
	// shop internal place order unset []
	//   event paid 0s [log.severity=INFO order.id=42]
}
