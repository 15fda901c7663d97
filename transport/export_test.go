package transport

import (
	"net/http"

	"github.com/dendrotrace/dendro/transport/internal/http2"
)

// Redirects returns how many redirects rt, which New has returned, remembers.
func Redirects(rt http.RoundTripper) (n int) {
	if known, ok := rt.(*http2.Transport); ok {
		rt = known.RoundTripper
	}
	rt.(*roundTripper).redirects.byResponse.Range(func(any, any) bool { n++; return true })
	return n
}
