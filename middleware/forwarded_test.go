package middleware

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// Whatever a client sends in front or lets a proxy quote, the address that the
// proxies add is the one that counts.
func FuzzForwarded(f *testing.F) {
	f.Add(`for=1.1.1.1"`, `evil", for=6.6.6.6;x="\`)
	f.Add(`for="[::1]:80";host="a\"`, `a,for=1.1.1.1`)
	f.Add("1.1.1.1, ", "")
	h := &handler{Options: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, sent, host string) {
		host = quote.Replace(host)
		for _, header := range []http.Header{
			{"Forwarded": {sent + `, for=203.0.113.7;host="` + host + `";proto=https, for=10.0.0.9`}},
			{"Forwarded": {sent, `host="` + host + `";for="203.0.113.7:44"`, `for="10.0.0.9:1";host="` + host + `"`}},
			{"X-Forwarded-For": {sent + ", 203.0.113.7,, 10.0.0.9"}},
			{"X-Forwarded-For": {sent, "203.0.113.7, 10.0.0.9,"}},
		} {
			if client, _ := h.forwarded(header, "10.0.0.1", "http"); client != "203.0.113.7" {
				t.Errorf("%q: client %s", header, client)
			}
		}
		h.forwarded(http.Header{"Forwarded": {sent}, "X-Forwarded-For": {host}, "X-Forwarded-Proto": {sent}}, "10.0.0.1", "http")
	})
}
