package simulation

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
)

const (
	// A local trace below the first one calls nobody, or 1 to maxCalls others. The number of calls has a Zipf
	// distribution.
	maxCalls   = 40
	innerCalls = 0.28 // the share of those that call others
	exponent   = 2.2
	// More than inTurn calls are made at the same time, and fewer one after the other.
	inTurn = 4
	// maxLocals bounds the local traces of a request.
	maxLocals = 1000
	// hop is how long a call is on its way, there or back.
	hop = 200 * time.Microsecond

	errorShare = 0.002
	passedUp   = 0.9 // the share of errors that are one of the caller, too
	lateShare  = 0.05
	leastLate  = time.Minute
	mostLate   = 5 * time.Minute
)

// request is a trace: the local traces of all processes that have part in it. They are in an order in which callers come first.
type request struct {
	number  int
	id      dendro.TraceID
	arrival time.Duration // since the simulation has begun, like all times
	failed  bool
	late    bool // the last local trace is that of a consumer which works minutes later
	locals  []local
	state   dendro.TraceState
	left    atomic.Int32 // local traces that have not ended
}

// local is a local trace: what a request does in one process.
type local struct {
	operation  *operation
	process    *process
	parent     int // index of the caller's; -1 for the first one
	ordinal    int // of the call among those of the caller
	first      int // index of the local trace that it calls first
	calls      int
	queries    int // 0 to 2 spans of a database
	sends      int // index of the consumer's local trace to which it sends a message; 0 for none
	failed     bool
	start, end time.Duration
	sampled    bool
	generation int // of the process when the local trace began
}

// spans returns the number of spans: that of the request, those of queries, and those of calls and messages.
func (l *local) spans() int {
	n := 1 + l.queries + l.calls
	if l.sends > 0 {
		n++
	}
	return n
}

// duration is how long the caller of the whole has waited.
func (r *request) duration() time.Duration { return r.locals[0].end - r.locals[0].start }

// promptly returns the local traces without that of a late consumer.
func (r *request) promptly() []local {
	if r.late {
		return r.locals[:len(r.locals)-1]
	}
	return r.locals
}

// maker makes requests. The same number and arrival make the same request, whoever makes it.
type maker struct {
	world  *world
	seed   uint64
	storm  func(at time.Duration) bool
	pcg    *rand.PCG
	random *rand.Rand

	calls []float64 // the distribution of the number of calls, summed up
}

func newMaker(w *world, seed uint64, storm func(time.Duration) bool) *maker {
	pcg := rand.NewPCG(seed, 0)
	return &maker{world: w, seed: seed, storm: storm, pcg: pcg, random: rand.New(pcg), calls: zipf()}
}

// zipf returns the sums of n^-exponent for n from 1 to maxCalls.
func zipf() (sums []float64) {
	sum := 0.0
	for n := 1; n <= maxCalls; n++ {
		sum += math.Pow(float64(n), -exponent)
		sums = append(sums, sum)
	}
	return sums
}

// pick returns an index with the probability that sums has for it.
func (m *maker) pick(sums []float64) int {
	at, _ := slices.BinarySearch(sums, m.random.Float64()*sums[len(sums)-1])
	return at
}

// make fills in r.
func (m *maker) make(r *request, number int, arrival time.Duration) {
	m.pcg.Seed(m.seed, uint64(number)+1)
	r.number, r.arrival, r.late = number, arrival, false
	binary.BigEndian.PutUint64(r.id[:], m.random.Uint64())
	binary.BigEndian.PutUint64(r.id[8:], m.random.Uint64())
	r.state = dendro.TraceState{}
	r.locals = r.locals[:0]
	entry := m.world.services[0]
	m.add(r, entry.operations[m.pick(m.world.popularity)], -1, 0)
	for i := 0; i < len(r.locals); i++ {
		m.call(r, i)
	}
	m.time(r)
	if m.random.Float64() < lateShare {
		m.send(r)
	}
	if r.failed = m.random.Float64() < errorShare || m.storm(arrival); r.failed {
		m.fail(r)
	}
	r.left.Store(int32(len(r.locals)))
}

func (m *maker) add(r *request, o *operation, parent, ordinal int) {
	processes := o.service.processes
	r.locals = append(r.locals, local{
		operation: o, process: processes[m.random.IntN(len(processes))],
		parent: parent, ordinal: ordinal, queries: m.random.IntN(3),
	})
}

// call adds the local traces that number i calls.
func (m *maker) call(r *request, i int) {
	level, calls := r.locals[i].operation.level, r.locals[i].operation.calls
	if i > 0 && level+1 < levels && m.random.Float64() < innerCalls {
		calls = 1 + m.pick(m.calls)
	}
	calls = min(calls, maxLocals-len(r.locals))
	r.locals[i].first, r.locals[i].calls = len(r.locals), calls
	for ordinal := range calls {
		services := m.world.levels[level+1]
		s := services[m.random.IntN(len(services))]
		m.add(r, s.operations[m.random.IntN(len(s.operations))], i, ordinal)
	}
}

// time determines when local traces begin and end: first how long they take and when callers call them, and then the
// times of day.
func (m *maker) time(r *request) {
	for i := len(r.locals) - 1; i >= 0; i-- {
		l := &r.locals[i]
		work := m.work(l.operation)
		at, longest := work/2, time.Duration(0)
		for c := range l.calls {
			called := &r.locals[l.first+c]
			called.start = at + hop
			took := called.end + 2*hop
			if l.calls <= inTurn {
				at += took
			} else {
				longest = max(longest, took)
			}
		}
		l.end = at + longest + work - work/2
	}
	r.locals[0].start = r.arrival
	for i := range r.locals {
		l := &r.locals[i]
		if i > 0 {
			l.start += r.locals[l.parent].start
		}
		l.end += l.start
	}
}

// work returns how long an operation takes besides its calls.
func (m *maker) work(o *operation) time.Duration {
	return time.Duration(o.median * math.Exp(o.sigma*m.random.NormFloat64()))
}

// send adds a consumer that works minutes later.
func (m *maker) send(r *request) {
	from := m.random.IntN(len(r.locals))
	m.add(r, m.world.consumers[m.random.IntN(len(m.world.consumers))], from, 0)
	last := len(r.locals) - 1
	r.late, r.locals[from].sends = true, last
	l := &r.locals[last]
	l.start = r.locals[from].end + leastLate + time.Duration(m.random.Int64N(int64(mostLate-leastLate)))
	l.end = l.start + m.work(l.operation)
}

// fail makes one of the local traces fail, and mostly its callers.
func (m *maker) fail(r *request) {
	i := m.random.IntN(len(r.locals))
	r.locals[i].failed = true
	if r.locals[i].operation.kind == dendro.KindConsumer {
		return // nobody waits for it
	}
	for i = r.locals[i].parent; i >= 0 && m.random.Float64() < passedUp; i = r.locals[i].parent {
		r.locals[i].failed = true
	}
}
