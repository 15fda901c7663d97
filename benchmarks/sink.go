package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/memory"
	receiver "github.com/dendrotrace/dendro/collector/server"
)

// spansHeader is the response header in which the sink reports the number of spans
// that have arrived.
const spansHeader = "X-Spans"

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// serveSink receives what any of the libraries sends, and counts the spans. It stops
// at the end of its standard input.
func serveSink() error {
	hub, err := keep.NewHub(keep.HubOptions{})
	if err != nil {
		return err
	}
	collector := receiver.New(memory.New(memory.Options{}), receiver.Options{Keep: hub})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/dendro/") {
			collector.ServeHTTP(w, r)
			return
		}
		body := bodies.Get().(*bytes.Buffer)
		defer bodies.Put(body)
		body.Reset()
		in := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(in)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			in = z
		}
		if _, err := body.ReadFrom(in); err != nil {
			return
		}
		spans, answer := 0, ""
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/v1/traces"): // OTLP
			w.Header().Set("Content-Type", "application/x-protobuf")
			spans = countOTLP(body.Bytes(), otlpSpans)
		case path == "/api/v2/spans": // Zipkin, JSON
			spans = bytes.Count(body.Bytes(), []byte(`"traceId"`))
		case path == "/v0.4/traces": // the Datadog agent, MessagePack
			spans, answer = bytes.Count(body.Bytes(), []byte("\xa7span_id")), "{}"
		case path == stockPath: // for serveE2E
			answer = "17"
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set(spansHeader, strconv.Itoa(spans))
		io.WriteString(w, answer)
	}))
}

// otlpSpans is the path of field numbers to a span: resource_spans, scope_spans,
// spans.
var otlpSpans = []protowire.Number{1, 2, 2}

// countOTLP counts the fields at path.
func countOTLP(b []byte, path []protowire.Number) (n int) {
	for len(b) > 0 {
		number, kind, head := protowire.ConsumeTag(b)
		if head < 0 {
			return n
		}
		value, size := b[head:], 0
		if kind == protowire.BytesType && number == path[0] {
			value, size = protowire.ConsumeBytes(value)
			if len(path) == 1 {
				n++
			} else {
				n += countOTLP(value, path[1:])
			}
		} else {
			size = protowire.ConsumeFieldValue(number, kind, value)
		}
		if size < 0 {
			return n
		}
		b = b[head+size:]
	}
	return n
}

// sentBytes is the size of the bodies that have arrived at the sink.
var sentBytes atomic.Uint64

// acknowledged is an http.RoundTripper that counts the spans that have arrived at the
// sink, and sentBytes.
type acknowledged struct{ spans atomic.Uint64 }

var sinkTransport = &http.Transport{MaxIdleConnsPerHost: 8}

func (a *acknowledged) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := sinkTransport.RoundTrip(r)
	if err == nil {
		sentBytes.Add(uint64(max(r.ContentLength, 0)))
		n, _ := strconv.ParseUint(resp.Header.Get(spansHeader), 10, 64) // 0 of another address
		a.spans.Add(n)
	}
	return resp, err
}

// patience bounds how long to wait for spans that may be lost.
const patience = 2 * time.Second

// wait waits until that many spans have arrived. Meanwhile it calls hurry.
func (a *acknowledged) wait(want uint64, hurry func()) {
	deadline := time.Now().Add(patience)
	for a.spans.Load() < want && time.Now().Before(deadline) {
		hurry()
		time.Sleep(100 * time.Microsecond)
	}
}
