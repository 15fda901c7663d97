package middleware

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
)

// route finds the pattern of the innermost router that matched.
type route struct {
	ours atomic.Pointer[chi.Context] // for the chi router inside; if nil or none, that makes its own
}

var chiContexts = sync.Pool{New: func() any { return chi.NewRouteContext() }}

// none is the value of route.ours if there is no chi router inside to make a context
// for.
var none = chi.NewRouteContext()

// chiContext returns a context for the routes of mux.
func chiContext(mux *chi.Mux) *chi.Context {
	c := chiContexts.Get().(*chi.Context)
	c.Reset()
	c.Routes = mux
	return c
}

// enter makes the chi context for the request, unless mux is nil or ctx has one
// already. A chi router that finds no context makes one for its inner handlers, where
// the middleware around it cannot see it. If it finds one, it uses that.
func (t *route) enter(ctx context.Context, mux *chi.Mux) {
	if mux != nil && chi.RouteContext(ctx) == nil {
		t.ours.Store(chiContext(mux))
	}
}

// context returns the context for the chi router inside, or nil if that makes its own.
func (t *route) context(x *exchange) *chi.Context {
	c := t.ours.Load()
	if c == nil && x.h.serveMux != nil {
		c = t.find(x)
	}
	if c == none {
		return nil
	}
	return c
}

// find makes a context if x.h.serveMux routes the request to a chi router. Such a
// router asks for a context before it does anything else.
func (t *route) find(x *exchange) *chi.Context {
	c := none
	if chi.RouteContext(x.Context) == nil {
		if mux, _ := behind(x.h.serveMux, x.outer); mux != nil {
			c = chiContext(mux)
		}
	}
	if t.ours.CompareAndSwap(nil, c) && c != none {
		giveBack(x.outer, &x.request) // outer handlers see nothing of what comes now: chi would have made a copy
	}
	return t.ours.Load()
}

// behind asks next, if it is an [http.ServeMux], and those inside, which handler r is for. It returns the
// chi router that they lead to, if they do, and the pattern of the path that they have matched.
func behind(next http.Handler, r *http.Request) (_ *chi.Mux, pattern string) {
	for range maxDeep {
		mux, ok := next.(*http.ServeMux)
		if !ok {
			break
		}
		var matched string
		next, matched = mux.Handler(&http.Request{Method: r.Method, Host: r.Host, URL: r.URL})
		pattern = closer(pathOf(matched), pattern)
	}
	mux, _ := next.(*chi.Mux)
	return mux, pattern
}

// ahead returns the pattern that r will match, as far as the routers tell without being called, or "". It
// looks no further than route.pattern does.
func (h *handler) ahead(r *http.Request) string {
	if r.URL == nil {
		return ""
	}
	mux, pattern := behind(h.next, r)
	pattern = closer(pattern, pathOf(r.Pattern))
	path := cmp.Or(r.URL.RawPath, r.URL.Path, "/") // as chi has it
	outer := chi.RouteContext(r.Context())
	var routes chi.Routes
	switch {
	case outer == nil && mux != nil:
		routes = mux
	case outer != nil:
		routes = outer.Routes
		if len(outer.RoutePatterns) == 0 {
			path = cmp.Or(outer.RoutePath, path)
		}
	}
	if routes == nil {
		return pattern
	}
	c := chiContexts.Get().(*chi.Context)
	defer chiContexts.Put(c)
	c.Reset()
	if !routes.Match(c, r.Method, path) {
		return pattern
	}
	return closer(c.RoutePattern(), pattern)
}

// passedOn reports whether outer handlers see what inner handlers assign to fields of
// the request. They do not if a chi router would have made a copy of it.
func (t *route) passedOn() bool {
	c := t.ours.Load()
	return c == nil || c == none
}

// pattern returns the path pattern that matched the request of x, or "" if none did.
// The result is final when the inner handlers have returned.
func (t *route) pattern(x *exchange) string {
	told := x.told.get()
	if told.final {
		return told.route
	}
	c := t.context(x)
	if c == nil {
		c = chi.RouteContext(x.Context)
	}
	before, last := x.outer.Pattern, x.request.Pattern // set by routers that got the request itself, not a copy
	matched := c.RoutePattern()
	if x.refused() && onlyMounted(c) {
		if before == matched {
			before = ""
		}
		if last == matched {
			last = before
		}
		matched = ""
	} else if c != nil && len(c.RoutePatterns) == 1 && c.RoutePatterns[0] == last && before == "" && told == &nothing {
		return last // set by the chi router; the other sources agree
	}
	pattern := closer(matched, pathOf(before))
	if last != before {
		pattern = closer(pathOf(last), pattern)
	}
	return closer(told.route, pattern)
}

// onlyMounted reports whether the last pattern of c is that of a router mounted in another,
// which has found no route of its own.
func onlyMounted(c *chi.Context) bool {
	if c == nil || len(c.RoutePatterns) == 0 {
		return false
	}
	routes := c.Routes
	for _, pattern := range c.RoutePatterns {
		if routes == nil {
			return false
		}
		mount := strings.TrimSuffix(pattern, "/") + "/*" // a mount at /api has the patterns /api, /api/ and /api/*
		all := routes.Routes()
		i := slices.IndexFunc(all, func(r chi.Route) bool { return r.Pattern == pattern || r.Pattern == mount })
		if i < 0 || all[i].SubRoutes == nil {
			return false
		}
		routes = all[i].SubRoutes
	}
	return true
}

