package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// template is an encoded span, with the offsets of what is different for each trace.
type template struct {
	service                                   int
	parent                                    int // index in the shape, or -1
	start, end                                int64
	data                                      []byte // a spans field of a ScopeSpans
	traceAt, spanAt, parentAt, startAt, endAt int
	eventAt, tenantAt                         int // -1 if there is none
	numbersAt                                 []int
}

// shape is the spans of one kind of trace, the root first.
type shape struct {
	spans []template
	took  int64
}

// Shapes: an entry has as many as its share, and each of them one in which something fails.
const (
	shapeSeed  = 7      // all runs have the same shapes
	failShare  = 50     // one of that many traces fails
	rareShare  = 10_000 // one of that many traces of a connection has the rare tenant
	rareOffset = 7      // the first of them
	maxStretch = 1 << 10
)

// shapes are the traces that are sent. The second list has those that fail.
var shapes = sync.OnceValue(func() (out [2][]shape) {
	random := rand.New(rand.NewPCG(shapeSeed, 0))
	for _, e := range entries() {
		for range e.share {
			seed := random.Uint64()
			for failing := range 2 {
				d := layOut(e.operation, rand.New(rand.NewPCG(seed, 0)))
				if failing == 1 {
					d.fail()
				}
				out[failing] = append(out[failing], d.encode())
			}
		}
	}
	return out
})

// stretches are the log-normal factors by which traces of a shape differ in time.
var stretches = sync.OnceValue(func() (out [maxStretch]float64) {
	random := rand.New(rand.NewPCG(shapeSeed, 1))
	for i := range out {
		out[i] = math.Exp(.5 * random.NormFloat64())
	}
	return out
})

var workScope = &dendro.Scope{Name: "dendro load", Version: "1"}

// encode returns the shape that d is the draft of.
func (d *draft) encode() shape {
	const marked = 0x5aa5_c33c_0ff0_9669 // no such time or id occurs otherwise
	var sh shape
	for i, s := range d.spans {
		t := template{service: slices.Index(serviceNames, d.services[i]), parent: d.parents[i], start: s.Start, end: s.End}
		sh.took = max(sh.took, s.End)
		binary.BigEndian.PutUint64(s.TraceID[:], marked+1)
		binary.BigEndian.PutUint64(s.TraceID[8:], marked+2)
		binary.BigEndian.PutUint64(s.SpanID[:], marked+3)
		if t.parent >= 0 {
			binary.BigEndian.PutUint64(s.ParentID[:], marked+4)
		}
		s.Start, s.End = marked+5, marked+6
		for e := range s.Events {
			s.Events[e].Time = marked + 7
		}
		t.data = otlp.AppendSpan(nil, s)
		find := func(what []byte) int { return bytes.Index(t.data, what) }
		at := func(n uint64) int { return find(binary.BigEndian.AppendUint64(nil, marked+n)) }
		timeAt := func(n uint64) int { return find(binary.LittleEndian.AppendUint64(nil, marked+n)) }
		t.traceAt, t.spanAt, t.parentAt = at(1), at(3), at(4)
		t.startAt, t.endAt, t.eventAt = timeAt(5), timeAt(6), timeAt(7)
		t.tenantAt = find([]byte(anyTenant))
		for from := 0; ; {
			n := bytes.Index(t.data[from:], []byte(anyNumber))
			if n < 0 {
				break
			}
			t.numbersAt = append(t.numbersAt, from+n)
			from += n + len(anyNumber)
		}
		sh.spans = append(sh.spans, t)
	}
	return sh
}

// loadRun determines which spans are sent, but not when.
type loadRun struct {
	seed  uint64
	batch int // spans of a request
}

// String returns the attribute runKey of the resources.
func (r loadRun) String() string { return "load-" + strconv.FormatUint(r.seed, 10) }

// rareTenant returns the tenant of a few traces of this run.
func (r loadRun) rareTenant() string { return fmt.Sprintf("rare-%011d", r.seed%1e11) }

// plan is what a run determines about a trace.
type plan struct {
	id     dendro.TraceID
	shape  *shape
	random uint64
	rare   bool
}

