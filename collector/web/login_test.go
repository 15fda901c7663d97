package web_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector/auth"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const readToken = "token-that-may-read-0123456789"

func sessions(t testing.TB) *auth.Sessions {
	file := filepath.Join(t.TempDir(), "tokens")
	testkit.NoError(t, os.WriteFile(file, []byte(readToken+"\n"), 0o600))
	tokens, err := auth.Open(file)
	testkit.NoError(t, err)
	return auth.NewSessions(tokens)
}

// browser returns a client that keeps cookies.
func browser(t testing.TB) *http.Client {
	jar, err := cookiejar.New(nil)
	testkit.NoError(t, err)
	return &http.Client{Jar: jar}
}

// send sends a request as a browser does, with the fields of a form if it has any.
func send(t testing.TB, c *http.Client, to string, fields url.Values, header ...string) page {
	t.Helper()
	method, body := http.MethodGet, ""
	if fields != nil {
		method, body = http.MethodPost, fields.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	testkit.NoError(t, err)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(r)
	testkit.NoError(t, err)
	return read(t, res)
}

var hidden = regexp.MustCompile(`name="next" value="([^"]*)"`)

// fill sends the form to log in on page p.
func fill(t testing.TB, c *http.Client, p page, token string) page {
	t.Helper()
	action := regexp.MustCompile(`<form id="login" [^>]*action="([^"]*)"`).FindStringSubmatch(p.body)
	next := hidden.FindStringSubmatch(p.body)
	if action == nil || next == nil {
		t.Fatalf("no form to log in at %s:\n%s", p.url, p.body)
	}
	to, err := p.url.Parse(html.UnescapeString(action[1]))
	testkit.NoError(t, err)
	return send(t, c, to.String(), url.Values{"token": {token}, "next": {html.UnescapeString(next[1])}})
}

// Somebody who may not see a page gets a form, and then the page. This is so under every prefix, and the
// session is for what is below it.
func TestLogIn(t *testing.T) {
	store := &fakeStore{}
	store.add(threeCalls(1)...)
	for how, mount := range mounts {
		for _, prefix := range []string{"", "/debug/traces", "/x/trace"} {
			server := httptest.NewServer(mount(prefix, web.New(store, web.Options{Sessions: sessions(t)})))
			root := server.URL + prefix
			for _, path := range []string{"/", "/?limit=5&q=%7B%20name%20%3D~%20%22.*%22%20%7D", "/trace/" + traceOne + "?clocks=straight", "?limit=5", "/api/dendro/traces/1/html"} {
				c := browser(t)
				form := send(t, c, root+path, nil)
				testkit.Equal(t, how+root+path+": status of the form", form.status, http.StatusUnauthorized)
				testkit.Equal(t, "challenge", form.header.Get("WWW-Authenticate"), `Bearer realm="dendro"`)
				if strings.Contains(form.body, "shop") || strings.Contains(form.body, "Store") {
					t.Errorf("the form says what is stored:\n%s", form.body)
				}
				for _, link := range form.links() {
					target, err := form.url.Parse(link)
					testkit.NoError(t, err)
					if strings.Contains(link, "dendro-assets") {
						testkit.Equal(t, link, send(t, c, target.String(), nil).status, http.StatusOK)
					}
				}
				wrong := fill(t, c, form, "guess")
				testkit.Equal(t, "status of a wrong token", wrong.status, http.StatusUnauthorized)
				has(t, wrong.body, "the token is not valid")

				got := fill(t, c, wrong, " "+readToken+"\n") // as it is pasted
				want := strings.Replace(root+path, root+"?", root+"/?", 1)
				testkit.Equal(t, how+": ended", []any{got.status, got.url.String()}, []any{http.StatusOK, want})
				testkit.Equal(t, "API", send(t, c, root+"/api/search", nil).status, http.StatusOK)
				testkit.Equal(t, "beside the prefix", cookieSent(t, c, server.URL+"/other/"), prefix == "")

				out := send(t, c, root+"/?view=logout", url.Values{})
				testkit.Equal(t, "status after logging out", out.status, http.StatusUnauthorized)
				testkit.Equal(t, "cookie", cookieSent(t, c, root+"/"), false)
			}
			server.Close()
		}
	}
}

func cookieSent(t *testing.T, c *http.Client, to string) bool {
	u, err := url.Parse(to)
	testkit.NoError(t, err)
	return len(c.Jar.Cookies(u)) > 0
}

// Programs get a challenge instead of a form, and send a token.
func TestTokenForAPI(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{Sessions: sessions(t)})
	got := do(t, http.MethodGet, server.URL+"/api/search", nil)
	testkit.Equal(t, "status", got.status, http.StatusUnauthorized)
	testkit.Equal(t, "challenge", got.header.Get("WWW-Authenticate"), `Bearer realm="dendro"`)
	has(t, got.body, "Authorization: Bearer TOKEN")
	testkit.Equal(t, "with a token", do(t, http.MethodGet, server.URL+"/api/search", http.Header{"Authorization": {"Bearer " + readToken}}).status, http.StatusOK)
	testkit.Equal(t, "POST", do(t, http.MethodPost, server.URL+"/?view=import", http.Header{"Accept": {"text/html"}}).status, http.StatusUnauthorized)

	// Authorize decides, if it is set.
	server = serve(t, &fakeStore{}, web.Options{Sessions: sessions(t), Authorize: func(r *http.Request) bool { return r.Header.Get("Accept") == "" }})
	testkit.Equal(t, "authorized without a session", do(t, http.MethodGet, server.URL+"/api/search", nil).status, http.StatusOK)
	testkit.Equal(t, "not authorized", do(t, http.MethodGet, server.URL+"/", http.Header{"Accept": {"text/html"}, "Authorization": {"Bearer " + readToken}}).status, http.StatusUnauthorized)
}

