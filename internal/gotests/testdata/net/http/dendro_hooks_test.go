package http

import "testing"

// Functions that the edited tests call. Package http_test sets them, because it may
// import packages that import this one.
var (
	DendroHandler   func(Handler) Handler
	DendroTransport func(RoundTripper) RoundTripper
	DendroUnwrap    func(any) any
	DendroMain      func(*testing.M) interface{ Run() int }
)

// DendroClient returns c after wrapping its transport.
func DendroClient(c *Client) *Client {
	if t := DendroTransport(c.Transport); t != c.Transport { // do not write otherwise, as several goroutines may be here
		c.Transport = t
	}
	return c
}
