package remote

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func testRecord(body string) []byte {
	return append(recordHeader(&content{parts: [][]byte{[]byte(body[:3]), []byte(body[3:])}, size: len(body), gzip: true}), body...)
}

// A record that was cut at any byte is not delivered, and those before it are.
func TestSpoolCutAtEachByte(t *testing.T) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(before)
	whole := testRecord("a request of some bytes")
	for size := range whole {
		dir := t.TempDir()
		first, second := record{seq: 7, spans: 1}, record{seq: 8, spans: 2}
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, first.name()), whole, 0o600))
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, second.name()), whole[:size], 0o600))
		dropped := 0
		s, err := openSpool(dir, 1<<20, func(_ string, spans int) { dropped += spans })
		testkit.NoError(t, err)
		s.take()
		c, err := s.load()
		testkit.NoError(t, err)
		testkit.Equal(t, "first", string(c.parts[0]), "a request of some bytes")
		s.done()
		s.take()
		_, err = s.load()
		if err == nil || dropped != 2 || s.spans != 0 || s.bytes != 0 {
			t.Errorf("%d of %d bytes: error %v, dropped %d, %d spans and %d bytes left", size, len(whole), err, dropped, s.spans, s.bytes)
		}
		s.close()
	}
}

// No single changed bit goes unnoticed.
func TestRecordBits(t *testing.T) {
	whole := testRecord("a request of some bytes")
	for i := range 8 * len(whole) {
		changed := bytes.Clone(whole)
		changed[i/8] ^= 1 << (i % 8)
		if _, err := parseRecord(changed); err == nil {
			t.Errorf("bit %d of byte %d was changed: no error", i%8, i/8)
		}
	}
}

// The layout does not change without a new version.
func TestRecordLayout(t *testing.T) {
	testkit.Equal(t, "record", string(testRecord("body")), "dspl\x01\x01\x04\x00\x00\x00\x00\x00\x00\x00\x70\xc3\x6b\xfdbody")
	testkit.Equal(t, "name", record{seq: 31, spans: 45}.name(), "000000000000001f-45.otlp")
}

// A record is refused, or it is the encoding of what is read.
func FuzzParseRecord(f *testing.F) {
	whole := testRecord("a request of some bytes")
	for size := range whole {
		f.Add(whole[:size])
	}
	newer := bytes.Clone(whole)
	newer[len(recordMagic)]++
	f.Add(whole)
	f.Add(newer)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseRecord(data)
		if err != nil {
			return
		}
		if again := append(recordHeader(c), c.parts[0]...); !bytes.Equal(again, data) {
			t.Errorf("%x is read as %x", data, again)
		}
	})
}
