// Package web serves a web page that shows the traces of a store, and the query API
// behind it, which is the API that Grafana's Tempo data source calls.
//
// [New] returns an [http.Handler] that works under any prefix, whether it is mounted
// directly, by [http.StripPrefix] or by a router. It matches the end of the path, and
// all its links are relative. In an app that traces its requests, the spans of
// requests for the page are discarded, see [dendro.Span.Discard].
//
//	/                                         overview: operations, latency, services, errors
//	/?view=sql                                statements of databases
//	/?view=compare&q={A}&against={B}          two groups of spans, by their attributes
//	/?view=compare&a={id}&b={id}              two traces as one tree
//	/?view=kept                               traces that are kept, and why, with [Options.Keep]
//	/?view=open                               what the program is doing now, with [Options.Diagnostics]
//	/?view=import                             form for a file of traces, which POST receives
//	/?view=login, /?view=logout               POST, with [Options.Sessions]
//	/import/{token}/…                         all of these for the traces of a file
//	/?limit=50                                list of traces; any parameter of the list will do
//	/trace/{id}                               a trace
//	/profile?operation={name}&seconds=10      CPU profile of an operation, with [Options.Diagnostics]
//	/api/echo                                 health check of a data source
//	/api/search                               Tempo search
//	/api/search/tags, /api/v2/…               Tempo tag names
//	/api/metrics/query_range, …/query         TraceQL metrics
//	/api/search/tag/{tag}/values, …           Tempo tag values
//	/api/traces/{id}, /api/v2/…               a trace as OTLP, in JSON or protobuf
//	/api/status/buildinfo                     version
//	/api/dendro/tail                          new traces as they come
//	/api/dendro/export                        all traces as OTLP JSON, a request a line
//	/api/dendro/keep                          which traces are kept; POST asks for more
//	/api/dendro/open                          what the program is doing now
//	/api/dendro/operations, …/graph           counts of operations and who calls whom
//	/api/dendro/traces/{id}                   rows of the page of a trace
//	/api/dendro/traces/{id}/size              how many spans a trace has
//	/api/dendro/traces/{id}/match             which spans a text or a query selects
//	/api/dendro/traces/{id}/events            events of all spans
//	/api/dendro/traces/{id}/spans/{id}        details of a span
//	/api/dendro/traces/{id}/spans/{id}/links  which spans link to a span
//	/api/dendro/traces/{id}/perfetto          a trace for Perfetto
//	/api/dendro/traces/{id}/html              the page of a trace as one file
//	/api/dendro/traces/{id}/recording         what the flight recorder has saved for a trace
//
// The API under /api/dendro belongs to the page and may change with it.
package web

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/auth"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/diagnostics"
)

// Options configures [New]. The zero value is ready to use.
type Options struct {
	// Authorize reports whether a request may see the traces. It must be safe for
	// concurrent use. If it is nil, Sessions decide. If these are nil, too, only requests
	// that come directly from this machine and ask for localhost or a loopback address are
	// allowed. A proxy on this machine that asks for localhost and adds no header such as
	// X-Forwarded-For, like nginx by default, cannot be distinguished from these: set
	// Authorize or Sessions if there is one.
	Authorize func(*http.Request) bool
	// Sessions, if they are not nil, let people log in with a token: a browser whose request
	// is not allowed gets a form, and other clients status 401. A page has a button to log out.
	Sessions *auth.Sessions
	// Tracers are the tracers whose [dendro.Stats] the page shows: delivered,
	// unfinished and dropped spans. If it is empty, the page shows none.
	Tracers []*dendro.Tracer
	// Keep, if it is not nil, is what processes that keep their spans hear of the traces that matter, as package
	// collector/server has it. The page says which traces were kept and why, and whoever may see it can ask for others.
	Keep *keep.Hub
	// Diagnostics, if it is not nil, is the observer of the tracers of this process. Whoever may see the page can take
	// CPU profiles of the process: the overview has a link next to operations of Tracers, or if that is empty, of all services. The page
	// also shows what the process is doing now, and what its flight recorder has saved.
	Diagnostics *diagnostics.Diagnostics
}

// Store is the part of a [collector.Store] that the page needs: it only reads.
type Store interface {
	collector.Reader
	collector.OperationReader
}

