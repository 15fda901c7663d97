package middleware

import (
	"net/http"
	"net/netip"
	"strings"
)

// forwarded returns the address of the client and the scheme that it used, as
// trusted proxies tell: peer and scheme unless peer is one.
//
// Each proxy adds its own peer at the end of the list. What the client has sent
// itself stands in front of that, and may be forged: so the last address that is
// no trusted proxy is the client.
func (h *handler) forwarded(header http.Header, peer, scheme string) (client, clientScheme string) {
	if !h.trusts(peer) {
		return peer, scheme
	}
	client, clientScheme = peer, scheme
	if proto := header.Values("X-Forwarded-Proto"); len(proto) > 0 {
		switch p := strings.ToLower(strings.TrimSpace(lastOf(proto[len(proto)-1]))); p {
		case "http", "https":
			clientScheme = p
		}
	}
	lines, address := header["X-Forwarded-For"], strings.TrimSpace
	if len(lines) == 0 {
		lines, address = header["Forwarded"], forwardedFor
	}
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; line != ""; {
			element := lastOf(line)
			line = strings.TrimSuffix(line[:len(line)-len(element)], ",")
			next := withoutPort(address(element))
			if !isAddr(next) { // "unknown", a made-up name, or nonsense
				return client, clientScheme
			}
			client = next
			if !h.trusts(client) {
				return client, clientScheme
			}
		}
	}
	return client, clientScheme
}

// lastOf returns what follows the last comma.
func lastOf(list string) string { return list[strings.LastIndexByte(list, ',')+1:] }

// forwardedFor returns the value of "for" in an element of Forwarded (RFC 7239,
// section 4), "" if there is none.
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// withoutPort returns the address in "v4", "v4:port", "v6", "[v6]" and "[v6]:port".
func withoutPort(s string) string {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		v6, _, _ := strings.Cut(rest, "]")
		return v6
	}
	if v4, _, ok := strings.Cut(s, ":"); ok && strings.Count(s, ":") == 1 {
		return v4
	}
	return s
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (h *handler) trusts(address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range h.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
