package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forwarding are the headers by which a proxy tells for whom it asks.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "True-Client-Ip"}

// fromThisMachine accepts a request that came from a loopback address, that no
// proxy sent on, and that asks for a loopback host. The last keeps a web site
// out that has its name resolve to 127.0.0.1 (DNS rebinding). Forwarding
// headers also count because middleware may have set RemoteAddr from them.
func fromThisMachine(r *http.Request) bool {
	for _, name := range forwarding {
		if _, ok := r.Header[name]; ok {
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
