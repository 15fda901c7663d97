package auth

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarding names headers, besides X-Forwarded-…, that a proxy adds to requests of
// others.
var forwarding = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

// FromThisMachine reports whether a request comes from a loopback address, was not
// forwarded by a proxy, and asks for a loopback host. The last check refuses web sites
// whose name resolves to 127.0.0.1 (DNS rebinding). The check of forwarding headers is
// also necessary because a middleware may have set RemoteAddr from them. A proxy on this
// machine that asks for localhost and adds no such header cannot be told from a local client.
func FromThisMachine(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || slices.Contains(forwarding, name) {
			return false
		}
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback() && isLoopbackHost(r.Host)
}

// isLoopbackHost reports whether a Host header names this machine.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
