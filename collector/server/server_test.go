package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/klauspost/compress/zstd"
)

const (
	protobuf = "application/x-protobuf"
	json     = "application/json"
)

var batches = []*dendro.Batch{batch("shop", "GET /", "SELECT"), batch("till", "POST /")}

func batch(service string, names ...string) *dendro.Batch {
	b := &dendro.Batch{
		Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}},
	}
	for i, name := range names {
		s := &dendro.SpanData{Name: name, Scope: &dendro.Scope{Name: "test"}, Start: int64(1 + i), End: 9}
		s.TraceID[0], s.SpanID[0] = 1, byte(1+i)
		b.Spans = append(b.Spans, s)
	}
	return b
}

// collect is a [dendro.Collector] made from a function.
type collect func(*dendro.Batch) error

func (f collect) Collect(b *dendro.Batch) error { return f(b) }

func zip(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(body)
	w.Close()
	return b.Bytes()
}

func zstandard(body []byte, options ...zstd.EOption) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append(options, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		panic(err)
	}
	w.Write(body)
	w.Close()
	return b.Bytes()
}

func request(contentType, encoding string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", "/v1/traces", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	return r
}

func serve(c dendro.Collector, o server.Options, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	server.New(collector.WriterOf(c), o).ServeHTTP(w, r)
	return w
}

// Spans arrive in every format and under every prefix. The response has the format of
// the request.
func TestReceives(t *testing.T) {
	proto, text := otlp.AppendTraces(nil, batches...), otlp.AppendTracesJSON(nil, batches...)
	for _, c := range []struct {
		name, path, contentType, encoding string
		body                              []byte
		answerType, answer                string
	}{
		{"protobuf", "/v1/traces", protobuf, "", proto, protobuf, ""},
		{"gzip", "/v1/traces", protobuf, "gzip", zip(proto), protobuf, ""},
		{"two gzip members", "/v1/traces", protobuf, "GZIP", append(zip(proto[:9]), zip(proto[9:])...), protobuf, ""},
		{"zstd", "/v1/traces", protobuf, "zstd", zstandard(proto), protobuf, ""},
		{"two zstd frames", "/v1/traces", protobuf, "ZSTD", append(zstandard(proto[:9]), zstandard(proto[9:])...), protobuf, ""},
		{"identity", "/v1/traces", protobuf, "identity", proto, protobuf, ""},
		{"json", "/v1/traces", json, "", text, json, "{}"},
		{"json with parameter", "/v1/traces", "Application/JSON; charset=utf-8", "gzip", zip(text), json, "{}"},
		{"prefix", "/in/otlp/v1/traces", protobuf, "", proto, protobuf, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, store := testkit.NewTracer(t)
			r := request(c.contentType, c.encoding, c.body)
			r.URL.Path = c.path
			w := serve(store, server.Options{}, r)
			testkit.Equal(t, "status", w.Code, 200)
			testkit.Equal(t, "answer type", w.Header().Get("Content-Type"), c.answerType)
			testkit.Equal(t, "answer", w.Body.String(), c.answer)
			spans := store.Spans()
			testkit.Equal(t, "names", testkit.Names(spans), []string{"GET /", "POST /", "SELECT"})
			testkit.Equal(t, "service", spans[1].Service, "till")
		})
	}
}

func TestStripPrefix(t *testing.T) {
	for _, prefix := range []string{"/in", "/in/"} {
		_, store := testkit.NewTracer(t)
		r := request(protobuf, "", otlp.AppendTraces(nil, batches...))
		r.URL.Path = "/in/v1/traces"
		w := httptest.NewRecorder()
		http.StripPrefix(prefix, server.New(collector.WriterOf(store), server.Options{})).ServeHTTP(w, r)
		testkit.Equal(t, "status", w.Code, 200)
		testkit.Equal(t, "spans", len(store.Spans()), 3)
	}
}

