package main

import (
	"context"
	"io"
	"net/http"
)

func (bare) root() (context.Context, func()) { return context.Background(), func() {} }

func (bare) wrapTransport(_ context.Context, base http.RoundTripper) http.RoundTripper { return base }

func clientCases() []benchmark {
	call := func(l library) op { return clientOp(l.(clienter)) }
	base := func(library) op { return clientOp(bare{}) }
	return []benchmark{
		{
			name: "client, sampled", op: call, base: base, baseName: "the round trip",
			libraries: []string{"dendro", "dendro, remote", "OpenTelemetry", "zipkin-go", "Appdash", "dd-trace-go"},
		},
		{
			name: "client, not sampled", op: call, base: base, baseName: "the round trip",
			libraries: []string{"dendro, never sampled", "OpenTelemetry, NeverSample", "zipkin-go, NeverSample", "dd-trace-go, rate 0"},
		},
	}
}

// clientOp sends a request, below a span, to a fake server.
func clientOp(l clienter) op {
	return func(n int) {
		ctx, end := l.root()
		defer end()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, routeTarget, nil)
		if err != nil {
			panic(err)
		}
		r.Header.Set("User-Agent", "shop/1.0")
		r.Header.Set("Accept", "application/json")
		transport := l.wrapTransport(ctx, echo{})
		buf := make([]byte, 512)
		for range n {
			resp, err := transport.RoundTrip(r)
			if err != nil {
				panic(err)
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			resp.Body.Close()
		}
	}
}

// echo responds at once.
type echo struct{}

func (echo) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: &emptyBody{}, Request: r}, nil
}

// emptyBody is an empty body other than [http.NoBody], which wrappers recognize.
type emptyBody struct{ _ byte }

func (*emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (*emptyBody) Close() error             { return nil }