// A page of another site can neither log somebody in nor out, and no GET does.
func TestLoginFromElsewhere(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{Sessions: sessions(t)})
	right := url.Values{"token": {readToken}}
	for _, test := range []struct {
		header []string
		status int
	}{
		{nil, 200},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", server.URL}, 200},
		{[]string{"Origin", "https://evil.example"}, 403},
	} {
		c := browser(t)
		testkit.Equal(t, "log in "+strings.Join(test.header, " "), send(t, c, server.URL+"/?view=login", right, test.header...).status, test.status)
		testkit.Equal(t, "session", cookieSent(t, c, server.URL+"/"), test.status == 200)
		send(t, c, server.URL+"/?view=login", right)
		send(t, c, server.URL+"/?view=logout", nil)
		send(t, c, server.URL+"/?view=logout", url.Values{}, test.header...)
		testkit.Equal(t, "still logged in", cookieSent(t, c, server.URL+"/"), test.status == 403)
	}
	c := browser(t)
	send(t, c, server.URL+"/?view=login&token="+readToken, nil)
	send(t, c, server.URL+"/?view=login&token="+readToken, url.Values{})
	testkit.Equal(t, "logged in by an address", cookieSent(t, c, server.URL+"/"), false)
}

// After the login a browser stays on this host, whatever the form says.
func TestLoginRedirect(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{Sessions: sessions(t)})
	for _, next := range []string{"https://evil.example/", "//evil.example/", "/evil", `\\evil.example`, "javascript:alert(1)", "\r\nX-Evil: 1", "../../x", "?limit=5"} {
		c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		got := send(t, c, server.URL+"/?view=login", url.Values{"token": {readToken}, "next": {next}})
		testkit.Equal(t, next, got.status, http.StatusSeeOther)
		if to := got.header.Get("Location"); !strings.HasPrefix(to, "./") || got.header.Get("X-Evil") != "" {
			t.Errorf("%q leads to %q", next, to)
		}
	}
}

func TestFailedLogins(t *testing.T) {
	server := serve(t, &fakeStore{}, web.Options{Sessions: sessions(t)})
	c := browser(t)
	var got page
	for range 50 {
		if got = send(t, c, server.URL+"/?view=login", url.Values{"token": {"guess"}}); got.status != http.StatusUnauthorized {
			break
		}
	}
	testkit.Equal(t, "status", got.status, http.StatusTooManyRequests)
	testkit.Equal(t, "retry after", got.header.Get("Retry-After"), "1")
	has(t, got.body, "too many logins have failed")
	testkit.Equal(t, "status of the right token", send(t, c, server.URL+"/?view=login", url.Values{"token": {readToken}}).status, http.StatusOK)
	c = browser(t)
	send(t, c, server.URL+"/?view=login", url.Values{"a": {strings.Repeat("a", 1<<20)}, "token": {readToken}})
	testkit.Equal(t, "logged in by a large form", cookieSent(t, c, server.URL+"/"), false)
}