// closer returns the pattern that names more segments of the path, or inner if both
// name the same number. An inner router may know less than an outer one: just "/*".
func closer(inner, outer string) string {
	switch {
	case outer == "", inner == outer:
		return inner
	case inner == "", depth(inner) < depth(outer):
		return outer
	}
	return inner
}

// pathOf returns the path of a pattern of [http.ServeMux]: "[METHOD ][HOST]/[PATH]".
func pathOf(pattern string) string {
	if path := strings.IndexByte(pattern, '/'); path >= 0 {
		return pattern[path:]
	}
	return ""
}

// depth returns the number of segments in pattern, without a wildcard at its end.
func depth(pattern string) (n int) {
	for segment := range strings.SplitSeq(pattern, "/") {
		if segment != "" && segment != "*" && !strings.HasSuffix(segment, "...}") {
			n++
		}
	}
	return n
}

// leave puts the chi context back into the pool. As in chi, it is not called after a
// panic or runtime.Goexit, when outer handlers may still look at the context.
func (t *route) leave() {
	if !t.passedOn() {
		chiContexts.Put(t.ours.Load())
	}
}

// follow serves r, a request of x, by router and records which pattern matched.
func (t *route) follow(x *exchange, router http.Handler, w http.ResponseWriter, r *http.Request) {
	front := t.stripped(x, r)
	before := r.Pattern
	c := chi.RouteContext(r.Context())
	whole := c != nil && c == chi.RouteContext(x) // the patterns of c begin with that of front
	if mux, ok := router.(*chi.Mux); ok && c == nil {
		c = chi.NewRouteContext()
		c.Routes = mux
		r = r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, c))
	}
	defer func() {
		pattern, last := c.RoutePattern(), ""
		if r.Pattern != before && pathOf(r.Pattern) != pattern {
			last = join(front, pathOf(r.Pattern))
		}
		if x.refused() && onlyMounted(c) {
			pattern = ""
		}
		if !whole {
			pattern = join(front, pattern)
		}
		pattern = closer(last, pattern)
		x.told.change(func(n *note) {
			if !n.final {
				n.route = closer(n.route, pattern) // the innermost router comes here first
			}
		})
	}()
	router.ServeHTTP(w, r)
}

// stripped returns the pattern of the prefix that handlers like [http.StripPrefix]
// have removed from the path of r, a request of x.
func (t *route) stripped(x *exchange, r *http.Request) string {
	if x.outer.URL == nil || r.URL == nil {
		return ""
	}
	front, ok := strings.CutSuffix(x.outer.URL.Path, r.URL.Path)
	if !ok || front == "" || r.URL.Path != "" && r.URL.Path[0] != '/' {
		return ""
	}
	pattern, end := t.pattern(x), 0
	segments := strings.Count(front, "/")
	if depth(pattern) < segments { // no outer router has matched front
		return fronts.get(front)
	}
	for range segments {
		end++
		if i := strings.IndexByte(pattern[end:], '/'); i >= 0 {
			end += i
		} else {
			end = len(pattern)
		}
	}
	return pattern[:end]
}

// fronts holds prefixes that were stripped without a router having matched them, up to
// maxFronts. http.StripPrefix removes a constant, but other handlers may remove what
// the client sent, and the number of routes must stay bounded.
var fronts literals

const maxFronts = 64

type literals struct {
	mu   sync.Mutex
	seen map[string]string // guarded by mu
}

// get returns text if it is one of the first maxFronts texts, and "" otherwise.
func (l *literals) get(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.seen[text]
	if kept == "" && len(l.seen) < maxFronts {
		if l.seen == nil {
			l.seen = map[string]string{}
		}
		kept = strings.Clone(text)
		l.seen[kept] = kept
	}
	return kept
}

// join returns front followed by pattern, or "" if pattern is empty.
func join(front, pattern string) string {
	if pattern == "" {
		return ""
	}
	return front + pattern
}

// SetRoute sets the route pattern of the request in ctx, for example "/orders/{id}".
// It is for routers that the middleware does not know. A method and host, as in
// patterns of [http.ServeMux], are removed. SetRoute does nothing if ctx does not
// belong to a traced request or pattern has no path.
func SetRoute(ctx context.Context, pattern string) {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if path := pathOf(pattern); x != nil && path != "" {
		x.told.change(func(n *note) { n.route, n.final = path, true })
	}
}

// Route returns a handler that serves requests with router, a [chi.Mux] or
// [http.ServeMux], and tells the middleware which route matched. It is needed if a
// handler between the middleware and the router copies the request, as
// [http.StripPrefix] does and any handler that adds a value to its context. If the
// path was stripped of a prefix in between, the route begins with that prefix.
func Route(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x, _ := r.Context().Value(exchangeKey{}).(*exchange); x != nil {
			x.route.follow(x, router, w, r)
			return
		}
		router.ServeHTTP(w, r)
	})
}
