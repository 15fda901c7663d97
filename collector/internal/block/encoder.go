// Package block encodes the spans of a trace as a block of bytes without pointers, and
// decodes them.
package block

import (
	"encoding/binary"
	"log/slog"
	"math"
	"math/bits"

	"github.com/dendrotrace/dendro"
)

// The memory store keeps spans in segments: byte slices without pointers, which the
// garbage collector does not scan, however much is stored. A segment is a sequence of
// blocks. A block holds spans of one trace that arrived in one batch. Blocks never
// leave the process, so the format has no version. What a store on disk writes is in
// docs/decisions/016-the-unit-on-disk-is-a-sealed-chunk.md.
//
//	block   = mark (1 byte, the only one that ever changes), 1 if it continues
//	          a trace (1), size (4), offset of the footer (4), trace id (16), base (8),
//	          resource, scope, n * span, footer
//	span    = start (relative to the span before, or to base for the first), duration,
//	          bits (remote unknown, kind, status, remote, extra), flags, parent, name, attrs or like,
//	          extra if its bit is set
//	parent  = 0 for none, 1 followed by the id (8), 2 for the parent of the span
//	          before, i + 3 for span i of this block
//	attrs   = count << 1, count * (key, value)
//	like    = offset of earlier attrs with the same keys in this segment << 1 | 1,
//	          a bit for each value that is the same, the values that differ
//	extra   = what few spans have: scope, or an empty text if it is that of the block,
//	          tracestate, status message, numbers of dropped attributes, events and links,
//	          events, links
//	footer  = n, n * span id (8), number of errors, earliest start (relative to base),
//	          latest end (relative to that start), and if the block continues a trace:
//	          position of the block before (8), and the number of blocks, bytes and
//	          spans of the trace so far
//
// Numbers are varints unless a size is given, zigzag encoded if they can be negative.
// The low two bits of a text's first varint are its tag: 0 if the rest is the length
// of the bytes that follow, 1 if it is the offset of an earlier text in the same
// segment. A value is a text, or has tag 2 for an integer, or tag 3 for one of the
// kinds from valueNil on. A resource and a scope are each a text that contains attrs
// and further texts. The scope of a block is that of its first span.

// Tags: the low two bits of a text or a value.
const (
	tagLiteral = iota
	tagReference
	tagInt
	tagOther
	tagBits = 2
)

// Kinds of values with tagOther.
const (
	valueNil = iota
	valueFalse
	valueTrue
	valueInt // too large for tagInt
	valueFloat
	valueBytes
	valueStrings
	valueInts
	valueFloats
	valueBools
	valueList
	valueKeyValues
)

// The bits byte of a span.
const (
	spanExtra         = 1 << 0
	spanRemote        = 1 << 1
	spanCodeShift     = 2 // two bits
	spanKindShift     = 4 // three bits
	spanRemoteUnknown = 1 << 7
)

const (
	parentNone = iota
	parentBytes
	parentSame
	parentIndex // and above
)

// Offsets of the fields of fixed size in a block.
const (
	atMark      = 0
	atContinues = 1
	atSize      = 2
	atFooter    = 6
	atTraceID   = 10
	atBase      = 26
	prefixBytes = 34
)

// Marks of the first block of a trace.
const (
	MarkContinued = 1 // more blocks follow
	MarkVoid      = 2 // the trace was held already, and its newest block has these spans
)

const idSize = len(dendro.SpanID{})

// MaxSpans bounds the number of spans in a block.
const MaxSpans = 64

// Encoder appends blocks to a segment.
type Encoder struct {
	Data   []byte // the segment
	Number uint32 // number of the segment
	Limit  int    // bound of len(Data)
	full   bool   // the limit was reached

	filter Filter                  // names and attributes in the segment
	ids    [MaxSpans]dendro.SpanID // of the spans in the block
	recent *recent                 // if nil, texts and attributes are written in full

	origins [recentOrigins]origin
	turn    int // the next of origins to replace
}

// recent remembers texts and attributes of the segment that later ones may refer to.
type recent struct {
	texts    [recentTexts]uint32 // offsets by hash, as hints
	patterns [recentPatterns]pattern
}

// recentTexts and recentPatterns are powers of two. A text is found again if fewer
// than about recentTexts others were written since.
const (
	recentTexts    = 1 << 12
	recentPatterns = 1 << 6
)

