package auth

import (
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Bounds of sessions.
const (
	// SessionTime is how long somebody stays logged in.
	SessionTime = 12 * time.Hour
	maxSessions = 1000
	// Of failed logins, failedBurst are answered as they come, and then one every failedEvery.
	failedBurst = 10
	failedEvery = time.Second
)

// Errors of [Sessions.LogIn].
var (
	ErrToken   = errors.New("the token is not valid")
	ErrTooMany = errors.New("too many logins have failed: try again in a moment")
)

// Sessions admits requests with a token, and requests of browsers in which somebody has logged
// in with one. A browser has a cookie with the random id of its session; the session itself is
// in memory. It ends after [SessionTime], when its token is taken out of the file, and when the
// program ends. There are at most 1000: another one ends the oldest. The methods are safe for concurrent use.
type Sessions struct {
	tokens *Tokens
	cookie string // its name

	mu     sync.Mutex
	open   map[digest]session // by the digest of the id
	failed failures
}

type session struct {
	token digest
	ends  time.Time
}

// NewSessions returns sessions for those who have one of the tokens. The name of their cookie is
// random: browsers send a cookie to all ports of a host (RFC 6265, section 8.5), where other programs may
// have sessions of their own.
func NewSessions(t *Tokens) *Sessions {
	return &Sessions{tokens: t, cookie: "dendro_session_" + rand.Text()[:8], open: map[digest]session{}}
}

// Authorize reports whether r has a token, or the cookie of a session.
func (s *Sessions) Authorize(r *http.Request) bool {
	return s.of(r) || s.tokens.Authorize(r)
}

// of reports whether r has the cookie of a session.
func (s *Sessions) of(r *http.Request) bool {
	c, err := r.Cookie(s.cookie)
	if err != nil {
		return false
	}
	s.mu.Lock()
	found, ok := s.open[digestOf(c.Value)]
	s.mu.Unlock()
	return ok && time.Now().Before(found.ends) && s.tokens.holds(found.token)
}

// LogIn starts a session if token is one of the tokens, and sets its cookie. The cookie is for the
// folder of the path to which r was sent, as the browser sees it, so r must be sent to where the
// page is mounted.
//
// A valid token is always accepted, so nobody can lock out others. An invalid one is answered
// with [ErrToken], or with [ErrTooMany] if more than one a second fails, whoever sends them.
func (s *Sessions) LogIn(w http.ResponseWriter, r *http.Request, token string) error {
	d, now := digestOf(token), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tokens.holds(d) {
		s.tokens.refused.Add(1)
		if s.failed.add(now) {
			return ErrToken
		}
		return ErrTooMany
	}
	s.makeRoom(now)
	id := rand.Text()
	s.open[digestOf(id)] = session{d, now.Add(SessionTime)}
	s.setCookie(w, r, id, int(SessionTime/time.Second))
	return nil
}

// LogOut ends the session of r, if there is one, and removes its cookie. Like that of LogIn, r must
// be sent to where the page is mounted.
func (s *Sessions) LogOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(s.cookie); err == nil {
		s.mu.Lock()
		delete(s.open, digestOf(c.Value))
		s.mu.Unlock()
	}
	s.setCookie(w, r, "", -1)
}

// setCookie sets the cookie. Without a path, it is for the folder of the request (RFC 6265, section
// 5.1.4), which the browser knows even if a proxy strips a prefix. It is sent with links from other
// sites, so that a link to a trace works: no GET changes anything.
func (s *Sessions) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie, Value: value, MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// makeRoom ends the sessions whose time has come, and the oldest one if there are maxSessions.
func (s *Sessions) makeRoom(now time.Time) {
	var oldest digest
	for id, o := range s.open {
		if !now.Before(o.ends) {
			delete(s.open, id)
		} else if first, ok := s.open[oldest]; !ok || o.ends.Before(first.ends) {
			oldest = id
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
}

// failures limits how many failed logins are answered.
type failures struct {
	until time.Time // when all that were answered have been paid for, one every failedEvery
}

// add reports whether a login that fails now is within the limit.
func (f *failures) add(now time.Time) bool {
	if f.until.Before(now) {
		f.until = now
	}
	if f.until.Sub(now) > (failedBurst-1)*failedEvery {
		return false
	}
	f.until = f.until.Add(failedEvery)
	return true
}
