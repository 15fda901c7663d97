package middleware

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// forwarded returns the address and the scheme of the client according to trusted
// proxies. It returns peer and scheme if peer is not a trusted proxy.
func (h *handler) forwarded(header http.Header, peer, scheme string) (client, clientScheme string) {
	from, err := netip.ParseAddr(peer)
	if err != nil || !h.trusts(from) {
		return peer, scheme
	}
	if proto := header["X-Forwarded-Proto"]; len(proto) > 0 {
		switch p := strings.ToLower(strings.TrimSpace(lastOf(proto[len(proto)-1], ','))); p {
		case "http", "https":
			scheme = p
		}
	}
	plain, standard := header["X-Forwarded-For"], header["Forwarded"]
	client = peer
	if len(plain) > 0 {
		client = h.clientOf(plain, from, strings.TrimSpace)
	}
	if len(standard) > 0 {
		if c := h.clientOf(standard, from, forwardedFor); len(plain) == 0 {
			client = c
		} else if c != client {
			client = peer
		}
	}
	return client, scheme
}

// clientOf returns the address of the client in a list of addresses.
//
// Each proxy appends the address of its own peer. What stands in front of that was
// sent by the client and may be forged, so the client is the last address that is not
// of a trusted proxy.
func (h *handler) clientOf(lines []string, peer netip.Addr, address func(element string) string) string {
	client := peer
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; line != ""; {
			element := lastOf(line, ',')
			line = strings.TrimSuffix(line[:len(line)-len(element)], ",")
			if strings.TrimSpace(element) == "" { // allowed in lists
				continue
			}
			host, _ := semconv.SplitHostPort(address(element))
			next, err := netip.ParseAddr(host)
			if err != nil { // "unknown", a made-up name, or nonsense
				return client.String()
			}
			if client = next.WithZone(""); !h.trusts(client) {
				return client.String()
			}
		}
	}
	return client.String()
}

// lastOf returns what follows the last separator outside of a quoted string (RFC 9110,
// section 5.6.4).
func lastOf(list string, separator byte) string {
	for i := len(list) - 1; i >= 0; i-- {
		switch list[i] {
		case separator:
			return list[i+1:]
		case '"':
			for i--; i >= 0 && (list[i] != '"' || i > 0 && list[i-1] == '\\'); i-- {
			}
		}
	}
	return list
}

// forwardedFor returns the value of "for" in an element of Forwarded (RFC 7239,
// section 4), or "" if there is none.
func forwardedFor(element string) string {
	for element != "" {
		pair := lastOf(element, ';')
		element = strings.TrimSuffix(element[:len(element)-len(pair)], ";")
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (h *handler) trusts(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range h.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
