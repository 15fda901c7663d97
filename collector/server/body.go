package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// badRequest describes why a request is refused.
type badRequest struct {
	status  int
	message string
}

// maxPooledBytes bounds the size of a buffer that is kept for another request.
const maxPooledBytes = 1 << 20

var (
	buffers     = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
)

// fill reads and decompresses the body of r into dst.
func (h *handler) fill(dst *bytes.Buffer, w http.ResponseWriter, r *http.Request) *badRequest {
	tooLarge := &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", h.maxBody)}
	if r.ContentLength > h.maxBody {
		return tooLarge
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, h.maxBody)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		z := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(z)
		if err := z.Reset(body); err != nil {
			return readError(err, tooLarge)
		}
		body = z
	default:
		return &badRequest{http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %q is unknown: want gzip or none", encoding)}
	}
	n, err := dst.ReadFrom(io.LimitReader(body, h.maxBody+1))
	if err != nil {
		return readError(err, tooLarge)
	}
	if n > h.maxBody {
		return tooLarge
	}
	return nil
}

func readError(err error, tooLarge *badRequest) *badRequest {
	var exceeded *http.MaxBytesError
	if errors.As(err, &exceeded) {
		return tooLarge
	}
	return &badRequest{http.StatusBadRequest, "reading the body: " + err.Error()}
}
