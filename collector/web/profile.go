package web

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/diagnostics"
)

// profileSeconds is how long a CPU profile takes if the request does not say.
const profileSeconds = 10

// profile serves a CPU profile of the process, of one operation if the parameter operation has one.
func (h *handler) profile(w http.ResponseWriter, r *http.Request, _ []string) {
	if h.diagnostics == nil {
		fail(w, http.StatusNotFound, errors.New("there are no profiles here: set web.Options.Diagnostics"))
		return
	}
	form := r.URL.Query()
	least, most := int(diagnostics.MinProfile/time.Second), int(diagnostics.MaxProfile/time.Second)
	seconds, err := strconv.Atoi(cmp.Or(form.Get("seconds"), strconv.Itoa(profileSeconds)))
	if err != nil || seconds < least || seconds > most {
		fail(w, http.StatusBadRequest, fmt.Errorf("seconds: want a number from %d to %d, such as seconds=%d", least, most, profileSeconds))
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" { // it takes processor time
		fail(w, http.StatusForbidden, errOtherSite)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	took := time.Duration(seconds) * time.Second
	to := &patient{ResponseController: http.NewResponseController(w), w: w}
	_ = to.SetReadDeadline(time.Time{})                         // the request has been read
	_ = to.SetWriteDeadline(time.Now().Add(took + exportWrite)) // for an error; not supported by every server
	var out bytes.Buffer
	operation := form.Get("operation")
	switch err := h.diagnostics.Profile(r.Context(), &out, operation, took); {
	case errors.Is(err, diagnostics.ErrProfiling):
		fail(w, http.StatusConflict, err)
		return
	case err != nil:
		fail(w, http.StatusInternalServerError, err)
		return
	}
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="profile-%s.pb.gz"`, fileName(operation)))
	head.Set("Content-Length", strconv.Itoa(out.Len()))
	_, _ = out.WriteTo(to) // errors are those of w: the client has disconnected
}

var unusual = regexp.MustCompile(`[^A-Za-z0-9._]+`)

// fileName returns the part of the name of a file that says which operation it is about.
func fileName(operation string) string {
	name := strings.Trim(unusual.ReplaceAllString(operation, "-"), "-.")
	return cmp.Or(name[:min(len(name), 80)], "all")
}

// profileOf returns the link to a profile of an operation, or "" if it is none of this process or does not begin requests.
func (h *handler) profileOf(o *collector.Operation) string {
	here := func(t *dendro.Tracer) bool { return t.Resource().Service() == o.Service }
	if h.diagnostics == nil || o.Other || o.Kind != dendro.KindServer && o.Kind != dendro.KindConsumer ||
		len(h.tracers) > 0 && !slices.ContainsFunc(h.tracers, here) {
		return ""
	}
	return "profile?" + url.Values{"operation": {o.Name}, "seconds": {strconv.Itoa(profileSeconds)}}.Encode()
}
