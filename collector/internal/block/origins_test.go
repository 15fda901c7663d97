package block

import (
	"context"
	"log/slog"
	"math"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A scan of traces that all have a resource of their own does not keep all of these.
func TestViewForgetsOrigins(t *testing.T) {
	view := View{Scan: collector.Scan{}, Ctx: context.Background()}
	e := NewEncoder()
	for n := range 3 * maxOrigins {
		e.Begin(nil, uint32(n+1), make(Filter, 64))
		e.Limit = math.MaxInt
		var f Footer
		r := &dendro.Resource{Attributes: []slog.Attr{slog.Int("n", n)}}
		span := &dendro.SpanData{Name: "GET /"}
		span.TraceID, span.SpanID = dendro.TraceID{1}, dendro.SpanID{1}
		e.Append(&f, r, []*dendro.SpanData{span})
		of := Trace{ID: dendro.TraceID{1}, Blocks: []Block{{Segment: e.Data}}}
		got, err := view.Decode(&of)
		testkit.NoError(t, err)
		testkit.Equal(t, "n", got.Spans[0].Resource.Attributes[0].Value.Int64(), int64(n))
		if kept := len(view.decoder.resources); kept > maxOrigins {
			t.Fatalf("%d resources are kept", kept)
		}
	}
}
