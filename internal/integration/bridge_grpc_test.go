package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// shopServer answers calls and makes a span of its own for each.
type shopServer struct {
	grpc_testing.UnimplementedTestServiceServer
	api otelAPI
}

func (s shopServer) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	_, end := s.api.start(ctx, "look up")
	end()
	return &grpc_testing.SimpleResponse{Username: "jo"}, nil
}

func (s shopServer) EmptyCall(ctx context.Context, _ *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	_, end := s.api.start(ctx, "refuse")
	end()
	return nil, status.Error(codes.DataLoss, "all is gone")
}

func (s shopServer) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	_, end := s.api.start(stream.Context(), "list")
	defer end()
	for range 3 {
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
	return nil
}

func (s shopServer) FullDuplexCall(stream grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	_, end := s.api.start(stream.Context(), "echo")
	defer end()
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// Calls of gRPC and their handling are in the tree of the request that makes them.
func TestBridgeGRPC(t *testing.T) {
	spans := likeSDK(t, func(t *testing.T, shop otelAPI) {
		stock := shop.another("stock")
		options := func(api otelAPI) []otelgrpc.Option {
			return []otelgrpc.Option{
				otelgrpc.WithTracerProvider(api.provider), otelgrpc.WithPropagators(api.propagator),
				otelgrpc.WithMessageEvents(otelgrpc.ReceivedEvents, otelgrpc.SentEvents),
			}
		}
		server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler(options(stock)...)))
		grpc_testing.RegisterTestServiceServer(server, shopServer{api: stock})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		testkit.NoError(t, err)
		go func() { _ = server.Serve(l) }()
		defer server.GracefulStop() // when the handlers have ended
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStatsHandler(otelgrpc.NewClientHandler(options(shop)...)))
		testkit.NoError(t, err)
		defer conn.Close()
		client := grpc_testing.NewTestServiceClient(conn)

		ctx, end := shop.start(t.Context(), "order")
		defer end()
		response, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		testkit.NoError(t, err)
		testkit.Equal(t, "response", response.GetUsername(), "jo")
		_, err = client.EmptyCall(ctx, &grpc_testing.Empty{})
		testkit.Equal(t, "code", status.Code(err), codes.DataLoss)
		list, err := client.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		testkit.NoError(t, err)
		for range 3 {
			_, err = list.Recv()
			testkit.NoError(t, err)
		}
		_, err = list.Recv()
		testkit.Equal(t, "end", err, io.EOF)
		echo, err := client.FullDuplexCall(ctx)
		testkit.NoError(t, err)
		for range 2 {
			testkit.NoError(t, echo.Send(&grpc_testing.StreamingOutputCallRequest{}))
			_, err = echo.Recv()
			testkit.NoError(t, err)
		}
		testkit.NoError(t, echo.CloseSend())
		_, err = echo.Recv()
		testkit.Equal(t, "end", err, io.EOF)
	})
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  client grpc.testing.TestService/UnaryCall
    server grpc.testing.TestService/UnaryCall
      internal look up
  client grpc.testing.TestService/EmptyCall
    server grpc.testing.TestService/EmptyCall
      internal refuse
  client grpc.testing.TestService/StreamingOutputCall
    server grpc.testing.TestService/StreamingOutputCall
      internal list
  client grpc.testing.TestService/FullDuplexCall
    server grpc.testing.TestService/FullDuplexCall
      internal echo`)
}
