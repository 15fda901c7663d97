package transport

import (
	"net/url"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// redactedURL returns the value of url.full: u without credentials, fragment and the
// values of query parameters.
func redactedURL(u *url.URL) string {
	if u.Opaque != "" {
		return semconv.RedactedURL(u.String())
	}
	var buf [256]byte
	b := buf[:0]
	b = append(b, u.Scheme...)
	b = append(b, "://"...)
	b = append(b, u.Host...)
	b = append(b, u.EscapedPath()...)
	if u.RawQuery != "" {
		b = append(b, '?')
		b = semconv.AppendRedactedQuery(b, u.RawQuery)
	}
	return string(b)
}

// defaultPort returns the default port of scheme, or 0 if it has none.
func defaultPort(scheme string) int {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}