// plan returns the nth trace of a connection.
func (r loadRun) plan(connection int, n uint64) plan {
	random := mix(mix(r.seed+uint64(connection)<<48) + n)
	p := plan{random: random, rare: n%rareShare == rareOffset}
	binary.BigEndian.PutUint64(p.id[:], mix(random+1))
	binary.BigEndian.PutUint64(p.id[8:], mix(random+2)|1)
	all := shapes()
	of := all[0]
	if random%failShare == 0 {
		of = all[1]
	}
	p.shape = &of[random>>8%uint64(len(of))]
	return p
}

// span returns the id of a span.
func (p *plan) span(i int) uint64 { return mix(p.random+3+uint64(i)) | 1 }

// mix returns a number that looks like a random one (SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// loadRequest is a request with spans of one service: those at the places from batch × number on
// among all spans of the service on its connection.
type loadRequest struct {
	connection, service, number int
	spans                       int
	parts                       [][]byte
}

// generator makes the requests of one connection. Each has spans of one service, as if each
// service had an exporter, so that the spans of a trace are in several requests.
type generator struct {
	run        loadRun
	connection int
	resources  []*dendro.Resource
	open       []loadRequest // by service
	full       []loadRequest // not returned yet
	traces     uint64
	left       int64 // spans to make; negative for no bound
}

func newGenerator(run loadRun, connection int, spans int64) *generator {
	g := &generator{run: run, connection: connection, left: spans}
	for i, name := range serviceNames {
		g.resources = append(g.resources, resourceOf(name, run.String()))
		g.open = append(g.open, loadRequest{connection: connection, service: i})
	}
	return g
}

// next returns the next request, of traces that end now. It returns false when all spans have been
// made.
func (g *generator) next() (loadRequest, bool) {
	for len(g.full) == 0 {
		if g.left == 0 {
			g.flush()
			if len(g.full) == 0 {
				return loadRequest{}, false
			}
			break
		}
		g.trace(time.Now().UnixNano())
	}
	r := g.full[0]
	g.full = g.full[1:]
	return r, true
}

// flush completes the requests that have fewer spans than others. No traces may come after it.
func (g *generator) flush() {
	for i := range g.open {
		if g.open[i].spans > 0 {
			g.complete(&g.open[i])
		}
	}
}

// spanBytes is the memory for a span in a request.
const spanBytes = 640

// trace adds the spans of a trace to the requests.
func (g *generator) trace(now int64) {
	p := g.run.plan(g.connection, g.traces)
	g.traces++
	stretch := stretches()[p.random>>32%maxStretch]
	begin := now - int64(float64(p.shape.took)*stretch)
	var number [8]byte
	for n, i := p.random>>24, len(number)-1; i >= 0; i-- {
		number[i] = '0' + byte(n%10)
		n /= 10
	}
	for i := range p.shape.spans {
		if g.left == 0 {
			return
		}
		g.left--
		t := &p.shape.spans[i]
		o := &g.open[t.service]
		if o.parts == nil { // the last one is being sent
			o.parts = [][]byte{nil, make([]byte, 0, g.run.batch*spanBytes)}
		}
		from := len(o.parts[1])
		o.parts[1] = append(o.parts[1], t.data...)
		b := o.parts[1][from:]
		copy(b[t.traceAt:], p.id[:])
		binary.BigEndian.PutUint64(b[t.spanAt:], p.span(i))
		if t.parent >= 0 {
			binary.BigEndian.PutUint64(b[t.parentAt:], p.span(t.parent))
		}
		end := uint64(begin + int64(float64(t.end)*stretch))
		binary.LittleEndian.PutUint64(b[t.startAt:], uint64(begin+int64(float64(t.start)*stretch)))
		binary.LittleEndian.PutUint64(b[t.endAt:], end)
		if t.eventAt >= 0 {
			binary.LittleEndian.PutUint64(b[t.eventAt:], end)
		}
		for _, at := range t.numbersAt {
			copy(b[at:], number[:])
		}
		if t.tenantAt >= 0 {
			tenant := fmt.Appendf(nil, "tenant-%09d", p.random>>40%64)
			if p.rare {
				tenant = []byte(g.run.rareTenant())
			}
			copy(b[t.tenantAt:], tenant)
		}
		if o.spans++; o.spans == g.run.batch {
			g.complete(o)
		}
	}
}

// complete ends a request and begins the next of its service.
func (g *generator) complete(o *loadRequest) {
	o.parts[0] = otlp.AppendResourceSpans(nil, g.resources[o.service], workScope, len(o.parts[1]))
	g.full = append(g.full, *o)
	*o = loadRequest{connection: o.connection, service: o.service, number: o.number + 1}
}
