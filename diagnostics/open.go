package diagnostics

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// OpenRequests is what a program is doing now.
type OpenRequests struct {
	Time time.Time `json:"time"`
	// Requests are those that have been open for longest, at most 100, the longest first. More is the
	// number of others.
	Requests []OpenRequest `json:"requests"`
	More     int           `json:"more,omitempty"`
	// Unknown is the number of open spans that there was no room for: 8192 are remembered.
	Unknown int `json:"unknown,omitempty"`
	// Problem says why there are no percentiles or no stacks, or is "".
	Problem string `json:"problem,omitempty"`
}

// OpenRequest is an open span, whose parent is not open in this process, and those below it.
type OpenRequest struct {
	TraceID dendro.TraceID `json:"traceId"`
	Service string         `json:"service"`
	// Spans has at most 100 spans, each after its parent. More is the number of others.
	Spans []OpenSpan `json:"spans"`
	More  int        `json:"more,omitempty"`
	// Slow reports whether one of the spans has been open for longer than its P99.
	Slow bool `json:"slow"`
	// Stacks are those of the goroutines that work for the trace, at most 32, those with most
	// frames of the program first. They are there if the request is slow, or if it has been open for a
	// second and none of its spans has a P99.
	Stacks []Stack `json:"stacks,omitempty"`
}

// OpenSpan is a span that has not ended.
type OpenSpan struct {
	SpanID   dendro.SpanID `json:"spanId"`
	ParentID string        `json:"parentId,omitempty"`
	Depth    int           `json:"depth"` // below the first span of the request
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	// About is the path or URL of an HTTP request, or the statement of a query.
	About string        `json:"about,omitempty"`
	Start time.Time     `json:"start"`
	Age   time.Duration `json:"age"`
	// P99 is what 99 % of the spans with this service, name and kind did not exceed in the last
	// hour, or 0 if there were fewer than 200.
	P99 time.Duration `json:"p99,omitempty"`
}

// Slow reports whether the span has been open for longer than 99 % of those of its operation.
func (s *OpenSpan) Slow() bool { return s.P99 > 0 && s.Age > s.P99 }

const (
	openShards = 16
	// maxOpen is the number of open spans that a shard remembers.
	maxOpen = 512
	// maxRequests, maxSpans and maxAbout bound the requests that are returned, the spans of each, and the
	// bytes of OpenSpan.About.
	maxRequests, maxSpans, maxAbout = 100, 100, 500
	// longOpen is the age from which on a request of which nothing is known gets its stacks.
	longOpen = time.Second
)

// openSpans are those that have started and not ended.
type openSpans [openShards]openShard

type openShard struct {
	mu      sync.Mutex
	spans   map[*dendro.Span]bool // whether it is the first of a local trace; guarded by mu
	unknown int                   // spans that there was no room for and that have not ended; guarded by mu
	_       [64]byte              // keeps the next shard off this cache line
}

func (o *openSpans) of(data *dendro.SpanData) *openShard { return &o[data.SpanID[7]%openShards] }

func (o *openSpans) started(s *dendro.Span, data *dendro.SpanData, root bool) {
	shard := o.of(data)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	switch {
	case len(shard.spans) == maxOpen:
		shard.unknown++
		return
	case shard.spans == nil:
		shard.spans = map[*dendro.Span]bool{}
	}
	shard.spans[s] = root
}

func (o *openSpans) ended(s *dendro.Span, data *dendro.SpanData) {
	shard := o.of(data)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, ok := shard.spans[s]; ok {
		delete(shard.spans, s)
	} else {
		shard.unknown--
	}
}

// openSpan is a span with what it has recorded.
type openSpan struct {
	*dendro.SpanData
	service string
	root    bool // of a local trace
	below   []*openSpan
}

// all returns the spans, of one trace if of is valid, in the order in which they started, and the number of those that there
// was no room for.
func (o *openSpans) all(of dendro.TraceID) (out []*openSpan, unknown int) {
	handles := map[*dendro.Span]bool{}
	for i := range o {
		shard := &o[i]
		shard.mu.Lock()
		for s, root := range shard.spans {
			if !of.IsValid() || s.Context().TraceID == of {
				handles[s] = root
			}
		}
		unknown += shard.unknown
		shard.mu.Unlock()
	}
	for s, root := range handles {
		if data := s.Snapshot(); data != nil {
			out = append(out, &openSpan{SpanData: data, service: s.Tracer().Resource().Service(), root: root})
		}
	}
	slices.SortFunc(out, func(a, b *openSpan) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), slices.Compare(a.SpanID[:], b.SpanID[:]))
	})
	return out, unknown
}

