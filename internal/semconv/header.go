package semconv

import (
	"log/slog"
	"net/textproto"
	"strings"
)

// HeaderList is a list of headers whose values become attributes. It is immutable. The
// zero value is empty.
type HeaderList []header

type header struct {
	name   string // in the canonical form of net/http
	key    string // key of the attribute
	redact func(value string) string
}

// RequestHeaders returns a list of headers with these names, in any case. Their
// attributes are http.request.header.<name>, in lower case.
func RequestHeaders(names []string) HeaderList { return headerList("http.request.header.", names) }

// ResponseHeaders is [RequestHeaders] for http.response.header.
func ResponseHeaders(names []string) HeaderList { return headerList("http.response.header.", names) }

func headerList(prefix string, names []string) HeaderList {
	var l HeaderList
	for _, name := range names {
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		if name != "" && !l.has(name) {
			l = append(l, header{name, prefix + strings.ToLower(name), redactor(name)})
		}
	}
	return l
}

func (l HeaderList) has(name string) bool {
	for _, h := range l {
		if h.name == name {
			return true
		}
	}
	return false
}

// Append appends the headers in h that are in the list to attrs, each with all its
// values. Credentials are redacted: of Authorization only the scheme is kept, of
// cookies only the name, and URLs lose credentials and query values. Headers whose
// names suggest a token, a secret, a password or an API key are redacted entirely.
func (l HeaderList) Append(attrs []slog.Attr, h map[string][]string) []slog.Attr {
	for i := range l {
		values := h[l[i].name]
		if len(values) == 0 {
			continue
		}
		if l[i].redact != nil {
			values = mapped(values, l[i].redact)
		}
		attrs = append(attrs, slog.Any(l[i].key, values))
	}
	return attrs
}

func mapped(values []string, f func(string) string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = f(v)
	}
	return out
}

// redactor returns the function that redacts values of the header name, or nil if they
// are recorded unchanged.
func redactor(name string) func(string) string {
	switch name {
	case "Authorization", "Proxy-Authorization":
		return redactCredentials
	case "Cookie":
		return redactCookies
	case "Set-Cookie":
		return redactCookie
	case "Location", "Content-Location", "Destination", "Referer", "X-Envoy-Original-Path", "X-Forwarded-Uri",
		"X-Forwarded-Url", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url":
		return RedactedURL
	case "Link", "Refresh": // contain URLs
		return RedactURLs
	case "Www-Authenticate", "Proxy-Authenticate": // what the server requires
		return nil
	}
	name = strings.ToLower(name)
	for _, word := range []string{"auth", "token", "secret", "passw", "passphrase", "credential", "cookie", "session",
		"signature", "jwt", "dpop", "api-key", "api_key", "apikey", "access-key", "customer-key", "encryption-key",
		"functions-key", "private-key", "subscription-key"} {
		if strings.Contains(name, word) {
			return redactAll
		}
	}
	return nil
}

func redactAll(string) string { return redacted }

// redactCredentials keeps the scheme.
func redactCredentials(value string) string {
	if scheme, _, ok := strings.Cut(strings.TrimSpace(value), " "); ok && !strings.ContainsAny(scheme, ",;=") {
		return scheme + " " + redacted
	}
	return redacted
}

// redactCookies keeps the names in the first 4 KiB of a Cookie header.
func redactCookies(value string) string {
	var b strings.Builder
	for cookie := range strings.SplitSeq(value[:min(len(value), maxRedactedBytes)], ";") {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(redactCookie(cookie))
	}
	return b.String()
}

// redactCookie keeps the name of a cookie and omits its properties.
func redactCookie(value string) string {
	if name, _, ok := strings.Cut(value, "="); ok && !strings.Contains(name, ";") {
		return strings.TrimSpace(name) + "=" + redacted
	}
	return redacted
}
