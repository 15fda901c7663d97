package middleware

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// calls is a writer with every optional interface that notes what is called.
type calls struct{ got []string }

func (c *calls) note(method string) { c.got = append(c.got, method) }

func (c *calls) Header() http.Header         { c.note("Header"); return http.Header{} }
func (c *calls) Write(p []byte) (int, error) { c.note("Write"); return len(p), nil }
func (c *calls) WriteHeader(int)             { c.note("WriteHeader") }
func (c *calls) Flush()                      { c.note("Flush") }
func (c *calls) FlushError() error           { c.note("FlushError"); return nil }
func (c *calls) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c.note("Hijack")
	return nil, nil, http.ErrNotSupported
}
func (c *calls) ReadFrom(r io.Reader) (int64, error) {
	c.note("ReadFrom")
	return io.Copy(io.Discard, r)
}
func (c *calls) WriteString(s string) (int, error)    { c.note("WriteString"); return len(s), nil }
func (c *calls) Push(string, *http.PushOptions) error { c.note("Push"); return nil }
func (c *calls) CloseNotify() <-chan bool             { c.note("CloseNotify"); return nil }

// callAll calls every method that w has and returns their names, and how many
// bytes of body it has written.
func callAll(w http.ResponseWriter) (names []string, bytes int64) {
	call := func(name string, n int64) { names, bytes = append(names, name), bytes+n }
	w.Header()
	call("Header", 0)
	w.WriteHeader(http.StatusAccepted)
	call("WriteHeader", 0)
	_, _ = w.Write([]byte("1"))
	call("Write", 1)
	if w, ok := w.(http.Flusher); ok {
		w.Flush()
		call("Flush", 0)
	}
	if w, ok := w.(interface{ FlushError() error }); ok {
		_ = w.FlushError()
		call("FlushError", 0)
	}
	if w, ok := w.(http.Hijacker); ok {
		_, _, _ = w.Hijack()
		call("Hijack", 0)
	}
	if w, ok := w.(io.ReaderFrom); ok {
		_, _ = w.ReadFrom(strings.NewReader("22"))
		call("ReadFrom", 2)
	}
	if w, ok := w.(io.StringWriter); ok {
		_, _ = w.WriteString("333")
		call("WriteString", 3)
	}
	if w, ok := w.(http.Pusher); ok {
		_ = w.Push("/", nil)
		call("Push", 0)
	}
	if w, ok := w.(http.CloseNotifier); ok { //nolint:staticcheck // deprecated, but handlers still look for it
		w.CloseNotify()
		call("CloseNotify", 0)
	}
	return names, bytes
}

// watch returns a writer of a traced request.
func watch(t *testing.T, next http.ResponseWriter) *writer {
	x := &exchange{Context: t.Context(), h: Trace(nil).(*handler), outer: httptest.NewRequest("GET", "/", nil)}
	x.writer.next, x.writer.x = next, x
	t.Cleanup(func() { x.writer.end() })
	return &x.writer
}

// Every combination of optional interfaces comes through wrapping as it is, and
// every call reaches the writer inside.
func TestEveryCombination(t *testing.T) {
	const required = 3 // Header, WriteHeader, Write
	all, _ := callAll(&calls{})
	optional := all[required:] // in the order of their bits
	h := new(handler)          // which remembers the last type
	for has := range 1 << len(optional) {
		want := all[:required:required]
		for i, name := range optional {
			if has&(1<<i) != 0 {
				want = append(want, name)
			}
		}
		// A writer with this combination: a wrapper that was made to have it.
		var inside calls
		bare := watch(t, &inside).with(uint8(has))
		testkit.Equal(t, "combination", optionalInterfaces(bare), uint8(has))

		x := watch(t, bare)
		wrapped := x.with(h.typeOf(bare).has)
		got, bytes := callAll(wrapped)
		testkit.Equal(t, "methods", got, want)
		testkit.Equal(t, "calls inside", inside.got, want)
		testkit.Equal(t, "bytes", x.bytes.Load(), bytes)
		testkit.Equal(t, "status", x.status.Load(), int32(http.StatusAccepted))
		within := wrapped.(unwrapper).Unwrap()
		if !canFlush(bare) || !canHijack(bare) { // inside can
			within = within.(unwrapper).Unwrap()
		}
		if within != bare {
			t.Errorf("Unwrap of combination %d does not lead inside", has)
		}
	}
}

// plain is a writer of a middleware that has Unwrap and nothing else.
type plain struct{ http.ResponseWriter }

func (p plain) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// What http.ResponseController does to a writer far inside is seen, and nothing can
// be done that could not be done before.
func TestBeneathUnwrap(t *testing.T) {
	type only = struct{ http.ResponseWriter }
	for name, inside := range map[string]http.ResponseWriter{
		"nothing":           only{httptest.NewRecorder()},
		"flush":             httptest.NewRecorder(),
		"hijack":            hijacker{only{httptest.NewRecorder()}},
		"all":               &calls{},
		"our own":           watch(t, &calls{}).with(0),
		"our own, watching": watch(t, plain{&calls{}}).with(0),
	} {
		next := plain{plain{inside}}
		bare, w := http.NewResponseController(next), watch(t, next)
		wrapped := http.NewResponseController(w.with(0))
		flushErr := bare.Flush()
		testkit.Equal(t, name+": flush", fmt.Sprint(wrapped.Flush()), fmt.Sprint(flushErr))
		testkit.Equal(t, name+": flush is seen", w.open.Load() != nil, flushErr == nil)
		_, _, hijackErr := bare.Hijack()
		_, _, err := wrapped.Hijack()
		testkit.Equal(t, name+": hijack", fmt.Sprint(err), fmt.Sprint(hijackErr))
		testkit.Equal(t, name+": hijack is seen", w.hijacked.Load(), hijackErr == nil)
	}
}

