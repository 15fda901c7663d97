package semconv

import (
	"log/slog"
	"net/textproto"
	"strings"
)

// HeaderList names the headers whose values become attributes. It never changes.
// The zero value names none.
type HeaderList []header

type header struct {
	name   string // as net/http has it
	key    string // of the attribute
	redact func(value string) string
}

// RequestHeaders returns the list of those names, in any case, whose attributes
// are http.request.header and the name in lower case.
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

// Append appends to attrs those headers of the list that h has, each with all its
// values. Credentials are redacted: of Authorization the scheme stays, of cookies
// the name, of URLs all but credentials and the values of the query, of other
// names that speak of a token, a secret, a password or an API key nothing.
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

// redactor returns what is done to the values of the header name, nil if they are
// recorded as they are.
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
	case "Link", "Refresh": // with a URL in them
		return RedactURLs
	case "Www-Authenticate", "Proxy-Authenticate": // what the server asks for
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

// redactCookies keeps the names in a Cookie header, in its first 4 KiB.
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

// redactCookie keeps the name of a cookie, and leaves its properties out.
func redactCookie(value string) string {
	if name, _, ok := strings.Cut(value, "="); ok && !strings.Contains(name, ";") {
		return strings.TrimSpace(name) + "=" + redacted
	}
	return redacted
}
