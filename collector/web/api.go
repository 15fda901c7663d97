package web

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// The API of Grafana Tempo 2.x: https://grafana.com/docs/tempo/latest/api_docs/.

// echo serves api/echo.
func (h *handler) echo(w http.ResponseWriter, _ *http.Request, _ []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("echo"))
}

// buildInfo serves api/status/buildinfo.
func (h *handler) buildInfo(w http.ResponseWriter, _ *http.Request, _ []string) {
	writeJSON(w, map[string]string{"version": dendro.Version, "goVersion": runtime.Version(), "application": "dendro"})
}

// find returns the trace with the given id. If there is none, it sends an error
// response and returns nil. Like Tempo, it accepts ids without leading zeros.
func (h *handler) find(w http.ResponseWriter, r *http.Request, text string) *collector.Trace {
	t, status, err := h.lookUp(r, text)
	if err != nil {
		fail(w, status, err)
	}
	return t
}

// parseTraceID parses a trace id, which may lack leading zeros.
func parseTraceID(text string) (dendro.TraceID, error) {
	padded := strings.Repeat("0", max(0, 32-len(text))) + strings.ToLower(text)
	id, err := dendro.ParseTraceID(padded)
	if err != nil {
		return id, fmt.Errorf("%q is not a trace id: up to 32 hexadecimal digits, not all zero", text)
	}
	return id, nil
}

// lookUp is find without a response.
func (h *handler) lookUp(r *http.Request, text string) (*collector.Trace, int, error) {
	id, err := parseTraceID(text)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	start, end, err := window(r)
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	t, err := h.store.Trace(r.Context(), id, collector.TimeRange{Start: start, End: end})
	switch {
	case err != nil:
		return nil, http.StatusInternalServerError, err
	case t == nil || len(t.Spans) == 0:
		return nil, http.StatusNotFound, fmt.Errorf("no trace %s: it has not arrived yet, was not sampled, or made room for newer ones", id)
	case !overlaps(t, start, end):
		return nil, http.StatusNotFound, fmt.Errorf("trace %s is outside of start and end: it began at %d", id, t.Start()/int64(time.Second))
	}
	return t, http.StatusOK, nil
}

// overlaps reports whether t has a span between start and end. A zero time is no bound.
func overlaps(t *collector.Trace, start, end time.Time) bool {
	return slices.ContainsFunc(t.Spans, func(s collector.Span) bool {
		return (start.IsZero() || !time.Unix(0, s.End).Before(start)) && (end.IsZero() || time.Unix(0, s.Start).Before(end))
	})
}

const protobufType = "application/protobuf"

func wantsProtobuf(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), protobufType)
}

// traceV1 serves api/traces/{id}: OTLP's TracesData. In JSON its only field has the
// name that Tempo uses.
func (h *handler) traceV1(w http.ResponseWriter, r *http.Request, args []string) {
	t := h.find(w, r, args[0])
	switch {
	case t == nil:
	case wantsProtobuf(r):
		write(w, protobufType, otlp.AppendTraces(nil, t.Batches()...))
	default:
		data := strings.Replace(string(otlp.AppendTracesJSON(nil, t.Batches()...)), `"resourceSpans"`, `"batches"`, 1)
		write(w, jsonType, []byte(data))
	}
}

// traceV2 serves api/v2/traces/{id}: Tempo's TraceByIDResponse, whose first field is
// the trace.
func (h *handler) traceV2(w http.ResponseWriter, r *http.Request, args []string) {
	t := h.find(w, r, args[0])
	switch {
	case t == nil:
	case wantsProtobuf(r):
		trace := otlp.AppendTraces(nil, t.Batches()...)
		data := binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(trace)))
		write(w, protobufType, append(data, trace...))
	default:
		data := otlp.AppendTracesJSON([]byte(`{"trace":`), t.Batches()...)
		write(w, jsonType, append(data, `,"metrics":{}}`...))
	}
}

const jsonType = "application/json"

// writeJSON responds with v.
func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	write(w, jsonType, data)
}

func write(w http.ResponseWriter, contentType string, data []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Write(data) // fails if the client has disconnected
}