// A writer that unwraps to itself does no harm that it does not do alone.
func TestUnwrapsToItself(t *testing.T) {
	w := watch(t, itself{httptest.NewRecorder()})
	testkit.NoError(t, http.NewResponseController(w.with(0)).SetWriteDeadline(time.Time{}))
}

// A writer below may be one that cannot be unwrapped. That matters when a controller
// comes to it, and not before.
func TestUnwrapPanics(t *testing.T) {
	w := watch(t, deadlines{broken{}})
	testkit.NoError(t, http.NewResponseController(w.with(0)).SetWriteDeadline(time.Time{}))
	testkit.NoError(t, http.NewResponseController(w.with(0)).Flush())
	testkit.Equal(t, "flush is seen", w.open.Load() != nil, true)
}

// deadlines is a writer that needs the one below for nothing but Write.
type deadlines struct{ http.ResponseWriter }

func (w deadlines) Unwrap() http.ResponseWriter    { return w.ResponseWriter }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

type broken struct{ http.ResponseWriter }

func (broken) Flush()                      {}
func (broken) Unwrap() http.ResponseWriter { panic("there is nothing below") }

type itself struct{ http.ResponseWriter }

func (w itself) Unwrap() http.ResponseWriter      { return w }
func (w itself) SetWriteDeadline(time.Time) error { return nil }

// What assignMap takes for one map, Go shows to be one.
func TestAssignMap(t *testing.T) {
	one, other := http.Header{}, http.Header{}
	for _, c := range []struct {
		to, value http.Header
	}{{nil, nil}, {nil, one}, {one, nil}, {one, one}, {one, other}} {
		got := c.to
		assignMap(&got, c.value)
		testkit.Equal(t, "nil", got == nil, c.value == nil)
		if got != nil {
			c.value.Set("X-Same", "yes")
			testkit.Equal(t, "map", got.Get("X-Same"), "yes")
			clear(c.value)
		}
	}
}

// Names are those of method and route, however many there are at once.
func TestNames(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 5000 {
				method := []string{"GET", "POST", "HEAD"}[i%3]
				route := "/" + strconv.Itoa(i%700)
				if got := nameOf(method, route); got != method+" "+route {
					t.Errorf("%s %s is named %s", method, route, got)
				}
			}
		})
	}
	all.Wait()
	testkit.Equal(t, "without a route", nameOf("GET", ""), "GET")
	long := "/" + strings.Repeat("x", 1<<16)
	testkit.Equal(t, "long name", nameOf("GET", long), "GET "+long)
	for i := range names {
		if name := names[i].Load(); name != nil && len(*name) > maxName {
			t.Errorf("a name of %d bytes is kept", len(*name))
		}
		names[i].Store(nil)
	}
	if testkit.Race {
		return
	}
	ofAll := func() {
		for _, route := range []string{"/a", "/b/{id}", "/c/{id}/d", "/e/*", "/f", "/gh", "/i/{j}/k", "/l", "/m", "/n"} {
			for _, method := range []string{"GET", "PUT", "HEAD", "POST", "PATCH", "TRACE", "DELETE"} {
				nameOf(method, route)
			}
		}
	}
	if got := testing.AllocsPerRun(20, ofAll); got > 5 { // which have found no place
		t.Errorf("%v allocations for 70 names that are known", got)
	}
	for i := range 20_000 {
		nameOf("GET", "/"+strconv.Itoa(i))
	}
	for range 2000 {
		ofAll()
	}
	if got := testing.AllocsPerRun(20, ofAll); got > 10 {
		t.Errorf("%v allocations for 70 names, long after others took their places", got)
	}
}

// A flush that has failed has sent nothing.
func TestFailedFlush(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	h := New(Options{Tracer: tracer})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		testkit.Equal(t, "flush", http.NewResponseController(w).Flush(), http.ErrNotSupported)
		w.WriteHeader(http.StatusBadGateway)
	}))
	h.ServeHTTP(cannotFlush{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
	span := recorder.Wait(t, 1)[0]
	testkit.Equal(t, "status", span.Attr("http.response.status_code"), any(int64(502)))
	testkit.Equal(t, "flushes", span.Attr("dendro.http.response.flushes"), nil)
}

type cannotFlush struct{ http.ResponseWriter }

func (cannotFlush) FlushError() error { return http.ErrNotSupported }

// hijacker gives nothing away.
type hijacker struct{ http.ResponseWriter }

func (hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

func TestWrapNeedsNoMemory(t *testing.T) {
	x, h := &writer{next: &calls{}}, new(handler)
	if n := testing.AllocsPerRun(100, func() { x.with(h.typeOf(x.next).has) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWrap(b *testing.B) {
	x, h := &writer{next: &calls{}}, new(handler)
	b.ReportAllocs()
	for b.Loop() {
		x.with(h.typeOf(x.next).has)
	}
}
