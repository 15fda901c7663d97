package otlp

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
	"google.golang.org/protobuf/encoding/protowire"
)

// DecodeTraces decodes a protobuf ExportTraceServiceRequest or TracesData. It returns
// one batch for each ResourceSpans that has spans. The Resource of a batch and the Scope
// of a span are never nil. Spans from the same ScopeSpans share the Scope. The result does
// not refer to data.
//
// DecodeTraces returns an error that names the field if data is truncated, a known
// field has the wrong type, an id is not valid, a time is after the year 2262, or
// attributes are nested deeper than 64 levels.
func DecodeTraces(data []byte) ([]*dendro.Batch, error) {
	return decodeTraces(value{typ: protowire.BytesType, data: data})
}

// DecodeTracesJSON is [DecodeTraces] for the JSON encoding (OTLP specification, "JSON
// Protobuf Encoding"). Like the JSON mapping of protobuf, it also accepts numbers for
// 64-bit integers and names for enum values. An attribute whose integer has more than 64
// bits becomes a floating-point number, because that is how JavaScript writes these.
func DecodeTracesJSON(data []byte) ([]*dendro.Batch, error) {
	c, err := newCursor(data)
	if err != nil {
		return nil, err
	}
	return decodeTraces(value{json: c})
}

func decodeTraces(v value) ([]*dendro.Batch, error) {
	d := decoder{keys: map[string]string{}, recent: newRecentAttrs(len(v.data))}
	err := requestFields.walk(v, func(_ int, v value) error { return d.resourceSpans(v) })
	if err != nil {
		return nil, err
	}
	return d.batches, nil
}

// decoder collects the parts of the messages that are being read. The slices are
// stacks: a message takes what was pushed since it began.
type decoder struct {
	batches []*dendro.Batch
	spans   []*dendro.SpanData
	attrs   []slog.Attr
	events  []dendro.Event
	links   []dendro.Link

	keys    map[string]string // attribute keys, shared by spans
	recent  recentAttrs
	depth   int    // nesting of the attribute value that is being read
	dropped uint32 // parts of the attribute that is being read
}

// take removes all but the first n elements of stack and returns a copy of them.
func take[T any](stack *[]T, n int) []T {
	top := (*stack)[n:]
	*stack = (*stack)[:n]
	if len(top) == 0 {
		return nil
	}
	return slices.Clone(top)
}

func (d *decoder) resourceSpans(v value) error {
	resource := &dendro.Resource{}
	err := resourceSpansFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case resourceSpansResource:
			err = d.resource(v, resource)
		case resourceSpansScopeSpans:
			err = d.scopeSpans(v)
		case resourceSpansSchemaURL:
			resource.SchemaURL, err = v.text()
		}
		return err
	})
	if spans := take(&d.spans, 0); spans != nil {
		d.batches = append(d.batches, &dendro.Batch{Resource: resource, Spans: spans})
	}
	return err
}

func (d *decoder) resource(v value, r *dendro.Resource) error {
	err := resourceFields.walk(v, func(num int, v value) error {
		if num == resourceDroppedAttributes {
			return addDropped(v, &r.DroppedAttributes)
		}
		return d.attribute(v, &r.DroppedAttributes)
	})
	r.Attributes = append(r.Attributes, take(&d.attrs, 0)...)
	return err
}

func (d *decoder) scopeSpans(v value) error {
	scope := &dendro.Scope{}
	return scopeSpansFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case scopeSpansScope:
			err = d.scope(v, scope)
		case scopeSpansSpans:
			s := &dendro.SpanData{Scope: scope}
			err = d.span(v, s)
			d.spans = append(d.spans, s)
		case scopeSpansSchemaURL:
			scope.SchemaURL, err = v.text()
		}
		return err
	})
}

func (d *decoder) scope(v value, s *dendro.Scope) error {
	err := scopeFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case scopeName:
			s.Name, err = v.text()
		case scopeVersion:
			s.Version, err = v.text()
		case scopeAttributes:
			err = d.attribute(v, &s.DroppedAttributes)
		case scopeDroppedAttributes:
			err = addDropped(v, &s.DroppedAttributes)
		}
		return err
	})
	s.Attributes = append(s.Attributes, take(&d.attrs, 0)...)
	return err
}

var errNoID = errors.New("missing or all zeros")

