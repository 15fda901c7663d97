package otlp

import (
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"math"
	"strconv"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// AppendTracesJSON appends batches to dst as a JSON ExportTraceServiceRequest (OTLP
// specification, "JSON Protobuf Encoding"): ids are hexadecimal, 64-bit integers are
// strings, and enum values are numbers. Batches and spans share messages as in
// [AppendTraces].
func AppendTracesJSON(dst []byte, batches ...*dendro.Batch) []byte {
	dst = append(dst, `{"resourceSpans":[`...)
	for len(batches) > 0 {
		same := sameResource(batches)
		dst = appendResourceSpansJSON(element(dst), batches[:same])
		batches = batches[same:]
	}
	return append(dst, "]}"...)
}

func appendResourceSpansJSON(dst []byte, batches []*dendro.Batch) []byte {
	dst = append(dst, '{')
	r := batches[0].Resource
	if r != nil {
		dst = append(member(dst, "resource"), '{')
		dst = appendAttributesJSON(dst, r.Attributes, 0)
		dst = appendCountJSON(dst, "droppedAttributesCount", r.DroppedAttributes)
		dst = append(dst, '}')
	}
	dst = append(member(dst, "scopeSpans"), '[')
	for _, b := range batches {
		for rest := b.Spans; len(rest) > 0; {
			scope := rest[0].Scope
			dst = append(element(dst), '{')
			if scope != nil {
				dst = appendScopeJSON(member(dst, "scope"), scope)
			}
			dst = append(member(dst, "spans"), '[')
			for ; len(rest) > 0 && rest[0].Scope == scope; rest = rest[1:] {
				dst = appendSpanJSON(element(dst), rest[0])
			}
			dst = append(dst, ']')
			if scope != nil {
				dst = appendTextJSON(dst, "schemaUrl", scope.SchemaURL)
			}
			dst = append(dst, '}')
		}
	}
	dst = append(dst, ']')
	if r != nil {
		dst = appendTextJSON(dst, "schemaUrl", r.SchemaURL)
	}
	return append(dst, '}')
}

func appendScopeJSON(dst []byte, s *dendro.Scope) []byte {
	dst = append(dst, '{')
	dst = appendTextJSON(dst, "name", s.Name)
	dst = appendTextJSON(dst, "version", s.Version)
	dst = appendAttributesJSON(dst, s.Attributes, 0)
	dst = appendCountJSON(dst, "droppedAttributesCount", s.DroppedAttributes)
	return append(dst, '}')
}

func appendSpanJSON(dst []byte, s *dendro.SpanData) []byte {
	dst = append(dst, '{')
	dst = appendIDsJSON(dst, &s.SpanContext)
	if s.ParentID.IsValid() {
		dst = appendHexJSON(dst, "parentSpanId", s.ParentID[:])
	}
	dst = appendCountJSON(dst, "flags", wireFlags(s.Flags, !s.RemoteUnknown, s.Remote))
	dst = appendTextJSON(dst, "name", s.Name)
	dst = appendCountJSON(dst, "kind", wireKind(s.Kind))
	dst = appendTimeJSON(dst, "startTimeUnixNano", s.Start)
	dst = appendTimeJSON(dst, "endTimeUnixNano", s.End)
	dst = appendAttributesJSON(dst, s.Attributes, 0)
	dst = appendCountJSON(dst, "droppedAttributesCount", s.DroppedAttributes)
	if len(s.Events) > 0 {
		dst = append(member(dst, "events"), '[')
		for i := range s.Events {
			dst = appendEventJSON(element(dst), &s.Events[i])
		}
		dst = append(dst, ']')
	}
	dst = appendCountJSON(dst, "droppedEventsCount", s.DroppedEvents)
	if len(s.Links) > 0 {
		dst = append(member(dst, "links"), '[')
		for i := range s.Links {
			dst = appendLinkJSON(element(dst), &s.Links[i])
		}
		dst = append(dst, ']')
	}
	dst = appendCountJSON(dst, "droppedLinksCount", s.DroppedLinks)
	if s.Status != (dendro.Status{}) {
		dst = append(member(dst, "status"), '{')
		dst = appendTextJSON(dst, "message", s.Status.Message)
		dst = appendCountJSON(dst, "code", uint32(s.Status.Code))
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

func appendIDsJSON(dst []byte, sc *dendro.SpanContext) []byte {
	if sc.TraceID.IsValid() {
		dst = appendHexJSON(dst, "traceId", sc.TraceID[:])
	}
	if sc.SpanID.IsValid() {
		dst = appendHexJSON(dst, "spanId", sc.SpanID[:])
	}
	return appendTextJSON(dst, "traceState", sc.State.String())
}

func appendEventJSON(dst []byte, e *dendro.Event) []byte {
	dst = append(dst, '{')
	dst = appendTimeJSON(dst, "timeUnixNano", e.Time)
	dst = appendTextJSON(dst, "name", e.Name)
	dst = appendAttributesJSON(dst, e.Attributes, int64(e.Duration))
	dst = appendCountJSON(dst, "droppedAttributesCount", e.DroppedAttributes)
	return append(dst, '}')
}

func appendLinkJSON(dst []byte, l *dendro.Link) []byte {
	dst = append(dst, '{')
	dst = appendIDsJSON(dst, &l.SpanContext)
	dst = appendAttributesJSON(dst, l.Attributes, 0)
	dst = appendCountJSON(dst, "droppedAttributesCount", l.DroppedAttributes)
	dst = appendCountJSON(dst, "flags", wireFlags(l.Flags, l.RemoteKnown, l.Remote))
	return append(dst, '}')
}

// appendAttributesJSON writes the attributes, and the duration of an event if it is
// above zero.
func appendAttributesJSON(dst []byte, attrs []slog.Attr, duration int64) []byte {
	if len(attrs) == 0 && duration <= 0 {
		return dst
	}
	dst = append(member(dst, "attributes"), '[')
	for _, a := range attrs {
		dst = appendAttributeJSON(element(dst), a)
	}
	if duration > 0 {
		dst = appendAttributeJSON(element(dst), slog.Int64(semconv.EventDuration, duration))
	}
	return append(dst, ']')
}

func appendAttributeJSON(dst []byte, a slog.Attr) []byte {
	dst = append(dst, `{"key":`...)
	dst = appendJSONString(dst, a.Key)
	dst = append(dst, `,"value":`...)
	dst = appendAnyValueJSON(dst, a.Value)
	return append(dst, '}')
}

// appendAnyValueJSON is appendAnyValue for JSON.
func appendAnyValueJSON(dst []byte, v slog.Value) []byte {
	dst = append(dst, '{')
	switch v.Kind() {
	case slog.KindInt64:
		dst = append(member(dst, "intValue"), '"')
		dst = strconv.AppendInt(dst, v.Int64(), 10)
		dst = append(dst, '"')
	case slog.KindFloat64:
		dst = appendDoubleJSON(member(dst, "doubleValue"), v.Float64())
	case slog.KindBool:
		dst = strconv.AppendBool(member(dst, "boolValue"), v.Bool())
	case slog.KindAny:
		switch x := v.Any().(type) {
		case nil:
		case []byte:
			dst = append(member(dst, "bytesValue"), '"')
			dst = base64.StdEncoding.AppendEncode(dst, x)
			dst = append(dst, '"')
		case []string:
			dst = appendArrayJSON(dst, x, slog.StringValue)
		case []int64:
			dst = appendArrayJSON(dst, x, slog.Int64Value)
		case []float64:
			dst = appendArrayJSON(dst, x, slog.Float64Value)
		case []bool:
			dst = appendArrayJSON(dst, x, slog.BoolValue)
		case []slog.Value:
			dst = appendArrayJSON(dst, x, func(v slog.Value) slog.Value { return v })
		case dendro.KeyValues:
			dst = append(member(dst, "kvlistValue"), `{"values":[`...)
			for _, a := range x {
				dst = appendAttributeJSON(element(dst), a)
			}
			dst = append(dst, "]}"...)
		default:
			dst = appendJSONString(member(dst, "stringValue"), v.String())
		}
	default:
		dst = appendJSONString(member(dst, "stringValue"), v.String())
	}
	return append(dst, '}')
}

func appendArrayJSON[T any](dst []byte, array []T, value func(T) slog.Value) []byte {
	dst = append(member(dst, "arrayValue"), `{"values":[`...)
	for _, x := range array {
		dst = appendAnyValueJSON(element(dst), value(x))
	}
	return append(dst, "]}"...)
}

func appendDoubleJSON(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// element writes the comma between elements of an array.
func element(dst []byte) []byte {
	if dst[len(dst)-1] == '[' {
		return dst
	}
	return append(dst, ',')
}

// member begins a member of an object. The name must not need escaping.
func member(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendTextJSON(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return appendJSONString(member(dst, name), s)
}

func appendHexJSON(dst []byte, name string, id []byte) []byte {
	dst = append(member(dst, name), '"')
	dst = hex.AppendEncode(dst, id)
	return append(dst, '"')
}

func appendCountJSON(dst []byte, name string, n uint32) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(member(dst, name), uint64(n), 10)
}

func appendTimeJSON(dst []byte, name string, nanos int64) []byte {
	dst = append(member(dst, name), '"')
	dst = strconv.AppendInt(dst, max(0, nanos), 10)
	return append(dst, '"')
}

// appendJSONString writes s as a JSON string.
func appendJSONString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	s = validText(s)
	dst = append(dst, '"')
	written := 0 // number of bytes of s that are in dst
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[written:i]...)
		if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		} else {
			dst = append(dst, '\\', c)
		}
		written = i + 1
	}
	dst = append(dst, s[written:]...)
	return append(dst, '"')
}
