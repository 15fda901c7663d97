package middleware

import (
	"log"
	"net/http"
	"path"
	"reflect"
	"runtime"
	"strings"
)

// writerType describes a type of response writer.
type writerType struct {
	of          reflect.Type
	has         uint8 // the optional interfaces, as of optionalInterfaces
	server      serverWriter
	wroteHeader []int // index of that field of an http1Writer; nil if it has none
}

// serverWriter identifies the writers of net/http that log who calls them too late.
type serverWriter uint8

const (
	otherWriter   serverWriter = iota
	http1Writer                // of an HTTP/1 server
	timeoutWriter              // of http.TimeoutHandler
)

func newWriterType(w http.ResponseWriter) *writerType {
	t := &writerType{of: reflect.TypeOf(w), has: optionalInterfaces(w)}
	if t.of == nil || t.of.Kind() != reflect.Pointer || t.of.Elem().PkgPath() != "net/http" {
		return t
	}
	switch t.of.Elem().Name() {
	case "response":
		t.server = http1Writer
		if f, ok := t.of.Elem().FieldByName("wroteHeader"); ok && f.Type.Kind() == reflect.Bool {
			t.wroteHeader = f.Index
		}
	case "timeoutWriter":
		t.server = timeoutWriter
	}
	return t
}

// late reports whether a call of WriteHeader comes too late. net/http would log the
// function that called its own writer, which belongs to this package. late logs the
// same message with the function that called w instead.
func (w *writer) late(status int) bool {
	const superfluous = "superfluous response.WriteHeader call"
	switch t := w.x.h.typeOf(w.next); t.server {
	case http1Writer:
		switch {
		case w.hijacked.Load():
			return w.blame("response.WriteHeader on hijacked connection")
		case w.status.Load() != 0,
			t.wroteHeader != nil && reflect.ValueOf(w.next).Elem().FieldByIndex(t.wroteHeader).Bool(): // sent by an outer handler
			return w.blame(superfluous)
		}
	case timeoutWriter:
		if w.status.Load() != 0 && w.x.Err() == nil && 100 <= status && status <= 999 { // net/http panics for other codes
			return w.blame(superfluous)
		}
	}
	return false
}

// lateWrite is like late, for a Write after Hijack.
func (w *writer) lateWrite() bool {
	return w.x.h.typeOf(w.next).server == http1Writer && w.blame("response.Write on hijacked connection")
}

// blame logs what was done the way the server does, with the function outside of
// net/http and this package that did it. It returns false if the server is not known.
func (w *writer) blame(what string) bool {
	server, ok := w.x.Context.Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return false
	}
	var frame runtime.Frame
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(1, pc)])
	for more := true; more; {
		frame, more = frames.Next()
		if !strings.HasPrefix(frame.Function, "net/http.") && !strings.HasPrefix(frame.Function, ownFunctions) {
			break
		}
	}
	logf := log.Printf
	if server.ErrorLog != nil {
		logf = server.ErrorLog.Printf
	}
	logf("http: %s from %s (%s:%d)", what, frame.Function, path.Base(frame.File), frame.Line)
	return true
}

// ownFunctions is the prefix of the names of all functions of this package.
var ownFunctions = reflect.TypeFor[writer]().PkgPath() + "."
