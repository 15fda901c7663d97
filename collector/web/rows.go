package web

import (
	"net/http"
	"sync"
	"time"
)

// rows serves api/dendro/traces/{id}: what the script of the page draws. They are not in the page,
// because browsers read 9 MB of JSON much faster than 9 MB of HTML.
func (h *handler) rows(w http.ResponseWriter, r *http.Request, args []string) {
	encoded := h.rowsOfPage.take(args[0], r.URL.RawQuery)
	if encoded == nil {
		t, straight := h.findFor(w, r, args[0])
		if t == nil {
			return
		}
		encoded = func() []byte { return newSkeleton(t, straight).encode() }
	}
	write(w, jsonType, encoded())
}

// rowsOfPage holds the rows of the page of a trace that was served last, until the script of that page
// asks for them. For a large trace, they take as long as all the rest.
type rowsOfPage struct {
	mu        sync.Mutex
	id, query string
	encoded   func() []byte
	drop      *time.Timer
}

// keepRows is how long a browser may take to ask.
const keepRows = 10 * time.Second

func (l *rowsOfPage) put(id, query string, encoded func() []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drop != nil {
		l.drop.Stop()
	}
	l.id, l.query, l.encoded = id, query, encoded
	l.drop = time.AfterFunc(keepRows, func() { l.take(id, query) })
}

// take returns what was put, once, or nil if the page is another one.
func (l *rowsOfPage) take(id, query string) func() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != l.id || query != l.query {
		return nil
	}
	encoded := l.encoded
	l.encoded = nil
	return encoded
}
