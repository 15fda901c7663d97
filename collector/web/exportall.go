package web

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/tracefile"
)

// exportWrite bounds how long the client of an export takes for a part of it. The whole may take
// longer than the timeouts of the server.
const exportWrite = time.Minute

// export serves api/dendro/export?start=&end=&q=: the traces that a search would find, all of
// them, as JSON lines. Each is an ExportTraceServiceRequest of OTLP.
//
// If the export fails after it has begun, the last line is {"error": "…"}, and the connection is
// cut: the end of a complete response is never that of a part.
func (h *handler) export(w http.ResponseWriter, r *http.Request, _ []string) {
	q, err := parseSearch(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return
	}
	to := &patient{ResponseController: http.NewResponseController(w), w: w}
	_ = to.SetReadDeadline(time.Time{}) // the request has been read
	out := bufio.NewWriterSize(to, 64<<10)
	err = tracefile.Write(r.Context(), out, h.store, q.Query, collector.TimeRange{Start: q.Start, End: q.End})
	if err != nil && !to.begun {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	if err != nil {
		_ = json.NewEncoder(out).Encode(map[string]string{"error": err.Error()})
	}
	if out.Flush() != nil || err != nil {
		_ = to.Flush()
		panic(http.ErrAbortHandler)
	}
}

// patient gives the client of a response time for each write.
type patient struct {
	*http.ResponseController
	w     http.ResponseWriter
	begun bool
}

func (p *patient) Write(data []byte) (int, error) {
	p.begun = true
	_ = p.SetWriteDeadline(time.Now().Add(exportWrite)) // not supported by every server
	return p.w.Write(data)
}