// pattern describes the attributes of a span that was written to the segment. Spans of
// the same name usually have the same attribute keys and many of the same values.
type pattern struct {
	at     uint32
	n      uint32 // 0 if there is no pattern
	texts  uint32 // a bit for each value that is a text
	keys   [maxPattern]string
	hashes [maxPattern]uint64 // of keys
	values [maxPattern]uint64 // a place, or the result of scalar
}

// place is the position of the bytes of a text: the offset << 32 | the length.
type place uint64

// is reports whether the bytes at p are s.
func (p place) is(b []byte, s string) bool {
	start, n := int(p>>32), int(uint32(p))
	return n == len(s) && string(b[start:start+n]) == s
}

// maxPattern bounds the number of attributes of a pattern.
const maxPattern = 24

// minShared is the length of the shortest text for which a reference saves space.
const minShared = 3

// NewEncoder returns an encoder without a segment.
func NewEncoder() Encoder { return Encoder{recent: new(recent)} }

// Begin starts a new segment. The names of its spans, and the keys and values of the
// attributes of its spans and resources are added to filter.
func (e *Encoder) Begin(data []byte, number uint32, filter Filter) {
	e.Data, e.Number, e.filter = data, number, filter
	*e.recent = recent{}
}

// Append appends a block of at most MaxSpans spans of one trace and fills in f. r may be
// nil. If a span exceeds the limit, Append returns its index and leaves the segment
// unchanged. Otherwise it returns -1.
func (e *Encoder) Append(f *Footer, r *dendro.Resource, spans []*dendro.SpanData) (tooLarge int) {
	e.full = false
	for i, s := range spans {
		e.ids[i] = s.SpanID
	}
	first := spans[0]
	start := len(e.Data)
	b := append(e.Data, make([]byte, prefixBytes)...)
	copy(b[start+atTraceID:], first.TraceID[:])
	binary.LittleEndian.PutUint64(b[start+atBase:], uint64(first.Start))
	o := e.origin(r, first.Scope)
	resourceAt, scopeAt := o.resourceAt, o.scopeAt
	if o.segment == e.Number {
		b = appendReference(appendReference(b, resourceAt), scopeAt)
	} else {
		if r != nil {
			e.filter.attrs(r.Attributes)
		}
		b, resourceAt = e.textAt(b, o.resource)
		b, scopeAt = e.textAt(b, o.scope)
	}
	f.base, f.Spans, f.Errors, f.First, f.End = first.Start, len(spans), 0, first.Start, first.End
	before := first
	for i, s := range spans {
		if s.Status.Code == dendro.StatusError {
			f.Errors++
		}
		f.First, f.End = min(f.First, s.Start), max(f.End, s.End)
		b = e.span(b, s, before, first.Scope, len(spans))
		if e.full || len(b) > e.Limit {
			*e.recent = recent{} // it may refer to what was cut off
			return i
		}
		before = s
	}
	footerAt := len(b) - start
	b = e.footer(b, f, start)
	b[start+atContinues] = bit(f.Previous != Ref{})
	binary.LittleEndian.PutUint32(b[start+atSize:], uint32(len(b)-start))
	binary.LittleEndian.PutUint32(b[start+atFooter:], uint32(footerAt))
	e.Data = b
	if o.of(r, first.Scope) { // the scopes of other spans may have replaced it
		o.segment, o.resourceAt, o.scopeAt = e.Number, resourceAt, scopeAt
	}
	return -1
}

func (e *Encoder) footer(b []byte, f *Footer, start int) []byte {
	b = appendUvarint(b, uint64(f.Spans))
	for i := range f.Spans {
		b = append(b, e.ids[i][:]...)
	}
	b = appendUvarint(b, uint64(f.Errors))
	b = appendVarint(b, f.First-f.base)
	b = appendVarint(b, f.End-f.First)
	if f.Previous != (Ref{}) {
		b = binary.LittleEndian.AppendUint32(b, f.Previous.Segment)
		b = binary.LittleEndian.AppendUint32(b, f.Previous.Offset)
		f.Blocks++
		b = appendUvarint(b, uint64(f.Blocks))
		f.Bytes += len(b) - start
		b = appendUvarint(b, uint64(f.Bytes))
		f.TraceSpans += f.Spans
		b = appendUvarint(b, uint64(f.TraceSpans))
	}
	return b
}

