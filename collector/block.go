package collector

import (
	"encoding/binary"
	"log/slog"
	"math"
	"strings"

	"github.com/dendrotrace/dendro"
)

// The memory store keeps the spans of one trace that came in one batch as one
// block: a string without pointers in it, so that the garbage collector has
// nothing to look at. It never leaves the process and has no version.
//
//	block   = n, n * span id (8 bytes), keys, texts, n * head, n * attrs,
//	          count, count * extra
//	keys    = table of the keys of span attributes
//	texts   = table of all other strings
//	table   = count, count * (length, bytes)
//	head    = start (from the one before), end (from start), kind and status,
//	          flags, parent, name
//	parent  = number << 1 | remote; 0 is none, 1 stands for 8 bytes that
//	          follow, i + 2 for span i of this block
//	attrs   = count, count * (number in keys, value)
//	extra   = what few spans have: span i of this block, tracestate, status
//	          message, dropped attributes, events and links, events, links
//
// A resource or a scope is n = 0, keys, texts, attrs and its strings. Numbers
// are varints, zigzag where they can be negative; a string is its number in a
// table.

// The first byte of a value.
const (
	valueNil = iota
	valueFalse
	valueTrue
	valueInt
	valueFloat
	valueString
	valueBytes
	valueStrings
	valueInts
	valueFloats
	valueBools
	valueList
)

const idSize = len(dendro.SpanID{})

// encoder makes blocks. It is used again for the sake of its memory.
type encoder struct {
	ids   table[dendro.SpanID] // see number
	keys  table[string]
	texts table[string]
	body  []byte // what follows the tables
	out   []byte
}

// maxIdleBuffer is how large a buffer an encoder keeps between batches.
const maxIdleBuffer = 1 << 20

// reset forgets the last block, but for its ids. It keeps no string alive.
func (e *encoder) reset() {
	e.keys.reset()
	e.texts.reset()
	if cap(e.body) > maxIdleBuffer || cap(e.out) > maxIdleBuffer {
		e.body, e.out = nil, nil
	}
	e.body, e.out = e.body[:0], e.out[:0]
}

// number fills e.ids with the ids of spans.
func (e *encoder) number(spans []*dendro.SpanData) {
	e.ids.reset()
	for _, s := range spans {
		e.ids.add(s.SpanID)
	}
}

// encodeSpans encodes spans of one trace, whose ids are in e.ids. The result is valid
// until the next call.
func (e *encoder) encodeSpans(spans []*dendro.SpanData) []byte {
	e.reset()
	e.out = binary.AppendUvarint(e.out, uint64(len(spans)))
	for _, s := range spans {
		e.out = append(e.out, s.SpanID[:]...)
	}
	start := int64(0)
	extras := 0
	for _, s := range spans {
		e.head(s, start, spans)
		start = s.Start
		if hasExtra(s) {
			extras++
		}
	}
	for _, s := range spans {
		e.attrs(&e.keys, s.Attributes)
	}
	e.uvarint(uint64(extras))
	if extras > 0 {
		for i, s := range spans {
			if hasExtra(s) {
				e.uvarint(uint64(i))
				e.extra(s)
			}
		}
	}
	return e.finish()
}

// encodeResource encodes r, which may be nil. The result is valid until the next
// call.
func (e *encoder) encodeResource(r *dendro.Resource) []byte {
	if r == nil {
		r = &dendro.Resource{}
	}
	return e.encodeScope(&dendro.Scope{Attributes: r.Attributes, SchemaURL: r.SchemaURL})
}

// encodeScope encodes s, which may be nil. The result is valid until the next call.
func (e *encoder) encodeScope(s *dendro.Scope) []byte {
	if s == nil {
		s = &dendro.Scope{}
	}
	e.reset()
	e.out = append(e.out, 0)
	e.attrs(&e.keys, s.Attributes)
	e.text(s.Name)
	e.text(s.Version)
	e.text(s.SchemaURL)
	return e.finish()
}

func (e *encoder) finish() []byte {
	e.out = appendTable(e.out, e.keys.items)
	e.out = appendTable(e.out, e.texts.items)
	e.out = append(e.out, e.body...)
	return e.out
}

