package integration

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.opentelemetry.io/contrib/instrumentation/github.com/aws/aws-sdk-go-v2/otelaws" //nolint:staticcheck // deprecated, and in use

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

// readTable calls a server that answers as DynamoDB does, through client.
func readTable(client *http.Client) func(t *testing.T, shop otelAPI) {
	return func(t *testing.T, shop otelAPI) {
		var traceparents []string
		table := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			traceparents = append(traceparents, r.Header.Get("Traceparent"))
			w.Header().Set("X-Amzn-Requestid", "A1")
			if r.Header.Get("X-Amz-Target") == "DynamoDB_20120810.GetItem" {
				_, _ = io.WriteString(w, `{"Item":{"name":{"S":"cup"}}}`)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no such table"}`)
		}))
		defer table.Close()
		options := dynamodb.Options{
			Region: "eu-central-1", BaseEndpoint: &table.URL, HTTPClient: client, RetryMaxAttempts: 1,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
			}),
		}
		otelaws.AppendMiddlewares(&options.APIOptions, otelaws.WithTracerProvider(shop.provider), otelaws.WithTextMapPropagator(shop.propagator))
		db := dynamodb.New(options)
		key := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "7"}}

		ctx, end := shop.start(t.Context(), "order")
		defer end()
		item, err := db.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String("orders"), Key: key})
		testkit.NoError(t, err)
		testkit.Equal(t, "name", item.Item["name"], types.AttributeValue(&types.AttributeValueMemberS{Value: "cup"}))
		if _, err := db.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String("orders"), Key: key}); err == nil {
			t.Error("no error")
		}
		testkit.Equal(t, "requests", len(traceparents), 2)
		testkit.Equal(t, "requests without a traceparent", slices.Contains(traceparents, ""), false)
	}
}

// Calls of AWS's SDK are in the tree of the request that makes them.
func TestBridgeAWS(t *testing.T) {
	spans := likeSDK(t, readTable(http.DefaultClient))
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  client DynamoDB.GetItem
  client DynamoDB.DeleteItem`)
}

// If its HTTP client is ours, the requests are below the calls.
func TestBridgeAWSWithTransport(t *testing.T) {
	spans := spansOf(t, "bridge", newBridge, readTable(&http.Client{Transport: transport.New(nil, transport.Options{})}))
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  client DynamoDB.GetItem
    client POST
  client DynamoDB.DeleteItem
    client POST`)
}
