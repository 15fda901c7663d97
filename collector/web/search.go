package web

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// foundTrace is a trace in the response of api/search. Tempo does not have the fields
// after SpanSets.
type foundTrace struct {
	TraceID           dendro.TraceID          `json:"traceID"`
	RootServiceName   string                  `json:"rootServiceName"`
	RootTraceName     string                  `json:"rootTraceName"`
	StartTimeUnixNano int64                   `json:"startTimeUnixNano,string"`
	DurationMs        int64                   `json:"durationMs"`
	ServiceStats      map[string]serviceStats `json:"serviceStats"`
	SpanSet           *foundSet               `json:"spanSet,omitempty"` // the first one, for older clients
	SpanSets          []foundSet              `json:"spanSets,omitempty"`
	DurationNanos     int64                   `json:"durationNanos,string"`
	SpanCount         int                     `json:"spanCount"`
	ErrorCount        int                     `json:"errorCount"`
}

type serviceStats struct {
	SpanCount  int `json:"spanCount"`
	ErrorCount int `json:"errorCount,omitempty"`
}

type foundSet struct {
	Spans      []foundSpan      `json:"spans"`
	Matched    int              `json:"matched"`
	Attributes []foundAttribute `json:"attributes,omitempty"`
}

type foundSpan struct {
	SpanID            dendro.SpanID    `json:"spanID"`
	Name              string           `json:"name"`
	StartTimeUnixNano int64            `json:"startTimeUnixNano,string"`
	DurationNanos     int64            `json:"durationNanos,string"`
	Attributes        []foundAttribute `json:"attributes,omitempty"`
}

// foundAttribute is a KeyValue of OTLP.
type foundAttribute struct {
	Key   string         `json:"key"`
	Value map[string]any `json:"value"`
}

// keyValues returns attributes as OTLP has them.
func keyValues(attrs []traceql.Attribute) (out []foundAttribute) {
	for _, a := range attrs {
		out = append(out, foundAttribute{a.Name, anyValue(a.Value)})
	}
	return out
}

// anyValue returns an AnyValue of OTLP in JSON. Durations are text, such as 5ms.
func anyValue(v traceql.Value) map[string]any {
	switch v.Type() {
	case traceql.TypeInt:
		return map[string]any{"intValue": v.Text()}
	case traceql.TypeFloat:
		f, _ := strconv.ParseFloat(v.Text(), 64)
		return map[string]any{"doubleValue": number(f)}
	case traceql.TypeBool:
		return map[string]any{"boolValue": v.IsTrue()}
	case traceql.TypeArray:
		list := []map[string]any{}
		for _, e := range v.Elements() {
			list = append(list, anyValue(e))
		}
		return map[string]any{"arrayValue": map[string]any{"values": list}}
	}
	return map[string]any{"stringValue": v.Text()}
}

// number is a number in JSON, or as in protobuf's JSON "NaN", "Infinity" or "-Infinity", for which
// JSON has no numbers.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	switch f := float64(n); {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 0):
		return json.Marshal(strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64)+"inity", "+"))
	default:
		return json.Marshal(f)
	}
}

// answer sends a response with what the query has read, as Tempo says it, and with a message
// if a bound has cut it.
func answer(w http.ResponseWriter, response map[string]any, stats traceql.Stats) {
	response["metrics"] = map[string]any{"inspectedTraces": stats.Traces, "inspectedSpans": strconv.Itoa(stats.Spans)}
	if stats.Cut != "" {
		response["message"] = stats.Cut
	}
	writeJSON(w, response)
}

// rootMissing is Tempo's name of a trace whose root span has not arrived.
const rootMissing = "<root span not yet received>"

// search serves api/search.
func (h *handler) search(w http.ResponseWriter, r *http.Request, _ []string) {
	q, err := parseSearch(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	found, stats, err := q.Search(r.Context(), h.store, q.SearchOptions)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	traces := make([]foundTrace, len(found))
	for i, res := range found {
		traces[i] = foundOf(res)
	}
	answer(w, map[string]any{"traces": traces}, stats)
}

func foundOf(s traceql.Result) foundTrace {
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
	for _, set := range s.Sets {
		out := foundSet{Spans: []foundSpan{}, Matched: set.Matched, Attributes: keyValues(set.Attributes)}
		for _, span := range set.Spans {
			out.Spans = append(out.Spans, foundSpan{span.SpanID, span.Name, span.Start, int64(span.Duration), keyValues(span.Attributes)})
		}
		t.SpanSets = append(t.SpanSets, out)
	}
	t.SpanSet = &t.SpanSets[0]
	return t
}
