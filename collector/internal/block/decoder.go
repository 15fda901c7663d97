package block

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"math/bits"
	"time"

	"github.com/dendrotrace/dendro"
)

// ErrBroken is returned for bytes that the encoder did not write.
var ErrBroken = errors.New("collector: broken block")

// Block is the position of a block, which may be read without a lock.
type Block struct {
	Segment []byte // up to the end of the block, or beyond
	At      int
	Wanted  uint64 // a bit for each wanted thing that the segment may have
}

// Mark returns the mark of the block.
func (b Block) Mark() byte { return b.Segment[b.At+atMark] }

// SetMark changes the mark of the block.
func (b Block) SetMark(mark byte) { b.Segment[b.At+atMark] = mark }

// Continues reports whether the trace has a block before this one.
func (b Block) Continues() bool { return b.Segment[b.At+atContinues] != 0 }

// Size returns the size of the block in bytes.
func (b Block) Size() uint32 { return binary.LittleEndian.Uint32(b.Segment[b.At+atSize:]) }

// TraceID returns the trace of the block.
func (b Block) TraceID() dendro.TraceID { return dendro.TraceID(b.Segment[b.At+atTraceID:]) }

// Spans returns the number of spans in the block.
func (b Block) Spans() int {
	footer := b.At + int(binary.LittleEndian.Uint32(b.Segment[b.At+atFooter:]))
	n, _ := binary.Uvarint(b.Segment[footer:])
	return int(n)
}

// Decoder reads blocks from front to back. After an error it reads zeros, so callers
// check Failed before they use what they read. The strings that it returns are copies.
type Decoder struct {
	data   []byte // the segment
	at     int
	end    int
	depth  int  // of the value that is read
	Failed bool // error in the open block
	Broken bool // error in any block

	Spans   int    // number of spans in the block
	base    int64  // start of the first span
	ids     []byte // span ids of the block
	whole   string // copy of the bytes from wholeAt on, if copyAll was called
	wholeAt int
	copies  *copies // nil if there are none

	resources map[string]*dendro.Resource // that were read, by their encoding
	scopes    map[string]*dendro.Scope
	scope     *dendro.Scope // of the open block
}

// maxDepth bounds how deep values are nested, and with that the stack.
const maxDepth = 10_000

// copies are texts that were copied last, by their hashes. A trace may refer to a long text many times.
type copies struct {
	short [shortTexts]string
	long  [longTexts]string
}

// Bounds of copies: their numbers, powers of two, and their sizes.
const (
	shortTexts   = 1 << 10
	maxShortText = 256
	longTexts    = 1 << 4
	maxLongText  = 64 << 10
)

// use makes d read the segment from at to end.
func (d *Decoder) use(segment []byte, at, end int) {
	d.data, d.at, d.end, d.Failed, d.whole = segment, at, end, false, ""
}

// CopyAll copies the rest of the block at once, for callers that read all of it.
func (d *Decoder) CopyAll() { d.whole, d.wholeAt = string(d.data[d.at:d.end]), d.at }

// Open reads the footer of b. To read its spans, read or skip its origin next.
func (d *Decoder) Open(b Block) (f Footer) {
	d.use(b.Segment, b.At, len(b.Segment))
	prefix := d.take(prefixBytes)
	if d.Failed {
		return f
	}
	size, footerAt := uint64(binary.LittleEndian.Uint32(prefix[atSize:])), uint64(binary.LittleEndian.Uint32(prefix[atFooter:]))
	if footerAt < prefixBytes || footerAt > size || size > uint64(d.end-b.At) {
		d.fail()
		return f
	}
	d.base = int64(binary.LittleEndian.Uint64(prefix[atBase:]))
	d.end = b.At + int(size)
	d.at = b.At + int(footerAt)
	f = d.footer(prefix[atContinues] != 0, int(size))
	d.at, d.end = b.At+prefixBytes, b.At+int(footerAt)
	return f
}