// span appends s, one of n spans of a block with the given scope. before is the span before
// it, or s itself if it is the first.
func (e *Encoder) span(b []byte, s, before *dendro.SpanData, scope *dendro.Scope, n int) []byte {
	b = appendVarint(b, s.Start-before.Start)
	b = appendVarint(b, s.End-s.Start)
	extra := s.Scope != scope || hasExtra(s)
	bits := bit(extra) * spanExtra
	bits |= bit(s.Remote)*spanRemote | bit(s.RemoteUnknown)*spanRemoteUnknown
	if s.Status.Code <= dendro.StatusError {
		bits |= byte(s.Status.Code) << spanCodeShift
	}
	if s.Kind <= dendro.KindUnspecified {
		bits |= byte(s.Kind) << spanKindShift
	}
	b = append(b, bits, byte(s.Flags))
	switch {
	case !s.ParentID.IsValid():
		b = append(b, parentNone)
	case s != before && s.ParentID == before.ParentID:
		b = append(b, parentSame)
	default:
		b = e.parent(b, s.ParentID, n)
	}
	b = e.text(b, s.Name)
	b = e.spanAttrs(b, s)
	if extra {
		b = e.extra(b, s, scope)
	}
	return b
}

func (e *Encoder) parent(b []byte, id dendro.SpanID, n int) []byte {
	for i := range n {
		if e.ids[i] == id {
			return appendUvarint(b, uint64(i+parentIndex))
		}
	}
	b = append(b, parentBytes)
	return append(b, id[:]...)
}

// text appends s, or a reference to an earlier copy of s.
func (e *Encoder) text(b []byte, s string) []byte {
	b, _ = e.textAt(b, s)
	return b
}

// textAt is text, and also returns the offset of s.
func (e *Encoder) textAt(b []byte, s string) ([]byte, int) {
	at := len(b)
	if len(s) < minShared || e.recent == nil {
		return appendLiteral(b, s), at
	}
	hint := &e.recent.texts[HashText(s)%recentTexts]
	if at := int(*hint); at > 0 && literalAt(b, at, s) {
		return appendReference(b, at), at
	}
	if !e.fits(b, len(s)) {
		return b, at
	}
	*hint = uint32(at)
	return appendLiteral(b, s), at
}

func appendLiteral(b []byte, s string) []byte {
	return append(appendUvarint(b, uint64(len(s))<<tagBits|tagLiteral), s...) //nolint:staticcheck // the tag is 0
}

func appendReference(b []byte, at int) []byte {
	return appendUvarint(b, uint64(at)<<tagBits|tagReference)
}

// literalAt reports whether a literal text at offset at of b is s.
func literalAt(b []byte, at int, s string) bool {
	b = b[at:]
	size := 1
	if n := uint64(len(s)) << tagBits; n < 0x80 {
		if b[0] != byte(n) {
			return false
		}
	} else {
		var got uint64
		if got, size = binary.Uvarint(b); got != n {
			return false
		}
	}
	return len(b) >= size+len(s) && string(b[size:size+len(s)]) == s
}

// HashText hashes a text, in the same way in every process. For most lengths it is faster than
// package maphash. Collisions are harmless, as the hash only leads to a hint.
func HashText(s string) uint64 {
	n := len(s)
	var h uint64
	switch {
	case n > 24:
		return hashLong(s)
	case n >= 8:
		h = word(s[:8]) ^ bits.RotateLeft64(word(s[n/2-4:n/2+4]), 21) ^ bits.RotateLeft64(word(s[n-8:]), 42)
	default:
		for i := range n {
			h = h<<8 | uint64(s[i])
		}
	}
	return (h + uint64(n)) * multiplier >> 32
}

// hashLong is HashText for more than 24 bytes.
func hashLong(s string) uint64 {
	h := uint64(len(s))
	last := s[len(s)-16:]
	for ; len(s) > 16; s = s[16:] {
		h = fold(word(s[:8])^multiplier, word(s[8:16])^h)
	}
	return fold(word(last[:8])^multiplier, word(last[8:])^h)
}

const multiplier = 0x9e3779b97f4a7c15 // 2^64 / the golden ratio

