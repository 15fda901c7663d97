package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// detail is everything that is known about a span. Times are in nanoseconds.
type detail struct {
	TraceID    dendro.TraceID `json:"traceId"`
	SpanID     dendro.SpanID  `json:"spanId"`
	ParentID   string         `json:"parentId,omitempty"`
	Remote     bool           `json:"remote"`
	Name       string         `json:"name"`
	Kind       string         `json:"kind"`
	Status     string         `json:"status"`
	Message    string         `json:"message,omitempty"`
	Start      int64          `json:"start,string"`
	Duration   int64          `json:"duration"`
	TraceState string         `json:"traceState,omitempty"`
	Attributes []attribute    `json:"attributes"`
	Events     []event        `json:"events"`
	Links      []link         `json:"links"`
	Service    string         `json:"service"`
	Resource   []attribute    `json:"resource"`
	Scope      scope          `json:"scope"`
	// Dropped by the limits of the program that made the span.
	DroppedAttributes uint32 `json:"droppedAttributes,omitempty"`
	DroppedEvents     uint32 `json:"droppedEvents,omitempty"`
	DroppedLinks      uint32 `json:"droppedLinks,omitempty"`
	// Rank compares the duration with the spans of the same operation.
	Rank *rank `json:"rank,omitempty"`
}

// rank says that a span took longer than a share of the spans of its operation that ended in
// the hour before it did.
type rank struct {
	Spans  float64 `json:"spans"`
	Slower float64 `json:"slower"` // than this share, from 0 to 1
}

type attribute struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

type event struct {
	Name       string      `json:"name"`
	Offset     int64       `json:"offset"` // relative to the start of the span
	Duration   int64       `json:"duration"`
	Attributes []attribute `json:"attributes"`
	Dropped    uint32      `json:"droppedAttributes,omitempty"`
}

type link struct {
	TraceID    dendro.TraceID `json:"traceId"`
	SpanID     dendro.SpanID  `json:"spanId"`
	Attributes []attribute    `json:"attributes"`
	Dropped    uint32         `json:"droppedAttributes,omitempty"`
}

type scope struct {
	Name       string      `json:"name"`
	Version    string      `json:"version"`
	Attributes []attribute `json:"attributes"`
}

// maxSameID bounds how many spans with the same id are returned.
const maxSameID = 100

// span serves api/dendro/traces/{id}/spans/{id}. It returns all spans with that id, as
// two programs may use the same one. Only the first has a rank.
func (h *handler) span(w http.ResponseWriter, r *http.Request, args []string) {
	_, spans := h.findSpans(w, r, args)
	if spans == nil {
		return
	}
	out := make([]detail, len(spans))
	for i, s := range spans {
		out[i] = detailOf(s)
	}
	var err error
	if out[0].Rank, err = h.rank(r.Context(), spans[0]); err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, struct {
		Spans []detail `json:"spans"`
	}{out})
}

// findSpans returns a trace and its spans with an id. If there is none, it sends an error response
// and returns nil.
func (h *handler) findSpans(w http.ResponseWriter, r *http.Request, args []string) (*collector.Trace, []*collector.Span) {
	id, err := dendro.ParseSpanID(strings.ToLower(args[1]))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("%q is not a span id: 16 hexadecimal digits", args[1]))
		return nil, nil
	}
	t := h.find(w, r, args[0])
	if t == nil {
		return nil, nil
	}
	var spans []*collector.Span
	for i := range t.Spans {
		if t.Spans[i].SpanID == id && len(spans) < maxSameID {
			spans = append(spans, &t.Spans[i])
		}
	}
	if spans == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("trace %s has no span %s", t.ID, id))
		return nil, nil
	}
	return t, spans
}

// leastRanked is the number of spans below which a rank says nothing.
const leastRanked = 20

// rank returns the rank of s, or nil if there are not enough spans.
func (h *handler) rank(ctx context.Context, s *collector.Span) (found *rank, err error) {
	err = h.operationOf(ctx, s, func(c *collector.Counts) { found = &rank{c.Spans, c.Durations.Below(s.Duration())} })
	return found, err
}

