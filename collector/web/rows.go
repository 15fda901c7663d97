package web

import (
	"net/http"
	"sync"
	"time"
)

// rows serves api/dendro/traces/{id}: what the script of the page draws. They are not in the page,
// because browsers read 9 MB of JSON much faster than 9 MB of HTML.
func (h *handler) rows(w http.ResponseWriter, r *http.Request, args []string) {
	straight, err := wantsStraight(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	s := h.laidOut.take(args[0], r.URL.RawQuery)
	if s == nil {
		t := h.find(w, r, args[0])
		if t == nil {
			return
		}
		s = newSkeleton(t, straight)
	}
	write(w, jsonType, s.appendJSON(nil))
}

// laidOut holds the trace of the page that was served last, until the script of that page asks for
// its rows. For a large trace, laying them out takes as long as all the rest.
type laidOut struct {
	mu        sync.Mutex
	id, query string
	trace     *skeleton
	drop      *time.Timer
}

// keepLaidOut is how long a browser may take to ask.
const keepLaidOut = 10 * time.Second

func (l *laidOut) put(query string, s *skeleton) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drop != nil {
		l.drop.Stop()
	}
	l.id, l.query, l.trace = s.TraceID.String(), query, s
	l.drop = time.AfterFunc(keepLaidOut, func() { l.take(s.TraceID.String(), query) })
}

// take returns the trace that was put, once, or nil if it is another one.
func (l *laidOut) take(id, query string) *skeleton {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != l.id || query != l.query {
		return nil
	}
	s := l.trace
	l.trace = nil
	return s
}
