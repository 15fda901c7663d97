package semconv

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestHeaderList(t *testing.T) {
	l := RequestHeaders([]string{"x-request-id", "ACCEPT", "X-Request-ID", "", "X-Missing"})
	h := map[string][]string{"X-Request-Id": {"1", "2"}, "Accept": {"*/*"}, "X-Other": {"x"}, "X-Missing": {}}
	got := l.Append([]slog.Attr{slog.Int("first", 1)}, h)
	want := []slog.Attr{
		slog.Int("first", 1),
		slog.Any("http.request.header.x-request-id", []string{"1", "2"}),
		slog.Any("http.request.header.accept", []string{"*/*"}),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ResponseHeaders([]string{"Etag"}).Append(nil, map[string][]string{"Etag": {"x"}}); got[0].Key != "http.response.header.etag" {
		t.Errorf("key %q", got[0].Key)
	}
	if got := RequestHeaders(nil).Append(nil, h); got != nil {
		t.Errorf("an empty list appends %v", got)
	}
}

func TestHeaderRedaction(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"Accept", "text/html", "text/html"},
		{"Idempotency-Key", "42", "42"},
		{"WWW-Authenticate", `Bearer realm="shop"`, `Bearer realm="shop"`},
		{"Authorization", "Bearer s3cr3t", "Bearer REDACTED"},
		{"Authorization", "Digest username=a, response=s3cr3t", "Digest REDACTED"},
		{"Authorization", "s3cr3t", "REDACTED"},
		{"Proxy-Authorization", "Basic s3cr3t", "Basic REDACTED"},
		{"Cookie", "session=s3cr3t;theme = dark; s3cr3t; a=", "session=REDACTED; theme=REDACTED; REDACTED; a=REDACTED"},
		{"Set-Cookie", "session=s3cr3t; Path=/; HttpOnly", "session=REDACTED"},
		{"Set-Cookie", "s3cr3t; Path=/", "REDACTED"},
		{"Location", "https://alice:s3cr3t@a.example/b?token=s3cr3t#s3cr3t", "https://a.example/b?token=REDACTED"},
		{"Referer", "/b?token=s3cr3t", "/b?token=REDACTED"},
		{"X-Original-URL", "/b?token=s3cr3t", "/b?token=REDACTED"},
		{"Link", `<https://a.example/?page=2&t=s3cr3t>; rel="next"`, `<https://a.example/?page=REDACTED&t=REDACTED>; rel="next"`},
		{"Link", `</?t=s3cr3t>; rel="next"`, `</?t=REDACTED>; rel="next"`},
		{"Refresh", "5; url=/b?t=s3cr3t", "5; url=/b?t=REDACTED"},
		{"X-Api-Key", "s3cr3t", "REDACTED"},
		{"X-Api_Key", "s3cr3t", "REDACTED"},
		{"Ocp-Apim-Subscription-Key", "s3cr3t", "REDACTED"},
		{"X-Functions-Key", "s3cr3t", "REDACTED"},
		{"X-Jwt-Assertion", "s3cr3t", "REDACTED"},
		{"X-Amz-Server-Side-Encryption-Customer-Key", "s3cr3t", "REDACTED"},
		{"X-Original-URI", "/b?token=s3cr3t", "/b?token=REDACTED"},
		{"Authorization", "s3cr3t, s3cr3t", "REDACTED"},
		{"X-Passwd", "s3cr3t", "REDACTED"},
		{"X-GitHub-Token", "s3cr3t", "REDACTED"},
		{"X-Auth", "Bearer s3cr3t", "REDACTED"},
	} {
		l := RequestHeaders([]string{c.name})
		values := []string{c.value}
		got := l.Append(nil, map[string][]string{l[0].name: values})
		if want := fmt.Sprint([]string{c.want}); got[0].Value.String() != want {
			t.Errorf("%s: %s is recorded as %s, want %s", c.name, c.value, got[0].Value, want)
		}
		if values[0] != c.value {
			t.Errorf("%s: the header itself is changed to %q", c.name, values[0])
		}
	}
	if got := redactCookies(strings.Repeat(";", 1<<20)); len(got) > 16*maxRedactedBytes {
		t.Errorf("a header of 1 MiB becomes %d bytes", len(got))
	}
}
