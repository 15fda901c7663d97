package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func testRecord(body string) []byte {
	return append(header(Body{Parts: [][]byte{[]byte(body[:3]), []byte(body[3:])}, Gzip: true}), body...)
}

// A record that was cut at any byte is not delivered, and those before it are.
func TestSpoolCutAtEachByte(t *testing.T) {
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(before)
	whole := testRecord("a request of some bytes")
	for size := range whole {
		dir := t.TempDir()
		first, second := Record{seq: 7, Spans: 1}, Record{seq: 8, Spans: 2}
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, first.name()), whole, 0o600))
		testkit.NoError(t, os.WriteFile(filepath.Join(dir, second.name()), whole[:size], 0o600))
		dropped := 0
		s, err := Open(dir, Options{MaxBytes: 1 << 20, Lost: func(_ string, spans int) { dropped += spans }})
		testkit.NoError(t, err)
		r := s.Take()
		b, err := s.Load(r)
		testkit.NoError(t, err)
		testkit.Equal(t, "first", string(b.Parts[0]), "a request of some bytes")
		s.Done(r)
		_, err = s.Load(s.Take())
		if left := s.Size(); err == nil || dropped != 2 || left.Spans != 0 || left.Bytes != 0 {
			t.Errorf("%d of %d bytes: error %v, dropped %d, left %+v", size, len(whole), err, dropped, left)
		}
		s.Close()
	}
}

// No single changed bit goes unnoticed.
func TestRecordBits(t *testing.T) {
	whole := testRecord("a request of some bytes")
	for i := range 8 * len(whole) {
		changed := bytes.Clone(whole)
		changed[i/8] ^= 1 << (i % 8)
		if _, err := parse(changed); err == nil {
			t.Errorf("bit %d of byte %d was changed: no error", i%8, i/8)
		}
	}
}

// The layout does not change without a new version.
func TestRecordLayout(t *testing.T) {
	testkit.Equal(t, "record", string(testRecord("body")), "dspl\x01\x01\x04\x00\x00\x00\x00\x00\x00\x00\x70\xc3\x6b\xfdbody")
	testkit.Equal(t, "name", (&Record{seq: 31, Spans: 45}).name(), "000000000000001f-45.otlp")
}

// A record is refused, or it is the encoding of what is read.
func FuzzParse(f *testing.F) {
	whole := testRecord("a request of some bytes")
	for size := range whole {
		f.Add(whole[:size])
	}
	newer := bytes.Clone(whole)
	newer[len(magic)]++
	f.Add(whole)
	f.Add(newer)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parse(data)
		if err != nil {
			return
		}
		if again := append(header(b), b.Parts[0]...); !bytes.Equal(again, data) {
			t.Errorf("%x is read as %x", data, again)
		}
	})
}

// Records that are written at the same time are all found again, and none is larger than the bound.
func TestAppendConcurrently(t *testing.T) {
	dir := t.TempDir()
	const room, writers = 40, 50
	s, err := Open(dir, Options{MaxBytes: room * blockBytes, Logger: slog.New(slog.DiscardHandler)})
	testkit.NoError(t, err)
	var writing sync.WaitGroup
	var full atomic.Int64
	for i := range writers {
		writing.Go(func() {
			err := s.Append(Body{Parts: [][]byte{fmt.Append(nil, i)}}, 1)
			if errors.Is(err, ErrFull) {
				full.Add(1)
			} else {
				testkit.Equal(t, "error", err, error(nil))
			}
		})
	}
	writing.Wait()
	testkit.Equal(t, "refused", full.Load(), int64(writers-room))
	s.Close()
	testkit.NoError(t, os.WriteFile(filepath.Join(dir, "unfinished-7"), nil, 0o600))
	s, err = Open(dir, Options{MaxBytes: room * blockBytes})
	testkit.NoError(t, err)
	defer s.Close()
	testkit.Equal(t, "size", s.Size(), Size{Spans: room, Bytes: room * blockBytes})
	bodies := map[string]bool{}
	for range room {
		b, err := s.Load(s.Take())
		testkit.NoError(t, err)
		bodies[string(b.Parts[0])] = true
	}
	testkit.Equal(t, "bodies", len(bodies), room)
	entries, err := os.ReadDir(dir)
	testkit.NoError(t, err)
	testkit.Equal(t, "files", len(entries), room+1) // with the lock
}