func TestEmptyRequest(t *testing.T) {
	refuse := collect(func(*dendro.Batch) error { return errors.New("called") })
	for _, r := range []*http.Request{
		request(protobuf, "", nil), request(protobuf, "gzip", zip(nil)),
		request(json, "", []byte(`{}`)), request(json, "", []byte(`{"resourceSpans":[]}`)),
		request(protobuf, "", otlp.AppendTraces(nil, &dendro.Batch{Resource: &dendro.Resource{}})),
	} {
		testkit.Equal(t, "status", serve(refuse, server.Options{}, r).Code, 200)
	}
}

// OTLP ignores unknown keys. If a request with unknown keys contains no spans, the
// response has a warning that names the keys. Nothing is rejected.
func TestUnknownKeys(t *testing.T) {
	none := collect(func(*dendro.Batch) error { return errors.New("called") })
	many := `{"` + strings.Repeat("x", 1000) + `":1`
	for i := range 100 {
		many += fmt.Sprintf(`,"key_%d":{}`, i)
	}
	for body, want := range map[string]string{
		`{"resource_spans":[{"scope_spans":[{"spans":[{}]}]}]}`:                               `["resource_spans"]`,
		`{"resourceSpans":[{"scope_spans":[{"spans":[{}]}]}]}`:                                `["scope_spans"]`,
		`{"resourceSpans":[{"scopeSpans":[{"Spans":[{}]}]},{},{"scopeSpans":[{"Spans":1}]}]}`: `["Spans"]`,
		`{"resourceLogs":[],"b\u0000\"d":null}`:                                               `["resourceLogs" "b\x00\"d"]`,
		many + "}":                                                                            `["` + strings.Repeat("x", 64) + `" "key_0" "key_1" "key_2" "key_3" "key_4" "key_5" "key_6"]`,
	} {
		w := serve(none, server.Options{}, request(json, "", []byte(body)))
		testkit.Equal(t, "status", w.Code, 200)
		result, err := otlp.DecodeResultJSON(w.Body.Bytes())
		testkit.NoError(t, err)
		testkit.Equal(t, body, result, otlp.Result{Message: "no spans, but unknown keys: " + want +
			"; the keys of OTLP/JSON are in lowerCamelCase, such as resourceSpans"})
	}
	for _, body := range []string{`{}`, `{"resourceSpans":[]}`, `{"resourceSpans":null}`, `{"resourceSpans":[{"resource":{"unknown":1},"scopeSpans":[{"scope":{"unknown":1},"spans":[]}]}]}`} {
		testkit.Equal(t, body, serve(none, server.Options{}, request(json, "", []byte(body))).Body.String(), "{}")
	}
	// There is no warning if the request has a span.
	_, store := testkit.NewTracer(t)
	spans := strings.Replace(string(otlp.AppendTracesJSON(nil, batches...)), "{", `{"unknown":1,`, 1)
	testkit.Equal(t, "answer", serve(store, server.Options{}, request(json, "", []byte(spans))).Body.String(), "{}")
	testkit.Equal(t, "spans", len(store.Spans()), 3)
}

