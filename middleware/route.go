package middleware

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
)

// route finds the pattern of the innermost router that has matched.
type route struct {
	ours atomic.Pointer[chi.Context] // of chiContexts, for the chi router inside; nil, none: it makes its own
}

var chiContexts = sync.Pool{New: func() any { return chi.NewRouteContext() }}

// none stands for a chi context that was looked for in vain.
var none = chi.NewRouteContext()

// chiContext returns a context for the routes of mux.
func chiContext(mux *chi.Mux) *chi.Context {
	c := chiContexts.Get().(*chi.Context)
	c.Reset()
	c.Routes = mux
	return c
}

// enter makes the context that mux would make, unless it is nil or ctx is of a chi
// router already. A chi router makes its context below the middleware that is around
// it, out of sight; if it finds one it takes that.
func (t *route) enter(ctx context.Context, mux *chi.Mux) {
	if mux != nil && chi.RouteContext(ctx) == nil {
		t.ours.Store(chiContext(mux))
	}
}

// context returns the context for the chi router inside, nil if that makes its own.
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

// find makes a context if the handler that x.h.serveMux has for the request is a
// chi router, which asks for one as the first thing that it does.
func (t *route) find(x *exchange) *chi.Context {
	c := none
	if chi.RouteContext(x.Context) == nil {
		var next http.Handler = x.h.serveMux
		for range maxDeep {
			mux, ok := next.(*http.ServeMux)
			if !ok {
				break
			}
			next, _ = mux.Handler(&http.Request{Method: x.outer.Method, Host: x.outer.Host, URL: x.outer.URL})
		}
		if mux, ok := next.(*chi.Mux); ok {
			c = chiContext(mux)
		}
	}
	if t.ours.CompareAndSwap(nil, c) && c != none {
		giveBack(x.outer, &x.request) // the last that is seen outside: chi by itself makes a copy now
	}
	return t.ours.Load()
}

// passedOn reports whether what handlers inside assign on the request is for the
// handlers outside, too: unless a chi router would have made a copy of it.
func (t *route) passedOn() bool {
	c := t.ours.Load()
	return c == nil || c == none
}

// pattern returns the path pattern that matched the request of x, "" if none did. It
// is known when the handlers inside have returned.
func (t *route) pattern(x *exchange) string {
	told := x.told.get()
	if told.final {
		return told.route
	}
	c := t.context(x)
	if c == nil {
		c = chi.RouteContext(x.Context)
	}
	before, last := x.outer.Pattern, x.request.Pattern // of a router that got this very request
	if c != nil && len(c.RoutePatterns) == 1 && c.RoutePatterns[0] == last && before == "" && told == &nothing {
		return last // as the chi router has set it: the others would say the same
	}
	pattern := closer(c.RoutePattern(), pathOf(before))
	if last != before {
		pattern = closer(pathOf(last), pattern)
	}
	return closer(told.route, pattern)
}

// closer returns which of two patterns says more of the path: inner, unless it is a
// wildcard where outer has names.
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

// depth returns how many segments pattern has before its wildcard, if there is one.
func depth(pattern string) (n int) {
	for segment := range strings.SplitSeq(pattern, "/") {
		if segment != "" && segment != "*" && !strings.HasSuffix(segment, "...}") {
			n++
		}
	}
	return n
}

// leave gives the context of chi back. After a panic or runtime.Goexit it is not
// called, as in chi: the outer handlers may look at it.
func (t *route) leave() {
	if !t.passedOn() {
		chiContexts.Put(t.ours.Load())
	}
}

// follow serves r, a request of x, by router, and tells which pattern has matched.
func (t *route) follow(x *exchange, router http.Handler, w http.ResponseWriter, r *http.Request) {
	front := t.stripped(x, r)
	before := r.Pattern
	c := chi.RouteContext(r.Context())
	whole := c != nil && c == chi.RouteContext(x) // c knows what stands before front
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
		if !whole {
			pattern = join(front, pattern)
		}
		pattern = closer(last, pattern)
		x.told.change(func(n *note) {
			if !n.final {
				n.route = closer(n.route, pattern) // routers inside are the first to tell theirs
			}
		})
	}()
	router.ServeHTTP(w, r)
}

// stripped returns the pattern of what handlers like [http.StripPrefix] have cut off
// the path of r, a request of x.
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
	if depth(pattern) < segments { // no router has matched it
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

// fronts keeps the first maxFronts prefixes that were stripped and that no router had
// matched: http.StripPrefix has one, but other handlers may take it from the request.
var fronts literals

const maxFronts = 64

type literals struct {
	mu   sync.Mutex
	seen map[string]string // guarded by mu
}

// get returns text if it is one of the first, "" otherwise.
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

// join returns a pattern with front before it, "" for no pattern.
func join(front, pattern string) string {
	if pattern == "" {
		return ""
	}
	return front + pattern
}

// SetRoute tells the span of the request in ctx which route pattern matched, such
// as "/orders/{id}": for routers that the middleware does not know. The method and
// the host that a pattern of [http.ServeMux] may have are left out. It does nothing
// if ctx is not of a traced request, or pattern has no path.
func SetRoute(ctx context.Context, pattern string) {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if path := pathOf(pattern); x != nil && path != "" {
		x.told.change(func(n *note) { n.route, n.final = path, true })
	}
}

// Route returns a handler that does as router, a [chi.Mux] or [http.ServeMux], and
// tells the middleware which route matched. It is needed where a handler between the
// middleware and the router passes a copy of the request on: one that puts a value into
// its context, or [http.StripPrefix]. A prefix of the path that was stripped in between
// becomes part of the route.
func Route(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x, _ := r.Context().Value(exchangeKey{}).(*exchange); x != nil {
			x.route.follow(x, router, w, r)
			return
		}
		router.ServeHTTP(w, r)
	})
}
