package transport

import (
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"weak"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// redirects maps responses that redirect to their exchanges. [http.Client] sets the
// response in the request that follows it, but may have wrapped its body.
type redirects struct {
	byResponse sync.Map // from weak.Pointer[http.Response] to hop
}

// hop is an exchange that ended with a redirect.
type hop struct {
	span    dendro.SpanContext
	resends int // redirects before this one
}

// link adds a link from span to the exchange that redirected to r, and returns the
// number of redirects so far. The zero value of redirects is empty.
func (m *redirects) link(span *dendro.Span, r *http.Request) (resends int) {
	if r.Response == nil {
		return 0
	}
	v, ok := m.byResponse.Load(weak.Make(r.Response))
	if !ok {
		return 0
	}
	before := v.(hop)
	span.AddLink(before.span)
	span.SetAttributes(slog.Int(semconv.HTTPRequestResendCount, before.resends+1))
	return before.resends + 1
}

// note records the exchange of span for as long as resp is reachable, if resp is a
// redirect. resp may be nil.
func (m *redirects) note(span *dendro.Span, resp *http.Response, resends int) {
	if resp == nil {
		return
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		key := weak.Make(resp)
		m.byResponse.Store(key, hop{span.Context(), resends})
		runtime.AddCleanup(resp, func(key weak.Pointer[http.Response]) { m.byResponse.Delete(key) }, key)
	}
}
