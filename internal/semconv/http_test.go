package semconv

import "testing"

func TestHTTPMethod(t *testing.T) {
	for method, want := range map[string][2]string{
		"":         {"GET", "GET"},
		"DELETE":   {"DELETE", "DELETE"},
		"get":      {"_OTHER", "HTTP"}, // methods are case-sensitive
		"PROPFIND": {"_OTHER", "HTTP"},
	} {
		if value, name := HTTPMethod(method); value != want[0] || name != want[1] {
			t.Errorf("HTTPMethod(%q) = %q, %q, want %q", method, value, name, want)
		}
	}
}

func TestHTTPVersion(t *testing.T) {
	for version, want := range map[[2]int]string{{1, 0}: "1.0", {1, 1}: "1.1", {2, 0}: "2", {3, 0}: "3", {4, 2}: "4.2"} {
		if got := HTTPVersion(version[0], version[1]); got != want {
			t.Errorf("HTTPVersion(%v) = %q, want %q", version, got, want)
		}
	}
}

func TestSplitHostPort(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port int
	}{
		"":                   {"", 0},
		"@":                  {"@", 0}, // a peer on a Unix socket
		"example.com":        {"example.com", 0},
		"example.com:8080":   {"example.com", 8080},
		"192.0.2.1:65535":    {"192.0.2.1", 65535},
		"192.0.2.1:65536":    {"192.0.2.1:65536", 0},
		"example.com:http":   {"example.com:http", 0},
		"[2001:db8::1]":      {"2001:db8::1", 0},
		"[2001:db8::1]:443":  {"2001:db8::1", 443},
		"2001:db8::1":        {"2001:db8::1", 0}, // set by chi's RealIP
		"::1":                {"::1", 0},
		":80":                {"", 80},
		"[fe80::1%eth0]:443": {"fe80::1%eth0", 443},
	} {
		if host, port := SplitHostPort(in); host != want.host || port != want.port {
			t.Errorf("SplitHostPort(%q) = %q, %d, want %q, %d", in, host, port, want.host, want.port)
		}
	}
}

func TestAppendRedactedQuery(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"token=s3cr3t":             "token=REDACTED",
		"a=1&debug&b=x%3Dy=z&&c=":  "a=REDACTED&debug&b=REDACTED&&c=REDACTED",
		"=s3cr3t":                  "=REDACTED",
		"redirect=/x?token=s3cr3t": "redirect=REDACTED",
		"a=1;token=s3cr3t":         "a=REDACTED",
	} {
		if got := string(AppendRedactedQuery(nil, in)); got != want {
			t.Errorf("AppendRedactedQuery(%q) = %q, want %q", in, got, want)
		}
	}
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = "&="[i%2]
	}
	if got := AppendRedactedQuery(nil, string(long)); len(got) > 6*maxRedactedBytes {
		t.Errorf("a query of %d bytes becomes %d", len(long), len(got))
	}
}

func TestRedactedURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"https://a.example":            "https://a.example",
		"https://a:s3cr3t@b.example/c": "https://b.example/c",
		"//a:s3cr3t@b.example":         "//b.example",
		"https://a:s3c@r3t@b.example":  "https://b.example",
		"https://b.example/c@d//e@f":   "https://b.example/c@d//e@f",
		"mailto:a:s3cr3t@b.example":    "b.example",
		"/c@d":                         "/c@d",
		"https://b.example?t=s3cr3t":   "https://b.example?t=REDACTED",
		"/c?t=s3cr3t#s3cr3t?s3cr3t":    "/c?t=REDACTED",
		"https://a#@s3cr3t":            "https://a",
		"?":                            "?",
	} {
		if got := RedactedURL(in); got != want {
			t.Errorf("RedactedURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedactURLs(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"no URL, 5 > 4: \"x y\"": "no URL, 5 > 4: \"x y\"",
		"what? a // b":           "what? a // b",
		`Get "http://a:s3cr3t@b.example/?t=s3cr3t": EOF`:       `Get "http://b.example/?t=REDACTED": EOF`,
		`Get "http://b.example/?q=a b&t=s3cr3t s3cr3t": EOF`:   `Get "http://b.example/?q=REDACTED&t=REDACTED": EOF`,
		`Get "http://b.example/?q=\"a\"&t=s3cr3t": EOF`:        `Get "http://b.example/?q=REDACTED&t=REDACTED": EOF`,
		`Get "http://b.example/?q=s3cr3t`:                      `Get "http://b.example/?q=REDACTED`,
		`Get "mailto:a:s3cr3t@b.example": EOF`:                 `Get "b.example": EOF`,
		`at http://a:s3c'r3t@b.example/c, again`:               `at http://b.example/c, again`,
		`at 'http://b.example/c?t=s3cr3t'`:                     `at 'http://b.example/c?t=REDACTED`,
		`</?t=s3cr3t>; rel="next", <//a:s3cr3t@b>; rel="last"`: `</?t=REDACTED>; rel="next", <//b>; rel="last"`,
		`/?q="a"&t=s3cr3t`:                                     `/?q=REDACTED"a"&t=REDACTED`,
		`"`:                                                    `"`,
		`"//`:                                                  `"//`,
	} {
		if got := RedactURLs(in); got != want {
			t.Errorf("RedactURLs(%q) = %q, want %q", in, got, want)
		}
	}
}
