package transport

import (
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
)

// body is a response body that ends the span of its request once: at the end of the
// data, with an error, when it is closed, or when it becomes unreachable. One
// goroutine may close it while another reads.
//
// Only the caller has a reference to it. The connection, which waits for the end of
// the data, refers to the request and so to the exchange. With HTTP/2 it also refers
// to the response, so the caller gets a copy of that.
type body struct {
	inner    io.ReadCloser
	exchange *exchange
	sentinel *sentinel
	original *http.Response // that copied is a copy of; nil if there is no copy
	copied   *http.Response
	upgraded bool // to another protocol
	ended    atomic.Bool
}

// sentinel belongs to one body that has not ended. If its finalizer finds an exchange,
// that body has become unreachable. Sentinels are reused, because a finalizer or
// runtime.AddCleanup for each body would take a large part of the time of a request.
type sentinel struct{ exchange *exchange }

var sentinels = sync.Pool{New: func() any {
	s := new(sentinel)
	runtime.SetFinalizer(s, (*sentinel).lost)
	return s
}}

// lost is called by the garbage collector. It does not wait for the span to end,
// because the collector of spans may be slow and other finalizers wait.
func (s *sentinel) lost() {
	if s.exchange != nil {
		go s.exchange.forgotten()
	}
}

// wrapBody returns resp, or a copy, with a body that ends x.
func (x *exchange) wrapBody(resp *http.Response) *http.Response {
	b := &body{inner: resp.Body, exchange: x, upgraded: resp.StatusCode == http.StatusSwitchingProtocols}
	b.sentinel = sentinels.Get().(*sentinel)
	b.sentinel.exchange = x
	if resp.ProtoMajor >= 2 {
		b.original, b.copied = resp, new(http.Response)
		*b.copied = *resp
		resp = b.copied
	}
	resp.Body = b.exact()
	return resp
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.exchange.received.Add(int64(n))
	if err == io.EOF {
		b.eof()
	} else if err != nil {
		b.end(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.end(nil) // before Close, which may interrupt a Read that has not failed
	return b.inner.Close()
}

func (b *body) writeTo(w io.Writer) (int64, error) {
	n, err := b.inner.(io.WriterTo).WriteTo(w)
	b.exchange.received.Add(n)
	if err == nil {
		b.eof()
	} else {
		b.end(err)
	}
	return n, err
}

// write and closeWrite keep b alive until they return: they may be the last use of it.
func (b *body) write(p []byte) (int, error) {
	defer runtime.KeepAlive(b)
	return b.inner.(io.Writer).Write(p)
}

func (b *body) closeWrite() error {
	defer runtime.KeepAlive(b)
	return b.inner.(closeWriter).CloseWrite()
}

// eof ends the span, unless the connection was upgraded and may still be written to.
// By now trailers that the server did not announce are set.
func (b *body) eof() {
	if b.original != nil {
		b.copied.Trailer = b.original.Trailer
	}
	if !b.upgraded {
		b.end(nil)
	}
}

// end ends the span once, with an error if err is not nil.
func (b *body) end(err error) {
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	b.sentinel.exchange = nil
	sentinels.Put(b.sentinel)
	b.sentinel = nil
	b.exchange.endBody(err)
}

// closeWriter is a connection that can be closed for writing. [http.Transport] returns
// one for 101 Switching Protocols, and [net/http/httputil.ReverseProxy] looks for it.
type closeWriter interface{ CloseWrite() error }

// exact returns b with exactly the optional interfaces of b.inner: io.Writer,
// io.WriterTo and closeWriter. Each of the types below adds one method and is one
// pointer wide, so that storing it in an interface does not allocate.
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

func (b bodyW) Write(p []byte) (int, error)         { return b.write(p) }
func (b bodyT) WriteTo(w io.Writer) (int64, error)  { return b.writeTo(w) }
func (b bodyWT) WriteTo(w io.Writer) (int64, error) { return b.writeTo(w) }
func (b bodyC) CloseWrite() error                   { return b.closeWrite() }
func (b bodyWC) CloseWrite() error                  { return b.closeWrite() }
func (b bodyTC) CloseWrite() error                  { return b.closeWrite() }
func (b bodyWTC) CloseWrite() error                 { return b.closeWrite() }
