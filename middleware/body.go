package middleware

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
)

// body counts what is read of a request body. A proxy may go on reading in
// another goroutine while the handler returns.
type body struct {
	io.ReadCloser
	bytes atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}

// maxBytesReader is the type of what [http.MaxBytesReader] returns, and the
// number of its field that holds the limit and never changes, -1 if there is none.
var maxBytesReader, maxBytesField = func() (reflect.Type, int) {
	t := reflect.TypeOf(http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("")), 0))
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
		if f, ok := t.Elem().FieldByName("i"); ok && f.Type.Kind() == reflect.Int64 {
			return t, f.Index[0]
		}
	}
	return t, -1
}()

// tooLarge reports whether more was read of b than outer lets through, if that
// is what [http.MaxBytesReader] has made around b.
func (b *body) tooLarge(outer io.ReadCloser) bool {
	if reflect.TypeOf(outer) != maxBytesReader || maxBytesField < 0 {
		return false
	}
	limit := reflect.ValueOf(outer).Elem().Field(maxBytesField).Int()
	return b.bytes.Load() > limit
}
