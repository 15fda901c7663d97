package middleware

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"
)

// route finds the pattern that a router chose.
type route struct {
	chi  *chi.Context
	ours bool // chi is of chiContexts
}

var chiContexts = sync.Pool{New: func() any { return chi.NewRouteContext() }}

// enter returns the context for the handlers inside. A chi router makes its
// context below the middleware that is around it, out of sight. If it finds one
// it takes that: so for mux, unless it is nil, enter makes the one that mux
// would make.
func (t *route) enter(ctx context.Context, mux *chi.Mux) context.Context {
	t.chi = chi.RouteContext(ctx)
	if t.chi != nil || mux == nil {
		return ctx
	}
	t.chi, t.ours = chiContexts.Get().(*chi.Context), true
	t.chi.Reset()
	t.chi.Routes = mux
	return context.WithValue(ctx, chi.RouteCtxKey, t.chi)
}

// pattern returns the path pattern that matched r, "" if none did. It is known
// when the handlers inside have returned.
func (t *route) pattern(r *http.Request) string {
	if pattern := t.chi.RoutePattern(); pattern != "" {
		return pattern
	}
	// Of http.ServeMux: "[METHOD ][HOST]/[PATH]".
	if path := strings.IndexByte(r.Pattern, '/'); path >= 0 {
		return r.Pattern[path:]
	}
	return ""
}

// leave gives the context of chi back. After a panic it is not called, as in
// chi: the outer handlers may look at it.
func (t *route) leave() {
	if t.ours {
		chiContexts.Put(t.chi)
	}
}
