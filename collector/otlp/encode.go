package otlp

import (
	"encoding/binary"
	"log/slog"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
	"google.golang.org/protobuf/encoding/protowire"
)

// AppendTraces appends batches to dst as a protobuf ExportTraceServiceRequest, whose
// encoding is the same as that of TracesData. Adjacent batches with the same resource
// share a ResourceSpans, and adjacent spans of a batch with the same scope a ScopeSpans.
func AppendTraces(dst []byte, batches ...*dendro.Batch) []byte {
	for len(batches) > 0 {
		same := sameResource(batches)
		dst = appendResourceSpans(dst, batches[:same])
		batches = batches[same:]
	}
	return dst
}

// AppendResourceSpans appends the beginning of one resource_spans field of an
// ExportTraceServiceRequest to dst. The caller must append its spans, n bytes written
// by [AppendSpan]. They must have the scope sc. A sequence of such fields is a request. r
// and sc may be nil.
func AppendResourceSpans(dst []byte, r *dendro.Resource, sc *dendro.Scope, n int) []byte {
	const others = 256 // estimated size of r and sc
	width := protowire.SizeVarint(uint64(n + others))
	dst, message := beginResourceSpans(dst, r, width)
	dst, scopeSpans := beginScopeSpans(dst, sc, width)
	dst = endBefore(dst, scopeSpans, width, n)
	return endBefore(dst, message, width, n)
}

// sameResource returns the number of batches at the start of batches that share a
// resource.
func sameResource(batches []*dendro.Batch) int {
	n := 1
	for n < len(batches) && batches[n].Resource == batches[0].Resource {
		n++
	}
	return n
}

// appendResourceSpans appends batches that share a resource.
func appendResourceSpans(dst []byte, batches []*dendro.Batch) []byte {
	const width = 3 // expected size of a length
	dst, message := beginResourceSpans(dst, batches[0].Resource, width)
	for _, b := range batches {
		for rest := b.Spans; len(rest) > 0; {
			scope := rest[0].Scope
			var scopeSpans int
			dst, scopeSpans = beginScopeSpans(dst, scope, width)
			for ; len(rest) > 0 && rest[0].Scope == scope; rest = rest[1:] {
				dst = AppendSpan(dst, rest[0])
			}
			dst = end(dst, scopeSpans, width)
		}
	}
	return end(dst, message, width)
}

// beginResourceSpans begins a ResourceSpans and appends everything but its spans.
func beginResourceSpans(dst []byte, r *dendro.Resource, width int) ([]byte, int) {
	dst, message := begin(dst, requestResourceSpans, width)
	if r != nil {
		var resource int
		dst, resource = begin(dst, resourceSpansResource, 2)
		dst = appendAttributes(dst, resourceAttributes, r.Attributes)
		dst = appendCount(dst, resourceDroppedAttributes, r.DroppedAttributes)
		dst = end(dst, resource, 2)
		dst = appendText(dst, resourceSpansSchemaURL, r.SchemaURL)
	}
	return dst, message
}

// beginScopeSpans begins a ScopeSpans and appends everything but its spans.
func beginScopeSpans(dst []byte, s *dendro.Scope, width int) ([]byte, int) {
	dst, message := begin(dst, resourceSpansScopeSpans, width)
	if s != nil {
		dst = appendScope(dst, s)
		dst = appendText(dst, scopeSpansSchemaURL, s.SchemaURL)
	}
	return dst, message
}

func appendScope(dst []byte, s *dendro.Scope) []byte {
	dst, message := begin(dst, scopeSpansScope, 1)
	dst = appendText(dst, scopeName, s.Name)
	dst = appendText(dst, scopeVersion, s.Version)
	dst = appendAttributes(dst, scopeAttributes, s.Attributes)
	dst = appendCount(dst, scopeDroppedAttributes, s.DroppedAttributes)
	return end(dst, message, 1)
}

// AppendSpan appends s to dst as one spans field of a ScopeSpans, for
// [AppendResourceSpans], which appends its scope. It allocates only to grow dst. Times before 1970 become 0.
func AppendSpan(dst []byte, s *dendro.SpanData) []byte {
	dst, message := begin(dst, scopeSpansSpans, 2)
	dst = appendBytes(dst, spanTraceID, s.TraceID[:])
	dst = appendBytes(dst, spanSpanID, s.SpanID[:])
	dst = appendText(dst, spanTraceState, s.State.String())
	if s.ParentID.IsValid() {
		dst = appendBytes(dst, spanParentSpanID, s.ParentID[:])
	}
	dst = appendText(dst, spanName, s.Name)
	dst = appendCount(dst, spanKind, wireKind(s.Kind))
	dst = appendTime(dst, spanStart, s.Start)
	dst = appendTime(dst, spanEnd, s.End)
	dst = appendAttributes(dst, spanAttributes, s.Attributes)
	dst = appendCount(dst, spanDroppedAttributes, s.DroppedAttributes)
	for i := range s.Events {
		dst = appendEvent(dst, &s.Events[i])
	}
	dst = appendCount(dst, spanDroppedEvents, s.DroppedEvents)
	for i := range s.Links {
		dst = appendLink(dst, &s.Links[i])
	}
	dst = appendCount(dst, spanDroppedLinks, s.DroppedLinks)
	if s.Status != (dendro.Status{}) {
		dst = appendStatus(dst, s.Status)
	}
	if flags := wireFlags(s.Flags, !s.RemoteUnknown, s.Remote); flags != 0 {
		dst = protowire.AppendTag(dst, spanFlags, protowire.Fixed32Type)
		dst = binary.LittleEndian.AppendUint32(dst, flags)
	}
	return end(dst, message, 2)
}

