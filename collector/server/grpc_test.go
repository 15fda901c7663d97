package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// message returns body as gRPC sends it.
func message(flag byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(body))), body...)
}

// start serves h over HTTP/1 and HTTP/2 without TLS. It returns the address and a client that
// speaks only HTTP/2.
func start(t *testing.T, h http.Handler) (string, *http.Client) {
	t.Helper()
	testkit.NoLeaks(t)
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return srv.URL, &http.Client{Transport: transport}
}

// answer is the response to a call.
type answer struct {
	status, message string
	retry           bool
	body            []byte
}

// call calls the method at path with the frames in body.
func call(t *testing.T, client *http.Client, url string, header map[string]string, body io.Reader) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, body)
	testkit.NoError(t, err)
	r.Header.Set("Content-Type", "application/grpc")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	res, err := client.Do(r)
	testkit.NoError(t, err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	testkit.Equal(t, "HTTP status", res.StatusCode, 200)
	testkit.Equal(t, "Content-Type", res.Header.Get("Content-Type"), "application/grpc")
	testkit.Equal(t, "accepts", res.Header.Get("Grpc-Accept-Encoding"), "gzip,zstd")
	if status := res.Trailer.Get("Grpc-Status"); status != "" {
		return answer{status: status, body: got}
	}
	details, err := base64.RawStdEncoding.DecodeString(res.Header.Get("Grpc-Status-Details-Bin"))
	testkit.NoError(t, err)
	return answer{res.Header.Get("Grpc-Status"), res.Header.Get("Grpc-Message"), bytes.Contains(details, []byte("google.rpc.RetryInfo")), got}
}

// TestGRPC has a test with a client of grpc-go in internal/integration. This one sends what such
// a client never does.
func TestGRPC(t *testing.T) {
	proto := otlp.AppendTraces(nil, batches...)
	for name, test := range map[string]struct {
		path            string
		encoding        string
		timeout         string
		body            []byte
		status, message string
	}{
		"whole":                       {body: message(0, proto), status: "0"},
		"empty":                       {body: message(0, nil), status: "0"},
		"gzip":                        {encoding: "gzip", body: message(1, zip(proto)), status: "0"},
		"zstd":                        {encoding: "zstd", body: message(1, zstandard(proto)), status: "0"},
		"not compressed after all":    {encoding: "gzip", body: message(0, proto), status: "0"},
		"identity":                    {encoding: "identity", body: message(0, proto), status: "0"},
		"timeout":                     {timeout: "99999999H", body: message(0, proto), status: "0"},
		"nothing":                     {status: "3", message: "EOF"},
		"half a prefix":               {body: message(0, nil)[:3], status: "3", message: "EOF"},
		"short":                       {body: message(0, proto)[:40], status: "3", message: "EOF"},
		"two messages":                {body: append(message(0, proto), message(0, proto)...), status: "3", message: "one message"},
		"flag":                        {body: message(2, proto), status: "3", message: "flag"},
		"garbage":                     {body: message(0, []byte("\xff100%")), status: "3", message: "decoding application/grpc"},
		"compressed without a name":   {body: message(1, zip(proto)), status: "3", message: "grpc-encoding"},
		"not gzip":                    {encoding: "gzip", body: message(1, proto), status: "3", message: "gzip"},
		"unknown encoding":            {encoding: "snappy", body: message(1, proto), status: "12", message: "snappy"},
		"other method":                {path: "/opentelemetry.proto.collector.logs.v1.LogsService/Export", body: message(0, nil), status: "12", message: "LogsService"},
		"too large, not read":         {body: []byte{0, 0xff, 0xff, 0xff, 0xff, 1}, status: "8", message: "1048576 bytes"},
		"too large once decompressed": {encoding: "zstd", body: message(1, zstandard(make([]byte, 1<<20+1))), status: "8", message: "1048576 bytes"},
		"no unit":                     {timeout: "1", body: message(0, nil), status: "3", message: "grpc-timeout"},
		"nine digits":                 {timeout: "123456789S", body: message(0, nil), status: "3", message: "grpc-timeout"},
		"no digits":                   {timeout: "S", body: message(0, nil), status: "3", message: "grpc-timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, store := testkit.NewTracer(t)
			url, client := start(t, server.New(collector.WriterOf(store), server.Options{MaxBodyBytes: 1 << 20}))
			if test.path == "" {
				test.path = export
			}
			header := map[string]string{"Grpc-Encoding": test.encoding, "Grpc-Timeout": test.timeout}
			got := call(t, client, url+test.path, header, bytes.NewReader(test.body))
			testkit.Equal(t, "status", got.status, test.status)
			if !strings.Contains(got.message, test.message) {
				t.Errorf("message %q does not say %q", got.message, test.message)
			}
			if test.status != "0" {
				testkit.Equal(t, "spans", len(store.Spans()), 0)
				testkit.Equal(t, "retry", got.retry, false)
				return
			}
			testkit.Equal(t, "answer", got.body, message(0, nil))
			if name != "empty" {
				testkit.Equal(t, "names", testkit.Names(store.Spans()), []string{"GET /", "POST /", "SELECT"})
			}
		})
	}
}

