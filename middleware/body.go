package middleware

import (
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
)

// body counts the bytes read from a request body. A proxy may go on reading in another
// goroutine after its handler has returned.
type body struct {
	io.ReadCloser
	bytes atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}

// maxBytes describes the type of [http.MaxBytesReader] and those of its fields that
// never change: the writer, the inner reader and the limit. It is nil if this version
// of net/http has other fields.
var maxBytes = func() *maxBytesType {
	t := reflect.TypeOf(http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("")), 0))
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil
	}
	w, hasW := t.Elem().FieldByName("w")
	r, hasR := t.Elem().FieldByName("r")
	limit, hasLimit := t.Elem().FieldByName("i")
	if !hasW || !hasR || !hasLimit || w.Type.Kind() != reflect.Interface ||
		r.Type.Kind() != reflect.Interface || limit.Type.Kind() != reflect.Int64 {
		return nil
	}
	return &maxBytesType{t, w.Index, r.Index, limit.Index}
}()

type maxBytesType struct {
	of          reflect.Type
	w, r, limit []int
}

// tooLarge reports whether more of the request body was read than an
// [http.MaxBytesReader] around that body and w permits.
func (w *writer) tooLarge() bool {
	x := w.x
	if x.body.ReadCloser == nil || maxBytes == nil {
		return false
	}
	v := reflect.ValueOf(x.request.Body)
	if !v.IsValid() || v.Type() != maxBytes.of || !w.ofServer() {
		return false
	}
	limit := int64(math.MaxInt64)
	for v.IsValid() && v.Type() == maxBytes.of { // there may be several
		reader := v.Elem()
		if is(reader.FieldByIndex(maxBytes.w).Elem(), w) {
			limit = min(limit, reader.FieldByIndex(maxBytes.limit).Int())
		}
		v = reader.FieldByIndex(maxBytes.r).Elem()
	}
	return is(v, &x.body) && x.body.bytes.Load() > limit
}

// is reports whether v is p, or a struct that holds just p, like the types of
// writer_gen.go.
func is[T any](v reflect.Value, p *T) bool {
	for v.Kind() == reflect.Struct && v.NumField() == 1 {
		v = v.Field(0)
	}
	return v.Kind() == reflect.Pointer && v.Pointer() == reflect.ValueOf(p).Pointer() && v.Type() == reflect.TypeFor[*T]()
}

// ofServer reports whether w wraps the response writer of an HTTP/1 server, with
// nothing in between at which [http.MaxBytesReader] would stop.
func (w *writer) ofServer() bool {
	if next, ok := w.next.(interface{ ofServer() bool }); ok { // mounted twice
		return next.ofServer()
	}
	return w.x.h.typeOf(w.next).server == http1Writer
}
