package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// Times of a live tail.
const (
	tailEvery  = time.Second      // between two looks at the store
	tailWindow = time.Minute      // how long after its start a trace is looked at
	tailIdle   = 15 * time.Second // between comments, by which both ends notice a lost connection
	tailWrite  = 10 * time.Second // for the client to take what is sent
)

// tail serves api/dendro/tail: the traces that match and begin from now on, as server-sent
// events (HTML Standard, "Server-sent events"). An event "trace" is a trace as in api/search.
// It is sent when the trace has not grown from one look to the next, and again if it grows
// later. An event "message" says that not all were read, or why the tail ends.
func (h *handler) tail(w http.ResponseWriter, r *http.Request, _ []string) {
	q, err := parseSearch(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	opened, written := time.Now(), time.Now()
	q.Limit = traceql.MaxLimit
	out := http.NewResponseController(w)
	send := func(text string) error {
		_ = out.SetWriteDeadline(time.Now().Add(tailWrite)) // not supported by every server
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		written = time.Now()
		return out.Flush()
	}
	_ = out.SetReadDeadline(time.Time{}) // the request has been read
	var s settling
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for first := true; ; first = false {
		if q.Start = time.Now().Add(-tailWindow); q.Start.Before(opened) {
			q.Start = opened
		}
		found, stats, err := q.Search(r.Context(), h.store, q.SearchOptions)
		switch {
		case r.Context().Err() != nil:
			return
		case err != nil && first:
			fail(w, http.StatusInternalServerError, err)
			return
		case err != nil:
			_ = send(serverSentEvent("message", err.Error()))
			return
		case first:
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Accel-Buffering", "no") // for nginx
		}
		events := ""
		for _, res := range s.settled(found) {
			events += serverSentEvent("trace", foundOf(res))
		}
		if stats.Cut != "" {
			events += serverSentEvent("message", stats.Cut)
		}
		if events == "" && (first || time.Since(written) >= tailIdle) {
			events = ": no trace\n\n"
		}
		if events != "" && send(events) != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// serverSentEvent returns a server-sent event. JSON has no line breaks.
func serverSentEvent(name string, v any) string {
	data, err := json.Marshal(v)
	if err != nil { // cannot happen
		return ""
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", name, data)
}

// settling knows the traces that a tail has found.
type settling struct{ seen map[dendro.TraceID]settled }

type settled struct {
	spans int
	sent  bool
}

// settled returns those of found, the oldest first, that have as many spans as in the call
// before, once each.
func (s *settling) settled(found []traceql.Result) (out []traceql.Result) {
	next := make(map[dendro.TraceID]settled, len(found))
	for _, res := range slices.Backward(found) {
		now := s.seen[res.TraceID]
		if now.spans != res.Spans {
			now = settled{spans: res.Spans}
		} else if !now.sent {
			now.sent = true
			out = append(out, res)
		}
		next[res.TraceID] = now
	}
	s.seen = next
	return out
}
