package clickhousestore

import (
	"context"
	"math"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Columns of dendro have what the texts of the schema cannot say: DendroResource and DendroScope a
// resource and a scope, DendroSpan a span with them. Each is a chunk with one block, as a store on
// disk has it.

// encoder writes such chunks.
type encoder struct{ block.Encoder }

func newEncoder() encoder {
	e := encoder{block.NewEncoder()}
	e.Limit = math.MaxInt32
	return e
}

// encode returns a chunk of a span.
func (e *encoder) encode(r *dendro.Resource, s *dendro.SpanData) string {
	e.Begin(e.Data[:0], e.Number+1, make(block.Filter, 1))
	var f block.Footer
	e.Append(&f, r, []*dendro.SpanData{s})
	return string(block.AppendChunk(nil, e.Data, nil))
}

// resource returns a chunk that is about a resource.
func (e *encoder) resource(r *dendro.Resource) string { return e.encode(r, &dendro.SpanData{}) }

// scope returns a chunk that is about a scope.
func (e *encoder) scope(s *dendro.Scope) string { return e.encode(nil, &dendro.SpanData{Scope: s}) }

// decodeExact returns the span of a chunk.
func decodeExact(data string) (collector.Span, error) {
	chunk, err := block.ReadChunk([]byte(data))
	if err != nil {
		return collector.Span{}, err
	}
	var t block.Trace
	var d block.Decoder
	for b := range chunk.All() {
		f := d.Open(b)
		t.ID = b.TraceID()
		t.Add(b, &f)
	}
	got, err := t.Decode(context.Background())
	if err != nil {
		return collector.Span{}, err
	}
	if len(got.Spans) != 1 {
		return collector.Span{}, block.ErrBroken
	}
	return got.Spans[0], nil
}
