package semconv

import (
	"strconv"
	"strings"
)

// HTTPMethodOther stands for every method that is not well known, so that the
// number of values is bounded.
const HTTPMethodOther = "_OTHER"

// HTTPMethod returns the value of http.request.method, and the word that names
// a span of that method.
func HTTPMethod(method string) (value, name string) {
	switch method {
	case "":
		return "GET", "GET" // as net/http has it for clients
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

// SplitHostPort splits "host:port", "host", "[v6]:port", "[v6]" and "v6". The port
// is zero if there is none.
func SplitHostPort(s string) (host string, port int) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (strings.IndexByte(s, ':') == i || s[i-1] == ']') {
		if n, err := strconv.ParseUint(s[i+1:], 10, 16); err == nil {
			host, port = s[:i], int(n)
		}
	}
	if n := len(host); n >= 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return host, port
}

// redacted stands for a value that must not be recorded.
const redacted = "REDACTED"

// maxQueryBytes is how much of a query is looked at.
const maxQueryBytes = 4 << 10

// AppendRedactedQuery appends the raw query of a URL to dst, with REDACTED in
// place of every value. Only the first 4 KiB are kept.
func AppendRedactedQuery(dst []byte, query string) []byte {
	query = query[:min(len(query), maxQueryBytes)]
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
