package web

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

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

// foundTrace is a trace in the response of api/search. Tempo does not have the fields
// after ServiceStats.
type foundTrace struct {
	TraceID           dendro.TraceID          `json:"traceID"`
	RootServiceName   string                  `json:"rootServiceName"`
	RootTraceName     string                  `json:"rootTraceName"`
	StartTimeUnixNano int64                   `json:"startTimeUnixNano,string"`
	DurationMs        int64                   `json:"durationMs"`
	ServiceStats      map[string]serviceStats `json:"serviceStats"`
	DurationNanos     int64                   `json:"durationNanos,string"`
	SpanCount         int                     `json:"spanCount"`
	ErrorCount        int                     `json:"errorCount"`
}

type serviceStats struct {
	SpanCount  int `json:"spanCount"`
	ErrorCount int `json:"errorCount,omitempty"`
}

// rootMissing is Tempo's name of a trace whose root span has not arrived.
const rootMissing = "<root span not yet received>"

// search serves api/search.
func (h *handler) search(w http.ResponseWriter, r *http.Request, _ []string) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	found, err := h.store.Search(r.Context(), q)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	answer := struct {
		Traces  []foundTrace   `json:"traces"`
		Metrics map[string]int `json:"metrics"`
	}{make([]foundTrace, len(found)), map[string]int{"inspectedTraces": h.store.Stats().Traces}}
	for i, s := range found {
		t := foundTrace{
			TraceID: s.TraceID, RootServiceName: s.RootService, RootTraceName: s.RootName,
			StartTimeUnixNano: s.Start, DurationMs: s.Duration.Milliseconds(), DurationNanos: int64(s.Duration),
			SpanCount: s.Spans, ErrorCount: s.Errors, ServiceStats: make(map[string]serviceStats, len(s.Services)),
		}
		if s.RootMissing {
			t.RootTraceName = rootMissing
		}
		for _, of := range s.Services {
			t.ServiceStats[of.Service] = serviceStats{of.Spans, of.Errors}
		}
		answer.Traces[i] = t
	}
	writeJSON(w, answer)
}

// statusOf returns the HTTP status for an error of the store.
func statusOf(err error) int {
	if errors.Is(err, collector.ErrInvalidQuery) {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// intrinsics can be searched for besides attributes.
var intrinsics = []string{"duration", "name", "status"}

// statuses are the values of the intrinsic status that can be searched for.
var statuses = []string{dendro.StatusError.String()}

// resourceScopes are prefixes of keys that describe a resource and not a span. A
// search does not distinguish the two.
var resourceScopes = []string{"service.", "telemetry.", "process.", "host.", "os.", "container.", "k8s.", "cloud.", "deployment."}

// scopedTags returns the tag names of each requested scope.
func (h *handler) scopedTags(r *http.Request) (map[string][]string, error) {
	keys, err := h.store.Tags(r.Context())
	if err != nil {
		return nil, err
	}
	scopes := map[string][]string{"resource": {}, "span": {}, "intrinsic": intrinsics}
	for _, key := range keys {
		scope := "span"
		if slices.ContainsFunc(resourceScopes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			scope = "resource"
		}
		scopes[scope] = append(scopes[scope], key)
	}
	if only := r.URL.Query().Get("scope"); only != "" && only != "all" && only != "none" {
		scopes = map[string][]string{only: scopes[only]}
	}
	return scopes, nil
}

// tags serves api/search/tags.
func (h *handler) tags(w http.ResponseWriter, r *http.Request, _ []string) {
	scopes, err := h.scopedTags(r)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	names := []string{}
	for _, tags := range scopes {
		names = append(names, tags...)
	}
	slices.Sort(names)
	writeJSON(w, map[string]any{"tagNames": slices.Compact(names), "metrics": struct{}{}})
}

// tagScopes serves api/v2/search/tags.
func (h *handler) tagScopes(w http.ResponseWriter, r *http.Request, _ []string) {
	scopes, err := h.scopedTags(r)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	type scope struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	out := []scope{}
	for _, name := range []string{"resource", "span", "intrinsic"} {
		if tags := scopes[name]; len(tags) > 0 {
			out = append(out, scope{name, tags})
		}
	}
	writeJSON(w, map[string]any{"scopes": out, "metrics": struct{}{}})
}

// valuesOf returns the values of a tag and their TraceQL type. For name, it returns
// the names of the roots of recent traces.
func (h *handler) valuesOf(r *http.Request, tag string) (values []string, kind string, err error) {
	switch tag {
	case "status", "span:status":
		return statuses, "keyword", nil
	case "name", "span:name":
		recent, err := h.store.Search(r.Context(), collector.Query{Limit: collector.MaxLimit})
		for _, t := range recent {
			values = append(values, t.RootName)
		}
		slices.Sort(values)
		return slices.Compact(values), "string", err
	}
	key, _ := cutScope(tag)
	values, err = h.store.TagValues(r.Context(), key)
	return values, "string", err
}

// tagValues serves api/search/tag/{tag}/values.
func (h *handler) tagValues(w http.ResponseWriter, r *http.Request, args []string) {
	values, _, err := h.valuesOf(r, args[0])
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	writeJSON(w, map[string]any{"tagValues": append([]string{}, values...), "metrics": struct{}{}})
}

// typedTagValues serves api/v2/search/tag/{tag}/values.
func (h *handler) typedTagValues(w http.ResponseWriter, r *http.Request, args []string) {
	values, kind, err := h.valuesOf(r, args[0])
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	type typed struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	out := make([]typed, len(values))
	for i, v := range values {
		out[i] = typed{kind, v}
	}
	writeJSON(w, map[string]any{"tagValues": out, "metrics": struct{}{}})
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

// lookUp is find without a response.
func (h *handler) lookUp(r *http.Request, text string) (*collector.Trace, int, error) {
	padded := strings.Repeat("0", max(0, 32-len(text))) + strings.ToLower(text)
	id, err := dendro.ParseTraceID(padded)
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("%q is not a trace id: up to 32 hexadecimal digits, not all zero", text)
	}
	t, err := h.store.Trace(r.Context(), id)
	switch {
	case err != nil:
		return nil, statusOf(err), err
	case t == nil || len(t.Spans) == 0:
		return nil, http.StatusNotFound, fmt.Errorf("no trace %s: it has not arrived yet, was not sampled, or made room for newer ones", id)
	}
	return t, http.StatusOK, nil
}

// batches groups spans by resource and scope, for OTLP.
func batches(t *collector.Trace) []*dendro.Batch {
	type origin struct {
		resource *dendro.Resource
		scope    *dendro.Scope
	}
	var out []*dendro.Batch
	byOrigin := map[origin]*dendro.Batch{}
	for i := range t.Spans {
		s := &t.Spans[i]
		b := byOrigin[origin{s.Resource, s.Scope}]
		if b == nil {
			b = &dendro.Batch{Resource: s.Resource, Scope: s.Scope}
			byOrigin[origin{s.Resource, s.Scope}] = b
			out = append(out, b)
		}
		b.Spans = append(b.Spans, &s.SpanData)
	}
	return out
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
		write(w, protobufType, otlp.AppendTraces(nil, batches(t)...))
	default:
		data := strings.Replace(string(otlp.AppendTracesJSON(nil, batches(t)...)), `"resourceSpans"`, `"batches"`, 1)
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
		trace := otlp.AppendTraces(nil, batches(t)...)
		data := binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(trace)))
		write(w, protobufType, append(data, trace...))
	default:
		data := otlp.AppendTracesJSON([]byte(`{"trace":`), batches(t)...)
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
