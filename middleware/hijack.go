package middleware

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
	"weak"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// upgrade is the header that says why a connection was hijacked.
var upgrade = semconv.RequestHeaders([]string{"Upgrade"})

func (w *writer) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(w.next).Hijack()
	if err != nil {
		return conn, buf, err
	}
	w.hijacked.Store(true)
	w.x.span.AddEvent("hijacked")
	w.x.span.SetAttributes(append(upgrade.Append(nil, w.x.outer.Header), slog.Bool(semconv.HTTPHijacked, true))...)
	isOpen := openness(conn)
	if s := w.stream(false); s != ended {
		s.isOpen = isOpen
	}
	if isOpen != nil && w.x.h.typeOf(w.next).server == http1Writer { // otherwise buf may write elsewhere
		buf.Writer.Reset(w.firstWriteTo(conn))
	}
	return conn, buf, err
}

// firstWriteTo returns a writer to conn that has the optional interfaces of conn that
// package bufio uses. It records the status of the response if the handler writes one,
// such as 101 before it speaks another protocol.
func (w *writer) firstWriteTo(conn net.Conn) io.Writer {
	first := &firstWrite{conn, w}
	if _, ok := conn.(io.ReaderFrom); ok {
		return readerFrom{first}
	}
	return first
}

type firstWrite struct {
	conn net.Conn
	w    *writer // nil after the first write
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if w := f.w; w != nil {
		f.w = nil
		w.answered(p)
	}
	return f.conn.Write(p)
}

type readerFrom struct{ *firstWrite }

func (r readerFrom) ReadFrom(src io.Reader) (int64, error) {
	return r.conn.(io.ReaderFrom).ReadFrom(src)
}

// answered records the status in p, the first bytes written to a hijacked connection.
// They usually are "HTTP/1.1 101 Switching Protocols".
func (w *writer) answered(p []byte) {
	const version, code = "HTTP/1.1 ", "101"
	if len(p) < len(version)+len(code) || string(p[:5]) != version[:5] {
		return
	}
	status, err := strconv.Atoi(string(p[len(version) : len(version)+len(code)]))
	if err != nil || status < 200 && status != http.StatusSwitchingProtocols || !w.status.CompareAndSwap(0, int32(status)) {
		return
	}
	if w.x.span.IsRecording() { // the handler may have returned
		w.x.span.SetAttributes(slog.Int(semconv.HTTPResponseStatusCode, status))
	}
}

// openness returns a function that reports whether conn is open, or nil if there is no
// way to tell. The function does not keep conn alive: the garbage collector closes a
// connection that the program has forgotten.
func openness(conn net.Conn) func() bool {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		return weakly(c)
	case *net.UnixConn:
		return weakly(c)
	}
	return nil
}

func weakly[T any, C interface {
	*T
	syscall.Conn
}](conn C) func() bool {
	pointer := weak.Make((*T)(conn))
	return func() bool {
		conn := C(pointer.Value())
		if conn == nil {
			return false
		}
		raw, err := conn.SyscallConn()
		return err == nil && raw.Control(func(uintptr) {}) == nil
	}
}

// conversation is a hijacked connection that is still open after the handler has
// returned, because other goroutines use it. The span ends when the connection is
// closed. That is checked at intervals of a sixteenth of the time that has passed,
// within bounds.
type conversation struct {
	context.Context // with the span, without a reference to the request
	span            *dendro.Span
	name            string
	isOpen          func() bool
	began           time.Time
	since           time.Time     // as of stream
	wait            time.Duration // as of stream
}

const (
	minLook   = 50 * time.Millisecond
	maxLook   = 5 * time.Second
	lookShare = 16
)

// converse leaves the span of x open until the connection of s is closed. It returns
// false if it is closed already or there is none.
func (x *exchange) converse(s *stream) bool {
	if s.isOpen == nil || !s.isOpen() {
		return false
	}
	c := &conversation{
		Context: dendro.ContextWithSpan(context.Background(), x.span),
		span:    x.span, name: s.name(), isOpen: s.isOpen, began: monotonic.Now(), since: s.since, wait: s.wait,
	}
	time.AfterFunc(minLook, c.look)
	return true
}

func (c *conversation) look() {
	now := monotonic.Now()
	switch {
	case !c.span.IsRecording(): // it has been ended elsewhere
		return
	case !c.isOpen():
		c.span.EndAt(now)
		return
	}
	if now.Sub(c.since) >= c.wait {
		tell(c, c.name, c.since, now)
		c.since, c.wait = now, min(2*c.wait, lastPart)
	}
	time.AfterFunc(min(max(now.Sub(c.began)/lookShare, minLook), maxLook), c.look)
}