func word(s string) uint64 { return binary.LittleEndian.Uint64([]byte(s)) }

// fits reports whether n more bytes are within the limit.
func (e *Encoder) fits(b []byte, n int) bool {
	e.full = e.full || len(b)+n > e.Limit
	return !e.full
}

func (e *Encoder) attrs(b []byte, attrs []slog.Attr) []byte {
	b = appendUvarint(b, uint64(len(attrs))<<1)
	for i := range attrs {
		b = e.text(b, attrs[i].Key)
		b = e.value(b, attrs[i].Value)
	}
	return b
}

// spanAttrs appends the attributes of s, if possible as differences to a pattern,
// which is shorter and faster.
func (e *Encoder) spanAttrs(b []byte, s *dendro.SpanData) []byte {
	attrs := s.Attributes
	n := len(attrs)
	name := HashText(s.Name)
	e.filter.Add(pair(hashName, name))
	if n == 0 || n > maxPattern || e.recent == nil {
		e.filter.attrs(attrs)
		return e.attrs(b, attrs)
	}
	p := &e.recent.patterns[(name+uint64(n))%recentPatterns]
	if same, ok := p.like(b, attrs); ok {
		b = appendUvarint(b, uint64(p.at)<<1|1)
		b = appendUvarint(b, same)
		for i := range attrs {
			if same&(1<<i) == 0 {
				e.filter.Add(pair(p.hashes[i], hashValue(attrs[i].Value)))
				e.filter.below(attrs[i].Key, attrs[i].Value)
				b = e.value(b, attrs[i].Value)
			}
		}
		return b
	}
	p.at, p.n, p.texts = uint32(len(b)), uint32(n), 0
	b = appendUvarint(b, uint64(n)<<1)
	for i := range attrs {
		key, v := attrs[i].Key, attrs[i].Value
		hash := HashText(key)
		e.filter.Add(hash)
		e.filter.Add(pair(hash, hashValue(v)))
		b = e.text(b, key)
		p.keys[i], p.hashes[i] = key, hash
		if v.Kind() == slog.KindString {
			var at place
			b, at = e.textPlace(b, v.String())
			p.texts |= 1 << i
			p.values[i] = uint64(at)
		} else {
			p.values[i] = scalar(v)
			e.filter.below(key, v)
			b = e.value(b, v)
		}
	}
	return b
}

// textPlace is text, and also returns the place of the bytes of s.
func (e *Encoder) textPlace(b []byte, s string) ([]byte, place) {
	b, at := e.textAt(b, s)
	if e.full {
		return b, 0
	}
	_, size := binary.Uvarint(b[at:])
	return b, place(at+size)<<32 | place(len(s))
}

// like reports whether attrs has exactly the keys of p and at least half of its
// values. It returns a bit for each value that is the same.
func (p *pattern) like(b []byte, attrs []slog.Attr) (same uint64, ok bool) {
	if int(p.n) != len(attrs) {
		return 0, false
	}
	for i := range attrs {
		if p.keys[i] != attrs[i].Key { // usually the same pointer, so the bytes are not compared
			return 0, false
		}
		v := attrs[i].Value
		if v.Kind() == slog.KindString {
			if p.texts&(1<<i) != 0 && place(p.values[i]).is(b, v.String()) {
				same |= 1 << i
			}
		} else if n := scalar(v); n != 0 && n == p.values[i] && p.texts&(1<<i) == 0 {
			same |= 1 << i
		}
	}
	return same, 2*bits.OnesCount64(same) >= len(attrs)
}

// scalar returns the encoding of a boolean or of an integer that fits in a tagged
// number. It returns 0 for all other values.
func scalar(v slog.Value) uint64 {
	switch v.Kind() {
	case slog.KindInt64:
		if n := zigzag(v.Int64()); n>>(64-tagBits) == 0 {
			return n<<tagBits | tagInt
		}
	case slog.KindBool:
		return (valueFalse+uint64(bit(v.Bool())))<<tagBits | tagOther
	}
	return 0
}

func (e *Encoder) value(b []byte, v slog.Value) []byte {
	if n := scalar(v); n != 0 {
		return appendUvarint(b, n)
	}
	switch v.Kind() {
	case slog.KindString:
		return e.text(b, v.String())
	case slog.KindInt64:
		return appendUvarint(appendOther(b, valueInt), zigzag(v.Int64()))
	case slog.KindFloat64:
		return appendFloat(appendOther(b, valueFloat), v.Float64())
	}
	return e.anyValue(b, v)
}

