package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/dendrotrace/dendro/internal/tracefile"
	"github.com/klauspost/compress/zstd"
)

// maxDocumentBytes bounds a document of a file: a line, or a whole file that has no lines.
const maxDocumentBytes = 256 << 20

// maxZstdWindow bounds the memory for decompressing: that of "zstd --long".
const maxZstdWindow = 128 << 20

// traceFile is a file of traces that is being read.
type traceFile struct {
	*tracefile.Reader
	name string
	size int64        // 0 if it is not known
	read atomic.Int64 // bytes of the file
	raw  *os.File
	z    *zstd.Decoder // nil if it is not compressed with zstd
}

// openFile opens a file, or standard input if the name is "-". It must be closed.
func openFile(name string) (*traceFile, error) {
	f := &traceFile{name: name, raw: os.Stdin}
	if name != "-" {
		raw, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		f.raw = raw
	}
	if info, err := f.raw.Stat(); err == nil && info.Mode().IsRegular() {
		f.size = info.Size()
	}
	plain, err := f.decompress(&counted{f.raw, &f.read})
	if err != nil {
		f.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.Reader = tracefile.NewReader(plain, maxDocumentBytes)
	return f, nil
}

// checkFiles returns an error if one of some files is missing, so that it is known before the first
// is read.
func checkFiles(names []string) error {
	for _, name := range names {
		if name == "-" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return err
		}
	}
	return nil
}

func (f *traceFile) close() {
	if f.z != nil {
		f.z.Close()
	}
	if f.raw != os.Stdin {
		_ = f.raw.Close()
	}
}

// decompress returns what is in a file, without the sizes and the compression of OpenTelemetry's
// collector, and of gzip and zstd.
func (f *traceFile) decompress(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if head, _ := in.Peek(4); len(head) == 4 && head[0] == 0 { // neither JSON nor protobuf
		in = bufio.NewReader(&framed{in: in})
	}
	switch head, _ := in.Peek(4); {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		f.z = z
		return z, err
	}
	return in, nil
}

// counted counts the bytes that are read or written.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// framed reads messages that have their size in four bytes before them, as the file exporter of
// OpenTelemetry's collector writes protobuf, and whatever it compresses
// (opentelemetry-collector-contrib, exporter/fileexporter/README.md, "File Format").
type framed struct {
	in   *bufio.Reader
	left int64 // bytes of the current message
}

func (f *framed) Read(p []byte) (int, error) {
	for f.left == 0 {
		var size [4]byte
		if _, err := io.ReadFull(f.in, size[:]); err != nil {
			return 0, err
		}
		f.left = int64(binary.BigEndian.Uint32(size[:]))
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if errors.Is(err, io.EOF) && f.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
