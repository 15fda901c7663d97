package block

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
	"math/bits"

	"github.com/dendrotrace/dendro"
)

// A chunk is what a store on disk writes: the blocks of a segment that is complete, which refer to
// nothing outside of it.
//
//	chunk = "dndr", version (1), size of the filter (1), length of the blocks (4), blocks, filter,
//	        CRC-32C of all before (4)
//
// The size of the filter is the logarithm of its number of 64-bit words, plus one, or zero if the
// chunk has no filter. Words are little-endian. No block of a chunk has a mark or continues
// another one.

const (
	chunkMagic   = "dndr"
	chunkVersion = 1
	chunkHeader  = len(chunkMagic) + 1 + 1 + 4
	chunkSum     = 4
	// maxFilterLog bounds the size of a filter to 8 MiB.
	maxFilterLog = 21
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Chunk is a chunk that was read.
type Chunk struct {
	Blocks []byte // a segment
	Filter Filter // nil if the chunk has none
}

// VersionError is an error of [ReadChunk]: a later version of this package wrote the chunk.
type VersionError struct{ Version byte }

// Error returns the versions.
func (e VersionError) Error() string {
	return fmt.Sprintf("chunk of format %d: this program reads formats up to %d", e.Version, chunkVersion)
}

// ChunkSize returns the size of a chunk.
func ChunkSize(blocks []byte, filter Filter) int {
	return chunkHeader + len(blocks) + 8*len(filter) + chunkSum
}

// AppendChunk appends a chunk to dst. filter may be nil.
func AppendChunk(dst, blocks []byte, filter Filter) []byte {
	start := len(dst)
	dst = append(dst, chunkMagic...)
	dst = append(dst, chunkVersion, byte(bits.Len(uint(len(filter)))))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(blocks)))
	dst = append(dst, blocks...)
	for _, word := range filter {
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ReadChunk checks a chunk: its checksum, and that its blocks fill it. Blocks of the result is a
// part of data. ReadChunk returns [ErrBroken] or a [VersionError].
func ReadChunk(data []byte) (c Chunk, err error) {
	end := len(data) - chunkSum
	if end < chunkHeader || string(data[:len(chunkMagic)]) != chunkMagic || crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return c, ErrBroken
	}
	if version := data[4]; version != chunkVersion {
		return c, VersionError{version}
	}
	log, size := data[5], uint64(binary.LittleEndian.Uint32(data[6:]))
	words := uint64(0)
	if log > 0 {
		words = 1 << (log - 1)
	}
	if log > maxFilterLog || uint64(chunkHeader)+size+8*words != uint64(end) {
		return c, ErrBroken
	}
	c.Blocks = data[chunkHeader : chunkHeader+int(size)]
	for at := 0; at < len(c.Blocks); {
		b := Block{Segment: c.Blocks, At: at}
		if !b.complete() {
			return Chunk{}, ErrBroken
		}
		at += int(b.Size())
	}
	if words > 0 {
		c.Filter = make(Filter, words)
		for i := range c.Filter {
			c.Filter[i] = binary.LittleEndian.Uint64(data[chunkHeader+int(size)+8*i:])
		}
	}
	return c, nil
}

// complete reports whether the prefix and the ids of the footer of b are in its segment.
func (b Block) complete() bool {
	rest := b.Segment[b.At:]
	if len(rest) < prefixBytes || b.Size() < prefixBytes || uint64(b.Size()) > uint64(len(rest)) {
		return false
	}
	rest = rest[:b.Size()]
	at := binary.LittleEndian.Uint32(rest[atFooter:])
	if at < prefixBytes || uint64(at) >= uint64(len(rest)) {
		return false
	}
	n, size := binary.Uvarint(rest[at:])
	return size > 0 && n > 0 && n <= MaxSpans && n*uint64(idSize) <= uint64(len(rest[at:])-size)
}

// All returns the blocks.
func (c Chunk) All() iter.Seq[Block] {
	return func(yield func(Block) bool) {
		for at := 0; at < len(c.Blocks); {
			b := Block{Segment: c.Blocks, At: at}
			at += int(b.Size())
			if !yield(b) {
				return
			}
		}
	}
}

// TraceAt returns the blocks of a trace that follow each other from an offset on.
func (c Chunk) TraceAt(at int, id dendro.TraceID) iter.Seq[Block] {
	return func(yield func(Block) bool) {
		for at < len(c.Blocks) {
			b := Block{Segment: c.Blocks, At: at}
			if !b.complete() || b.TraceID() != id || !yield(b) {
				return
			}
			at += int(b.Size())
		}
	}
}

// sparse is the share of the bits of a filter that [Filter.Fold] lets be set: one in so many.
const sparse = 8

// Fold returns a filter with the same hashes that is as small as it can be without answering
// wrong more often than once in sparse². It modifies f.
func (f Filter) Fold() Filter {
	set := 0
	for _, word := range f {
		set += bits.OnesCount64(word)
	}
	for half := len(f) / 2; half > 0 && set*sparse < 64*half; half /= 2 {
		for i := range half {
			f[i] |= f[half+i]
		}
		f = f[:half]
	}
	return f
}
