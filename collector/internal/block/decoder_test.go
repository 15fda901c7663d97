package block

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A text to which the blocks of a trace refer is copied once, whether it is short or long.
func TestCopiesOfTexts(t *testing.T) {
	for _, size := range []int{10, maxShortText + 1, maxLongText} {
		e := NewEncoder()
		e.Begin(nil, 1, make(Filter, 64))
		e.Limit = math.MaxInt
		text := strings.Repeat("x", size)
		of := Trace{ID: dendro.TraceID{1}}
		for n := range byte(4) {
			at := len(e.Data)
			span := &dendro.SpanData{Name: "GET /", Attributes: []slog.Attr{slog.String("text", text)}}
			span.TraceID, span.SpanID = of.ID, dendro.SpanID{n + 1}
			e.Append(&Footer{}, nil, []*dendro.SpanData{span})
			of.Blocks = append(of.Blocks, Block{At: at})
		}
		for i := range of.Blocks {
			of.Blocks[i].Segment = e.Data
		}
		got, err := of.Decode(context.Background())
		testkit.NoError(t, err)
		copies := map[*byte]bool{}
		for i := range got.Spans {
			value := got.Spans[i].Attributes[0].Value.String()
			testkit.Equal(t, "text", value, text)
			copies[unsafe.StringData(value)] = true
		}
		if len(copies) > 2 { // that of the block that has it, and that of those that refer to it
			t.Errorf("a text of %d bytes has %d copies", size, len(copies))
		}
	}
}
