package web

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/diagnostics"
)

// openStatus is the response of api/dendro/open. Times are RFC 3339, durations nanoseconds.
type openStatus struct {
	diagnostics.OpenRequests
	Recordings     []recording             `json:"recordings"` // the newest
	MoreRecordings int                     `json:"moreRecordings,omitempty"`
	Flight         diagnostics.FlightStats `json:"flight"`
}

// maxRecordings bounds the recordings that are listed.
const maxRecordings = 100

// recording is one of the flight recorder.
type recording struct{ diagnostics.Recording }

// recordingLink leads to a recording.
type recordingLink struct {
	recording
	Root string
}

// Link returns a link to the recording from a page.
func (r recording) Link(root string) recordingLink { return recordingLink{r, root} }

// Text says how large the recording is, and how long.
func (r recordingLink) Text() string {
	size := formatBytes(r.Bytes)
	if !r.Start.IsZero() {
		size += ", " + formatDuration(r.End.Sub(r.Start))
	}
	return size
}

// nowView shows what the program is doing now.
type nowView struct {
	frame
	openStatus
	HasOpen bool
	OfTrace string // the id of the only trace that is shown, or ""
}

// openStatus returns what is open now, of one trace if id is valid.
func (h *handler) openStatus(r *http.Request, id dendro.TraceID) openStatus {
	s := openStatus{OpenRequests: h.diagnostics.Open(r.Context(), id), Recordings: []recording{}, Flight: h.diagnostics.FlightStats()}
	all := h.diagnostics.Recordings()
	s.MoreRecordings = max(0, len(all)-maxRecordings)
	for _, one := range all[:len(all)-s.MoreRecordings] {
		s.Recordings = append(s.Recordings, recording{one})
	}
	return s
}

// askedTrace returns the id in the parameter trace, or the zero id if there is none.
func askedTrace(r *http.Request) (id dendro.TraceID, err error) {
	if text := r.URL.Query().Get("trace"); text != "" {
		id, err = parseTraceID(text)
	}
	return id, err
}

// nowPage serves ?view=open.
func (h *handler) nowPage(w http.ResponseWriter, r *http.Request) {
	p := nowView{frame: h.frame(r.Context(), "./", "Now"), HasOpen: h.diagnostics.HasOpen()}
	id, err := askedTrace(r)
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
	} else if id.IsValid() {
		p.OfTrace = id.String()
	}
	p.openStatus = h.openStatus(r, id)
	if err != nil {
		p.Problem = err.Error()
	}
	render(w, status, "now.html", p)
}

// open serves api/dendro/open.
func (h *handler) open(w http.ResponseWriter, r *http.Request, _ []string) {
	if h.diagnostics == nil || !h.diagnostics.HasOpen() {
		http.Error(w, "404 not found: this page is not that of a program with diagnostics.Options.Open", http.StatusNotFound)
		return
	}
	id, err := askedTrace(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, h.openStatus(r, id))
}

// recording serves api/dendro/traces/{id}/recording.
func (h *handler) recording(w http.ResponseWriter, r *http.Request, args []string) {
	id, err := parseTraceID(args[0])
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, err)
		return
	case h.diagnostics == nil:
		http.Error(w, "404 not found: there is no flight recorder here", http.StatusNotFound)
		return
	}
	f, err := h.diagnostics.OpenRecording(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fail(w, http.StatusNotFound, fmt.Errorf("no flight recording of trace %s: none was made, or it made room for newer ones", id))
		return
	case err != nil:
		fail(w, http.StatusInternalServerError, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="flight-`+id.String()+`.trace"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// diagnosis is what the page of a trace says about the program that has made it.
type diagnosis struct {
	ID        dendro.TraceID
	Open      int        // spans that have not ended
	Recording *recording // or nil
	Other     bool       // the recording was made for another trace
}

// diagnose returns what is known of a trace besides its spans. t is nil if there are none.
func (h *handler) diagnose(id dendro.TraceID, t *collector.Trace) (d diagnosis) {
	d.ID = id
	if h.diagnostics == nil {
		return d
	}
	d.Open = h.diagnostics.OpenSpans(id)
	recordings := h.diagnostics.Recordings()
	if i := slices.IndexFunc(recordings, func(r diagnostics.Recording) bool { return r.TraceID == id }); i >= 0 {
		d.Recording = &recording{recordings[i]}
	} else if t != nil && len(recordings) > 0 {
		worked := timesOf(t)
		if i := slices.IndexFunc(recordings, worked.overlap); i >= 0 {
			d.Recording, d.Other = &recording{recordings[i]}, true
		}
	}
	return d
}

// times are when services worked for a trace, from the start of the first span to the end of the last.
type times map[string]struct{ start, end int64 }

func timesOf(t *collector.Trace) times {
	out := times{}
	for i := range t.Spans {
		s := &t.Spans[i]
		service := s.Resource.Service()
		at, ok := out[service]
		if !ok {
			at.start = s.Start
		}
		at.start, at.end = min(at.start, s.Start), max(at.end, s.End)
		out[service] = at
	}
	return out
}

// overlap reports whether the service of which r was made worked then.
func (t times) overlap(r diagnostics.Recording) bool {
	at, ok := t[r.Service]
	return ok && r.Service != "" && r.Covers(time.Unix(0, at.start), time.Unix(0, at.end))
}