func wireKind(k dendro.Kind) uint32 {
	switch {
	case k == dendro.KindUnspecified:
		return 0
	case k > dendro.KindConsumer:
		k = dendro.KindInternal
	}
	return uint32(k) + 1
}

func wireFlags(flags dendro.TraceFlags, known, remote bool) uint32 {
	out := uint32(flags)
	if known {
		out |= flagHasIsRemote
		if remote {
			out |= flagIsRemote
		}
	}
	return out
}

func appendEvent(dst []byte, e *dendro.Event) []byte {
	dst, message := begin(dst, spanEvents, 2)
	dst = appendTime(dst, eventTime, e.Time)
	dst = appendText(dst, eventName, e.Name)
	dst = appendAttributes(dst, eventAttributes, e.Attributes)
	if e.Duration > 0 {
		dst = appendAttribute(dst, eventAttributes, slog.Int64(semconv.EventDuration, int64(e.Duration)))
	}
	dst = appendCount(dst, eventDroppedAttributes, e.DroppedAttributes)
	return end(dst, message, 2)
}

func appendLink(dst []byte, l *dendro.Link) []byte {
	dst, message := begin(dst, spanLinks, 1)
	if l.TraceID.IsValid() {
		dst = appendBytes(dst, linkTraceID, l.TraceID[:])
	}
	if l.SpanID.IsValid() {
		dst = appendBytes(dst, linkSpanID, l.SpanID[:])
	}
	dst = appendText(dst, linkTraceState, l.State.String())
	dst = appendAttributes(dst, linkAttributes, l.Attributes)
	dst = appendCount(dst, linkDroppedAttributes, l.DroppedAttributes)
	if flags := wireFlags(l.Flags, l.RemoteKnown, l.Remote); flags != 0 {
		dst = append(dst, linkFlags<<3|fixed32)
		dst = binary.LittleEndian.AppendUint32(dst, flags)
	}
	return end(dst, message, 1)
}

func appendStatus(dst []byte, s dendro.Status) []byte {
	dst, message := begin(dst, spanStatus, 1)
	dst = appendText(dst, statusMessage, s.Message)
	dst = appendCount(dst, statusCode, uint32(s.Code))
	return end(dst, message, 1)
}

func appendAttributes(dst []byte, num byte, attrs []slog.Attr) []byte {
	for _, a := range attrs {
		dst = appendAttribute(dst, num, a)
	}
	return dst
}

func appendAttribute(dst []byte, num byte, a slog.Attr) []byte {
	const maxLength = 0x7f // largest length that takes one byte
	key, kind := validText(a.Key), a.Value.Kind()
	var text string
	size := maxLength // size of the AnyValue
	switch kind {
	case slog.KindString:
		text = validText(a.Value.String())
		size = 2 + len(text)
	case slog.KindInt64:
		size = 1 + protowire.SizeVarint(uint64(a.Value.Int64()))
	case slog.KindBool:
		size = 2
	}
	if n := 4 + len(key) + size; n <= maxLength { // the common case: the whole attribute is small
		dst = append(dst, num<<3|length, byte(n), keyValueKey<<3|length, byte(len(key)))
		dst = append(dst, key...)
		switch kind {
		case slog.KindString:
			dst = append(dst, keyValueValue<<3|length, byte(size), anyString<<3|length, byte(len(text)))
			return append(dst, text...)
		case slog.KindInt64:
			dst = append(dst, keyValueValue<<3|length, byte(size), anyInt<<3|varint)
			return protowire.AppendVarint(dst, uint64(a.Value.Int64()))
		default:
			return append(dst, keyValueValue<<3|length, byte(size), anyBool<<3|varint, bit(a.Value.Bool()))
		}
	}
	dst, message := begin(dst, num, 1)
	dst = appendString(dst, keyValueKey, a.Key)
	dst = appendAnyValue(dst, keyValueValue, a.Value)
	return end(dst, message, 1)
}

