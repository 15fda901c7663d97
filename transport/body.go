package transport

import (
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// body is a response body that ends the span of its request, once: at the end
// of the data, with an error or when it is closed. One goroutine may close it
// while another reads.
type body struct {
	inner    io.ReadCloser
	span     *dendro.Span
	request  *http.Request
	upgraded bool // to another protocol
	bytes    atomic.Int64
	ended    atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.bytes.Add(int64(n))
	if err == io.EOF {
		b.eof()
	} else if err != nil {
		b.end(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.end(nil) // first: a Read that Close interrupts has not failed
	return b.inner.Close()
}

func (b *body) writeTo(w io.Writer) (int64, error) {
	n, err := b.inner.(io.WriterTo).WriteTo(w)
	b.bytes.Add(n)
	if err == nil {
		b.eof()
	} else {
		b.end(err)
	}
	return n, err
}

// eof ends the span, unless there may be more to write.
func (b *body) eof() {
	if !b.upgraded {
		b.end(nil)
	}
}

// end ends the span; err, if not nil, is why.
func (b *body) end(err error) {
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	if b.inner != nil {
		b.span.SetAttributes(slog.Int64(semconv.HTTPResponseBodySize, b.bytes.Load()))
	}
	if err != nil {
		b.span.SetAttributes(slog.String(semconv.ErrorType, errorType(b.request, err)))
		b.span.RecordError(err)
	}
	b.span.End()
}

// closeWriter is a connection with two halves, as [http.Transport] gives it for
// 101 Switching Protocols. [net/http/httputil.ReverseProxy] looks for it.
type closeWriter interface{ CloseWrite() error }

// exact returns b with those optional interfaces that b.inner has: io.Writer,
// io.WriterTo and closeWriter. As in package middleware each of the types below
// adds one method, and a value in an interface needs no memory.
func (b *body) exact() io.ReadCloser {
	_, w := b.inner.(io.Writer)
	_, t := b.inner.(io.WriterTo)
	_, c := b.inner.(closeWriter)
	switch {
	case w && t && c:
		return bodyWTC{bodyWT{bodyW{b}}}
	case w && t:
		return bodyWT{bodyW{b}}
	case w && c:
		return bodyWC{bodyW{b}}
	case t && c:
		return bodyTC{bodyT{b}}
	case w:
		return bodyW{b}
	case t:
		return bodyT{b}
	case c:
		return bodyC{b}
	}
	return b
}

type (
	bodyW   struct{ *body }
	bodyT   struct{ *body }
	bodyC   struct{ *body }
	bodyWT  struct{ bodyW }
	bodyWC  struct{ bodyW }
	bodyTC  struct{ bodyT }
	bodyWTC struct{ bodyWT }
)

func (b bodyW) Write(p []byte) (int, error)         { return b.inner.(io.Writer).Write(p) }
func (b bodyT) WriteTo(w io.Writer) (int64, error)  { return b.writeTo(w) }
func (b bodyWT) WriteTo(w io.Writer) (int64, error) { return b.writeTo(w) }
func (b bodyC) CloseWrite() error                   { return b.inner.(closeWriter).CloseWrite() }
func (b bodyWC) CloseWrite() error                  { return b.inner.(closeWriter).CloseWrite() }
func (b bodyTC) CloseWrite() error                  { return b.inner.(closeWriter).CloseWrite() }
func (b bodyWTC) CloseWrite() error                 { return b.inner.(closeWriter).CloseWrite() }