func appendTable(dst []byte, items []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	for _, s := range items {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

func (e *encoder) uvarint(n uint64) { e.body = binary.AppendUvarint(e.body, n) }
func (e *encoder) varint(n int64)   { e.body = binary.AppendVarint(e.body, n) }
func (e *encoder) text(s string)    { e.string(&e.texts, s) }

func (e *encoder) string(t *table[string], s string) {
	n, _ := t.add(s)
	e.uvarint(uint64(n))
}

func (e *encoder) head(s *dendro.SpanData, start int64, spans []*dendro.SpanData) {
	e.varint(s.Start - start)
	e.varint(s.End - s.Start)
	e.body = append(e.body, byte(s.Kind)<<4|byte(s.Status.Code)&0xf, byte(s.Flags))
	remote := uint64(0)
	if s.Remote {
		remote = 1
	}
	if s.ParentID.IsValid() {
		// A number in the table is not the one of the span if there are ids
		// that two spans share.
		if i := e.ids.find(s.ParentID); i >= 0 && spans[i].SpanID == s.ParentID {
			e.uvarint(uint64(i+2)<<1 | remote)
		} else {
			e.uvarint(1<<1 | remote)
			e.body = append(e.body, s.ParentID[:]...)
		}
	} else {
		e.uvarint(remote)
	}
	e.text(s.Name)
}

func (e *encoder) attrs(keys *table[string], attrs []slog.Attr) {
	e.uvarint(uint64(len(attrs)))
	for _, a := range attrs {
		e.string(keys, a.Key)
		e.value(a.Value)
	}
}

func (e *encoder) value(v slog.Value) {
	switch v.Kind() {
	case slog.KindString:
		e.body = append(e.body, valueString)
		e.text(v.String())
	case slog.KindInt64:
		e.body = append(e.body, valueInt)
		e.varint(v.Int64())
	case slog.KindBool:
		e.body = append(e.body, boolByte(v.Bool()))
	case slog.KindFloat64:
		e.body = append(e.body, valueFloat)
		e.float(v.Float64())
	default:
		e.anyValue(v)
	}
}

func (e *encoder) anyValue(v slog.Value) {
	switch x := v.Any().(type) {
	case nil:
		e.body = append(e.body, valueNil)
	case []byte:
		e.kind(valueBytes, len(x))
		e.body = append(e.body, x...)
	case []string:
		e.kind(valueStrings, len(x))
		for _, s := range x {
			e.text(s)
		}
	case []int64:
		e.kind(valueInts, len(x))
		for _, n := range x {
			e.varint(n)
		}
	case []float64:
		e.kind(valueFloats, len(x))
		for _, f := range x {
			e.float(f)
		}
	case []bool:
		e.kind(valueBools, len(x))
		for _, b := range x {
			e.body = append(e.body, boolByte(b))
		}
	case []slog.Value:
		e.kind(valueList, len(x))
		for _, v := range x {
			e.value(v)
		}
	default: // not of the kinds of SpanData
		e.body = append(e.body, valueString)
		e.text(v.String())
	}
}

func (e *encoder) kind(kind byte, n int) {
	e.body = append(e.body, kind)
	e.uvarint(uint64(n))
}

func (e *encoder) float(f float64) {
	e.body = binary.LittleEndian.AppendUint64(e.body, math.Float64bits(f))
}

func boolByte(b bool) byte {
	if b {
		return valueTrue
	}
	return valueFalse
}

func hasExtra(s *dendro.SpanData) bool {
	return len(s.Events) > 0 || len(s.Links) > 0 || s.Status.Message != "" || s.State != dendro.TraceState{} ||
		s.DroppedAttributes|s.DroppedEvents|s.DroppedLinks != 0
}

func (e *encoder) extra(s *dendro.SpanData) {
	e.text(s.State.String())
	e.text(s.Status.Message)
	e.uvarint(uint64(s.DroppedAttributes))
	e.uvarint(uint64(s.DroppedEvents))
	e.uvarint(uint64(s.DroppedLinks))
	e.uvarint(uint64(len(s.Events)))
	for i := range s.Events {
		ev := &s.Events[i]
		e.text(ev.Name)
		e.varint(ev.Time - s.Start)
		e.varint(int64(ev.Duration))
		e.uvarint(uint64(ev.DroppedAttributes))
		e.attrs(&e.texts, ev.Attributes)
	}
	e.uvarint(uint64(len(s.Links)))
	for i := range s.Links {
		l := &s.Links[i]
		e.body = append(e.body, l.TraceID[:]...)
		e.body = append(e.body, l.SpanID[:]...)
		e.body = append(e.body, byte(l.Flags))
		e.text(l.State.String())
		e.uvarint(uint64(l.DroppedAttributes))
		e.attrs(&e.texts, l.Attributes)
	}
}

// sealed returns a copy of data and the memory that it takes.
func sealed(data []byte) (string, int64) {
	var b strings.Builder
	b.Grow(len(data))
	b.Write(data)
	return b.String(), int64(b.Cap())
}