func (d *decoder) span(v value, s *dendro.SpanData) error {
	s.Kind, s.RemoteUnknown = dendro.KindUnspecified, true
	err := spanFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case spanTraceID:
			err = v.id(s.TraceID[:])
		case spanSpanID:
			err = v.id(s.SpanID[:])
		case spanTraceState:
			s.State, err = traceState(v)
		case spanParentSpanID:
			err = v.id(s.ParentID[:])
		case spanName:
			s.Name, err = v.text()
		case spanKind:
			var kind int64
			s.Kind = dendro.KindUnspecified
			if kind, err = v.enum(spanKinds); kind > 0 && kind <= int64(dendro.KindConsumer)+1 {
				s.Kind = dendro.Kind(kind - 1)
			}
		case spanStart:
			s.Start, err = v.time()
		case spanEnd:
			s.End, err = v.time()
		case spanAttributes:
			err = d.attribute(v, &s.DroppedAttributes)
		case spanDroppedAttributes:
			err = addDropped(v, &s.DroppedAttributes)
		case spanEvents:
			err = d.event(v, &s.DroppedEvents)
		case spanDroppedEvents:
			err = addDropped(v, &s.DroppedEvents)
		case spanLinks:
			err = d.link(v, &s.DroppedLinks)
		case spanDroppedLinks:
			err = addDropped(v, &s.DroppedLinks)
		case spanStatus:
			err = decodeStatus(v, &s.Status)
		case spanFlags:
			var flags uint32
			flags, err = v.uint32(protowire.Fixed32Type)
			s.Flags = dendro.TraceFlags(flags)
			s.RemoteUnknown = flags&flagHasIsRemote == 0
			s.Remote = !s.RemoteUnknown && flags&flagIsRemote != 0
		}
		return err
	})
	s.Attributes = take(&d.attrs, 0)
	s.Events = take(&d.events, 0)
	s.Links = take(&d.links, 0)
	switch {
	case err != nil:
		return err
	case !s.TraceID.IsValid():
		return spanFields.at(spanTraceID, 0, errNoID)
	case !s.SpanID.IsValid():
		return spanFields.at(spanSpanID, 0, errNoID)
	}
	return nil
}

// traceState reads a tracestate. It ignores an invalid one, as W3C Trace Context asks
// for the header.
func traceState(v value) (dendro.TraceState, error) {
	text, err := v.text()
	if err != nil {
		return dendro.TraceState{}, err
	}
	state, _ := dendro.ParseTraceState(text)
	return state, nil
}

// addDropped adds the sender's count to count, which may already include what this
// package dropped.
func addDropped(v value, count *uint32) error {
	n, err := v.uint32(protowire.VarintType)
	*count += n
	return err
}

func decodeStatus(v value, s *dendro.Status) error {
	return statusFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case statusMessage:
			s.Message, err = v.text()
		case statusCode:
			var code int64
			code, err = v.enum(statusCodes)
			s.Code = dendro.StatusUnset
			if code > 0 && code <= int64(dendro.StatusError) {
				s.Code = dendro.StatusCode(code)
			}
		}
		return err
	})
}

func (d *decoder) event(v value, dropped *uint32) error {
	var e dendro.Event
	below := len(d.attrs)
	err := eventFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case eventTime:
			e.Time, err = v.time()
		case eventName:
			e.Name, err = v.text()
		case eventAttributes:
			err = d.attribute(v, &e.DroppedAttributes)
		case eventDroppedAttributes:
			err = addDropped(v, &e.DroppedAttributes)
		}
		return err
	})
	d.takeDuration(&e, below)
	e.Attributes = take(&d.attrs, below)
	if e.Name == "" && e.Time == 0 && e.Duration == 0 && len(e.Attributes) == 0 && e.DroppedAttributes == 0 {
		*dropped++
	} else {
		d.events = append(d.events, e)
	}
	return err
}

// takeDuration moves the duration of e from the attributes above the first n to
// e.Duration.
func (d *decoder) takeDuration(e *dendro.Event, n int) {
	rest := slices.DeleteFunc(d.attrs[n:], func(a slog.Attr) bool {
		if a.Key != semconv.EventDuration || a.Value.Kind() != slog.KindInt64 || a.Value.Int64() <= 0 {
			return false
		}
		e.Duration = time.Duration(a.Value.Int64())
		return true
	})
	d.attrs = d.attrs[:n+len(rest)]
}

func (d *decoder) link(v value, dropped *uint32) error {
	var l dendro.Link
	below := len(d.attrs)
	err := linkFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case linkTraceID:
			err = v.id(l.TraceID[:])
		case linkSpanID:
			err = v.id(l.SpanID[:])
		case linkTraceState:
			l.State, err = traceState(v)
		case linkAttributes:
			err = d.attribute(v, &l.DroppedAttributes)
		case linkDroppedAttributes:
			err = addDropped(v, &l.DroppedAttributes)
		case linkFlags:
			var flags uint32
			flags, err = v.uint32(protowire.Fixed32Type)
			l.Flags = dendro.TraceFlags(flags)
			l.RemoteKnown = flags&flagHasIsRemote != 0
			l.Remote = l.RemoteKnown && flags&flagIsRemote != 0
		}
		return err
	})
	l.Attributes = take(&d.attrs, below)
	if l.SpanContext == (dendro.SpanContext{}) && len(l.Attributes) == 0 && l.DroppedAttributes == 0 && !l.RemoteKnown {
		*dropped++
	} else {
		d.links = append(d.links, l)
	}
	return err
}