// Bad requests get an error in the format of the request, and store nothing.
func TestRefuses(t *testing.T) {
	proto, text := otlp.AppendTraces(nil, batches...), otlp.AppendTracesJSON(nil, batches...)
	bomb := zip(make([]byte, 1<<20+1))
	damaged := zip(proto)
	damaged[len(damaged)-5] ^= 1 // damages the checksum
	damagedZstd := zstandard(proto)
	damagedZstd[len(damagedZstd)-1] ^= 1 // damages the checksum
	noLength := request(protobuf, "", nil)
	noLength.ContentLength, noLength.Body = -1, io.NopCloser(bytes.NewReader(make([]byte, 5000)))
	broken := request(protobuf, "", nil)
	broken.ContentLength, broken.Body = -1, io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
	noLengthGzip := request(protobuf, "gzip", nil)
	noLengthGzip.ContentLength, noLengthGzip.Body = -1, io.NopCloser(bytes.NewReader(bytes.Repeat(zip(nil), 500)))
	unread := request(protobuf, "", nil)
	unread.ContentLength, unread.Body = 5000, io.NopCloser(iotest.ErrReader(errors.New("was read")))
	at := func(method, path string) *http.Request {
		r := request(protobuf, "", proto)
		r.Method, r.URL.Path = method, path
		return r
	}
	for _, c := range []struct {
		name    string
		r       *http.Request
		maxBody int64
		status  int
		says    string
	}{
		{"path", at("POST", "/"), 0, 404, "/v1/traces"},
		{"metrics", at("POST", "/v1/metrics"), 0, 404, "receives traces"},
		{"similar path", at("POST", "/av1/traces"), 0, 404, "/v1/traces"},
		{"longer path", at("POST", "/v1/traces/"), 0, 404, "/v1/traces"},
		{"method", at("GET", "/v1/traces"), 0, 405, "POST"},
		{"no type", request("", "", proto), 0, 415, protobuf},
		{"other type", request("text/plain", "", proto), 0, 415, json},
		{"broken type", request("application/json json", "", text), 0, 415, json},
		{"encoding", request(protobuf, "br", proto), 0, 415, `"br"`},
		{"no zstd", request(protobuf, "zstd", proto), 0, 400, "magic"},
		{"no gzip", request(protobuf, "gzip", proto), 0, 400, "gzip"},
		{"short gzip", request(protobuf, "gzip", zip(proto)[:40]), 0, 400, "EOF"},
		{"damaged gzip", request(protobuf, "gzip", damaged), 0, 400, "checksum"},
		{"short zstd", request(protobuf, "zstd", zstandard(proto)[:20]), 0, 400, "EOF"},
		{"damaged zstd", request(protobuf, "zstd", damagedZstd), 0, 400, "CRC"},
		{"zstd with a window of 16 MiB", request(protobuf, "zstd", zstandard(make([]byte, 9<<20), zstd.WithWindowSize(16<<20))), 0, 400, "window"},
		{"broken connection", broken, 0, 400, "EOF"},
		{"short protobuf", request(protobuf, "", proto[:len(proto)-1]), 0, 400, "decoding application/x-protobuf: "},
		{"protobuf as json", request(json, "", proto), 0, 400, "decoding application/json: "},
		{"short json", request(json, "", text[:len(text)-1]), 0, 400, "decoding application/json: "},
		{"too large", request(protobuf, "", proto), int64(len(proto) - 1), 413, "bytes"},
		{"too large, unknown length", noLength, 4999, 413, "4999 bytes"},
		{"too large, not read", unread, 4999, 413, "4999 bytes"},
		{"endless gzip of nothing", noLengthGzip, 4999, 413, "4999 bytes"},
		{"too large after decompression", request(protobuf, "gzip", bomb), 1 << 20, 413, "1048576 bytes"},
		{"zstd too large after decompression", request(protobuf, "zstd", zstandard(make([]byte, 1<<20+1))), 1 << 20, 413, "1048576 bytes"},
		{"endless zstd of nothing", request(protobuf, "zstd", bytes.Repeat(zstandard(nil, zstd.WithZeroFrames(true)), 1000)), 4999, 413, "4999 bytes"},
		{"just right", request(protobuf, "gzip", zip(proto)), int64(len(proto)), 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, store := testkit.NewTracer(t)
			contentType := c.r.Header.Get("Content-Type")
			w := serve(store, server.Options{MaxBodyBytes: c.maxBody}, c.r)
			testkit.Equal(t, "status", w.Code, c.status)
			if !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("answer %q does not say %q", w.Body, c.says)
			}
			switch c.status {
			case 200:
				return
			case 405:
				testkit.Equal(t, "Allow", w.Header().Get("Allow"), "POST")
			case 400, 413:
				testkit.Equal(t, "answer type", w.Header().Get("Content-Type"), contentType)
			}
			testkit.Equal(t, "spans", len(store.Spans()), 0)
		})
	}
}

