package middleware

import (
	"io"
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
