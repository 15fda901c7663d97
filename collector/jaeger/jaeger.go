// Package jaeger decodes traces in the JSON that Jaeger's query API returns and its page
// downloads (https://www.jaegertracing.io/docs/latest/apis/, "HTTP JSON";
// https://github.com/jaegertracing/jaeger, internal/uimodel/model.go).
//
// Fields become those of OpenTelemetry as its transformation says, in reverse
// (https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/):
//
//   - The process is the resource, and its serviceName service.name.
//   - The first reference CHILD_OF to a span of the trace is the parent, or else the first
//     FOLLOWS_FROM, as in Jaeger itself. All other references are links, which say in
//     opentracing.ref_type what they are.
//   - Logs are events. The field event is the name.
//   - Tags are attributes, except for those in which exporters put other fields of
//     OpenTelemetry: span.kind, error, otel.status_code, otel.status_description,
//     otel.scope.name, otel.scope.version, w3c.tracestate and counts of what was dropped.
//   - The tag internal.span.format, in which Jaeger notes how it has received the span, is
//     ignored. Warnings are in the attribute @jaeger@warnings, as in Jaeger 2.
//   - A span without a kind is internal.
package jaeger

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/spanjson"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Decode decodes {"data": […]} with any number of traces, or one trace. It returns one batch for
// each process. The Resource of a batch and the Scope of a span are never nil. The result does not
// refer to data, and is bounded by its size.
//
// Decode returns an error that names the span and the field, for example
//
//	data[0].spans[3].spanID: want up to 16 hexadecimal digits, not all zero, got "x"
func Decode(data []byte) ([]*dendro.Batch, error) {
	var in struct {
		Data json.RawMessage `json:"data"`
		trace
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, spanjson.At("trace", err)
	}
	var d decoder
	var err error
	switch {
	case in.Data != nil:
		err = spanjson.Elements(in.Data, func(i int, element []byte) error {
			place := fmt.Sprintf("data[%d]", i)
			var t trace
			if err := json.Unmarshal(element, &t); err != nil {
				return spanjson.At(place, err)
			}
			return d.trace(place+".", &t)
		})
	case in.Spans != nil:
		err = d.trace("", &in.trace)
	default:
		err = errors.New(`want "data" or "spans"`)
	}
	if err != nil {
		return nil, err
	}
	return d.batches.All, nil
}

type trace struct {
	TraceID   string                     `json:"traceID"`
	Spans     json.RawMessage            `json:"spans"`
	Processes map[string]json.RawMessage `json:"processes"`
}

type span struct {
	TraceID       string          `json:"traceID"`
	SpanID        string          `json:"spanID"`
	ParentSpanID  string          `json:"parentSpanID"` // before there were references
	OperationName string          `json:"operationName"`
	References    []reference     `json:"references"`
	Flags         uint32          `json:"flags"`
	StartTime     json.Number     `json:"startTime"`
	Duration      json.Number     `json:"duration"`
	Tags          []keyValue      `json:"tags"`
	Logs          []log           `json:"logs"`
	ProcessID     string          `json:"processID"`
	Process       json.RawMessage `json:"process"`
	Warnings      []string        `json:"warnings"`
}

