package collector

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
)

// trace is a snapshot of one trace. It can be read without a lock, because nothing in
// a block changes except its mark.
type trace struct {
	id     dendro.TraceID
	blocks []block // newest first
	totals
}

// totals sums up the footers of all blocks of a trace.
type totals struct {
	first, end int64 // earliest start and latest end
	spans      int
	errors     int
	root       int // index of the block with the root span, or else the earliest span
	rootKey    rootKey
	rootAt     int // its offset in that block
}

// add adds b, which is older than the blocks that t has, and its footer f.
func (t *trace) add(b block, f *footer) {
	if n := len(t.blocks); n == 0 {
		t.totals = totals{first: f.first, end: f.end, rootKey: f.rootKey, rootAt: f.rootAt}
	} else if !t.rootKey.before(f.rootKey) { // of two roots, the one that arrived first
		t.root, t.rootKey, t.rootAt = n, f.rootKey, f.rootAt
	}
	t.blocks = append(t.blocks, b)
	t.first, t.end = min(t.first, f.first), max(t.end, f.end)
	t.spans += f.spans
	t.errors += f.errors
}

func (t *trace) duration() time.Duration { return time.Duration(max(0, t.end-t.first)) }

// newestFirst orders traces by start, and by id if they start at the same time.
func (t *trace) newestFirst(other *trace) int {
	if t.first != other.first {
		return cmp.Compare(other.first, t.first)
	}
	return bytes.Compare(t.id[:], other.id[:])
}

// summary returns the [Summary] of t.
func (t *trace) summary(d *decoder, o *origins) Summary {
	s := Summary{TraceID: t.id, Start: t.first, Duration: t.duration(), Spans: t.spans, Errors: t.errors, RootMissing: t.rootKey.child}
	for i, b := range t.blocks {
		f := d.open(b)
		service := o.resource(d.raw()).Service()
		if i == t.root {
			s.RootService = service
			d.move(min(b.at+t.rootAt, d.end))
			var h head
			d.next(&h)
			s.RootName = d.copy(h.name.start, h.name.end)
		}
		at, found := slices.BinarySearchFunc(s.Services, service, func(a ServiceSummary, name string) int {
			return strings.Compare(a.Service, name)
		})
		if !found {
			s.Services = slices.Insert(s.Services, at, ServiceSummary{Service: service})
		}
		s.Services[at].Spans += f.spans
		s.Services[at].Errors += f.errors
	}
	return s
}

// decode returns the spans of t. They share no memory with the store.
func (t *trace) decode() (*Trace, error) {
	var d decoder
	var o origins
	out := &Trace{ID: t.id, Spans: make([]Span, 0, t.spans)}
	for _, b := range slices.Backward(t.blocks) {
		d.open(b)
		d.copyAll()
		resource, scope := o.resource(d.raw()), o.scope(d.raw())
		h := head{start: d.base}
		for i := range d.spans {
			d.next(&h)
			s := Span{Resource: resource, Scope: scope}
			s.TraceID, s.SpanID, s.Flags = t.id, d.id(i), h.flags
			s.ParentID, s.Remote, s.Kind, s.Name = h.parent, h.remote, h.kind, d.copy(h.name.start, h.name.end)
			s.Start, s.End, s.Status.Code = h.start, h.end, h.code
			s.Attributes = d.attrs()
			if h.extra {
				d.extra(&s.SpanData)
			}
			if d.failed {
				break
			}
			out.Spans = append(out.Spans, s)
		}
		if d.failed || o.broken {
			return nil, errBlock
		}
	}
	out.Spans = sorted(out.Spans)
	return out, nil
}

// origins decodes resources and scopes, each of them once.
type origins struct {
	resources map[string]*dendro.Resource // by their encoding
	scopes    map[string]*dendro.Scope
	broken    bool // an encoding could not be decoded
}

func (o *origins) resource(data []byte) *dendro.Resource {
	if r := o.resources[string(data)]; r != nil {
		return r
	}
	s := o.decode(data)
	if o.resources == nil {
		o.resources = map[string]*dendro.Resource{}
	}
	r := &dendro.Resource{Attributes: s.Attributes, SchemaURL: s.SchemaURL}
	o.resources[string(data)] = r
	return r
}

func (o *origins) scope(data []byte) *dendro.Scope {
	if s := o.scopes[string(data)]; s != nil {
		return s
	}
	if o.scopes == nil {
		o.scopes = map[string]*dendro.Scope{}
	}
	s := o.decode(data)
	o.scopes[string(data)] = s
	return s
}

func (o *origins) decode(data []byte) *dendro.Scope {
	var d decoder
	d.use(data, 0, len(data))
	s := &dendro.Scope{Attributes: d.attrs(), Name: d.text(), Version: d.text(), SchemaURL: d.text()}
	o.broken = o.broken || d.failed
	return s
}

// sorted returns spans ordered by start. Spans with the same start keep their order. A
// span is large, so each is moved once.
func sorted(spans []Span) []Span {
	order := make([]int32, len(spans))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(spans[a].Start, spans[b].Start), cmp.Compare(a, b))
	})
	out := make([]Span, len(spans))
	for i, n := range order {
		out[i] = spans[n]
	}
	return out
}
