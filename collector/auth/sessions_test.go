package auth

import (
	"crypto/tls"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// logIn returns the cookie of a session.
func logIn(t *testing.T, s *Sessions, token string) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	testkit.NoError(t, s.LogIn(w, httptest.NewRequest("POST", "/traces/", nil), token))
	return w.Result().Cookies()[0]
}

func with(c *http.Cookie) *http.Request {
	r := httptest.NewRequest("GET", "/traces/", nil)
	r.AddCookie(c)
	return r
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSessions(open(t, first+"\n"+second))
		c := logIn(t, s, first)
		testkit.Equal(t, "logged in", s.Authorize(with(c)), true)
		testkit.Equal(t, "with a token", s.Authorize(bearing("Bearer "+second)), true)
		testkit.Equal(t, "with neither", s.Authorize(bearing("")), false)
		testkit.Equal(t, "with another id", s.Authorize(with(&http.Cookie{Name: c.Name, Value: c.Value + "A"})), false)
		testkit.Equal(t, "with the token as id", s.Authorize(with(&http.Cookie{Name: c.Name, Value: first})), false)

		time.Sleep(SessionTime - time.Nanosecond)
		testkit.Equal(t, "just before the end", s.Authorize(with(c)), true)
		time.Sleep(time.Nanosecond)
		testkit.Equal(t, "at the end", s.Authorize(with(c)), false)
	})
}

func TestCookie(t *testing.T) {
	s := NewSessions(open(t, first))
	for _, test := range []struct {
		tls       bool
		forwarded string
		secure    bool
	}{{false, "", false}, {true, "", true}, {false, "https", true}, {false, "http", false}} {
		r := httptest.NewRequest("POST", "/traces/", nil)
		if test.tls {
			r.TLS = &tls.ConnectionState{}
		}
		r.Header.Set("X-Forwarded-Proto", test.forwarded)
		w := httptest.NewRecorder()
		testkit.NoError(t, s.LogIn(w, r, first))
		c := w.Result().Cookies()[0]
		testkit.Equal(t, "secure", c.Secure, test.secure)
		testkit.Equal(t, "hidden from scripts", c.HttpOnly, true)
		testkit.Equal(t, "same site", c.SameSite, http.SameSiteLaxMode)
		testkit.Equal(t, "path, which the browser fills in", c.Path, "")
		testkit.Equal(t, "max age", c.MaxAge, int(SessionTime.Seconds()))
	}
}

// Who logs in to one of two programs on a host stays logged in to the other. Browsers send cookies to
// all ports.
func TestTwoPrograms(t *testing.T) {
	tokens := open(t, first)
	one, two := NewSessions(tokens), NewSessions(tokens)
	jar, err := cookiejar.New(nil)
	testkit.NoError(t, err)
	for port, s := range map[string]*Sessions{"1": one, "2": two} {
		w := httptest.NewRecorder()
		testkit.NoError(t, s.LogIn(w, httptest.NewRequest("POST", "/", nil), first))
		jar.SetCookies(&url.URL{Scheme: "http", Host: "localhost:" + port, Path: "/"}, w.Result().Cookies())
	}
	for port, s := range map[string]*Sessions{"1": one, "2": two} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, c := range jar.Cookies(&url.URL{Scheme: "http", Host: "localhost:" + port, Path: "/"}) {
			r.AddCookie(c)
		}
		testkit.Equal(t, port, s.Authorize(r), true)
	}
}

// A session ends with its token.
func TestTokenTakenOut(t *testing.T) {
	s := NewSessions(open(t, first+"\n"+second))
	one, other := logIn(t, s, first), logIn(t, s, second)
	write(t, s.tokens.file, second)
	testkit.NoError(t, s.tokens.Reload())
	testkit.Equal(t, "of the token that was taken out", s.Authorize(with(one)), false)
	testkit.Equal(t, "of the other", s.Authorize(with(other)), true)
}

func TestLogOut(t *testing.T) {
	s := NewSessions(open(t, first))
	c, other := logIn(t, s, first), logIn(t, s, first)
	w := httptest.NewRecorder()
	s.LogOut(w, with(c))
	testkit.Equal(t, "max age of the cookie", w.Result().Cookies()[0].MaxAge, -1)
	testkit.Equal(t, "logged out", s.Authorize(with(c)), false)
	testkit.Equal(t, "another session", s.Authorize(with(other)), true)
	s.LogOut(httptest.NewRecorder(), bearing("")) // without a session, nothing happens
}

// Sessions are bounded: another one ends the oldest, and those whose time has come make room.
func TestManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSessions(open(t, first))
		oldest := logIn(t, s, first)
		time.Sleep(time.Second)
		next := logIn(t, s, first)
		for range maxSessions - 1 {
			logIn(t, s, first)
		}
		testkit.Equal(t, "sessions", len(s.open), maxSessions)
		testkit.Equal(t, "the oldest", s.Authorize(with(oldest)), false)
		testkit.Equal(t, "the next", s.Authorize(with(next)), true)
		time.Sleep(SessionTime)
		logIn(t, s, first)
		testkit.Equal(t, "sessions a day later", len(s.open), 1)
	})
}

// Failed logins are limited, and lock out nobody.
func TestFailedLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSessions(open(t, first))
		fail := func() error { return s.LogIn(httptest.NewRecorder(), bearing(""), "guess") }
		for range failedBurst {
			testkit.Equal(t, "failed login", fail(), ErrToken)
		}
		for range 3 {
			testkit.Equal(t, "one too many", fail(), ErrTooMany)
		}
		logIn(t, s, first)
		time.Sleep(failedEvery)
		testkit.Equal(t, "failed login a second later", fail(), ErrToken)
		testkit.Equal(t, "and another", fail(), ErrTooMany)
		testkit.Equal(t, "refused", s.tokens.Refused(), uint64(failedBurst+5))
	})
}
