//go:build unix

package integration

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// startRedis starts a Redis server for this test and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	path := program("redis-server")
	if path == "" {
		testkit.Missing(t, "no Redis server: install the package redis-server")
	}
	s := newServer(t, "nobody")
	addr := fmt.Sprintf("127.0.0.1:%d", s.port)
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	ping := func(ctx context.Context) error { return client.Ping(ctx).Err() }
	s.start(syscall.SIGTERM, ping, path, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--save", "", "--appendonly", "no")
	return addr
}

// Commands of go-redis are in the tree of the request that sends them.
func TestBridgeRedis(t *testing.T) {
	addr := startRedis(t)
	spans := likeSDK(t, func(t *testing.T, shop otelAPI) {
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
		defer client.Close()
		testkit.NoError(t, redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(shop.provider), redisotel.WithDBStatement(true),
			redisotel.WithDialFilter(true), // go-redis dials in the background
			redisotel.WithCommandFilter(func(cmd redis.Cmder) bool { return cmd.Name() == "hello" })))
		ctx, end := shop.start(t.Context(), "cart")
		defer end()
		testkit.NoError(t, client.Set(ctx, "cart:1", "cup", 0).Err())
		value, err := client.Get(ctx, "cart:1").Result()
		testkit.NoError(t, err)
		testkit.Equal(t, "value", value, "cup")
		testkit.Equal(t, "missing", client.Get(ctx, "cart:2").Err(), redis.Nil)
		if err := client.Incr(ctx, "cart:1").Err(); err == nil {
			t.Error("no error")
		}
		below, endBelow := shop.start(ctx, "fill")
		_, err = client.Pipelined(below, func(p redis.Pipeliner) error {
			p.RPush(below, "items", "cup", "tea")
			p.LLen(below, "items")
			return nil
		})
		endBelow()
		testkit.NoError(t, err)
		testkit.NoError(t, client.FlushAll(ctx).Err())
	})
	testkit.Equal(t, "tree", treeOf(spans), `internal cart
  client set
  client get
  client get
  client incr
  internal fill
    client redis.pipeline rpush llen
  client flushall`)
	for _, s := range spans {
		if s.Name == "set" {
			testkit.Equal(t, "statement", s.Attr("db.statement"), any("set cart:1 cup"))
		}
	}
}
