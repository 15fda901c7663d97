package middleware

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
)

//go:generate go run ./internal/gen

// writer observes what a handler sends. The handler gets it as one of the types of
// writer_gen.go, which has exactly the optional interfaces of next. Each method of
// these types calls the lower-case method of writer with the same name.
type writer struct {
	next     http.ResponseWriter
	x        *exchange
	header   http.Header            // of next; nil until the handler asks for it
	length   int64                  // Content-Length when the header was sent; -1 if unknown
	bytes    atomic.Int64           // of the body that were sent
	open     atomic.Pointer[stream] // nil unless the response is a stream
	status   atomic.Int32           // that was sent; 0 before that
	hijacked atomic.Bool
}

// flushErrorer is an interface that [http.ResponseController] looks for.
type flushErrorer interface{ FlushError() error }

// Unwrap lets [http.ResponseController] set deadlines and full duplex. If next can be
// flushed or hijacked only by way of its own Unwrap, the result observes that too.
func (w *writer) Unwrap() http.ResponseWriter {
	flush, hijack := w.below()
	switch p := (passage{w}); {
	case flush && hijack:
		return passageFH{passageF{p}}
	case flush:
		return passageF{p}
	case hijack:
		return passageH{p}
	}
	return w.next
}

// below reports whether next can be flushed and hijacked only by way of its own Unwrap.
// It looks further than a controller might, so that an Unwrap that panics does not
// matter yet.
func (w *writer) below() (flush, hijack bool) {
	defer func() { _ = recover() }()
	canFlushNext, canHijackNext := canFlush(w.next), canHijack(w.next)
	next, ok := w.next.(unwrapper)
	for deep := 0; ok && (!canFlushNext || !canHijackNext) && deep < maxDeep; deep++ {
		below := next.Unwrap()
		flush = flush || !canFlushNext && canFlush(below)
		hijack = hijack || !canHijackNext && canHijack(below)
		next, ok = below.(unwrapper)
	}
	return flush, hijack
}

// maxDeep bounds how many nested writers or routers are searched. A writer may unwrap
// to itself.
const maxDeep = 32

// unwrapper is an interface that [http.ResponseController] looks for.
type unwrapper interface{ Unwrap() http.ResponseWriter }

func canFlush(w http.ResponseWriter) bool {
	switch w.(type) {
	case http.Flusher, flushErrorer:
		return true
	}
	return false
}

func canHijack(w http.ResponseWriter) bool {
	_, ok := w.(http.Hijacker)
	return ok
}

// passage stands for writer.next and observes flushes and hijacks on the way to it.
type (
	passage   struct{ *writer }
	passageF  struct{ passage }
	passageH  struct{ passage }
	passageFH struct{ passageF }
)

func (p passage) Unwrap() http.ResponseWriter                    { return p.next }
func (p passageF) Flush()                                        { _ = p.flushError() }
func (p passageF) FlushError() error                             { return p.flushError() }
func (p passageH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return p.hijack() }
func (p passageFH) Hijack() (net.Conn, *bufio.ReadWriter, error) { return p.hijack() }

func (w *writer) Header() http.Header {
	header := w.next.Header()
	if w.header == nil { // several goroutines may call Header at once, if next permits
		w.header = header
	}
	return header
}

func (w *writer) WriteHeader(status int) {
	if w.late(status) {
		return
	}
	final := status >= 200 || status == http.StatusSwitchingProtocols && w.x.outer.ProtoMajor == 1
	if final {
		w.begin()
	}
	w.next.WriteHeader(status)
	if final {
		w.sent(status)
	}
}

// begin is called before the header is sent.
func (w *writer) begin() {
	if w.status.Load() != 0 || w.hijacked.Load() {
		return
	}
	w.limit()
	w.length = -1
	if values := w.header["Content-Length"]; len(values) > 0 {
		if n, err := strconv.ParseInt(values[0], 10, 64); err == nil {
			w.length = n
		}
	}
	if list := w.x.h.responseHeaders; len(list) > 0 {
		w.x.span.SetAttributes(list.Append(nil, w.next.Header())...)
	}
}

// limit does what [http.MaxBytesReader] asks of the response writer of net/http.
func (w *writer) limit() {
	if w.tooLarge() {
		w.next.Header().Set("Connection", "close")
	}
}

// sent records that the header was sent, with status unless another was sent before.
func (w *writer) sent(status int) {
	if !w.hijacked.Load() {
		w.status.CompareAndSwap(0, int32(status))
	}
}

// wrote records that n bytes of the body were sent.
func (w *writer) wrote(n int64) {
	w.sent(http.StatusOK)
	if w.bytes.Add(n) > streamBytes {
		w.stream(false)
	}
}

func (w *writer) Write(p []byte) (int, error) {
	if w.hijacked.Load() && len(p) > 0 && w.lateWrite() {
		return 0, http.ErrHijacked
	}
	w.begin()
	n, err := w.next.Write(p)
	w.wrote(int64(n))
	return n, err
}

func (w *writer) writeString(s string) (int, error) {
	if w.hijacked.Load() && len(s) > 0 && w.lateWrite() {
		return 0, http.ErrHijacked
	}
	w.begin()
	n, err := w.next.(io.StringWriter).WriteString(s)
	w.wrote(int64(n))
	return n, err
}

// readFrom lets next decide how to copy. It may use sendfile.
func (w *writer) readFrom(src io.Reader) (int64, error) {
	w.begin()
	from := src
	limited, ok := src.(*io.LimitedReader) // of io.CopyN, for example
	if ok {
		from = limited.R
	}
	if !ok || limited.N > streamBytes {
		_, file := from.(*os.File) // other readers may not have data yet
		w.stream(file)
	}
	n, err := w.next.(io.ReaderFrom).ReadFrom(src)
	if n > 0 { // otherwise no header was sent, and the handler may still send an error
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
	err := http.NewResponseController(w.next).Flush()
	if err == nil {
		w.flushed()
	}
	return err
}

func (w *writer) flushed() {
	w.sent(http.StatusOK)
	w.stream(w.bytes.Load() <= streamBytes).flushes.Add(1) // of a larger body, a part was sent before
}

func (w *writer) push(target string, o *http.PushOptions) error {
	return w.next.(http.Pusher).Push(target, o)
}

func (w *writer) closeNotify() <-chan bool {
	return w.next.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // deprecated, but handlers still look for it
}
