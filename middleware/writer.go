package middleware

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

//go:generate go run ./internal/gen

// writer watches what a handler sends. Handlers get it as one of the types of
// writer_gen.go, which has the optional interfaces of next and no other; each
// of them is a lower-case method here.
type writer struct {
	next     http.ResponseWriter
	x        *exchange
	status   int          // final status sent, 0 before
	bytes    atomic.Int64 // of the body
	hijacked bool
	open     atomic.Pointer[stream] // nil unless it takes long
}

// flushErrorer is what [http.ResponseController] looks for.
type flushErrorer interface{ FlushError() error }

// Unwrap lets [http.ResponseController] reach deadlines and full duplex.
func (w *writer) Unwrap() http.ResponseWriter { return w.next }

func (w *writer) Header() http.Header { return w.next.Header() }

func (w *writer) WriteHeader(status int) {
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if final {
		w.begin()
	}
	w.next.WriteHeader(status)
	if final {
		w.sent(status)
	}
}

// begin is called before the header goes.
func (w *writer) begin() {
	x := w.x
	if w.status != 0 || w.hijacked {
		return
	}
	if x.body.ReadCloser != nil && x.outer.ProtoMajor == 1 && x.body.tooLarge(x.request.Body) {
		w.next.Header().Set("Connection", "close") // as http.MaxBytesReader asks of a writer of net/http
	}
	if len(x.h.responseHeaders) > 0 {
		x.span.SetAttributes(x.h.responseHeaders.Append(nil, w.next.Header())...)
	}
}

// sent notes that the header has gone, with status if none has gone before.
func (w *writer) sent(status int) {
	if w.status == 0 && !w.hijacked {
		w.status = status
	}
}

// wrote notes that n bytes of the body have gone.
func (w *writer) wrote(n int64) {
	w.sent(http.StatusOK)
	if w.bytes.Add(n) > streamBytes {
		w.stream()
	}
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.next.Write(p)
	w.wrote(int64(n))
	return n, err
}

func (w *writer) writeString(s string) (int, error) {
	w.begin()
	n, err := w.next.(io.StringWriter).WriteString(s)
	w.wrote(int64(n))
	return n, err
}

// readFrom leaves it to next how to copy: with sendfile, for example.
func (w *writer) readFrom(src io.Reader) (int64, error) {
	w.begin()
	if limited, ok := src.(*io.LimitedReader); !ok || limited.N > streamBytes { // of io.CopyN, for example
		w.stream()
	}
	n, err := w.next.(io.ReaderFrom).ReadFrom(src)
	if n > 0 { // else the header has not gone: the handler may still answer with an error
		w.wrote(n)
	}
	return n, err
}

func (w *writer) flush() {
	w.begin()
	w.next.(http.Flusher).Flush()
	w.flushed()
}

func (w *writer) flushError() error {
	w.begin()
	err := w.next.(flushErrorer).FlushError()
	w.flushed()
	return err
}

func (w *writer) flushed() {
	w.sent(http.StatusOK)
	w.stream().flushes.Add(1)
}

func (w *writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.next.(http.Hijacker).Hijack()
	if err == nil {
		w.hijacked = true
		w.x.span.AddEvent("hijacked")
		w.stream()
	}
	return conn, buf, err
}

func (w *writer) push(target string, o *http.PushOptions) error {
	return w.next.(http.Pusher).Push(target, o)
}

func (w *writer) closeNotify() <-chan bool {
	return w.next.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // deprecated, but handlers still look for it
}
