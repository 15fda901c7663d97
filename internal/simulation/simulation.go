// Package simulation shows what package collector/keep keeps: it simulates the requests of many services.
//
// Fifty services call each other, and every process has a real client of package collector/remote with a real
// [keep.Recorder]. The collector is a real handler of package collector/server with a real [keep.Hub]. Simulated are the
// requests, whose spans are made without a tracer, the network between the clients and the handler, which delays and
// loses messages, and the store, which only notes which spans have arrived.
//
// [Run] must be called in a bubble of testing/synctest, in which minutes pass as soon as nobody has anything to do. The
// requests of a seed are always the same. What happens at the same instant in several goroutines may happen in any order, so
// that results of one seed differ a little.
//
// # Requests
//
// A request begins with one of ten operations, whose shares are as 1, 1/2, 1/3 and so on. Each of them makes a number of
// calls of its own, from 1 to 40. A local trace that is called makes 1 to 40 further calls with a probability of 0.28;
// the number has a Zipf distribution with the exponent 2.2. Calls end at the twelfth level. A request so has about 13
// local traces on average, and up to 1000. The own work of an operation is log-normal with a median of 1 to 20 ms and a
// 99th percentile of 6 to 26 times that. More than four calls are made at the same time, fewer one after the other. A
// local trace has a span for itself, none to two for its database, and one for each call.
//
// Of all requests, 0.2 % fail, in one of their local traces, and 90 % of the callers fail with it. 5 % send a
// message, at which a consumer works one to five minutes later in another local trace of the same trace.
//
// # Limits
//
// A bubble has one clock: the times in spans are wrong by up to Options.Skew, but not the clock by which a recorder limits and
// learns. A message that is lost is noticed by its sender, as if the connection was reset. Callers of a process that is killed
// do not notice. A local trace is collected as a whole when it ends, however long it takes.
package simulation

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
)

// Options says what to simulate.
type Options struct {
	Seed     uint64
	Requests int
	Rate     float64       // requests a second
	Warmup   time.Duration // requests that arrive before are not judged, except that what is kept of them must be whole
	Entries  int           // processes of the service that requests enter, at least one; the other services have one each
	Keep     keep.Options  // of each process
	Loss     float64       // the share of messages that are lost, in each direction
	Skew     time.Duration // clocks of processes are wrong by at most that
	// RestartProcess and RestartCollector are the times between restarts of a process, each time another one, and of
	// the collector, which is then away for CollectorAway, while requests arrive. They are multiples of a millisecond. Zero
	// means never.
	RestartProcess, RestartCollector time.Duration
	// Storm is when all requests fail, from a time to another one.
	Storm [2]time.Duration
}

// CollectorAway is how long the collector is away when it restarts.
const CollectorAway = 2 * time.Second

// settle is how long a run goes on after the last local trace has ended.
const settle = time.Minute

// simulation is the state of a run. Only the goroutine of Run uses it, but first.
type simulation struct {
	Options
	began     time.Time
	world     *world
	network   *network
	store     *store
	maker     *maker
	schedule  *schedule
	processes []*process
	arrivals  *rand.Rand
	records   []record
	first     atomic.Int64 // number of the first request that is judged
	totals    totals
	restarted int // processes
}

// record is what is remembered of a request. The rest can be made again from its number.
type record struct {
	arrival, duration time.Duration
	operation         *operation
	failed            bool
}

// requests are those that have ended and whose memory is free.
var requests = sync.Pool{New: func() any { return new(request) }}

// release is called for each local trace that has ended.
func (r *request) release() {
	if r.left.Add(-1) == 0 {
		requests.Put(r)
	}
}

// Run simulates requests until all of them have ended, and says what was kept of them. It returns without goroutines left.
func Run(o Options) *Result {
	s := newSimulation(o)
	var running sync.WaitGroup
	for _, p := range s.processes {
		running.Go(p.run)
	}
	s.drive()
	time.Sleep(settle)
	for _, p := range s.processes {
		close(p.work)
		s.totals.add(p.client.Stats())
		_ = p.client.Shutdown(context.Background())
	}
	running.Wait()
	s.network.killCollector()
	return s.result()
}

func newSimulation(o Options) *simulation {
	s := &simulation{
		Options: o, began: time.Now(), world: newWorld(o.Seed), network: newNetwork(o.Seed, o.Loss),
		schedule: newSchedule(), arrivals: rand.New(rand.NewPCG(o.Seed, 0x61727276)), records: make([]record, 0, o.Requests),
	}
	s.store = newStore(s.began, func(number int) bool { return number >= int(s.first.Load()) })
	s.maker = s.newMaker()
	s.network.startCollector(s.store)
	for level, services := range s.world.levels {
		for _, v := range services {
			n := 1
			if level == 0 {
				n = max(o.Entries, 1)
			}
			for range n {
				skew := time.Duration((2*s.arrivals.Float64() - 1) * float64(o.Skew))
				p := newProcess(v, s.network, o, skew)
				v.processes = append(v.processes, p)
				s.processes = append(s.processes, p)
			}
		}
	}
	return s
}

func (s *simulation) newMaker() *maker {
	return newMaker(s.world, s.Seed, s.inStorm)
}

func (s *simulation) inStorm(at time.Duration) bool { return at >= s.Storm[0] && at < s.Storm[1] }

// drive lets requests arrive, and local traces begin and end, tick by tick.
func (s *simulation) drive() {
	gap := func() time.Duration { return time.Duration(s.arrivals.ExpFloat64() / s.Rate * 1e9) }
	arrival := gap()
	for len(s.records) < s.Requests || s.schedule.size > 0 {
		now := time.Duration(s.schedule.at) * tick
		for ; len(s.records) < s.Requests && arrival <= now; arrival += gap() {
			s.arrive(arrival)
		}
		s.step()
		if s.schedule.at%int64(time.Second/tick) == 0 {
			s.totals.watch(s.processes)
		}
		s.restart(now)
		time.Sleep(time.Until(s.began.Add(now + tick)))
	}
}

// restart kills a process or the collector, and starts the collector again, when it is time.
func (s *simulation) restart(now time.Duration) {
	arriving := now > 0 && len(s.records) < s.Requests
	if every := s.RestartProcess; arriving && every > 0 && now%every == 0 {
		s.restarted++
		s.processes[s.restarted*7%len(s.processes)].restart(now)
	}
	every := s.RestartCollector
	switch away := s.network.collector.Load() == nil; {
	case away && now%every == CollectorAway:
		s.network.startCollector(s.store)
	case !away && arriving && every > 0 && now%every == 0:
		s.network.killCollector()
	}
}

// arrive makes the next request.
func (s *simulation) arrive(at time.Duration) {
	r := requests.Get().(*request)
	s.maker.make(r, len(s.records), at)
	if at < s.Warmup {
		s.first.Store(int64(len(s.records)) + 1)
	}
	s.records = append(s.records, record{at, r.duration(), r.locals[0].operation, r.failed})
	for i := range r.locals {
		s.schedule.add(r.locals[i].start, event{r, i, false})
		s.schedule.add(r.locals[i].end, event{r, i, true})
	}
}

// step does what happens at the next tick.
func (s *simulation) step() {
	events := s.schedule.take()
	for _, e := range events {
		l := &e.request.locals[e.local]
		p := l.process
		switch {
		case !e.end:
			p.begin(e.request, e.local)
		case l.generation == p.generation:
			p.next = append(p.next, e)
		default: // the process was killed before it ended
			e.request.release()
		}
	}
	s.schedule.release(events)
	for _, p := range s.processes {
		p.handOver()
	}
}
