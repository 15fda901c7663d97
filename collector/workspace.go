package collector

import (
	"bytes"
	"slices"

	"github.com/dendrotrace/dendro"
)

// workspace is what one Collect needs at a time.
type workspace struct {
	encoder
	spans []*dendro.SpanData
	parts []part

	// Encoded, and kept for the next batch of the same.
	resource, scope []byte
	resourceOf      *dendro.Resource
	scopeOf         *dendro.Scope
}

// maxIdleSpans is how much room a workspace keeps when it is cleared.
const maxIdleSpans = 1 << 13

// origin encodes the resource and the scope of b.
func (w *workspace) origin(b *dendro.Batch) {
	if b.Resource != w.resourceOf || len(w.resource) == 0 {
		w.resource = append(w.resource[:0], w.encodeResource(b.Resource)...)
		w.resourceOf = b.Resource
	}
	if b.Scope != w.scopeOf || len(w.scope) == 0 {
		w.scope = append(w.scope[:0], w.encodeScope(b.Scope)...)
		w.scopeOf = b.Scope
	}
}

// split makes a part of the spans of each trace.
func (w *workspace) split(spans []*dendro.SpanData) {
	w.spans = append(w.spans, spans...)
	same := func(a, b *dendro.SpanData) bool { return a.TraceID == b.TraceID }
	byTrace := func(a, b *dendro.SpanData) int { return bytes.Compare(a.TraceID[:], b.TraceID[:]) }
	if slices.ContainsFunc(spans, func(s *dendro.SpanData) bool { return !same(s, spans[0]) }) {
		slices.SortStableFunc(w.spans, byTrace)
	}
	for rest := w.spans; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(s *dendro.SpanData) bool { return !same(s, rest[0]) })
		if n < 0 {
			n = len(rest)
		}
		w.parts = append(w.parts, newPart(&w.encoder, rest[:n:n]))
		rest = rest[n:]
	}
}

// clear lets go of the spans.
func (w *workspace) clear() {
	w.reset()
	w.ids.reset()
	clear(w.spans)
	clear(w.parts)
	w.spans, w.parts = w.spans[:0], w.parts[:0]
	if cap(w.spans) > maxIdleSpans || cap(w.resource)+cap(w.scope) > maxIdleBuffer {
		*w = workspace{}
	}
}
