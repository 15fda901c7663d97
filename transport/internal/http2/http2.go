// Package http2 has a type that http.Client treats like its own transports.
//
// If its Timeout is set, http.Client must know whether its Transport observes the context
// of a request. If it does not know, it also makes a channel, a timer and a goroutine for
// each request, and an error mentions Client.Timeout only if that timer fires before the
// deadline of the context. It knows the transports of net/http, and any type that prints
// as *http2.Transport, which is meant for golang.org/x/net/http2 (knownRoundTripperImpl in
// net/http/client.go). Without such a type a traced client would behave differently.
package http2

import "net/http"

// RoundTripper is what a Transport needs. It must observe the context of requests.
type RoundTripper interface {
	http.RoundTripper
	CloseIdleConnections()
	Unwrap() http.RoundTripper
}

// Transport is a RoundTripper under a name that http.Client knows.
type Transport struct{ RoundTripper }

// RoundTrip implements [http.RoundTripper]. What the program has registered for another
// scheme ([http.Transport.RegisterProtocol]) may observe nothing but the Cancel channel.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Scheme == "https" || r.URL.Scheme == "http" || r.Cancel != nil || r.Context().Done() == nil { //nolint:staticcheck // deprecated, but http.Client sets it
		return t.RoundTripper.RoundTrip(r)
	}
	canceled := r.WithContext(r.Context())
	canceled.Cancel = r.Context().Done() //nolint:staticcheck // see above
	resp, err := t.RoundTripper.RoundTrip(canceled)
	if resp != nil && resp.Request == canceled {
		resp.Request = r
	}
	return resp, err
}