// operationOf calls use with the counts of the operation of s in the hour before it ended, if
// there are enough spans.
func (h *handler) operationOf(ctx context.Context, s *collector.Span, use func(*collector.Counts)) error {
	end := time.Unix(0, s.End)
	service := s.Resource.Service()
	scan := collector.OperationScan{Start: end.Add(-time.Hour), End: end.Add(1), Service: service, Name: s.Name}
	return h.store.Operations(ctx, scan, func(o *collector.Operation) bool {
		if o.Kind != s.Kind || o.Other || o.Service != service || o.Name != s.Name { // also if one is empty, which selects all
			return true
		}
		if o.Total.Spans >= leastRanked {
			use(&o.Total)
		}
		return false
	})
}

func detailOf(s *collector.Span) detail {
	d := detail{
		TraceID: s.TraceID, SpanID: s.SpanID, Remote: s.Remote,
		Name: s.Name, Kind: s.Kind.String(), Status: s.Status.Code.String(), Message: s.Status.Message,
		Start: s.Start, Duration: int64(s.Duration()), TraceState: s.State.String(),
		Attributes: attributesOf(s.Attributes), Events: []event{}, Links: []link{},
		Service: s.Resource.Service(), Resource: []attribute{}, Scope: scope{Attributes: []attribute{}},
		DroppedAttributes: s.DroppedAttributes, DroppedEvents: s.DroppedEvents, DroppedLinks: s.DroppedLinks,
	}
	if s.ParentID.IsValid() {
		d.ParentID = s.ParentID.String()
	}
	for i := range s.Events {
		d.Events = append(d.Events, eventOf(&s.Events[i], s.Start))
	}
	for _, l := range s.Links {
		d.Links = append(d.Links, link{l.TraceID, l.SpanID, attributesOf(l.Attributes), l.DroppedAttributes})
	}
	if s.Resource != nil {
		d.Resource = attributesOf(s.Resource.Attributes)
	}
	if s.Scope != nil {
		d.Scope = scope{s.Scope.Name, s.Scope.Version, attributesOf(s.Scope.Attributes)}
	}
	return d
}

// eventOf returns an event with the time since start.
func eventOf(e *dendro.Event, start int64) event {
	return event{e.Name, e.Time - start, int64(e.Duration), attributesOf(e.Attributes), e.DroppedAttributes}
}

func attributesOf(attrs []slog.Attr) []attribute {
	out := make([]attribute, len(attrs))
	for i, a := range attrs {
		kind, text := textOf(a.Value)
		out[i] = attribute{a.Key, kind, text}
	}
	return out
}

// textOf returns the OTLP type of a value and its text. It is a text because
// JavaScript's numbers cannot represent every int64.
func textOf(v slog.Value) (kind, text string) {
	switch v.Kind() {
	case slog.KindInt64:
		return "int", v.String()
	case slog.KindFloat64:
		return "double", v.String()
	case slog.KindBool:
		return "bool", v.String()
	case slog.KindAny:
		switch x := v.Any().(type) {
		case []byte:
			return "bytes", base64.StdEncoding.EncodeToString(x)
		case dendro.KeyValues:
			members := make([]string, len(x))
			for i, a := range x {
				if kind, members[i] = textOf(a.Value); kind == "string" {
					members[i] = quote(members[i])
				}
				members[i] = quote(a.Key) + ":" + members[i]
			}
			return "kvlist", "{" + strings.Join(members, ",") + "}"
		case []slog.Value:
			parts := make([]string, len(x))
			for i, e := range x {
				if kind, parts[i] = textOf(e); kind == "string" {
					parts[i] = quote(parts[i])
				}
			}
			return "array", "[" + strings.Join(parts, ",") + "]"
		case []string, []int64, []float64, []bool:
			if text, err := json.Marshal(x); err == nil {
				return "array", string(text)
			}
		}
	}
	return "string", v.String()
}

func quote(s string) string {
	text, _ := json.Marshal(s) // marshaling a string cannot fail
	return string(text)
}
