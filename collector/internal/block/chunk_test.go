package block

import (
	"context"
	"errors"
	"hash/crc32"
	"log/slog"
	"math"
	"testing"

	"encoding/binary"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// chunkOf returns a chunk with a block of some spans.
func chunkOf(attrs ...slog.Attr) []byte {
	filter := make(Filter, 64)
	e := NewEncoder()
	e.Begin(nil, 1, filter)
	e.Limit = math.MaxInt
	var spans []*dendro.SpanData
	for i := range 3 {
		s := &dendro.SpanData{Name: "GET /", Start: int64(i), End: 10, Attributes: attrs}
		s.TraceID[0], s.SpanID[0] = 1, byte(i+1)
		s.Events = []dendro.Event{{Name: "event", Time: 1}}
		s.Links = []dendro.Link{{}}
		spans = append(spans, s)
	}
	var f Footer
	e.Append(&f, &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}, spans)
	return AppendChunk(nil, e.Data, filter.Fold())
}

// summed sets the checksum of a chunk, and what is checked before its blocks.
func summed(data []byte) []byte {
	if len(data) < chunkHeader+chunkSum {
		return data
	}
	copy(data, chunkMagic)
	data[4] = chunkVersion
	end := len(data) - chunkSum
	binary.LittleEndian.PutUint32(data[end:], crc32.Checksum(data[:end], castagnoli))
	return data
}

// readAll reads a chunk in every way there is.
func readAll(c Chunk) (spans int) {
	var d, keys Decoder
	view := View{Scan: collector.Scan{AllAttributes: true, Details: true}, Ctx: context.Background()}
	var held []Block
	for b := range c.All() {
		f := d.Open(b)
		keys.EachSpan(b, func(SpanKey) {})
		t := Trace{ID: b.TraceID()}
		t.Add(b, &f)
		for range c.TraceAt(b.At, t.ID) {
		}
		if got, err := t.Decode(context.Background()); err == nil {
			spans += len(got.Spans)
		}
		_, _ = view.Decode(&t)
		held = append(held, b)
	}
	d.Fresh([]*dendro.SpanData{{Name: "a"}}, func(yield func(Block) bool) {
		for _, b := range held {
			if !yield(b) {
				return
			}
		}
	})
	if len(c.Filter) > 0 {
		c.Filter.Has(1)
		c.Filter.Fold()
	}
	return spans
}

func FuzzReadChunk(f *testing.F) {
	f.Add(chunkOf(slog.String("a", "b"), slog.Any("list", []string{"a", "b"}), slog.Any("map", dendro.KeyValues{slog.Int("x", 1)})))
	f.Add(chunkOf())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ReadChunk(summed(data))
		if err == nil {
			readAll(c)
		}
	})
}

func TestChunk(t *testing.T) {
	data := chunkOf(slog.String("a", "b"))
	c, err := ReadChunk(data)
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", readAll(c), 3)
	for i := range data {
		data[i] ^= 4
		if _, err := ReadChunk(data); err == nil {
			t.Errorf("byte %d is changed and nobody notices", i)
		}
		data[i] ^= 4
	}
}

// A broken block is not read, and others are.
func TestViewAfterBrokenBlock(t *testing.T) {
	data := chunkOf(slog.String("a", "b"))
	good, err := ReadChunk(chunkOf(slog.String("a", "b")))
	testkit.NoError(t, err)
	for i := chunkHeader + prefixBytes; i < len(data)-chunkSum; i++ { // some of them break the block
		data[i] ^= 0xff
	}
	view := View{Scan: collector.Scan{AllAttributes: true}, Ctx: context.Background()}
	broken := Trace{Blocks: []Block{{Segment: data[chunkHeader:]}}}
	if _, err := view.Decode(&broken); !errors.Is(err, ErrBroken) {
		t.Errorf("a broken block: %v", err)
	}
	for b := range good.All() {
		got, err := view.Decode(&Trace{ID: b.TraceID(), Blocks: []Block{b}})
		testkit.NoError(t, err)
		testkit.Equal(t, "spans", len(got.Spans), 3)
	}
}

// Values that are nested very deep are an error, not the end of the process.
func TestDeepValue(t *testing.T) {
	deep := make([]byte, 8<<20)
	for i := 0; i < len(deep); i += 2 {
		deep[i], deep[i+1] = valueList<<tagBits|tagOther, 1
	}
	var d Decoder
	d.use(deep, 0, len(deep))
	if d.value(); !d.Failed {
		t.Error("it was read")
	}
}
