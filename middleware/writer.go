package middleware

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/dendrotrace/dendro"
)

//go:generate go run ./internal/gen

// writer watches what a handler sends. Handlers get it as one of the types of
// writer_gen.go, which has the optional interfaces of next and no other; each
// of them is a lower-case method here.
type writer struct {
	next     http.ResponseWriter
	span     *dendro.Span
	status   int   // final status sent, 0 before
	bytes    int64 // of the body
	hijacked bool
}

// flushErrorer is what [http.ResponseController] looks for.
type flushErrorer interface{ FlushError() error }

// Unwrap lets [http.ResponseController] reach deadlines and full duplex.
func (w *writer) Unwrap() http.ResponseWriter { return w.next }

func (w *writer) Header() http.Header { return w.next.Header() }

func (w *writer) WriteHeader(status int) {
	w.next.WriteHeader(status)
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.sent(status)
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
	w.bytes += n
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.next.Write(p)
	w.wrote(int64(n))
	return n, err
}

func (w *writer) writeString(s string) (int, error) {
	n, err := w.next.(io.StringWriter).WriteString(s)
	w.wrote(int64(n))
	return n, err
}

// readFrom leaves it to next how to copy: with sendfile, for example.
func (w *writer) readFrom(src io.Reader) (int64, error) {
	n, err := w.next.(io.ReaderFrom).ReadFrom(src)
	if n > 0 { // else the header has not gone: the handler may still answer with an error
		w.wrote(n)
	}
	return n, err
}

func (w *writer) flush() {
	w.next.(http.Flusher).Flush()
	w.sent(http.StatusOK)
}

func (w *writer) flushError() error {
	err := w.next.(flushErrorer).FlushError()
	w.sent(http.StatusOK)
	return err
}

func (w *writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.next.(http.Hijacker).Hijack()
	if err == nil {
		w.hijacked = true
		w.span.AddEvent("hijacked")
	}
	return conn, buf, err
}

func (w *writer) push(target string, o *http.PushOptions) error {
	return w.next.(http.Pusher).Push(target, o)
}

func (w *writer) closeNotify() <-chan bool {
	return w.next.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // deprecated, but handlers still look for it
}
