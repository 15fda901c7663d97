package server

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/klauspost/compress/zstd"
)

// maxWindowBytes bounds how far a zstd frame refers back, which the decoder must keep. It is
// what decoders should support (RFC 8878, section 3.1.1.1.2), and what encoders use unless
// they are asked for more.
const maxWindowBytes = 8 << 20

// acceptEncoding lists the keys of decompressors.
const acceptEncoding = "gzip, zstd"

// decompressors are pools of a decompressor, by Content-Encoding.
var decompressors = map[string]*sync.Pool{
	"gzip": {New: func() any { return new(gzip.Reader) }},
	"zstd": {New: func() any { return newZstd() }},
}

type decompressor interface {
	io.Reader
	Reset(io.Reader) error
}

func newZstd() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), // no goroutines, so it need not be closed
		zstd.WithDecoderMaxWindow(maxWindowBytes),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // an option is wrong
	}
	return d
}

// decompressorOf returns the pool for an encoding, which is nil for identity.
func decompressorOf(encoding string) (*sync.Pool, *refusal) {
	encoding = strings.ToLower(encoding)
	if encoding == "" || encoding == "identity" {
		return nil, nil
	}
	if pool := decompressors[encoding]; pool != nil {
		return pool, nil
	}
	return nil, &refusal{wrongEncoding, fmt.Sprintf("encoding %.100q is unknown: want %s, or none", encoding, acceptEncoding)}
}

// errBusy is an error of reading a body: too much is in flight.
var errBusy = errors.New("busy")

// hold counts n bytes as in flight until the call ends. It reports whether there is room.
func (c *call) hold(n int64) bool {
	if c.inFlight.Add(n) > c.options.MaxInFlightBytes {
		c.inFlight.Add(-n)
		return false
	}
	c.held += n
	return true
}

// holdingReader holds what it reads.
type holdingReader struct {
	call *call
	src  io.Reader
}

func (r holdingReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if !r.call.hold(int64(n)) {
		return n, errBusy
	}
	return n, err
}

// receiveHTTP receives a request of OTLP/HTTP or Zipkin.
func (c *call) receiveHTTP(w http.ResponseWriter, r *http.Request) (otlp.Result, *refusal) {
	if r.Method != http.MethodPost {
		return otlp.Result{}, errMethod
	}
	pool, bad := decompressorOf(r.Header.Get("Content-Encoding"))
	if bad != nil {
		return otlp.Result{}, bad
	}
	limit := c.options.MaxBodyBytes
	if r.ContentLength > limit {
		return otlp.Result{}, largerThan(limit)
	}
	return c.receive(r.Context(), w, c.options.ReadTimeout, func() (*sync.Pool, *refusal) {
		return pool, c.read(http.MaxBytesReader(w, r.Body, limit))
	})
}

// receive reads the body of a request and writes its spans. read fills c.raw, waits at most
// wait for the client, and returns the pool of its decompressor, which is nil if it is not
// compressed.
func (c *call) receive(ctx context.Context, w http.ResponseWriter, wait time.Duration, read func() (*sync.Pool, *refusal)) (otlp.Result, *refusal) {
	if !c.hold(requestBytes) {
		return otlp.Result{}, c.busy()
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(wait)) // a wrapper may not support it
	pool, bad := read()
	c.bytes.Add(uint64(c.raw.Len()))
	if bad != nil {
		return otlp.Result{}, bad
	}
	_ = conn.SetReadDeadline(time.Time{}) // or else it would cancel the context of Write
	body := c.raw.Bytes()
	if pool != nil {
		if body, bad = c.decompress(ctx, pool); bad != nil {
			return otlp.Result{}, bad
		}
	}
	return c.write(ctx, body)
}

// read reads src into c.raw.
func (c *call) read(src io.Reader) *refusal {
	_, err := c.raw.ReadFrom(holdingReader{c, src})
	return c.readError(err)
}

// decompress decompresses c.raw into c.plain.
func (c *call) decompress(ctx context.Context, pool *sync.Pool) ([]byte, *refusal) {
	select {
	case c.decompressing <- struct{}{}:
		defer func() { <-c.decompressing }()
	case <-ctx.Done():
		return nil, writeError(ctx, ctx.Err())
	}
	z := pool.Get().(decompressor)
	defer pool.Put(z)
	c.compressed.Reset(c.raw.Bytes())
	defer c.compressed.Reset(nil) // z refers to it
	limit := c.options.MaxDecompressedBytes
	err := z.Reset(&c.compressed)
	if err == nil {
		_, err = c.plain.ReadFrom(holdingReader{c, io.LimitReader(z, limit+1)})
	}
	if int64(c.plain.Len()) > limit {
		return nil, largerThan(limit)
	}
	return c.plain.Bytes(), c.readError(err)
}

// readError returns why a request is refused whose body could not be read, or nil if err is
// nil.
func (c *call) readError(err error) *refusal {
	exceeded := (*http.MaxBytesError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBusy):
		return c.busy()
	case errors.As(err, &exceeded):
		return largerThan(exceeded.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{tooSlow, "the body has not arrived in time"}
	}
	return &refusal{invalid, "reading the body: " + err.Error()}
}

func largerThan(limit int64) *refusal {
	return &refusal{tooLarge, fmt.Sprintf("the body has more than %d bytes", limit)}
}

func (c *call) busy() *refusal {
	return &refusal{busy, fmt.Sprintf("%d bytes of requests are in flight: try again", c.options.MaxInFlightBytes)}
}