func (d *Decoder) footer(continues bool, size int) (f Footer) {
	f.base = d.base
	d.Spans = d.count(idSize)
	d.ids = d.take(d.Spans * idSize)
	f.Spans, f.Errors = d.Spans, int(d.uvarint())
	f.First = f.base + d.varint()
	f.End = f.First + d.varint()
	f.Blocks, f.Bytes, f.TraceSpans = 1, size, f.Spans
	if continues {
		if b := d.take(8); len(b) == 8 {
			f.Previous = Ref{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		}
		f.Blocks, f.Bytes, f.TraceSpans = int(d.uvarint()), int(d.uvarint()), int(d.uvarint())
	}
	return f
}

func (d *Decoder) fail() {
	d.at, d.end, d.Failed, d.Broken = 0, 0, true, true
}

// move continues reading at offset to.
func (d *Decoder) move(to int) {
	if !d.Failed {
		d.at = to
	}
}

func (d *Decoder) uvarint() uint64 {
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

func (d *Decoder) varint() int64 { return unzigzag(d.uvarint()) }

func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

// count reads the number of elements that follow, each of at least size bytes.
func (d *Decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64((d.end-d.at)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// take returns the next n bytes, or nil if fewer are left.
func (d *Decoder) take(n int) []byte {
	if n > d.end-d.at {
		d.fail()
		return nil
	}
	b := d.data[d.at : d.at+n]
	d.at += n
	return b
}

func (d *Decoder) byte() byte {
	if b := d.take(1); len(b) > 0 {
		return b[0]
	}
	return 0
}

func (d *Decoder) float() float64 {
	if b := d.take(8); len(b) > 0 {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// place reads a text and returns the position of its bytes.
func (d *Decoder) place() (start, end int) { return d.placeOf(d.uvarint()) }

// placeOf is place for a text whose first number, n, has been read.
func (d *Decoder) placeOf(n uint64) (start, end int) {
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
func (d *Decoder) text() string { return d.copy(d.place()) }

// raw reads a text and returns its bytes in the segment.
func (d *Decoder) raw() []byte {
	start, end := d.place()
	return d.data[start:end]
}

func (d *Decoder) copy(start, end int) string {
	if at := start - d.wholeAt; at >= 0 && end-d.wholeAt <= len(d.whole) {
		return d.whole[at : end-d.wholeAt]
	}
	b := d.data[start:end]
	if len(b) > maxLongText {
		return string(b)
	}
	if d.copies == nil {
		d.copies = new(copies)
	}
	h := hashBytes(b)
	c := &d.copies.short[h%shortTexts]
	if len(b) > maxShortText {
		c = &d.copies.long[h%longTexts]
	}
	if *c != string(b) {
		*c = string(b)
	}
	return *c
}

// hashBytes hashes a text by its length and some of its bytes.
func hashBytes(b []byte) uint64 {
	h := uint64(len(b))
	switch {
	case len(b) >= 8:
		h += binary.LittleEndian.Uint64(b) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(b[len(b)-8:]), 32)
	default:
		for _, c := range b {
			h = h<<8 ^ uint64(c)
		}
	}
	return h * multiplier >> 32
}

// ID returns the id of span i.
func (d *Decoder) ID(i int) (id dendro.SpanID) {
	copy(id[:], d.ids[i*idSize:])
	return id
}

// Head holds what every span has, except its attributes.
type Head struct {
	Start, End    int64
	Kind          dendro.Kind
	Code          dendro.StatusCode
	Flags         dendro.TraceFlags
	Parent        dendro.SpanID
	Remote        bool
	RemoteUnknown bool
	Extra         bool // the span has what few spans have
	// name is the position of the name.
	name struct{ start, end int }
}

// First returns the head to pass to the first call of Next for a block.
func (d *Decoder) First() Head { return Head{Start: d.base} }

// Name returns a copy of the name.
func (d *Decoder) Name(h *Head) string { return d.copy(h.name.start, h.name.end) }

// HasName reports whether the name is s.
func (d *Decoder) HasName(h *Head, s string) bool {
	return string(d.data[h.name.start:h.name.end]) == s
}

// Next reads the head of the next span. h holds the head of the span before, or the
// result of First.
func (d *Decoder) Next(h *Head) {
	h.Start += d.varint()
	h.End = h.Start + d.varint()
	bits := d.byte()
	h.Kind, h.Code = dendro.Kind(bits>>spanKindShift&7), dendro.StatusCode(bits>>spanCodeShift&3)
	h.Remote, h.RemoteUnknown, h.Extra = bits&spanRemote != 0, bits&spanRemoteUnknown != 0, bits&spanExtra != 0
	h.Flags = dendro.TraceFlags(d.byte())
	switch parent := d.uvarint(); {
	case parent == parentNone:
		h.Parent = dendro.SpanID{}
	case parent == parentBytes:
		copy(h.Parent[:], d.take(idSize))
	case parent == parentSame:
	case parent-parentIndex < uint64(d.Spans):
		h.Parent = d.ID(int(parent - parentIndex))
	default:
		d.fail()
	}
	h.name.start, h.name.end = d.place()
}

// Span sets the fields of s, span i with head h, that are in the head, and the scope of the
// block. It leaves TraceID.
func (d *Decoder) Span(i int, h *Head, s *dendro.SpanData) {
	s.SpanID, s.Flags = d.ID(i), h.Flags
	s.ParentID, s.Remote, s.RemoteUnknown, s.Kind, s.Name = h.Parent, h.Remote, h.RemoteUnknown, h.Kind, d.Name(h)
	s.Start, s.End, s.Status.Code, s.Scope = h.Start, h.End, h.Code, d.scope
}

// Rest reads the rest of a span with head h into s.
func (d *Decoder) Rest(h *Head, s *dendro.SpanData) {
	s.Attributes = d.attrs()
	d.Details(h, s)
}

// Details reads what few spans have into s. The attributes must have been read.
func (d *Decoder) Details(h *Head, s *dendro.SpanData) {
	if h.Extra {
		d.ownScope(s)
		d.extra(s)
	}
}

// Skip skips the rest of a span after its head h.
func (d *Decoder) Skip(h *Head) {
	d.SkipAttrs()
	if h.Extra {
		d.place()
		d.skipExtra()
	}
}

// SkipAttrs skips the attributes of a span.
func (d *Decoder) SkipAttrs() {
	r := d.List()
	if !r.like {
		for r.Next() {
			d.skipValue()
		}
		return
	}
	d.move(r.other) // the keys, and the values that are the same, are elsewhere
	for i := range r.n {
		if r.same>>i&1 == 0 {
			d.skipValue()
		}
	}
}

func (d *Decoder) skipValue() {
	n := d.uvarint()
	if n&(1<<tagBits-1) != tagOther {
		if n&(1<<tagBits-1) != tagInt {
			d.placeOf(n)
		}
		return
	}
	d.other(n >> tagBits)
}

// SkipDetails skips what few spans have, except for the scope, which it reads into s. The
// attributes must have been read.
func (d *Decoder) SkipDetails(h *Head, s *dendro.SpanData) {
	if h.Extra {
		d.ownScope(s)
		d.skipExtra()
	}
}

// ownScope reads the scope of a span into s, if it is not that of the block.
func (d *Decoder) ownScope(s *dendro.SpanData) {
	if data := d.raw(); len(data) > 0 {
		s.Scope = d.scopeOf(data)
	}
}

func (d *Decoder) skipExtra() {
	var s dendro.SpanData
	d.extra(&s)
}

// attrs reads the attributes of a span, an event or a link.
func (d *Decoder) attrs() []slog.Attr {
	r := d.List()
	if r.n == 0 {
		r.Next()
		return nil
	}
	out := make([]slog.Attr, 0, r.n)
	for r.Next() {
		out = append(out, slog.Attr{Key: d.copy(r.start, r.end), Value: d.value()})
	}
	return out
}

// AttrList iterates over attributes. After Next returns true, the decoder is at the
// value, which the caller must read or skip.
type AttrList struct {
	d          *Decoder
	n          int // attributes left
	start, end int // position of the key

	like    bool   // the keys are in an earlier list,
	same    uint64 // and so are these values, lowest bit first
	other   int    // where to continue in the other of the two lists
	earlier bool   // the decoder is in the earlier list
}

// List begins to read attributes.
func (d *Decoder) List() AttrList {
	start := d.at
	n := d.uvarint()
	if n&1 == 0 {
		if n>>1 > uint64((d.end-d.at)/2) {
			d.fail()
			n = 0
		}
		return AttrList{d: d, n: int(n >> 1)}
	}
	r := AttrList{d: d, like: true, same: d.uvarint()}
	own := d.at
	if n>>1 >= uint64(start) {
		d.fail()
		return AttrList{d: d}
	}
	d.move(int(n >> 1))
	n = d.uvarint()
	if n&1 != 0 || n>>1 > maxPattern {
		d.fail()
		return AttrList{d: d}
	}
	r.n, r.other, r.earlier = int(n>>1), own, true
	return r
}

// Next moves to the next attribute and reports whether there is one.
func (r *AttrList) Next() bool {
	d := r.d
	if r.like && !r.earlier {
		r.turn()
	}
	if r.n == 0 || d.Failed {
		if r.like {
			d.move(r.other)
		}
		return false
	}
	r.n--
	r.start, r.end = d.place()
	if !r.like {
		return !d.Failed
	}
	if r.same&1 == 0 {
		d.skipValue()
		r.turn()
	}
	r.same >>= 1
	return !d.Failed
}

// Key returns the key in the segment.
func (r *AttrList) Key() []byte { return r.d.data[r.start:r.end] }

// KeyText returns a copy of the key.
func (r *AttrList) KeyText() string { return r.d.copy(r.start, r.end) }

// Value reads the value.
func (r *AttrList) Value() slog.Value { return r.d.value() }

// Skip skips the value.
func (r *AttrList) Skip() { r.d.skipValue() }

// turn switches to the other of the two lists.
func (r *AttrList) turn() {
	at := r.d.at
	r.d.move(r.other)
	r.other, r.earlier = at, !r.earlier
}

func (d *Decoder) value() slog.Value { return d.valueOf(d.uvarint()) }

// valueOf is value for a value whose first number, n, has been read.
func (d *Decoder) valueOf(n uint64) slog.Value {
	switch n & (1<<tagBits - 1) {
	case tagInt:
		return slog.Int64Value(unzigzag(n >> tagBits))
	case tagOther:
		return d.other(n >> tagBits)
	}
	return slog.StringValue(d.copy(d.placeOf(n)))
}

func (d *Decoder) other(kind uint64) slog.Value {
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
	case valueKeyValues:
		return slog.AnyValue(dendro.KeyValues(elements(d, 2, func() slog.Attr { return slog.Attr{Key: d.text(), Value: d.value()} })))
	}
	d.fail()
	return slog.Value{}
}

// elements reads a count and then that many elements of at least size bytes each.
func elements[T any](d *Decoder, size int, read func() T) []T {
	n := d.count(size)
	out := make([]T, 0, min(n, 256)) // the count may be wrong
	if d.depth++; d.depth > maxDepth {
		d.fail()
	}
	for i := 0; i < n && !d.Failed; i++ {
		out = append(out, read())
	}
	d.depth--
	return out
}

// extra reads the extra part of a span after its scope into s.
func (d *Decoder) extra(s *dendro.SpanData) {
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
	if n := d.count(len(dendro.TraceID{}) + idSize + 5); n > 0 {
		s.Links = make([]dendro.Link, n)
	}
	for i := range s.Links {
		l := &s.Links[i]
		copy(l.TraceID[:], d.take(len(l.TraceID)))
		copy(l.SpanID[:], d.take(idSize))
		l.Flags = dendro.TraceFlags(d.byte())
		known := d.byte()
		l.Remote, l.RemoteKnown = known&1 != 0, known&2 != 0
		l.State = d.state()
		l.DroppedAttributes = uint32(d.uvarint())
		l.Attributes = d.attrs()
	}
}

func (d *Decoder) state() dendro.TraceState {
	s, err := dendro.ParseTraceState(d.text())
	if err != nil {
		d.fail()
	}
	return s
}