func (e *Encoder) anyValue(b []byte, v slog.Value) []byte {
	switch x := v.Any().(type) {
	case nil:
		return appendOther(b, valueNil)
	case []byte:
		return e.list(b, valueBytes, len(x), 1, func(b []byte) []byte { return append(b, x...) })
	case []string:
		return e.list(b, valueStrings, len(x), 1, func(b []byte) []byte {
			for _, s := range x {
				b = e.text(b, s)
			}
			return b
		})
	case []int64:
		return e.list(b, valueInts, len(x), 1, func(b []byte) []byte {
			for _, n := range x {
				b = appendVarint(b, n)
			}
			return b
		})
	case []float64:
		return e.list(b, valueFloats, len(x), 8, func(b []byte) []byte {
			for _, f := range x {
				b = appendFloat(b, f)
			}
			return b
		})
	case []bool:
		return e.list(b, valueBools, len(x), 1, func(b []byte) []byte {
			for _, v := range x {
				b = appendBool(b, v)
			}
			return b
		})
	case []slog.Value:
		return e.list(b, valueList, len(x), 1, func(b []byte) []byte {
			for _, v := range x {
				b = e.value(b, v)
			}
			return b
		})
	case dendro.KeyValues:
		return e.list(b, valueKeyValues, len(x), 2, func(b []byte) []byte {
			for i := range x {
				b = e.value(e.text(b, x[i].Key), x[i].Value)
			}
			return b
		})
	}
	return e.text(b, v.String()) // not a kind that SpanData has
}

// list appends a list of n elements of at least size bytes each.
func (e *Encoder) list(b []byte, kind uint64, n, size int, elements func([]byte) []byte) []byte {
	if !e.fits(b, n*size) {
		return b
	}
	return elements(appendUvarint(appendOther(b, kind), uint64(n)))
}

func appendOther(b []byte, kind uint64) []byte { return append(b, byte(kind<<tagBits|tagOther)) }

func appendBool(b []byte, v bool) []byte { return appendOther(b, valueFalse+uint64(bit(v))) }

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

func appendUvarint(b []byte, n uint64) []byte {
	if n < 0x80 {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(b, n)
}

func appendVarint(b []byte, n int64) []byte { return appendUvarint(b, zigzag(n)) }

func zigzag(n int64) uint64 { return uint64(n)<<1 ^ uint64(n>>63) }

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func hasExtra(s *dendro.SpanData) bool {
	return len(s.Events) > 0 || len(s.Links) > 0 || s.Status.Message != "" || s.State != dendro.TraceState{} ||
		s.DroppedAttributes|s.DroppedEvents|s.DroppedLinks != 0
}

func (e *Encoder) extra(b []byte, s *dendro.SpanData, scope *dendro.Scope) []byte {
	own := ""
	if s.Scope != scope {
		own = e.encoded(s.Scope)
	}
	b = e.text(b, own)
	b = e.text(b, s.State.String())
	b = e.text(b, s.Status.Message)
	b = appendUvarint(b, uint64(s.DroppedAttributes))
	b = appendUvarint(b, uint64(s.DroppedEvents))
	b = appendUvarint(b, uint64(s.DroppedLinks))
	b = appendUvarint(b, uint64(len(s.Events)))
	for i := range s.Events {
		ev := &s.Events[i]
		b = e.text(b, ev.Name)
		b = appendVarint(b, ev.Time-s.Start)
		b = appendVarint(b, int64(ev.Duration))
		b = appendUvarint(b, uint64(ev.DroppedAttributes))
		b = e.attrs(b, ev.Attributes)
	}
	b = appendUvarint(b, uint64(len(s.Links)))
	for i := range s.Links {
		l := &s.Links[i]
		b = append(b, l.TraceID[:]...)
		b = append(b, l.SpanID[:]...)
		b = append(b, byte(l.Flags), bit(l.RemoteKnown)<<1|bit(l.Remote))
		b = e.text(b, l.State.String())
		b = appendUvarint(b, uint64(l.DroppedAttributes))
		b = e.attrs(b, l.Attributes)
	}
	return b
}
