package http_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

func init() {
	wrap := os.Getenv("DENDRO_WRAP")
	http.DendroHandler = func(h http.Handler) http.Handler {
		if !strings.Contains(wrap, "middleware") {
			return h
		}
		if h == nil {
			h = http.DefaultServeMux // like http.Server
		}
		return middleware.New(middleware.Options{})(h)
	}
	http.DendroTransport = func(base http.RoundTripper) http.RoundTripper {
		if _, ok := base.(wrapped); ok || !strings.Contains(wrap, "transport") {
			return base
		}
		return transport.New(base, transport.Options{})
	}
	http.DendroUnwrap = func(v any) any {
		if t, ok := v.(wrapped); ok {
			return t.Unwrap()
		}
		return v
	}
	http.DendroMain = func(m *testing.M) interface{ Run() int } { return traced{m} }
	if wrap != "" {
		o := dendro.Options{Collector: spans, Propagator: dendro.W3C{NoTraceContext: true, NoBaggage: true}}
		if os.Getenv("DENDRO_PROPAGATE") != "" {
			o.Propagator = dendro.W3C{}
		}
		dendro.SetDefault(dendro.New(o))
	}
	http.DefaultTransport = http.DendroTransport(http.DefaultTransport)
}

// wrapped is a transport of package transport.
type wrapped interface{ Unwrap() http.RoundTripper }

// traced runs the tests and prints the number of spans.
type traced struct{ m *testing.M }

func (t traced) Run() int {
	code := t.m.Run()
	fmt.Printf("dendro spans: server %d client %d\n", spans[dendro.KindServer].Load(), spans[dendro.KindClient].Load())
	return code
}

// counter is a collector that counts spans by kind.
type counter [dendro.KindConsumer + 1]atomic.Int64

var spans = new(counter)

func (c *counter) Collect(b *dendro.Batch) error {
	for i := range b.Spans {
		c[b.Spans[i].Kind].Add(1)
	}
	return nil
}