// OpenSpans returns the number of open spans of a trace, or 0 without [Options.Open].
func (d *Diagnostics) OpenSpans(id dendro.TraceID) (n int) {
	if d.open == nil {
		return 0
	}
	for i := range d.open {
		shard := &d.open[i]
		shard.mu.Lock()
		for s := range shard.spans {
			if s.Context().TraceID == id {
				n++
			}
		}
		shard.mu.Unlock()
	}
	return n
}

// HasOpen reports whether [Options.Open] is set.
func (d *Diagnostics) HasOpen() bool { return d.open != nil }

// Open returns what the program is doing now, for one trace if of is valid. Without [Options.Open] there are no requests. It
// looks at the goroutines of the program at most once a second, and at the counts of operations
// every ten seconds, until ctx is done. What is returned belongs to the caller, except for the
// stacks, which must not be modified.
func (d *Diagnostics) Open(ctx context.Context, of dendro.TraceID) OpenRequests {
	now := time.Now()
	out := OpenRequests{Time: now, Requests: []OpenRequest{}}
	if d.open == nil {
		return out
	}
	if err := d.usual.refresh(ctx); err != nil {
		out.Problem = "the counts of operations cannot be read: " + err.Error()
	}
	var spans []*openSpan
	spans, out.Unknown = d.open.all(of)
	tops := forest(spans)
	out.More = max(0, len(tops)-maxRequests)
	wanted := false
	for _, top := range tops[:len(tops)-out.More] {
		r := OpenRequest{TraceID: top.TraceID, Service: top.service}
		d.add(&r, top, 0, now)
		out.Requests = append(out.Requests, r)
		wanted = wanted || r.wantsStacks()
	}
	if !wanted {
		return out
	}
	stacks, err := d.stacks.all()
	if err != nil {
		out.Problem = err.Error()
	}
	for i := range out.Requests {
		if r := &out.Requests[i]; r.wantsStacks() {
			r.Stacks = stacks[r.TraceID]
		}
	}
	return out
}

// forest sets openSpan.below, and returns the spans whose parents are not open.
func forest(spans []*openSpan) (tops []*openSpan) {
	type id struct {
		dendro.TraceID
		dendro.SpanID
	}
	byID := make(map[id]*openSpan, len(spans))
	for _, s := range spans {
		byID[id{s.TraceID, s.SpanID}] = s
	}
	for _, s := range spans {
		if parent := byID[id{s.TraceID, s.ParentID}]; parent != nil && !s.root {
			parent.below = append(parent.below, s)
		} else {
			tops = append(tops, s)
		}
	}
	return tops
}

// add adds s and the spans below it.
func (d *Diagnostics) add(r *OpenRequest, s *openSpan, depth int, now time.Time) {
	if len(r.Spans) == maxSpans {
		r.More++
	} else {
		o := OpenSpan{
			SpanID: s.SpanID, Depth: depth, Name: s.Name, Kind: s.Kind.String(), About: about(s.SpanData),
			Start: time.Unix(0, s.Start), Age: max(0, now.Sub(time.Unix(0, s.Start))), P99: d.usual.p99(operation{s.service, s.Name, s.Kind}),
		}
		if s.ParentID.IsValid() {
			o.ParentID = s.ParentID.String()
		}
		r.Slow = r.Slow || o.Slow()
		r.Spans = append(r.Spans, o)
	}
	for _, below := range s.below {
		d.add(r, below, depth+1, now)
	}
}

// wantsStacks reports whether the stacks of r are looked for.
func (r *OpenRequest) wantsStacks() bool {
	known := slices.ContainsFunc(r.Spans, func(s OpenSpan) bool { return s.P99 > 0 })
	return r.Slow || !known && r.Spans[0].Age >= longOpen
}

// about returns OpenSpan.About.
func about(s *dendro.SpanData) string {
	for i := range s.Attributes {
		switch a := &s.Attributes[i]; a.Key {
		case semconv.URLPath, semconv.URLFull, semconv.DBQueryText:
			text := a.Value.String()
			return text[:min(len(text), maxAbout)]
		}
	}
	return ""
}
