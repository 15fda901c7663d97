package collector

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/dendrotrace/dendro"
)

// errBlock is returned for bytes that the encoder did not write.
var errBlock = errors.New("collector: broken block")

// block is the position of a block, which may be read without a lock.
type block struct {
	segment []byte // up to the end of the block, or beyond
	at      int
	keys    uint64 // a bit for each of walk.keys that spans of the segment may have
}

// decoder reads blocks from front to back. After an error it reads zeros, so callers
// check failed before they use what they read. The strings that it returns are copies.
type decoder struct {
	data   []byte // the segment
	at     int
	end    int
	failed bool // error in the open block
	broken bool // error in any block

	base    int64
	ids     []byte // span ids of the block
	spans   int
	whole   string // copy of the bytes from wholeAt on, if copyAll was called
	wholeAt int
	copied  *byte                 // the segment that copies belongs to
	copies  [copiedTexts]textCopy // of texts, by their offsets
}

// copiedTexts is the size of the cache of copies, a power of two.
const copiedTexts = 256

type textCopy struct {
	at   int
	text string
}

// use makes d read the segment from at to end.
func (d *decoder) use(segment []byte, at, end int) {
	d.data, d.at, d.end, d.failed, d.whole = segment, at, end, false, ""
}

// copyAll copies the rest of the block at once, for callers that read all of it.
func (d *decoder) copyAll() { d.whole, d.wholeAt = string(d.data[d.at:d.end]), d.at }

// open reads the footer of b and moves to its resource.
func (d *decoder) open(b block) (f footer) {
	d.use(b.segment, b.at, len(b.segment))
	prefix := d.take(prefixBytes)
	if d.failed {
		return f
	}
	size, footerAt := uint64(binary.LittleEndian.Uint32(prefix[atSize:])), uint64(binary.LittleEndian.Uint32(prefix[atFooter:]))
	if footerAt < prefixBytes || footerAt > size || size > uint64(d.end-b.at) {
		d.fail()
		return f
	}
	d.base = int64(binary.LittleEndian.Uint64(prefix[atBase:]))
	d.end = b.at + int(size)
	d.at = b.at + int(footerAt)
	f = d.footer(prefix[atContinues] != 0, int(size))
	d.at, d.end = b.at+prefixBytes, b.at+int(footerAt)
	return f
}

func (d *decoder) footer(continues bool, size int) (f footer) {
	f.base = d.base
	d.spans = d.count(idSize)
	d.ids = d.take(d.spans * idSize)
	f.spans, f.errors = d.spans, int(d.uvarint())
	f.first = f.base + d.varint()
	f.end = f.first + d.varint()
	root := d.uvarint()
	f.rootAt, f.rootKey.child = int(root>>1), root&1 != 0
	f.rootKey.start = f.base + d.varint()
	f.blocks, f.bytes, f.traceSpans = 1, size, f.spans
	if continues {
		if b := d.take(8); len(b) == 8 {
			f.previous = ref{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		}
		f.blocks, f.bytes, f.traceSpans = int(d.uvarint()), int(d.uvarint()), int(d.uvarint())
	}
	return f
}

func (d *decoder) fail() {
	d.at, d.end, d.failed, d.broken = 0, 0, true, true
}

// move continues reading at offset to.
func (d *decoder) move(to int) {
	if !d.failed {
		d.at = to
	}
}

func (d *decoder) uvarint() uint64 {
	if d.at < d.end && d.data[d.at] < 0x80 {
		d.at++
		return uint64(d.data[d.at-1])
	}
	n, size := binary.Uvarint(d.data[d.at:d.end])
	if size <= 0 {
		d.fail()
		return 0
	}
	d.at += size
	return n
}

func (d *decoder) varint() int64 { return unzigzag(d.uvarint()) }

func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

// count reads the number of elements that follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64((d.end-d.at)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// take returns the next n bytes, or nil if fewer are left.
func (d *decoder) take(n int) []byte {
	if n > d.end-d.at {
		d.fail()
		return nil
	}
	b := d.data[d.at : d.at+n]
	d.at += n
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); len(b) > 0 {
		return b[0]
	}
	return 0
}

