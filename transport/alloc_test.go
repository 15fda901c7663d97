package transport_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

// discard is a collector that takes everything.
type discard struct{}

func (discard) Collect(*dendro.Batch) error { return nil }

// echo answers at once.
type echo struct{}

func (echo) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1,
		Body:    &emptyBody{},
		Request: r,
	}, nil
}

type emptyBody struct{ _ byte }

func (*emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (*emptyBody) Close() error             { return nil }

func request(ctx context.Context, url string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("body"))
	if err != nil {
		panic(err)
	}
	r.Header.Set("User-Agent", "shop/1.0")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	return r
}

func exchange(rt http.RoundTripper, r *http.Request, buf []byte) {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		panic(err)
	}
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	resp.Body.Close()
}

const target = "http://stock.example:8080/items/42?token=s3cr3t"

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	tracer := dendro.New(dendro.Options{Collector: discard{}})
	below, root := tracer.Start(context.Background(), "request")
	defer root.End()
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	unsampled, _ := never.Start(context.Background(), "request")
	for name, c := range map[string]struct {
		rt     http.RoundTripper
		ctx    context.Context
		budget float64
	}{
		"child":       {transport.New(echo{}, transport.Options{}), below, 8},
		"root":        {transport.New(echo{}, transport.Options{Tracer: tracer}), context.Background(), 8},
		"not sampled": {transport.New(echo{}, transport.Options{}), unsampled, 5},
		"no tracer":   {transport.New(echo{}, transport.Options{}), context.Background(), 0},
	} {
		r, buf := request(c.ctx, target), make([]byte, 512)
		measure := func(rt http.RoundTripper) float64 {
			return testing.AllocsPerRun(200, func() { exchange(rt, r, buf) })
		}
		if got := measure(c.rt) - measure(echo{}); got > c.budget {
			t.Errorf("%s: %v allocations over bare, want at most %v", name, got, c.budget)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	tracer := dendro.New(dendro.Options{Collector: discard{}})
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	unsampled, _ := never.Start(context.Background(), "request")
	for _, c := range []struct {
		name string
		rt   http.RoundTripper
		ctx  context.Context
	}{
		{"bare", echo{}, context.Background()},
		{"sampled", transport.New(echo{}, transport.Options{Tracer: tracer}), context.Background()},
		{"unsampled", transport.New(echo{}, transport.Options{}), unsampled},
		{"untraced", transport.New(echo{}, transport.Options{}), context.Background()},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, buf := request(c.ctx, target), make([]byte, 512)
			b.ReportAllocs()
			for b.Loop() {
				exchange(c.rt, r, buf)
			}
		})
	}
}
