package integration

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kotel"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// mail sends an order from one process to another through Kafka. The consumer has the options of a
// tracer of kotel.
func mail(options ...kotel.TracerOpt) func(t *testing.T, shop otelAPI) {
	return func(t *testing.T, shop otelAPI) {
		mailer := shop.another("mailer")
		broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
		testkit.NoError(t, err)
		defer broker.Close()
		tracer := func(api otelAPI, options ...kotel.TracerOpt) *kotel.Tracer {
			return kotel.NewTracer(append(options, kotel.TracerProvider(api.provider), kotel.TracerPropagator(api.propagator), kotel.ClientID("test"))...)
		}
		producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.WithHooks(kotel.NewKotel(kotel.WithTracer(tracer(shop))).Hooks()...))
		testkit.NoError(t, err)
		defer producer.Close()
		consuming := tracer(mailer, options...)
		consumer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.ConsumeTopics("orders"),
			kgo.FetchMaxWait(100*time.Millisecond), kgo.WithHooks(kotel.NewKotel(kotel.WithTracer(consuming)).Hooks()...))
		testkit.NoError(t, err)
		defer consumer.Close()

		ctx, end := shop.start(t.Context(), "order")
		testkit.NoError(t, producer.ProduceSync(ctx, &kgo.Record{Topic: "orders", Key: []byte("7"), Value: []byte("cup")}).FirstErr())
		end()

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		records := consumer.PollFetches(ctx).Records()
		testkit.Equal(t, "records", len(records), 1)
		for _, r := range records {
			ctx, span := consuming.WithProcessSpan(r)
			_, end := mailer.start(ctx, "mail")
			end()
			span.End()
		}
	}
}

// A message is in the tree of the request that sends it, and the work for it in another process
// below that.
func TestBridgeKafka(t *testing.T) {
	spans := likeSDK(t, mail())
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  producer orders publish
    consumer orders receive
      consumer orders process
        internal mail`)
	for _, s := range spans {
		testkit.Equal(t, "is of another process: "+s.Name, s.Remote, s.Name == "orders receive")
	}
}

// With kotel's LinkSpans, the work for a message is in traces of its own, which have links.
func TestBridgeKafkaLinks(t *testing.T) {
	spans := likeSDK(t, mail(kotel.LinkSpans()))
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  producer orders publish
consumer orders receive
consumer orders process
  internal mail`)
	ids := map[string]dendro.SpanID{}
	for _, s := range spans {
		ids[s.Name] = s.SpanID
	}
	for _, s := range spans {
		switch s.Name {
		case "orders receive":
			testkit.Equal(t, "link", s.Links[0].SpanID, ids["orders publish"])
		case "orders process":
			testkit.Equal(t, "link", s.Links[0].SpanID, ids["orders receive"])
		}
	}
}
