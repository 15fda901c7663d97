package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/dendrotrace/dendro/collector/auth"
)

// maxLoginBytes bounds the form of a login.
const maxLoginBytes = 64 << 10

type loginPage struct {
	frame
	Next    string // the relative address, from the mount point, of what was asked for
	Problem string // why the login failed
}

// refuse responds to a request that is not authorized.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request) {
	if h.sessions == nil {
		http.Error(w, "403 forbidden: by default traces are shown only to direct requests from this machine to localhost; "+
			"set web.Options.Authorize to decide who else may see them", http.StatusForbidden)
		return
	}
	path, asked := r.URL.EscapedPath(), askedPath(r)
	serve, args, end := match(path)
	if _, imported := cutImport(path); imported != "" {
		end = imported
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case reads && strings.HasPrefix(end, "dendro-assets/"): // the form has them
		serve(h, w, r, args)
	case !reads || !strings.Contains(r.Header.Get("Accept"), "text/html"):
		auth.Challenge(w.Header())
		http.Error(w, "401 unauthorized: log in on the page, or send a token that may read: Authorization: Bearer TOKEN", http.StatusUnauthorized)
	case end == "" && !strings.HasSuffix(asked, "/"): // as serve does
		redirect(w, http.StatusTemporaryRedirect, asked[strings.LastIndexByte(asked, '/')+1:]+"/"+query(r))
	default:
		h.loginForm(w, http.StatusUnauthorized, loginPage{frame: frame{Root: upFrom(end)}, Next: end + query(r)})
	}
}

func (h *handler) loginForm(w http.ResponseWriter, status int, p loginPage) {
	p.Title, p.Page = "Log in", "Log in"
	if status == http.StatusUnauthorized {
		auth.Challenge(w.Header())
	}
	render(w, status, "login.html", p)
}

// serveLogin serves ?view=login and ?view=logout of the mount point. It reports whether r is for
// one of them.
func (h *handler) serveLogin(w http.ResponseWriter, r *http.Request) bool {
	view := r.URL.Query().Get("view")
	if view != "login" && view != "logout" || !strings.HasSuffix(askedPath(r), "/") {
		return false
	}
	switch {
	case r.Method != http.MethodPost: // the address of the form after a failed login
		redirect(w, http.StatusSeeOther, "")
	case new(http.CrossOriginProtection).Check(r) != nil:
		h.loginForm(w, http.StatusForbidden, loginPage{frame: frame{Root: "./"}, Problem: errOtherSite.Error()})
	case view == "logout":
		h.sessions.LogOut(w, r)
		redirect(w, http.StatusSeeOther, "")
	default:
		h.logIn(w, r)
	}
	return true
}

func (h *handler) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginBytes)
	next := r.PostFormValue("next")
	err := h.sessions.LogIn(w, r, strings.TrimSpace(r.PostFormValue("token")))
	if err == nil {
		redirect(w, http.StatusSeeOther, next)
		return
	}
	status := http.StatusUnauthorized
	if errors.Is(err, auth.ErrTooMany) {
		w.Header().Set("Retry-After", "1")
		status = http.StatusTooManyRequests
	}
	h.loginForm(w, status, loginPage{frame: frame{Root: "./"}, Next: next, Problem: err.Error()})
}
