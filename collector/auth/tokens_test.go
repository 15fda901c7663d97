package auth

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

const (
	first  = "first-token-0123456789"
	second = "c2Vjb25kIHRva2VuIG9mIHR3bw=="
)

func write(t *testing.T, file, text string) string {
	if file == "" {
		file = filepath.Join(t.TempDir(), "tokens")
	}
	testkit.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func open(t *testing.T, text string) *Tokens {
	tokens, err := Open(write(t, "", text))
	testkit.NoError(t, err)
	return tokens
}

func bearing(authorization string) *http.Request {
	r := httptest.NewRequest("POST", "/v1/traces", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func TestAuthorize(t *testing.T) {
	tokens := open(t, "# writers\n\n"+first+"\r\n  "+second+"  \n#"+first+"x")
	for authorization, want := range map[string]bool{
		"Bearer " + first:                 true,
		"bearer  " + second:               true,
		"Bearer " + first + "x":           false,
		"Bearer " + first[1:]:             false,
		"Bearer #" + first + "x":          false,
		"Bearer":                          false,
		"Bearer ":                         false,
		"":                                false,
		first:                             false,
		"Basic " + first:                  false,
		"Bearer " + first + ", " + second: false,
	} {
		testkit.Equal(t, authorization, tokens.Authorize(bearing(authorization)), want)
	}
	testkit.Equal(t, "refused", tokens.Refused(), uint64(9))
}

// Errors say where the file is wrong, and never what a token is.
func TestParse(t *testing.T) {
	long := strings.Repeat("a", maxTokenBytes)
	for text, want := range map[string]string{
		"":                                      ": there is no token in it",
		"\n# none\n":                            ": there is no token in it",
		"\n" + first + "\nshort-one":            ":3: the token is too short: want at least 16",
		first + " " + second:                    ":1: a token has letters, digits",
		"tokén-with-sixteen-letters":            ":1: a token has letters, digits",
		"================":                      ":1: a token has letters, digits",
		"a=aaaaaaaaaaaaaaaaa":                   ":1: a token has letters, digits",
		long:                                    "",
		long + "a":                              ":1: the token has more than 1024",
		strings.Repeat(first+"\n", maxTokens):   "",
		strings.Repeat(first+"\n", maxTokens+1): ":1001: there are more than 1000",
		strings.Repeat("a", maxFileBytes+9):     ": want lines of tokens, with at most",
		strings.Repeat("#\n", maxFileBytes/2) + "\n": ": want lines of tokens, with at most",
	} {
		file := write(t, "", text)
		_, err := Open(file)
		switch {
		case err == nil && want == "":
		case err == nil || want == "" || !strings.HasPrefix(err.Error(), file+want):
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		case strings.Contains(err.Error(), "short-one") || strings.Contains(err.Error(), first):
			t.Errorf("a token is in the error: %v", err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestReload(t *testing.T) {
	tokens := open(t, first)
	write(t, tokens.file, second)
	testkit.NoError(t, tokens.Reload())
	testkit.Equal(t, "the token that was taken out", tokens.Authorize(bearing("Bearer "+first)), false)
	testkit.Equal(t, "the token that was added", tokens.Authorize(bearing("Bearer "+second)), true)
	write(t, tokens.file, "not a token")
	if tokens.Reload() == nil {
		t.Error("a wrong file was read without an error")
	}
	testkit.Equal(t, "the token of the file before the wrong one", tokens.Authorize(bearing("Bearer "+second)), true)
}

func TestProtect(t *testing.T) {
	called := 0
	h := open(t, first).Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	h.ServeHTTP(httptest.NewRecorder(), bearing("Bearer "+first))
	testkit.Equal(t, "calls with a token", called, 1)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, bearing("Bearer "+second))
	testkit.Equal(t, "status", w.Code, http.StatusUnauthorized)
	testkit.Equal(t, "challenge", w.Header().Get("WWW-Authenticate"), `Bearer realm="dendro"`)

	r := bearing("")
	r.Header.Set("Content-Type", "application/grpc+proto")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	testkit.Equal(t, "status of HTTP for gRPC", w.Code, http.StatusOK)
	testkit.Equal(t, "status of gRPC", w.Header().Get("Grpc-Status"), "16")
	testkit.Equal(t, "type", w.Header().Get("Content-Type"), "application/grpc+proto")
	testkit.Equal(t, "body", w.Body.Len(), 0)
	testkit.Equal(t, "calls", called, 1)

	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodOptions, "/v1/traces", nil))
	testkit.Equal(t, "calls after a preflight", called, 2)
}

func FuzzParse(f *testing.F) {
	f.Add("# comment\n\n" + first + "\n" + second + "\n")
	f.Add("a b\x00")
	f.Fuzz(func(t *testing.T, text string) {
		digests, err := parse(strings.NewReader(text))
		if (err == nil) != (len(digests) > 0) || len(digests) > maxTokens {
			t.Errorf("%d tokens and error %v", len(digests), err)
		}
	})
}
