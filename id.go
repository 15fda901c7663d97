package dendro

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
)

// ErrInvalidID is returned when a trace or span id is not lower-case hexadecimal, does
// not have the right length, or is all zeros.
var ErrInvalidID = errors.New("dendro: invalid id")

// TraceID identifies a trace. It has 16 bytes, the last 7 of which should be random
// (W3C Trace Context Level 2). The zero value is invalid.
type TraceID [16]byte

// SpanID identifies a span within its trace. It has 8 bytes. The zero value is
// invalid.
type SpanID [8]byte

// IsValid reports whether id is not all zeros.
func (id TraceID) IsValid() bool { return id != TraceID{} }

// String returns id as 32 lower-case hexadecimal digits.
func (id TraceID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText encodes id as 32 lower-case hexadecimal digits.
func (id TraceID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText decodes what [ParseTraceID] accepts.
func (id *TraceID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseTraceID(string(text))
	return err
}

// IsValid reports whether id is not all zeros.
func (id SpanID) IsValid() bool { return id != SpanID{} }

// String returns id as 16 lower-case hexadecimal digits.
func (id SpanID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText encodes id as 16 lower-case hexadecimal digits.
func (id SpanID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText decodes what [ParseSpanID] accepts.
func (id *SpanID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseSpanID(string(text))
	return err
}

// ParseTraceID parses 32 lower-case hexadecimal digits, not all zero. It
// returns [ErrInvalidID] otherwise.
func ParseTraceID(s string) (TraceID, error) {
	var id TraceID
	if !decodeHex(id[:], s) || !id.IsValid() {
		return TraceID{}, ErrInvalidID
	}
	return id, nil
}

// ParseSpanID parses 16 lower-case hexadecimal digits, not all zero. It
// returns [ErrInvalidID] otherwise.
func ParseSpanID(s string) (SpanID, error) {
	var id SpanID
	if !decodeHex(id[:], s) || !id.IsValid() {
		return SpanID{}, ErrInvalidID
	}
	return id, nil
}

// decodeHex fills dst from exactly 2*len(dst) lower-case hexadecimal digits. Package
// encoding/hex also accepts upper-case digits, which W3C Trace Context forbids.
func decodeHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := unhex(s[2*i]), unhex(s[2*i+1])
		if hi|lo > 0x0f {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

// unhex returns the value of a lower-case hexadecimal digit, 0xff for any
// other byte.
func unhex(c byte) byte { return hexDigits[c] }

var hexDigits = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		values[c] = byte(i)
	}
	return values
}()

// newTraceID returns an id from the ChaCha8 generator of the runtime, which needs no
// shared lock and whose output cannot be predicted from earlier ids.
func newTraceID() (id TraceID) {
	for {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
		if id.IsValid() {
			return id
		}
	}
}

func newSpanID() (id SpanID) {
	for {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
		if id.IsValid() {
			return id
		}
	}
}
