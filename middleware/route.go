package middleware

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
)

// route finds the pattern that a router chose.
type route struct {
	ours *chi.Context           // of chiContexts; nil: chi has made one, if it is there
	told atomic.Pointer[string] // by SetRoute
}

var chiContexts = sync.Pool{New: func() any { return chi.NewRouteContext() }}

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
		t.ours = chiContext(mux)
	}
}

// pattern returns the path pattern that matched the request of x, "" if none did. It
// is known when the handlers inside have returned.
func (t *route) pattern(x *exchange) string {
	if told := t.told.Load(); told != nil {
		return *told
	}
	c := t.ours
	if c == nil {
		c = chi.RouteContext(x.Context)
	}
	if pattern := c.RoutePattern(); pattern != "" {
		return pattern
	}
	return pathOf(x.request.Pattern)
}

// pathOf returns the path of a pattern of [http.ServeMux]: "[METHOD ][HOST]/[PATH]".
func pathOf(pattern string) string {
	if path := strings.IndexByte(pattern, '/'); path >= 0 {
		return pattern[path:]
	}
	return ""
}

// names are names of spans that were made before, by a hash: requests do not come from
// as many routes as there are requests. Each has two places; of a hundred names one or
// so finds both of them taken. It is made anew for each request then, and now and then
// takes one of them, so that names which nobody needs any more go.
var names [1024]atomic.Pointer[string]

// maxName is the longest name that is kept in names.
const maxName = 256

var nameSeed = maphash.MakeSeed()

// nameOf returns the name of the span of a method, as semconv names it, on a route.
func nameOf(method, route string) string {
	if route == "" {
		return method
	}
	// No two methods have the same second letter and length.
	hash := maphash.String(nameSeed, route) + 37*uint64(method[1]) + 101*uint64(len(method))
	free := uint64(2)
	for i := range uint64(2) {
		switch name := names[(hash^i)%uint64(len(names))].Load(); {
		case name == nil:
			free = i
		case len(*name) == len(method)+1+len(route) && strings.HasPrefix(*name, method) && strings.HasSuffix(*name, route):
			return *name
		}
	}
	name := method + " " + route
	if len(name) > maxName {
		return name
	}
	if free > 1 {
		if rand.Uint32()%64 > 0 {
			return name
		}
		free = uint64(len(name) % 2)
	}
	kept := name
	names[(hash^free)%uint64(len(names))].Store(&kept)
	return name
}

// leave gives the context of chi back. After a panic or runtime.Goexit it is not
// called, as in chi: the outer handlers may look at it.
func (t *route) leave() {
	if t.ours != nil {
		chiContexts.Put(t.ours)
	}
}

// SetRoute tells the span of the request in ctx which route pattern matched, such
// as "/orders/{id}": for routers that the middleware does not know. The method and
// the host that a pattern of [http.ServeMux] may have are left out. It does nothing
// if ctx is not of a traced request, or pattern has no path.
func SetRoute(ctx context.Context, pattern string) {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	if path := pathOf(pattern); x != nil && path != "" {
		x.route.told.Store(&path)
	}
}

// Route returns a handler that does as router, a [chi.Mux] or [http.ServeMux], and
// tells the middleware which route matched, as [SetRoute]. It is needed where
// handlers between the middleware and the router pass a copy of the request on,
// as most do that put a value into its context.
func Route(router http.Handler) http.Handler {
	mux, _ := router.(*chi.Mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		switch c := chi.RouteContext(ctx); {
		case ctx.Value(exchangeKey{}) == nil, mux != nil && c != nil:
			router.ServeHTTP(w, r)
		case mux != nil:
			c = chi.NewRouteContext()
			c.Routes = mux
			defer func() { SetRoute(ctx, c.RoutePattern()) }()
			router.ServeHTTP(w, r.WithContext(context.WithValue(ctx, chi.RouteCtxKey, c)))
		default:
			defer func() { SetRoute(ctx, r.Pattern) }()
			router.ServeHTTP(w, r)
		}
	})
}