// If the last span cannot be decoded, the collector does not get the first.
func TestAllOrNothing(t *testing.T) {
	last := batch("till", "no ids")
	last.Spans[0].SpanContext = dendro.SpanContext{}
	for _, r := range []*http.Request{
		request(protobuf, "", otlp.AppendTraces(nil, batches[0], last)),
		request(json, "", otlp.AppendTracesJSON(nil, batches[0], last)),
	} {
		_, store := testkit.NewTracer(t)
		w := serve(store, server.Options{}, r)
		testkit.Equal(t, "status", w.Code, 400)
		if !strings.Contains(w.Body.String(), "race") {
			t.Errorf("answer %q does not say where", w.Body)
		}
		testkit.Equal(t, "spans", len(store.Spans()), 0)
	}
}

// If the collector has no room, senders are asked to try again. If it refuses some
// spans, or can never accept them, the response has their number.
func TestCollectorRefuses(t *testing.T) {
	full := &dendro.DropError{Reason: "queue_full"}
	large := &dendro.DropError{Reason: collector.DropTooLarge}
	for _, c := range []struct {
		name       string
		refuse     []string // names of services
		err        error
		status     int
		retryAfter string
		protobuf   []byte
		jsonAnswer string
	}{
		{"all", []string{"shop", "till"}, full, 503, "1", otlp.AppendStatus(nil, 8, full.Error()), string(otlp.AppendStatusJSON(nil, 8, full.Error()))},
		{"some", []string{"shop"}, full, 200, "", otlp.Result{Rejected: 2, Message: full.Error()}.AppendProto(nil),
			`{"partialSuccess":{"rejectedSpans":"2","errorMessage":"dendro: spans dropped: queue_full"}}`},
		{"all, for good", []string{"shop", "till"}, large, 200, "", otlp.Result{Rejected: 3, Message: large.Error()}.AppendProto(nil),
			`{"partialSuccess":{"rejectedSpans":"3","errorMessage":"dendro: spans dropped: too_large"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuse := collect(func(b *dendro.Batch) error {
				for _, service := range c.refuse {
					if service == b.Resource.Service() {
						return c.err
					}
				}
				return nil
			})
			w := serve(refuse, server.Options{}, request(protobuf, "", otlp.AppendTraces(nil, batches...)))
			testkit.Equal(t, "status", w.Code, c.status)
			testkit.Equal(t, "Retry-After", w.Header().Get("Retry-After"), c.retryAfter)
			testkit.Equal(t, "answer", w.Body.Bytes(), c.protobuf)
			w = serve(refuse, server.Options{}, request(json, "", otlp.AppendTracesJSON(nil, batches...)))
			testkit.Equal(t, "status", w.Code, c.status)
			testkit.Equal(t, "answer", w.Body.String(), c.jsonAnswer)
		})
	}
}

// disk is a store whose spans are durable once sync has returned.
type disk struct {
	sync             error
	written, durable int
}

func (d *disk) Write(_ context.Context, batches []*dendro.Batch) error {
	for _, b := range batches {
		d.written += len(b.Spans)
	}
	if d.sync != nil {
		return d.sync
	}
	d.durable = d.written
	return nil
}

// TestAcknowledged: what is acknowledged is durable. If the store cannot sync, the client is
// told to send everything again.
func TestAcknowledged(t *testing.T) {
	for contentType, body := range map[string][]byte{
		"application/x-protobuf": otlp.AppendTraces(nil, batch("shop", "a", "b")),
		"application/json":       otlp.AppendTracesJSON(nil, batch("shop", "a", "b")),
	} {
		d := &disk{sync: errors.New("sync: no space left on device")}
		h := server.New(d, server.Options{})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(contentType, "", body))
		testkit.Equal(t, contentType+": not synced", []any{w.Code, w.Header().Get("Retry-After"), d.durable}, []any{503, "1", 0})
		if !strings.Contains(w.Body.String(), "no space left on device") {
			t.Errorf("the answer does not say why: %q", w.Body)
		}
		d.sync = nil
		w = httptest.NewRecorder()
		h.ServeHTTP(w, request(contentType, "", body))
		testkit.Equal(t, contentType+": synced", []any{w.Code, d.durable}, []any{200, d.written})
	}
}

// Bodies that may become much larger when they are decoded wait for each other. Other
// bodies do not wait.
func TestLargeBodiesAreTakenOneAtATime(t *testing.T) {
	for name, test := range map[string]struct {
		textBytes int
		want      time.Duration
	}{"small": {10, time.Second}, "large": {1 << 20, 3 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := collect(func(*dendro.Batch) error {
					time.Sleep(time.Second)
					return nil
				})
				h := server.New(collector.WriterOf(slow), server.Options{})
				body := otlp.AppendTraces(nil, batch("shop", strings.Repeat("x", test.textBytes)))
				began := time.Now()
				var requests sync.WaitGroup
				for range 3 {
					requests.Go(func() {
						w := httptest.NewRecorder()
						h.ServeHTTP(w, request(protobuf, "", body))
						testkit.Equal(t, "status", w.Code, 200)
					})
				}
				requests.Wait()
				testkit.Equal(t, "time", time.Since(began), test.want)
			})
		})
	}
}

// Whatever a client sends, the response is one that New documents, and the spans that are
// written are within the limits.
func FuzzServer(f *testing.F) {
	proto, text := otlp.AppendTraces(nil, batches...), otlp.AppendTracesJSON(nil, batches...)
	const traces, zipkin, grpc = "/v1/traces", "/api/v2/spans", "application/grpc"
	f.Add(traces, protobuf, "", proto)
	f.Add(traces, protobuf, "gzip", zip(proto))
	f.Add(traces, protobuf, "zstd", zstandard(proto))
	f.Add(traces, json, "", text)
	f.Add(traces, json+"; charset=utf-8", "identity", text[:50])
	f.Add(traces, "text/plain", "br", []byte("x"))
	f.Add(zipkin, json, "", []byte(zipkinSpans))
	f.Add(export, grpc, "", message(0, proto))
	f.Add(export, grpc+"+proto", "gzip", message(1, zip(proto)))
	f.Add(export, grpc, "zstd", message(1, zstandard(proto)))
	f.Add(export, grpc, "zstd", message(1, proto)[:9])
	f.Add("/other", grpc, "", message(0, nil))
	f.Fuzz(func(t *testing.T, path, contentType, encoding string, body []byte) {
		o := server.Options{
			MaxBodyBytes: 1 << 16, MaxSpans: 3, MaxAttributes: 2, MaxEvents: 2, MaxLinks: 2,
			MaxKeyBytes: 20, MaxNameBytes: 10, MaxValueBytes: 30,
		}
		written := 0
		h := server.New(collector.WriterOf(collect(func(b *dendro.Batch) error {
			written += len(b.Spans)
			wantWithin(t, o, b)
			return nil
		})), o)
		r := request(contentType, encoding, body)
		r.URL.Path, r.ProtoMajor = path, 2
		r.Header.Set("Grpc-Encoding", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		refused := w.Code/100 != 2
		switch w.Code {
		case 200:
			if w.Header().Get("Content-Type") == grpc {
				status := w.Header().Get("Grpc-Status")
				refused = status != ""
				switch status {
				case "", "3", "8", "12":
				default:
					t.Errorf("gRPC status %s", status)
				}
			}
		case 202, 400, 404, 413, 415:
		default:
			t.Errorf("status %d", w.Code)
		}
		if refused && written > 0 || written > o.MaxSpans {
			t.Errorf("%d spans are written", written)
		}
		stats := h.Stats()
		testkit.Equal(t, "in flight", stats.InFlightBytes, int64(0))
		for _, p := range stats.Protocols {
			rejected := uint64(0)
			for _, n := range p.RejectedSpans {
				rejected += n
			}
			testkit.Equal(t, p.Protocol, p.ReceivedSpans, p.StoredSpans+rejected)
		}
	})
}