func TestGRPCMessageIsPercentEncoded(t *testing.T) {
	refuse := collect(func(*dendro.Batch) error { return errors.New("100 % of\ndïsk") })
	url, client := start(t, server.New(collector.WriterOf(refuse), server.Options{}))
	got := call(t, client, url+export, nil, bytes.NewReader(message(0, otlp.AppendTraces(nil, batches...))))
	testkit.Equal(t, "answer", got, answer{"14", "100 %25 of%0Ad%C3%AFsk", true, []byte{}})
}

// A client may refuse headers that are much longer than a message has to be.
func TestGRPCMessageIsShort(t *testing.T) {
	_, store := testkit.NewTracer(t)
	url, client := start(t, server.New(collector.WriterOf(store), server.Options{}))
	long := strings.Repeat("x", 10_000)
	for name, got := range map[string]answer{
		"path":     call(t, client, url+"/"+long, nil, bytes.NewReader(message(0, nil))),
		"encoding": call(t, client, url+export, map[string]string{"Grpc-Encoding": long}, bytes.NewReader(message(0, nil))),
	} {
		testkit.Equal(t, name+": status", got.status, "12")
		if len(got.message) > 1000 || !strings.Contains(got.message, "xxx") {
			t.Errorf("%s: %d bytes of message, %.200q", name, len(got.message), got.message)
		}
	}
}

func TestGRPCNeedsHTTP2AndPost(t *testing.T) {
	url, client := start(t, server.New(discard{}, server.Options{}))
	res, err := http.Post(url+export, "application/grpc", bytes.NewReader(message(0, nil)))
	testkit.NoError(t, err)
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	testkit.Equal(t, "HTTP/1", res.StatusCode, 415)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", url+export, nil)
	testkit.NoError(t, err)
	r.Header.Set("Content-Type", "application/grpc")
	res, err = client.Do(r)
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "PUT", res.StatusCode, 405)
}

// stuck is a store that waits until the context is done.
type stuck struct{}

func (stuck) Write(ctx context.Context, _ []*dendro.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestGRPCDeadline: the deadline of the client ends Write. The response may not reach it.
func TestGRPCDeadline(t *testing.T) {
	h := server.New(stuck{}, server.Options{})
	url, client := start(t, h)
	body := message(0, otlp.AppendTraces(nil, batches...))
	got := call(t, client, url+export, map[string]string{"Grpc-Timeout": "10m"}, bytes.NewReader(body))
	testkit.Equal(t, "status", got.status, "4")
}

// TestSlowClient: a client that stops sending is cut off, over HTTP/1 and HTTP/2, and told to try
// again.
func TestSlowClient(t *testing.T) {
	h := server.New(discard{}, server.Options{ReadTimeout: 20 * time.Millisecond})
	url, client := start(t, h)
	for _, first := range []string{"", "x"} {
		body, more := io.Pipe()
		go io.WriteString(more, first)
		res, err := http.Post(url+"/v1/traces", protobuf, body)
		testkit.NoError(t, err)
		res.Body.Close()
		more.Close()
		testkit.Equal(t, "HTTP/1", []string{res.Status, res.Header.Get("Retry-After")}, []string{"503 Service Unavailable", "1"})
	}
	http.DefaultClient.CloseIdleConnections()
	body, more := io.Pipe()
	go more.Write(message(0, make([]byte, 10))[:9])
	got := call(t, client, url+export, nil, body)
	more.Close()
	testkit.Equal(t, "gRPC", []any{got.status, got.retry}, []any{"4", true})
	testkit.Equal(t, "counted", h.Stats().Protocols[0].RefusedRequests["timeout"]+h.Stats().Protocols[2].RefusedRequests["timeout"], uint64(3))
}

// conn is a connection that knows its read deadline.
type conn struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

// TestWriteHasNoReadDeadline: it would cancel the context of a Write that takes longer.
func TestWriteHasNoReadDeadline(t *testing.T) {
	c := &conn{ResponseRecorder: httptest.NewRecorder()}
	r := request(protobuf, "", nil)
	r.ContentLength, r.Body = -1, io.NopCloser(readFunc(func(p []byte) (int, error) {
		testkit.Equal(t, "deadline while reading", c.deadline.IsZero(), false)
		return copy(p, otlp.AppendTraces(nil, batches...)), io.EOF
	}))
	server.New(collector.WriterOf(collect(func(*dendro.Batch) error {
		testkit.Equal(t, "deadline while writing", c.deadline, time.Time{})
		return nil
	})), server.Options{}).ServeHTTP(c, r)
	testkit.Equal(t, "status", c.Code, 200)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