type reference struct {
	RefType string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type log struct {
	Timestamp json.Number `json:"timestamp"`
	Fields    []keyValue  `json:"fields"`
}

type process struct {
	ServiceName string     `json:"serviceName"`
	Tags        []keyValue `json:"tags"`
}

type keyValue struct {
	Key   string          `json:"key"`
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

const (
	childOf        = "CHILD_OF"
	warnings       = "@jaeger@warnings"
	internalFormat = "internal.span.format"
	refType        = "opentracing.ref_type"
)

type decoder struct{ batches spanjson.Batches }

// origin is a process. Processes of several traces are the same if their JSON is.
type origin struct {
	key      string // the JSON
	resource *dendro.Resource
}

// trace decodes the spans of a trace. prefix is its place in the document.
func (d *decoder) trace(prefix string, t *trace) error {
	if t.Spans == nil {
		return nil
	}
	origins := map[string]origin{"": {"", &dendro.Resource{}}}
	for id, raw := range t.Processes {
		r, err := resource(raw)
		if err != nil {
			return spanjson.At(fmt.Sprintf("%sprocesses[%.40q]", prefix, id), err)
		}
		origins[id] = origin{string(raw), r}
	}
	return spanjson.Elements(t.Spans, func(i int, element []byte) error {
		place := fmt.Sprintf("%sspans[%d]", prefix, i)
		var in span
		if err := json.Unmarshal(element, &in); err != nil {
			return spanjson.At(place, err)
		}
		if in.TraceID == "" {
			in.TraceID = t.TraceID
		}
		s, err := in.decode(place)
		if err != nil {
			return err
		}
		from, known := origins[in.ProcessID]
		if in.Process != nil {
			known = true
			from.key = string(in.Process)
			if from.resource, err = resource(in.Process); err != nil {
				return spanjson.At(place+".process", err)
			}
		}
		if !known {
			return fmt.Errorf("%s.processID: there is no process %.40q", place, in.ProcessID)
		}
		d.batches.Add(from.key, from.resource, s)
		return nil
	})
}

// resource returns the resource that a process describes.
func resource(raw json.RawMessage) (*dendro.Resource, error) {
	var p process
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	var set spanjson.Set
	if p.ServiceName != "" {
		set.Put(semconv.ServiceName, slog.StringValue(p.ServiceName))
	}
	r := &dendro.Resource{}
	for _, tag := range p.Tags {
		switch tag.Key {
		case "":
			r.DroppedAttributes++
		case semconv.ServiceName: // serviceName is what Jaeger shows
			if set.Has(tag.Key) {
				continue
			}
			fallthrough
		default:
			set.Put(tag.Key, tag.value())
		}
	}
	r.Attributes = set.Attrs
	return r, nil
}

// decode returns the span at place in the document.
func (in *span) decode(place string) (*dendro.SpanData, error) {
	s := &dendro.SpanData{Name: in.OperationName, RemoteUnknown: true}
	s.Flags = dendro.TraceFlags(in.Flags) & dendro.FlagSampled
	var err error
	if s.TraceID, err = spanjson.TraceID(in.TraceID); err != nil {
		return nil, spanjson.At(place+".traceID", err)
	}
	if s.SpanID, err = spanjson.SpanID(in.SpanID); err != nil {
		return nil, spanjson.At(place+".spanID", err)
	}
	if s.Start, err = spanjson.Nanos(in.StartTime); err != nil {
		return nil, spanjson.At(place+".startTime", err)
	}
	duration, err := spanjson.Nanos(in.Duration)
	if err != nil {
		return nil, spanjson.At(place+".duration", err)
	}
	s.End = spanjson.End(s.Start, duration)
	if err := in.refer(place, s); err != nil {
		return nil, err
	}

	var set spanjson.Set
	for _, tag := range in.Tags {
		if tag.Key != internalFormat {
			set.Put(tag.Key, tag.value())
		}
	}
	if len(in.Warnings) > 0 {
		set.Put(warnings, slog.AnyValue(in.Warnings))
	}
	s.Attributes = set.Attrs
	for i, l := range in.Logs {
		e := l.event()
		if e.Time, err = spanjson.Nanos(l.Timestamp); err != nil {
			return nil, spanjson.At(fmt.Sprintf("%s.logs[%d].timestamp", place, i), err)
		}
		s.Events = append(s.Events, e)
	}
	return s, nil
}

// refer sets the parent and the links of s.
func (in *span) refer(place string, s *dendro.SpanData) error {
	contexts := make([]dendro.SpanContext, len(in.References))
	parent, parentType := -1, ""
	for i, ref := range in.References {
		var err error
		c := &contexts[i]
		if c.TraceID, err = spanjson.TraceID(ref.TraceID); err != nil {
			return spanjson.At(fmt.Sprintf("%s.references[%d].traceID", place, i), err)
		}
		if c.SpanID, err = spanjson.SpanID(ref.SpanID); err != nil {
			return spanjson.At(fmt.Sprintf("%s.references[%d].spanID", place, i), err)
		}
		if c.TraceID == s.TraceID && (parent < 0 || parentType != childOf && ref.RefType == childOf) {
			parent, parentType = i, ref.RefType
		}
	}
	for i, c := range contexts {
		if i == parent {
			s.ParentID = c.SpanID
			continue
		}
		s.Links = append(s.Links, dendro.Link{SpanContext: c, Attributes: []slog.Attr{slog.String(refType, strings.ToLower(in.References[i].RefType))}})
	}
	if parent < 0 {
		var err error
		if s.ParentID, err = spanjson.ParentID(in.ParentSpanID); err != nil {
			return spanjson.At(place+".parentSpanID", err)
		}
	}
	return nil
}

// event returns the event that a log stands for, without its time.
func (l *log) event() (e dendro.Event) {
	var set spanjson.Set
	for _, f := range l.Fields {
		switch {
		case f.Key == "":
			e.DroppedAttributes++
		case f.Key == "event" && e.Name == "":
			e.Name = f.value().String()
		case f.Key == semconv.OtelEventDroppedAttributes:
			spanjson.AddCount(&e.DroppedAttributes, f.value().String())
		default:
			set.Put(f.Key, f.value())
		}
	}
	e.Attributes = set.Attrs
	return e
}

// value returns the value of the type that kv says it has, if it can be one. Large integers are
// strings, because JavaScript has no such numbers.
func (kv *keyValue) value() slog.Value {
	v := spanjson.Value(kv.Value)
	text := v.String()
	switch kv.Type {
	case "string":
		return slog.StringValue(text)
	case "bool":
		if b, err := strconv.ParseBool(text); err == nil {
			return slog.BoolValue(b)
		}
	case "int64":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return slog.Int64Value(n)
		}
	case "float64":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return slog.Float64Value(f)
		}
	case "binary":
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return slog.AnyValue(b)
		}
	}
	return v
}
