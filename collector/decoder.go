package collector

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/dendrotrace/dendro"
)

// errBlock can only be returned for bytes that no encoder made.
var errBlock = errors.New("collector: broken block")

// decoder reads a block from front to back. After an error it reads zeros.
// What it returns shares the memory of the block.
type decoder struct {
	rest        string
	failed      bool
	n           int    // spans
	ids         string // of the spans
	keys, texts []string
}

// open reads data up to the heads.
func (d *decoder) open(data string) {
	d.rest, d.failed = data, false
	d.n = d.count(idSize)
	d.ids = d.take(d.n * idSize)
	d.keys = d.table(d.keys[:0])
	d.texts = d.table(d.texts[:0])
}

// blockIDs returns the span ids of a block, one after the other.
func blockIDs(data string) string {
	d := decoder{rest: data}
	return d.take(d.count(idSize) * idSize)
}

func (d *decoder) fail() {
	d.rest, d.failed = "", true
}

func (d *decoder) uvarint() uint64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		b := d.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			d.rest = d.rest[i+1:]
			return n
		}
	}
	d.fail()
	return 0
}

func (d *decoder) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads the number of things that follow, each of size bytes or more.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) take(n int) string {
	if n > len(d.rest) {
		d.fail()
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) byte() byte {
	if s := d.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (d *decoder) float() float64 {
	var b [8]byte
	copy(b[:], d.take(len(b)))
	return math.Float64frombits(binary.LittleEndian.Uint64(b[:]))
}

func (d *decoder) table(dst []string) []string {
	for range d.count(1) {
		dst = append(dst, d.take(d.count(1)))
	}
	return dst
}

func (d *decoder) string(table []string) string {
	if n := d.uvarint(); n < uint64(len(table)) {
		return table[n]
	}
	d.fail()
	return ""
}

func (d *decoder) text() string { return d.string(d.texts) }

// id returns the id of span i.
func (d *decoder) id(i int) (id dendro.SpanID) {
	copy(id[:], d.ids[i*idSize:])
	return id
}

// head is what every span has besides its attributes.
type head struct {
	start, end int64
	kind       dendro.Kind
	code       dendro.StatusCode
	flags      dendro.TraceFlags
	parent     dendro.SpanID
	remote     bool
	name       string
}

// head reads the next one; start is that of the one before, at first 0.
func (d *decoder) head(start int64) (h head) {
	h.start = start + d.varint()
	h.end = h.start + d.varint()
	b := d.byte()
	h.kind, h.code = dendro.Kind(b>>4), dendro.StatusCode(b&0xf)
	h.flags = dendro.TraceFlags(d.byte())
	parent := d.uvarint()
	h.remote = parent&1 != 0
	switch parent >>= 1; {
	case parent == 0:
	case parent == 1:
		copy(h.parent[:], d.take(idSize))
	case parent-2 < uint64(d.n):
		h.parent = d.id(int(parent - 2))
	default:
		d.fail()
	}
	h.name = d.text()
	return h
}

// attrs reads the attributes of a span, of an event or of a link.
func (d *decoder) attrs(keys []string) []slog.Attr {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out := make([]slog.Attr, n)
	for i := range out {
		out[i] = slog.Attr{Key: d.string(keys), Value: d.value()}
	}
	return out
}

func (d *decoder) value() slog.Value {
	switch kind := d.byte(); kind {
	case valueNil:
		return slog.Value{}
	case valueFalse, valueTrue:
		return slog.BoolValue(kind == valueTrue)
	case valueInt:
		return slog.Int64Value(d.varint())
	case valueFloat:
		return slog.Float64Value(d.float())
	case valueString:
		return slog.StringValue(d.text())
	case valueBytes:
		return slog.AnyValue([]byte(d.take(d.count(1))))
	case valueStrings:
		return slog.AnyValue(list(d, 1, d.text))
	case valueInts:
		return slog.AnyValue(list(d, 1, d.varint))
	case valueFloats:
		return slog.AnyValue(list(d, 8, d.float))
	case valueBools:
		return slog.AnyValue(list(d, 1, func() bool { return d.byte() == valueTrue }))
	case valueList:
		return slog.AnyValue(list(d, 1, d.value))
	}
	d.fail()
	return slog.Value{}
}

// list reads a count and that many items of size bytes or more.
func list[T any](d *decoder, size int, read func() T) []T {
	out := make([]T, d.count(size))
	for i := range out {
		out[i] = read()
	}
	return out
}

// extra adds to the spans of a block what few of them have.
func (d *decoder) extra(spans []Span) {
	n := d.uvarint()
	if n >= uint64(len(spans)) {
		d.fail()
		return
	}
	s := &spans[n].SpanData
	s.State = d.state()
	s.Status.Message = d.text()
	s.DroppedAttributes = uint32(d.uvarint())
	s.DroppedEvents = uint32(d.uvarint())
	s.DroppedLinks = uint32(d.uvarint())
	if n := d.count(5); n > 0 {
		s.Events = make([]dendro.Event, n)
	}
	for i := range s.Events {
		s.Events[i] = dendro.Event{
			Name:              d.text(),
			Time:              s.Start + d.varint(),
			Duration:          time.Duration(d.varint()),
			DroppedAttributes: uint32(d.uvarint()),
			Attributes:        d.attrs(d.texts),
		}
	}
	if n := d.count(len(dendro.TraceID{}) + idSize + 4); n > 0 {
		s.Links = make([]dendro.Link, n)
	}
	for i := range s.Links {
		l := &s.Links[i]
		copy(l.TraceID[:], d.take(len(l.TraceID)))
		copy(l.SpanID[:], d.take(idSize))
		l.Flags = dendro.TraceFlags(d.byte())
		l.State = d.state()
		l.DroppedAttributes = uint32(d.uvarint())
		l.Attributes = d.attrs(d.texts)
	}
}

func (d *decoder) state() dendro.TraceState {
	s, err := dendro.ParseTraceState(d.text())
	if err != nil {
		d.fail()
	}
	return s
}

// decodeSpans appends the spans of a block to dst.
func decodeSpans(dst []Span, data string, id dendro.TraceID, resource *dendro.Resource, scope *dendro.Scope) ([]Span, error) {
	var d decoder
	d.open(data)
	first := len(dst)
	start := int64(0)
	for i := range d.n {
		h := d.head(start)
		start = h.start
		s := Span{Resource: resource, Scope: scope}
		s.TraceID, s.SpanID, s.Flags = id, d.id(i), h.flags
		s.ParentID, s.Remote, s.Kind, s.Name = h.parent, h.remote, h.kind, h.name
		s.Start, s.End, s.Status.Code = h.start, h.end, h.code
		dst = append(dst, s)
	}
	for i := first; i < len(dst); i++ {
		dst[i].Attributes = d.attrs(d.keys)
	}
	for range d.count(1) {
		d.extra(dst[first:])
	}
	if d.failed {
		return nil, errBlock
	}
	return dst, nil
}

func decodeResource(data string) (*dendro.Resource, error) {
	s, err := decodeScope(data)
	if err != nil {
		return nil, err
	}
	return &dendro.Resource{Attributes: s.Attributes, SchemaURL: s.SchemaURL}, nil
}

func decodeScope(data string) (*dendro.Scope, error) {
	var d decoder
	d.open(data)
	s := &dendro.Scope{Attributes: d.attrs(d.keys), Name: d.text(), Version: d.text(), SchemaURL: d.text()}
	if d.failed {
		return nil, errBlock
	}
	return s, nil
}