// handler is the result of New, or shows the traces of an imported file.
type handler struct {
	store       Store
	authorize   func(*http.Request) bool
	sessions    *auth.Sessions
	tracers     []*dendro.Tracer
	keep        *keep.Hub                // nil for a file
	imports     *imports                 // nil for a file
	diagnostics *diagnostics.Diagnostics // nil for a file
	file        string                   // the name of the file
	now         func() time.Time         // when windows end
	since       string                   // the window, unless one is chosen

	rowsOfPage rowsOfPage
}

// New returns a handler that shows the traces in store. It starts no goroutine and may be
// mounted more than once. Its only state are the files that were imported last, in memory, see
// [maxImports], and for a moment the rows of the page of a trace that it served last. New panics if store is nil.
func New(store Store, o Options) http.Handler {
	if store == nil {
		panic("web: New needs a store")
	}
	h := &handler{store: store, authorize: o.Authorize, sessions: o.Sessions, tracers: o.Tracers, keep: o.Keep, diagnostics: o.Diagnostics, imports: &imports{}, now: time.Now, since: "15m"}
	switch {
	case h.authorize != nil:
	case h.sessions != nil:
		h.authorize = h.sessions.Authorize
	default:
		h.authorize = auth.FromThisMachine
	}
	return h
}

// contentSecurityPolicy allows only files of this origin. With trusted types, the
// browser refuses to make HTML from strings.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", contentSecurityPolicy)
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Referrer-Policy", "same-origin") // with no-referrer, a browser sends no origin with a form
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	if h.sessions != nil && h.serveLogin(w, r) {
		return
	}
	if !h.authorize(r) {
		h.refuse(w, r)
		return
	}
	dendro.SpanFromContext(r.Context()).Discard()
	h.imports.expire(time.Now())
	if token, end := cutImport(r.URL.EscapedPath()); token != "" {
		h.imported(w, r, token, upFrom(end))
		return
	}
	h.serve(w, r)
}

// serve responds to a request that is authorized.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	serve, args, end := match(r.URL.EscapedPath())
	forImport := serve == nil && h.imports != nil && r.URL.Query().Get("view") == "import"
	takesPost := forImport || end == keepPath
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead || takesPost && r.Method == http.MethodPost:
	case takesPost:
		head.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "405 method not allowed: use GET or POST", http.StatusMethodNotAllowed)
		return
	default:
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed: use GET", http.StatusMethodNotAllowed)
		return
	}

	if serve != nil {
		serve(h, w, r, args)
		return
	}
	asked := askedPath(r)
	switch last := asked[strings.LastIndexByte(asked, '/')+1:]; {
	case last == "" && forImport:
		h.importPage(w, r)
	case last == "" && isOverview(r.URL.Query()):
		h.overview(w, r)
	case last == "" && r.URL.Query().Get("view") == "sql":
		h.sql(w, r)
	case last == "" && r.URL.Query().Get("view") == "compare":
		h.compare(w, r)
	case last == "" && h.diagnostics != nil && r.URL.Query().Get("view") == "open":
		h.nowPage(w, r)
	case last == "" && h.keep != nil && r.URL.Query().Get("view") == "kept":
		h.kept(w, r)
	case last == "":
		h.list(w, r)
	case strings.Contains(asked, "/api/") && !strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Error(w, "404 not found: the query API has no such path", http.StatusNotFound)
	default: // the mount point without its slash, for which relative links would be wrong
		redirect(w, http.StatusTemporaryRedirect, last+"/"+query(r))
	}
}

// askedPath returns the path that the client requested, before prefixes were stripped.
func askedPath(r *http.Request) string {
	if r.RequestURI == "" {
		return r.URL.EscapedPath()
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// query returns the query of a request with its "?", or "".
func query(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	return "?" + r.URL.RawQuery
}

// redirect responds with an address relative to that of the request, which is therefore on the
// same host whatever to is.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", "./"+to)
	w.WriteHeader(status)
}

// fail responds with an error.
func fail(w http.ResponseWriter, status int, err error) {
	http.Error(w, cmp.Or(strings.TrimSpace(err.Error()), http.StatusText(status)), status)
}