// appendAnyValue writes scalars even if they are zero, because the field determines
// the type. A kind that dendro.SpanData does not allow is written as text.
func appendAnyValue(dst []byte, num byte, v slog.Value) []byte {
	dst, message := begin(dst, num, 1)
	switch v.Kind() {
	case slog.KindString:
		dst = appendString(dst, anyString, v.String())
	case slog.KindInt64:
		dst = append(dst, anyInt<<3|varint)
		dst = protowire.AppendVarint(dst, uint64(v.Int64()))
	case slog.KindFloat64:
		dst = append(dst, anyDouble<<3|fixed64)
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float64()))
	case slog.KindBool:
		dst = append(dst, anyBool<<3|varint, bit(v.Bool()))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case nil:
		case []byte:
			dst = appendBytes(dst, anyBytes, x)
		case []string:
			dst = appendArray(dst, x, slog.StringValue)
		case []int64:
			dst = appendArray(dst, x, slog.Int64Value)
		case []float64:
			dst = appendArray(dst, x, slog.Float64Value)
		case []bool:
			dst = appendArray(dst, x, slog.BoolValue)
		case []slog.Value:
			dst = appendArray(dst, x, func(v slog.Value) slog.Value { return v })
		case dendro.KeyValues:
			var list int
			dst, list = begin(dst, anyKvlist, 2)
			dst = appendAttributes(dst, listValues, x)
			dst = end(dst, list, 2)
		default:
			dst = appendString(dst, anyString, v.String())
		}
	default:
		dst = appendString(dst, anyString, v.String())
	}
	return end(dst, message, 1)
}

func appendArray[T any](dst []byte, array []T, value func(T) slog.Value) []byte {
	dst, message := begin(dst, anyArray, 2)
	for _, x := range array {
		dst = appendAnyValue(dst, listValues, value(x))
	}
	return end(dst, message, 2)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Wire types, for tags of one byte.
const (
	varint  = byte(protowire.VarintType)
	fixed64 = byte(protowire.Fixed64Type)
	length  = byte(protowire.BytesType)
	fixed32 = byte(protowire.Fixed32Type)
)

// begin appends the tag of a message and width bytes for its length. It returns the
// offset of the message. num must be below 16.
func begin(dst []byte, num byte, width int) ([]byte, int) {
	dst = append(dst, num<<3|length)
	for range width {
		dst = append(dst, 0)
	}
	return dst, len(dst)
}

// end sets the length of the message that began at start. If the length does not take
// width bytes, end moves the message.
func end(dst []byte, start, width int) []byte { return endBefore(dst, start, width, 0) }

// endBefore is end for a message to which the caller will append more bytes.
func endBefore(dst []byte, start, width, more int) []byte {
	n := len(dst) - start + more
	if width == 1 && n < 1<<7 {
		dst[start-1] = byte(n)
		return dst
	}
	if need := protowire.SizeVarint(uint64(n)); need > width {
		var room [binary.MaxVarintLen64]byte
		dst = slices.Insert(dst, start, room[:need-width]...)
	} else if need < width {
		dst = slices.Delete(dst, start-width+need, start)
	}
	protowire.AppendVarint(dst[:start-width], uint64(n))
	return dst
}

// validText returns s with U+FFFD in place of invalid UTF-8, for which receivers of
// protobuf would refuse the whole request.
func validText(s string) string {
	if isASCII(s) || utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// isASCII is faster than utf8.ValidString, which checks the last up to seven bytes one
// by one.
func isASCII(s string) bool {
	const highBits = 0x8080808080808080
	n := len(s)
	if n < 8 {
		bits := byte(0)
		for i := range n {
			bits |= s[i]
		}
		return bits < utf8.RuneSelf
	}
	bits := binary.LittleEndian.Uint64([]byte(s[n-8:]))
	for i := 0; i < n-8; i += 8 {
		bits |= binary.LittleEndian.Uint64([]byte(s[i : i+8]))
	}
	return bits&highBits == 0
}

func appendString(dst []byte, num byte, s string) []byte {
	s = validText(s)
	dst = append(dst, num<<3|length)
	dst = protowire.AppendVarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendText is appendString for a field that is omitted when it is empty.
func appendText(dst []byte, num byte, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(dst, num, s)
}

func appendBytes(dst []byte, num byte, b []byte) []byte {
	dst = append(dst, num<<3|length)
	dst = protowire.AppendVarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendCount(dst []byte, num byte, n uint32) []byte {
	if n == 0 {
		return dst
	}
	dst = append(dst, num<<3|varint)
	return protowire.AppendVarint(dst, uint64(n))
}

func appendTime(dst []byte, num byte, nanos int64) []byte {
	dst = append(dst, num<<3|fixed64)
	return binary.LittleEndian.AppendUint64(dst, uint64(max(0, nanos)))
}