func (d *decoder) float() float64 {
	if b := d.take(8); len(b) > 0 {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// place reads a text and returns the position of its bytes.
func (d *decoder) place() (start, end int) { return d.placeOf(d.uvarint()) }

// placeOf is place for a text whose first number, n, has been read.
func (d *decoder) placeOf(n uint64) (start, end int) {
	switch rest := n >> tagBits; n & (1<<tagBits - 1) {
	case tagLiteral:
		if rest <= uint64(d.end-d.at) {
			start = d.at
			d.at += int(rest)
			return start, d.at
		}
	case tagReference:
		if rest >= uint64(d.at) {
			break
		}
		n, size := binary.Uvarint(d.data[rest:d.at])
		start = int(rest) + size
		if size > 0 && n&(1<<tagBits-1) == tagLiteral && n>>tagBits <= uint64(d.at-start) {
			return start, start + int(n>>tagBits)
		}
	}
	d.fail()
	return 0, 0
}

// text reads a text and returns a copy of it.
func (d *decoder) text() string { return d.copy(d.place()) }

// raw reads a text and returns its bytes in the segment.
func (d *decoder) raw() []byte {
	start, end := d.place()
	return d.data[start:end]
}

func (d *decoder) copy(start, end int) string {
	if at := start - d.wholeAt; at >= 0 && end-d.wholeAt <= len(d.whole) {
		return d.whole[at : end-d.wholeAt]
	}
	if start == end {
		return ""
	}
	if segment := &d.data[0]; segment != d.copied {
		d.copied = segment
		clear(d.copies[:])
	}
	c := &d.copies[start%copiedTexts]
	if c.at != start || len(c.text) != end-start {
		*c = textCopy{start, string(d.data[start:end])}
	}
	return c.text
}

// id returns the id of span i.
func (d *decoder) id(i int) (id dendro.SpanID) {
	copy(id[:], d.ids[i*idSize:])
	return id
}

// head holds what every span has, except its attributes.
type head struct {
	start, end int64
	kind       dendro.Kind
	code       dendro.StatusCode
	flags      dendro.TraceFlags
	parent     dendro.SpanID
	remote     bool
	extra      bool
	// name is the position of the name.
	name struct{ start, end int }
}

// next reads the head of the next span. h holds the head of the span before. For the
// first span its start must be d.base.
func (d *decoder) next(h *head) {
	h.start += d.varint()
	h.end = h.start + d.varint()
	bits := d.byte()
	h.kind, h.code = dendro.Kind(bits>>spanKindShift), dendro.StatusCode(bits>>spanCodeShift&3)
	h.remote, h.extra = bits&spanRemote != 0, bits&spanExtra != 0
	h.flags = dendro.TraceFlags(d.byte())
	switch parent := d.uvarint(); {
	case parent == parentNone:
		h.parent = dendro.SpanID{}
	case parent == parentBytes:
		copy(h.parent[:], d.take(idSize))
	case parent == parentSame:
	case parent-parentIndex < uint64(d.spans):
		h.parent = d.id(int(parent - parentIndex))
	default:
		d.fail()
	}
	h.name.start, h.name.end = d.place()
}

// skip skips the rest of a span after its head h.
func (d *decoder) skip(h *head) {
	d.skipAttrs()
	if h.extra {
		d.skipExtra()
	}
}

func (d *decoder) skipAttrs() {
	for r := d.list(); r.next(); {
		d.skipValue()
	}
}

func (d *decoder) skipValue() {
	n := d.uvarint()
	if n&(1<<tagBits-1) != tagOther {
		if n&(1<<tagBits-1) != tagInt {
			d.placeOf(n)
		}
		return
	}
	d.other(n >> tagBits)
}

func (d *decoder) skipExtra() {
	var s dendro.SpanData
	d.extra(&s)
}

// attrs reads the attributes of a span, an event or a link.
func (d *decoder) attrs() []slog.Attr {
	r := d.list()
	if r.n == 0 {
		r.next()
		return nil
	}
	out := make([]slog.Attr, 0, r.n)
	for r.next() {
		out = append(out, slog.Attr{Key: d.copy(r.start, r.end), Value: d.value()})
	}
	return out
}

// attrList iterates over attributes. After next returns true, the decoder is at the
// value, which the caller must read or skip.
type attrList struct {
	d          *decoder
	n          int // attributes left
	start, end int // position of the key

	like    bool   // the keys are in an earlier list,
	same    uint64 // and so are these values, lowest bit first
	other   int    // where to continue in the other of the two lists
	earlier bool   // the decoder is in the earlier list
}

// list begins to read attributes.
func (d *decoder) list() attrList {
	start := d.at
	n := d.uvarint()
	if n&1 == 0 {
		if n>>1 > uint64((d.end-d.at)/2) {
			d.fail()
			n = 0
		}
		return attrList{d: d, n: int(n >> 1)}
	}
	r := attrList{d: d, like: true, same: d.uvarint()}
	own := d.at
	if n>>1 >= uint64(start) {
		d.fail()
		return attrList{d: d}
	}
	d.move(int(n >> 1))
	n = d.uvarint()
	if n&1 != 0 || n>>1 > maxPattern {
		d.fail()
		return attrList{d: d}
	}
	r.n, r.other, r.earlier = int(n>>1), own, true
	return r
}

func (r *attrList) next() bool {
	d := r.d
	if r.like && !r.earlier {
		r.turn()
	}
	if r.n == 0 || d.failed {
		if r.like {
			d.move(r.other)
		}
		return false
	}
	r.n--
	r.start, r.end = d.place()
	if !r.like {
		return !d.failed
	}
	if r.same&1 == 0 {
		d.skipValue()
		r.turn()
	}
	r.same >>= 1
	return !d.failed
}

// turn switches to the other of the two lists.
func (r *attrList) turn() {
	at := r.d.at
	r.d.move(r.other)
	r.other, r.earlier = at, !r.earlier
}

func (d *decoder) value() slog.Value { return d.valueOf(d.uvarint()) }

// valueOf is value for a value whose first number, n, has been read.
func (d *decoder) valueOf(n uint64) slog.Value {
	switch n & (1<<tagBits - 1) {
	case tagInt:
		return slog.Int64Value(unzigzag(n >> tagBits))
	case tagOther:
		return d.other(n >> tagBits)
	}
	return slog.StringValue(d.copy(d.placeOf(n)))
}

func (d *decoder) other(kind uint64) slog.Value {
	switch kind {
	case valueNil:
		return slog.Value{}
	case valueFalse, valueTrue:
		return slog.BoolValue(kind == valueTrue)
	case valueInt:
		return slog.Int64Value(d.varint())
	case valueFloat:
		return slog.Float64Value(d.float())
	case valueBytes:
		return slog.AnyValue(append([]byte{}, d.take(d.count(1))...))
	case valueStrings:
		return slog.AnyValue(elements(d, 1, d.text))
	case valueInts:
		return slog.AnyValue(elements(d, 1, d.varint))
	case valueFloats:
		return slog.AnyValue(elements(d, 8, d.float))
	case valueBools:
		return slog.AnyValue(elements(d, 1, func() bool { return d.uvarint()>>tagBits == valueTrue }))
	case valueList:
		return slog.AnyValue(elements(d, 1, d.value))
	}
	d.fail()
	return slog.Value{}
}

// elements reads a count and then that many elements of at least size bytes each.
func elements[T any](d *decoder, size int, read func() T) []T {
	out := make([]T, d.count(size))
	for i := range out {
		out[i] = read()
	}
	return out
}

// extra reads the extra part of a span into s.
func (d *decoder) extra(s *dendro.SpanData) {
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
			Attributes:        d.attrs(),
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
		l.Attributes = d.attrs()
	}
}

func (d *decoder) state() dendro.TraceState {
	s, err := dendro.ParseTraceState(d.text())
	if err != nil {
		d.fail()
	}
	return s
}
