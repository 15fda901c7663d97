package spool

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
)

// Body is an ExportTraceServiceRequest in protobuf, in parts.
type Body struct {
	Parts [][]byte
	Gzip  bool // the parts are compressed
}

// Size returns the length of b in bytes.
func (b Body) Size() (n int) {
	for _, part := range b.Parts {
		n += len(part)
	}
	return n
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return w
}}

// Compress returns b, which is not compressed, compressed.
func (b Body) Compress() Body {
	var compressed bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&compressed)
	for _, part := range b.Parts {
		_, _ = w.Write(part) // writing to a bytes.Buffer cannot fail
	}
	_ = w.Close()
	return Body{Parts: [][]byte{compressed.Bytes()}, Gzip: true}
}

// Record describes a request in a spool.
type Record struct {
	Spans int   // number of spans
	Bytes int64 // on disk
	seq   uint64
	taken bool // guarded by Spool.mu
}

func (r *Record) name() string { return fmt.Sprintf("%016x-%d.otlp", r.seq, r.Spans) }

func parseName(name string) (r *Record, ok bool) {
	r = new(Record)
	_, err := fmt.Sscanf(name, "%x-%d.otlp", &r.seq, &r.Spans)
	return r, err == nil && name == r.name() && r.seq <= math.MaxInt64 && 0 < r.Spans && r.Spans <= math.MaxInt32
}

// blockBytes is the unit in which most file systems assign space.
const blockBytes = 4096

func onDisk(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

// A record begins with a header:
//
//	magic (4), version (1), encoding (1), length of the body (8), CRC-32C (4)
//
// Integers are little-endian. The checksum is that of the header before it and of the
// body, an ExportTraceServiceRequest in protobuf.
const (
	magic          = "dspl"
	formatVersion  = 1
	headerBytes    = len(magic) + 1 + 1 + 8 + 4
	checksumOffset = headerBytes - 4
)

// Encodings of the body of a record.
const (
	encodingPlain = iota
	encodingGzip
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header returns the header of a record of b.
func header(b Body) []byte {
	h := append(make([]byte, 0, headerBytes), magic...)
	h = append(h, formatVersion, encodingPlain)
	if b.Gzip {
		h[len(h)-1] = encodingGzip
	}
	h = binary.LittleEndian.AppendUint64(h, uint64(b.Size()))
	sum := crc32.Update(0, castagnoli, h)
	for _, part := range b.Parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return binary.LittleEndian.AppendUint32(h, sum)
}

// versionError is the version of a record that this program does not know.
type versionError uint8

func (v versionError) Error() string {
	return fmt.Sprintf("written in version %d of the format, while this program knows up to %d", uint8(v), formatVersion)
}

// parse returns the body of a record. It keeps data.
func parse(data []byte) (Body, error) {
	if len(data) < headerBytes {
		return Body{}, fmt.Errorf("%d bytes are no record", len(data))
	}
	header, body := data[:headerBytes], data[headerBytes:]
	version := header[len(magic)]
	switch {
	case string(header[:len(magic)]) != magic || version == 0:
		return Body{}, fmt.Errorf("it begins with %q", header[:len(magic)+1])
	case version > formatVersion:
		return Body{}, versionError(version)
	}
	if length := binary.LittleEndian.Uint64(header[checksumOffset-8:]); length != uint64(len(body)) {
		return Body{}, fmt.Errorf("%d bytes instead of %d", len(body), length)
	}
	sum := crc32.Update(crc32.Update(0, castagnoli, header[:checksumOffset]), castagnoli, body)
	if sum != binary.LittleEndian.Uint32(header[checksumOffset:]) {
		return Body{}, errors.New("wrong checksum")
	}
	encoding := header[len(magic)+1]
	if encoding > encodingGzip {
		return Body{}, fmt.Errorf("unknown encoding %d", encoding)
	}
	return Body{Parts: [][]byte{body}, Gzip: encoding == encodingGzip}, nil
}
