package semconv

import (
	"strconv"
	"strings"
)

// HTTPMethodOther replaces methods that are not well known, so that the number of
// values is bounded.
const HTTPMethodOther = "_OTHER"

// HTTPMethod returns the value of http.request.method and the method in the name of a
// span.
func HTTPMethod(method string) (value, name string) {
	switch method {
	case "":
		return "GET", "GET" // the default of net/http for clients
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE":
		return method, method
	}
	return HTTPMethodOther, "HTTP"
}

// HTTPVersion returns the value of network.protocol.version.
func HTTPVersion(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1"
	case major == 1 && minor == 0:
		return "1.0"
	case major == 2:
		return "2"
	case major == 3:
		return "3"
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor)
}

// SplitHostPort splits "host:port", "host", "[v6]:port", "[v6]" and "v6". If there is
// no port, it returns zero.
func SplitHostPort(s string) (host string, port int) {
	host = s
	i := len(s)
	for unit := 1; i > 0 && '0' <= s[i-1] && s[i-1] <= '9' && len(s)-i < 5; unit *= 10 {
		i--
		port += unit * int(s[i]-'0')
	}
	i-- // index of the colon, if this is a port
	if i >= 0 && i < len(s)-1 && s[i] == ':' && port <= 0xffff && (strings.IndexByte(s[:i], ':') < 0 || s[i-1] == ']') {
		host = s[:i]
	} else {
		port = 0
	}
	if n := len(host); n >= 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return host, port
}

// redacted replaces values that must not be recorded.
const redacted = "REDACTED"

// maxRedactedBytes bounds how much of a text is redacted and kept.
const maxRedactedBytes = 4 << 10

// AppendRedactedQuery appends the raw query of a URL to dst, with REDACTED in place of
// every value. Only the first 4 KiB are kept.
func AppendRedactedQuery(dst []byte, query string) []byte {
	query = query[:min(len(query), maxRedactedBytes)]
	for more := query != ""; more; {
		var parameter string
		parameter, query, more = strings.Cut(query, "&")
		name, _, hasValue := strings.Cut(parameter, "=")
		dst = append(dst, name...)
		if hasValue {
			dst = append(append(dst, '='), redacted...)
		}
		if more {
			dst = append(dst, '&')
		}
	}
	return dst
}

// RedactedURL returns rawURL without credentials, fragment and the values of query
// parameters.
func RedactedURL(rawURL string) string {
	rest, _, _ := strings.Cut(rawURL, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	b := make([]byte, 0, len(rest)+1+len(query))
	if i := strings.Index(rest, "//"); i >= 0 {
		b, rest = append(b, rest[:i+2]...), rest[i+2:]
	}
	authority, _, _ := strings.Cut(rest, "/")
	b = append(b, rest[strings.LastIndexByte(authority, '@')+1:]...)
	if hasQuery {
		b = AppendRedactedQuery(append(b, '?'), query)
	}
	return string(b)
}

// RedactURLs applies [RedactedURL] to everything in text that looks like a URL or the
// end of one: a text in double quotes that contains "//", "?" or "@", and any other
// run of characters up to a space, a quote or an angle bracket.
func RedactURLs(text string) string {
	if !strings.Contains(text, "//") && !strings.ContainsAny(text, "?&@") {
		return text
	}
	var b strings.Builder
	for text != "" {
		n := strings.IndexAny(text, " \t\r\n\"<>")
		if n < 0 {
			n = len(text)
		}
		if n > 0 {
			b.WriteString(redactWord(text[:n]))
			text = text[n:]
			continue
		}
		b.WriteByte(text[0])
		quoted := text[0] == '"'
		if text = text[1:]; !quoted {
			continue
		}
		if end := endOfQuoted(text); end > 0 && (looksLikeURL(text[:end]) || strings.Contains(text[:end], "@")) {
			b.WriteString(RedactedURL(text[:end]) + `"`)
			text = text[end+1:]
		}
	}
	return b.String()
}

// endOfQuoted returns the index of the quote that ends s, which strconv.Quote wrote,
// or -1 if there is none.
func endOfQuoted(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func looksLikeURL(s string) bool { return strings.Contains(s, "//") || strings.Contains(s, "?") }

func redactWord(word string) string {
	switch {
	case looksLikeURL(word):
		return RedactedURL(word)
	case strings.Contains(word, "&"): // the rest of a query
		return string(AppendRedactedQuery(nil, word))
	}
	return word
}
