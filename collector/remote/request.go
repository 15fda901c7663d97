package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/otlp"
)

const (
	contentType = "application/x-protobuf"
	jsonType    = "application/json"
)

// maxAnswerBytes bounds how much of a response is read. maxMessageBytes bounds the
// length of an error message.
const (
	maxAnswerBytes  = 64 << 10
	maxMessageBytes = 256
)

// answer is the outcome of a request.
type answer struct {
	rejected int64  // number of rejected spans
	message  string // the reason, or a warning
	err      error  // nothing was accepted
	retry    bool   // the error may be temporary
	content  bool   // the error is about these spans
	after    time.Duration
}

// content is the body of a request.
type content struct {
	spool.Body
	// batch, if not nil, owns the memory of the body. A transport may read it after the
	// request has returned.
	batch *batch
}

// content returns what a request for b contains.
func (b *batch) content() *content {
	return &content{Body: spool.Body{Parts: b.parts()}, batch: b}
}

// encode returns c as it is sent. Unless that is compressed, it shares the memory of c.
func encode(c *content, compress bool) *content {
	if compress {
		return &content{Body: c.Compress()}
	}
	return c
}

// body returns a reader of c. The transport closes it.
func (c *content) body() (io.ReadCloser, error) {
	if c.batch != nil {
		c.batch.readers.Add(1)
	}
	return &body{left: c.Parts, batch: c.batch}, nil
}

// body may be closed while it is read, as the HTTP/2 transport of net/http does.
type body struct {
	mu     sync.Mutex // guards what follows
	left   [][]byte
	at     int // offset in the first part
	batch  *batch
	closed bool
}

func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	for n < len(p) && len(b.left) > 0 {
		k := copy(p[n:], b.left[0][b.at:])
		n += k
		if b.at += k; b.at == len(b.left[0]) {
			b.left, b.at = b.left[1:], 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close may be called more than once.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && b.batch != nil {
		b.batch.readers.Add(-1)
	}
	b.closed = true
	return nil
}

// post makes one request. It may be retried in the cases listed in the section
// "Failures" of the OTLP specification.
func (s *sender) post(parent context.Context, c *content) answer {
	ctx, cancel := context.WithTimeout(parent, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, nil)
	if err != nil {
		return answer{err: err}
	}
	req.Header = s.header.Clone()
	if c.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	req.Body, _ = c.body()
	req.GetBody, req.ContentLength = c.body, int64(c.Size())
	res, err := s.client.Do(req)
	if err != nil {
		var in *url.Error // its message contains the URL
		if errors.As(err, &in) {
			err = in.Err
		}
		if ctx.Err() != nil && parent.Err() == nil {
			err = fmt.Errorf("no response within %v", s.timeout)
		}
		return answer{err: err, retry: true}
	}
	defer res.Body.Close()
	// A response that is cut short still has a status.
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode/100 == 2 {
		return accepted(mediaType, text)
	}
	a := answer{err: statusError(res, mediaType, text)}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.retry = true
		a.after = retryAfter(res.Header.Get("Retry-After"))
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		a.content = true
	}
	return a
}

// accepted reads an ExportTraceServiceResponse. If it cannot be read, the spans count
// as accepted.
func accepted(mediaType string, text []byte) answer {
	decode := otlp.DecodeResult
	if mediaType == jsonType {
		decode = otlp.DecodeResultJSON
	}
	result, err := decode(text)
	if err != nil {
		return answer{}
	}
	return answer{rejected: max(0, result.Rejected), message: result.Message}
}

// statusError returns the error for a status other than 2xx. It contains the message
// of the google.rpc.Status or the text of the response.
func statusError(res *http.Response, mediaType string, body []byte) error {
	text := string(body)
	switch mediaType {
	case contentType:
		_, text, _ = otlp.DecodeStatus(body)
	case "text/html":
		text = ""
	}
	if to := res.Header.Get("Location"); to != "" {
		text = "redirects are not followed, dial " + to
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxMessageBytes)], "")
	if text = strings.TrimSpace(text); text == "" {
		return errors.New(res.Status)
	}
	return errors.New(res.Status + ": " + text)
}

// retryAfter parses a Retry-After header, which is a number of seconds or a date (RFC
// 9110, section 10.2.3).
func retryAfter(s string) time.Duration {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
