package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
)

// keepPath is where processes are asked to keep traces.
const keepPath = "api/dendro/keep"

// maxKeepBytes bounds the form of a POST to keepPath.
const maxKeepBytes = 64 << 10

// keepStatus is the response of GET api/dendro/keep. Times are RFC 3339, durations nanoseconds.
type keepStatus struct {
	keep.HubStats
	Traces    []keptTrace `json:"traces"`
	Coherence coherence   `json:"coherence"`
}

// keepAPI serves api/dendro/keep.
func (h *handler) keepAPI(w http.ResponseWriter, r *http.Request, _ []string) {
	switch {
	case h.keep == nil:
		http.Error(w, "404 not found: no process can be asked to keep traces here", http.StatusNotFound)
	case r.Method == http.MethodPost:
		h.askToKeep(w, r)
	default:
		traces, whole, err := h.keptTraces(r.Context())
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		writeJSON(w, keepStatus{h.keep.Stats(), traces, whole})
	}
}

// askToKeep asks all processes for traces, or to keep everything for some time. A browser is sent to the page that
// shows it.
func (h *handler) askToKeep(w http.ResponseWriter, r *http.Request) {
	if new(http.CrossOriginProtection).Check(r) != nil {
		fail(w, http.StatusForbidden, errOtherSite)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxKeepBytes)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			status = http.StatusRequestEntityTooLarge
		}
		fail(w, status, fmt.Errorf("reading the form: %w", err))
		return
	}
	to := "?view=kept"
	var wanted []keep.Announcement
	for _, text := range r.PostForm["trace"] {
		id, err := parseTraceID(text)
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("trace: %w", err))
			return
		}
		wanted = append(wanted, keep.Announcement{TraceID: id, Reason: keep.ReasonRequest})
		to = "trace/" + id.String()
	}
	hold := r.PostForm.Get("hold")
	switch seconds, err := strconv.ParseUint(hold, 10, 31); {
	case hold == "" && wanted == nil:
		fail(w, http.StatusBadRequest, errors.New("want trace=ID, which may be repeated, or hold=SECONDS"))
		return
	case hold == "":
	case err != nil || time.Duration(seconds)*time.Second > keep.MaxHold:
		fail(w, http.StatusBadRequest, fmt.Errorf("hold: %q is not a number of seconds from 0 to %.0f", hold, keep.MaxHold.Seconds()))
		return
	default:
		h.keep.Hold(time.Duration(seconds) * time.Second)
	}
	h.keep.Announce("", wanted)
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		redirect(w, http.StatusSeeOther, upFrom(keepPath)+to)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
