package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarding are headers by which a proxy tells that it asks for somebody, or
// for whom, besides X-Forwarded-….
var forwarding = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

// fromThisMachine accepts a request that came from a loopback address, that no
// proxy sent on, and that asks for a loopback host. The last keeps a web site
// out that has its name resolve to 127.0.0.1 (DNS rebinding). Forwarding
// headers also count because middleware may have set RemoteAddr from them.
func fromThisMachine(r *http.Request) bool {
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
