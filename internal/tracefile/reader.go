package tracefile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Reader reads the documents of a file one after the other: JSON values, or messages of
// protobuf. It holds one of them in memory. It is not safe for concurrent use.
type Reader struct {
	in   counter
	most int
	next func() ([]*dendro.Batch, error)
	some bool // a document has been read
}

// NewReader returns a Reader of a file, which is not compressed. What the file begins with tells
// JSON and protobuf apart. most bounds a document in bytes.
func NewReader(r io.Reader, most int) *Reader {
	buffered := bufio.NewReaderSize(r, 64<<10)
	f := &Reader{in: counter{r: buffered}, most: most}
	head, _ := buffered.Peek(512) // the error comes again
	if bytes.HasPrefix(head, byteOrderMark) {
		_, _ = buffered.Discard(len(byteOrderMark)) // they are in the buffer
		head = head[len(byteOrderMark):]
	}
	length, n := binary.Uvarint(head)
	switch {
	case jsonStart.Match(head):
		f.next = f.json()
	case isMessage(head):
		f.next = func() ([]*dendro.Batch, error) { return f.field(buffered) }
	case n > 0 && length > 0 && isMessage(head[n:]):
		f.next = func() ([]*dendro.Batch, error) { return f.delimited(buffered) }
	default:
		f.next = f.json()
	}
	return f
}

// Next returns the spans of the next document, of which there may be none, as [Decode] does. After
// the last one it returns [io.EOF]. After any other error the rest of the file cannot be read.
func (f *Reader) Next() ([]*dendro.Batch, error) {
	batches, err := f.next()
	switch {
	case err == nil:
		f.some = true
	case errors.Is(err, io.EOF) && !f.some:
		return nil, errors.New("it is empty")
	}
	return batches, err
}

var byteOrderMark = []byte("\uFEFF")

// jsonStart matches the start of a list or an object. That of a protobuf message may begin with
// the same characters, which are lengths there, but a control character follows these.
var jsonStart = regexp.MustCompile(`^[ \t\r\n]*(\{[ \t\r\n]*("[^\x00-\x1f]|\})|\[[ \t\r\n]*[\[\]{])`)

// isMessage reports whether data begins like a TracesData: with a resource_spans field, in which
// there is a resource, a scope_spans or a schema_url.
func isMessage(data []byte) bool {
	const bytesField = 2
	if len(data) == 0 || data[0] != 1<<3|bytesField {
		return false
	}
	length, n := binary.Uvarint(data[1:])
	if n <= 0 || length == 0 || 1+n >= len(data) {
		return false
	}
	switch data[1+n] {
	case 1<<3 | bytesField, 2<<3 | bytesField, 3<<3 | bytesField:
		return true
	}
	return false
}

// field reads one field of a TracesData. A message with the field alone is a TracesData, too.
func (f *Reader) field(r *bufio.Reader) ([]*dendro.Batch, error) {
	tag, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	data, err := f.message(r, []byte{tag})
	if err != nil {
		return nil, err
	}
	return decodeMessage(data)
}

// delimited reads a TracesData with its length before it (OpenTelemetry Protocol File Exporter,
// "Protobuf file requirements").
func (f *Reader) delimited(r *bufio.Reader) ([]*dendro.Batch, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	data, err := f.message(r, nil)
	if err != nil {
		return nil, err
	}
	_, n := binary.Uvarint(data)
	return decodeMessage(data[n:])
}

// message appends a length and as many bytes as it says to head.
func (f *Reader) message(r *bufio.Reader, head []byte) ([]byte, error) {
	length, err := binary.ReadUvarint(r)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("it ends within a message of OTLP protobuf")
	case err != nil:
		return nil, err
	case length > uint64(f.most):
		return nil, fmt.Errorf("a message of OTLP protobuf has %d bytes, and %d are the most", length, f.most)
	}
	data := bytes.NewBuffer(binary.AppendUvarint(head, length))
	// What a damaged length promises is not allocated at once.
	switch n, err := io.CopyN(data, r, int64(length)); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("it ends within a message of OTLP protobuf, after %d of %d bytes", n, length)
	case err != nil:
		return nil, err
	}
	return data.Bytes(), nil
}

func decodeMessage(data []byte) ([]*dendro.Batch, error) {
	batches, err := otlp.DecodeTraces(data)
	if err != nil {
		return nil, fmt.Errorf("as OTLP protobuf: %w", err)
	}
	return batches, nil
}

// json returns a function that reads the next JSON value.
func (f *Reader) json() func() ([]*dendro.Batch, error) {
	d := json.NewDecoder(&f.in)
	return func() ([]*dendro.Batch, error) {
		f.in.left = f.most
		var value json.RawMessage
		err := d.Decode(&value)
		syntax := (*json.SyntaxError)(nil)
		switch {
		case errors.Is(err, io.EOF):
			return nil, err
		case errors.As(err, &syntax):
			return nil, fmt.Errorf("line %d is not JSON: %w", f.line(buffered(d)[syntax.Offset-1-d.InputOffset():]), err)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("it ends within a JSON value: %w", err)
		case errors.Is(err, errLong):
			return nil, fmt.Errorf("line %d: a JSON value has more than %d bytes", f.line(bytes.TrimLeft(buffered(d), " \t\r\n")), f.most)
		case err != nil:
			return nil, err
		}
		batches, err := decodeValue(value)
		if err != nil {
			if line := f.line(buffered(d)) - bytes.Count(value, []byte("\n")); line > 1 {
				err = fmt.Errorf("line %d: %w", line, err)
			}
			return nil, err
		}
		return batches, nil
	}
}

// buffered returns what d has read after the last value.
func buffered(d *json.Decoder) []byte {
	rest, _ := io.ReadAll(d.Buffered()) // never fails
	return rest
}

// line returns the number of the line in which the rest of what has been read begins.
func (f *Reader) line(rest []byte) int {
	return 1 + f.in.lines - bytes.Count(rest, []byte("\n"))
}

// errLong is the error of a counter that may not read more.
var errLong = errors.New("the document is too long")

// counter counts the line breaks in what is read, of which there may be no more than left bytes.
type counter struct {
	r           io.Reader
	left, lines int
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left == 0 {
		if n, err := c.r.Read(p[:1]); n == 0 {
			return 0, err
		}
		return 0, errLong
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	c.lines += bytes.Count(p[:n], []byte("\n"))
	return n, err
}

// Decode decodes the JSON values in data, as a [Reader] does. The Resource of a batch and the
// Scope of a span are never nil. The result may take a hundred times the memory of data.
//
// An error is a sentence about the file, with the line if it is not the first.
func Decode(data []byte) (all []*dendro.Batch, err error) {
	f := &Reader{in: counter{r: bytes.NewReader(bytes.TrimPrefix(data, byteOrderMark))}, most: len(data)}
	f.next = f.json()
	for {
		batches, err := f.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, batches...)
	}
}
