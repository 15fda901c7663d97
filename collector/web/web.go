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
//	/?view=import                             form for a file of traces, which POST receives
//	/import/{token}/…                         all of these for the traces of a file
//	/?limit=50                                list of traces; any parameter of the list will do
//	/trace/{id}                               a trace
//	/api/echo                                 health check of a data source
//	/api/search                               Tempo search
//	/api/search/tags, /api/v2/…               Tempo tag names
//	/api/metrics/query_range, …/query         TraceQL metrics
//	/api/search/tag/{tag}/values, …           Tempo tag values
//	/api/traces/{id}, /api/v2/…               a trace as OTLP, in JSON or protobuf
//	/api/status/buildinfo                     version
//	/api/dendro/tail                          new traces as they come
//	/api/dendro/export                        all traces as OTLP JSON, a request a line
//	/api/dendro/operations, …/graph           counts of operations and who calls whom
//	/api/dendro/traces/{id}                   rows of the page of a trace
//	/api/dendro/traces/{id}/size              how many spans a trace has
//	/api/dendro/traces/{id}/match             which spans a text or a query selects
//	/api/dendro/traces/{id}/events            events of all spans
//	/api/dendro/traces/{id}/spans/{id}        details of a span
//	/api/dendro/traces/{id}/spans/{id}/links  which spans link to a span
//	/api/dendro/traces/{id}/perfetto          a trace for Perfetto
//	/api/dendro/traces/{id}/html              the page of a trace as one file
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
)

// Options configures [New]. The zero value is ready to use.
type Options struct {
	// Authorize reports whether a request may see the traces. It must be safe for
	// concurrent use. If it is nil, only requests that come directly from this machine
	// and ask for localhost or a loopback address are allowed. A proxy on this machine
	// that asks for localhost and adds no header such as X-Forwarded-For, like nginx
	// by default, cannot be distinguished from these: set Authorize if there is one.
	Authorize func(*http.Request) bool
	// Tracers are the tracers whose [dendro.Stats] the page shows: delivered,
	// unfinished and dropped spans. If it is empty, the page shows none.
	Tracers []*dendro.Tracer
}

// Store is the part of a [collector.Store] that the page needs: it only reads.
type Store interface {
	collector.Reader
	collector.OperationReader
}

// handler is the result of New, or shows the traces of an imported file.
type handler struct {
	store     Store
	authorize func(*http.Request) bool
	tracers   []*dendro.Tracer
	imports   *imports         // nil for a file
	file      string           // the name of the file
	now       func() time.Time // when windows end
	since     string           // the window, unless one is chosen

	rowsOfPage rowsOfPage
}

// New returns a handler that shows the traces in store. It starts no goroutine and may be
// mounted more than once. Its only state are the files that were imported last, in memory, see
// [maxImports], and for a moment the rows of the page of a trace that it served last. New panics if store is nil.
func New(store Store, o Options) http.Handler {
	if store == nil {
		panic("web: New needs a store")
	}
	h := &handler{store: store, authorize: o.Authorize, tracers: o.Tracers, imports: &imports{}, now: time.Now, since: "15m"}
	if h.authorize == nil {
		h.authorize = fromThisMachine
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
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	if !h.authorize(r) {
		http.Error(w, "403 forbidden: by default traces are shown only to direct requests from this machine to localhost; "+
			"set web.Options.Authorize to decide who else may see them", http.StatusForbidden)
		return
	}
	dendro.SpanFromContext(r.Context()).Discard()
	h.imports.expire(time.Now())
	if token, root := cutImport(r.URL.EscapedPath()); token != "" {
		h.imported(w, r, token, root)
		return
	}
	h.serve(w, r)
}

// serve responds to a request that is authorized.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	serve, args := match(r.URL.EscapedPath())
	forImport := serve == nil && h.imports != nil && r.URL.Query().Get("view") == "import"
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead || forImport && r.Method == http.MethodPost:
	case forImport:
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
	asked, query := r.URL.EscapedPath(), r.URL.RawQuery
	if r.RequestURI != "" { // the path that the client requested, before prefixes were stripped
		asked, query, _ = strings.Cut(r.RequestURI, "?")
	}
	switch last := asked[strings.LastIndexByte(asked, '/')+1:]; {
	case last == "" && forImport:
		h.importPage(w, r)
	case last == "" && isOverview(r.URL.Query()):
		h.overview(w, r)
	case last == "" && r.URL.Query().Get("view") == "sql":
		h.sql(w, r)
	case last == "" && r.URL.Query().Get("view") == "compare":
		h.compare(w, r)
	case last == "":
		h.list(w, r)
	case strings.Contains(asked, "/api/") && !strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Error(w, "404 not found: the query API has no such path", http.StatusNotFound)
	default: // the mount point without its slash, for which relative links would be wrong
		if query != "" {
			query = "?" + query
		}
		head.Set("Location", "./"+last+"/"+query)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// fail responds with an error.
func fail(w http.ResponseWriter, status int, err error) {
	http.Error(w, cmp.Or(strings.TrimSpace(err.Error()), http.StatusText(status)), status)
}
