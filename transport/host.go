package transport

import (
	"net/url"
	"strings"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// hostList has the hosts of [Options.PropagateTo]. A nil list has every host.
type hostList []hostPattern

type hostPattern struct {
	name  string // after a star: begins with a dot
	below bool   // the pattern began with a star
	port  int    // 0: any
}

func newHostList(patterns []string) hostList {
	if patterns == nil {
		return nil
	}
	l := make(hostList, 0, len(patterns))
	for _, s := range patterns {
		host, port := semconv.SplitHostPort(strings.TrimSpace(s))
		p := hostPattern{name: strings.TrimSuffix(host, "."), port: port}
		if strings.HasPrefix(p.name, "*.") {
			p.name, p.below = p.name[1:], true
		}
		l = append(l, p)
	}
	return l
}

func (l hostList) has(u *url.URL) bool {
	if l == nil {
		return true
	}
	if u == nil {
		return false
	}
	host, port := semconv.SplitHostPort(u.Host)
	if port == 0 {
		port = defaultPort(u.Scheme)
	}
	host = strings.TrimSuffix(host, ".")
	for i := range l {
		if l[i].match(host, port) {
			return true
		}
	}
	return false
}

func (p *hostPattern) match(host string, port int) bool {
	if p.port != 0 && p.port != port {
		return false
	}
	if p.below {
		n := len(host) - len(p.name)
		return n > 0 && strings.EqualFold(host[n:], p.name)
	}
	return strings.EqualFold(host, p.name)
}
