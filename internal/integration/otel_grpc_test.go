package integration

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func init() { encoding.RegisterCompressor(zstdCompressor{}) }

// zstdCompressor makes grpc-go send zstd.
type zstdCompressor struct{}

func (zstdCompressor) Name() string { return "zstd" }
func (zstdCompressor) Compress(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
}
func (zstdCompressor) Decompress(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
}

// startReceiver serves h over HTTP/1 and HTTP/2, as a program does, and returns host and port.
func startReceiver(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// Everything that the OpenTelemetry SDK sends over gRPC is stored exactly as it was recorded.
func TestOTelSDKSendsGRPC(t *testing.T) {
	for name, options := range map[string][]otlptracegrpc.Option{
		"whole": nil,
		"gzip":  {otlptracegrpc.WithCompressor("gzip")},
		"zstd":  {otlptracegrpc.WithCompressor("zstd")},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, store collector.Store) {
				h := otlpserver.New(store, otlpserver.Options{})
				exporter, err := otlptracegrpc.New(t.Context(), append(options, otlptracegrpc.WithEndpoint(startReceiver(t, h)), otlptracegrpc.WithInsecure())...)
				testkit.NoError(t, err)
				testOTelSDKSends(t, store, exporter)
				for _, p := range h.Stats().Protocols {
					testkit.Equal(t, p.Protocol, p.StoredSpans > 0, p.Protocol == "otlp_grpc")
				}
			})
		})
	}
}

// waiting is a store that waits until the context is done.
type waiting struct{ ended chan error }

func (w waiting) Write(ctx context.Context, _ []*dendro.Batch) error {
	<-ctx.Done()
	w.ended <- ctx.Err()
	return ctx.Err()
}

// A client of grpc-go gets what gRPC promises: codes, details, deadlines and bounds.
func TestGRPCClient(t *testing.T) {
	testkit.NoLeaks(t)
	dial := func(t *testing.T, h http.Handler) *grpc.ClientConn {
		t.Helper()
		conn, err := grpc.NewClient(startReceiver(t, h), grpc.WithTransportCredentials(insecure.NewCredentials()))
		testkit.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	request := &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{oneSpan("shop", "a")}}

	t.Run("accepted", func(t *testing.T) {
		store := &refusing{}
		client := collectorpb.NewTraceServiceClient(dial(t, otlpserver.New(collector.WriterOf(store), otlpserver.Options{})))
		for _, option := range []grpc.CallOption{grpc.UseCompressor(encoding.Identity), grpc.UseCompressor(gzip.Name), grpc.UseCompressor("zstd")} {
			res, err := client.Export(t.Context(), request, option)
			testkit.NoError(t, err)
			testkit.Equal(t, "rejected", res.GetPartialSuccess().GetRejectedSpans(), int64(0))
		}
		testkit.Equal(t, "taken", store.taken, []string{"a", "a", "a"})
	})
	t.Run("partial success", func(t *testing.T) {
		store := &refusing{service: "till", times: 1}
		client := collectorpb.NewTraceServiceClient(dial(t, otlpserver.New(collector.WriterOf(store), otlpserver.Options{})))
		res, err := client.Export(t.Context(), &collectorpb.ExportTraceServiceRequest{
			ResourceSpans: []*tracepb.ResourceSpans{oneSpan("shop", "a"), oneSpan("till", "b")}})
		testkit.NoError(t, err)
		testkit.Equal(t, "rejected", res.GetPartialSuccess().GetRejectedSpans(), int64(1))
	})
	t.Run("no room", func(t *testing.T) {
		client := collectorpb.NewTraceServiceClient(dial(t, otlpserver.New(collector.WriterOf(&refusing{times: 1}), otlpserver.Options{})))
		_, err := client.Export(t.Context(), request)
		s := status.Convert(err)
		testkit.Equal(t, "status", []any{s.Code(), s.Message()}, []any{codes.ResourceExhausted, "dendro: spans dropped: queue_full"})
		testkit.Equal(t, "details", len(s.Details()), 1)
		testkit.Equal(t, "retry", s.Details()[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration(), time.Second)
	})
	t.Run("too large", func(t *testing.T) {
		client := collectorpb.NewTraceServiceClient(dial(t, otlpserver.New(&memory.Store{}, otlpserver.Options{MaxBodyBytes: 1 << 20})))
		large := &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{oneSpan("shop", strings.Repeat("x", 2<<20))}}
		for _, option := range []grpc.CallOption{grpc.UseCompressor(encoding.Identity), grpc.UseCompressor(gzip.Name), grpc.UseCompressor("zstd")} {
			_, err := client.Export(t.Context(), large, option)
			s := status.Convert(err)
			testkit.Equal(t, "status", []any{s.Code(), s.Message(), len(s.Details())}, []any{codes.ResourceExhausted, "the body has more than 1048576 bytes", 0})
		}
	})
	t.Run("deadline", func(t *testing.T) {
		store := waiting{make(chan error, 1)}
		client := collectorpb.NewTraceServiceClient(dial(t, otlpserver.New(store, otlpserver.Options{})))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := client.Export(ctx, request)
		testkit.Equal(t, "status", status.Code(err), codes.DeadlineExceeded)
		if <-store.ended == nil {
			t.Error("the store goes on waiting")
		}
	})
	t.Run("other services", func(t *testing.T) {
		_, err := healthpb.NewHealthClient(dial(t, otlpserver.New(&memory.Store{}, otlpserver.Options{}))).Check(t.Context(), &healthpb.HealthCheckRequest{})
		testkit.Equal(t, "status", status.Code(err), codes.Unimplemented)
	})
	t.Run("TLS", func(t *testing.T) {
		store := &refusing{}
		srv := httptest.NewUnstartedServer(otlpserver.New(collector.WriterOf(store), otlpserver.Options{}))
		srv.EnableHTTP2 = true
		srv.StartTLS()
		defer srv.Close()
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		conn, err := grpc.NewClient(srv.Listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "example.com")))
		testkit.NoError(t, err)
		defer conn.Close()
		_, err = collectorpb.NewTraceServiceClient(conn).Export(t.Context(), request)
		testkit.NoError(t, err)
		testkit.Equal(t, "taken", store.taken, []string{"a"})
	})
}
