package http

import "testing"

// What the edited tests call. Package http_test sets it, which may import what imports
// this package.
var (
	DendroHandler   func(Handler) Handler
	DendroTransport func(RoundTripper) RoundTripper
	DendroUnwrap    func(any) any
	DendroMain      func(*testing.M) interface{ Run() int }
)

// DendroClient returns c, with its transport wrapped.
func DendroClient(c *Client) *Client {
	if t := DendroTransport(c.Transport); t != c.Transport { // else nothing is written: several goroutines may be here
		c.Transport = t
	}
	return c
}
