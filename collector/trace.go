package collector

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
)

// trace is what the memory store knows of one trace. A copy is a snapshot that
// can be read without a lock, because blocks never change.
type trace struct {
	id      dendro.TraceID
	last    *block // the newest, which leads to the others
	first   int64  // the earliest start
	end     int64  // the latest end
	spans   int
	errors  int
	root    *block // the block of the root, or of the earliest span
	rootKey rootKey
	rootAt  int // number of that span in the block
}

// block is some spans of one trace. Only a block that is not yet in a trace
// may be changed.
type block struct {
	next            *block // the one that came before
	data            string // see encoder
	resource, scope *interned
	spans, errors   uint32
}

// add appends a part, whose block is complete.
func (t *trace) add(p *part) {
	b := p.block
	if t.last == nil {
		t.first, t.end = p.first, p.end
	}
	t.first, t.end = min(t.first, p.first), max(t.end, p.end)
	if t.root == nil || p.rootKey.before(t.rootKey) {
		t.root, t.rootKey, t.rootAt = b, p.rootKey, p.rootAt
	}
	t.spans += int(b.spans)
	t.errors += int(b.errors)
	b.next, t.last = t.last, b
}

func (t *trace) duration() time.Duration { return time.Duration(max(0, t.end-t.first)) }

// newestFirst orders by start, and by id what began at the same time.
func (t *trace) newestFirst(other *trace) int {
	if t.first != other.first {
		return cmp.Compare(other.first, t.first)
	}
	return bytes.Compare(t.id[:], other.id[:])
}

// summary decodes no more than the heads of one block.
func (t *trace) summary() Summary {
	s := Summary{
		TraceID: t.id, Start: t.first, Duration: t.duration(), Spans: t.spans, Errors: t.errors,
		RootService: t.root.resource.service, RootMissing: t.rootKey.child,
	}
	var d decoder
	d.open(t.root.data)
	var h head
	for range t.rootAt + 1 {
		h = d.head(h.start)
	}
	s.RootName = strings.Clone(h.name)
	for b := t.last; b != nil; b = b.next {
		service := b.resource.service
		i, found := slices.BinarySearchFunc(s.Services, service, func(a ServiceSummary, name string) int {
			return strings.Compare(a.Service, name)
		})
		if !found {
			s.Services = slices.Insert(s.Services, i, ServiceSummary{Service: service})
		}
		s.Services[i].Spans += int(b.spans)
		s.Services[i].Errors += int(b.errors)
	}
	return s
}

// decode returns the spans of t. Nothing in them belongs to the store.
func (t *trace) decode() (*Trace, error) {
	var blocks []*block
	for b := t.last; b != nil; b = b.next {
		blocks = append(blocks, b)
	}
	slices.Reverse(blocks)
	out := &Trace{ID: t.id, Spans: make([]Span, 0, t.spans)}
	resources := map[*interned]*dendro.Resource{}
	scopes := map[*interned]*dendro.Scope{}
	var err error
	for _, b := range blocks {
		resource, scope := resources[b.resource], scopes[b.scope]
		if resource == nil {
			if resource, err = decodeResource(strings.Clone(b.resource.data)); err != nil {
				return nil, err
			}
			resources[b.resource] = resource
		}
		if scope == nil {
			if scope, err = decodeScope(strings.Clone(b.scope.data)); err != nil {
				return nil, err
			}
			scopes[b.scope] = scope
		}
		if out.Spans, err = decodeSpans(out.Spans, strings.Clone(b.data), t.id, resource, scope); err != nil {
			return nil, err
		}
	}
	out.Spans = sorted(out.Spans)
	return out, nil
}

// sorted returns spans by start, then in the order in which they were. A span is
// large: each is moved once.
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
