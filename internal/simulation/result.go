package simulation

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"maps"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/remote"
)

// Share counts traces that should be whole in the store.
type Share struct {
	// Whole is the number of those of which every span of every process has arrived, and All that of those that should.
	Whole, All int
	// Lost is the number of those that are not whole and had a part in a process that was killed. They are not in All.
	Lost int
	// Head is the number of those that sampling at random keeps when the trace begins, if it may send the same number of bytes.
	Head int
}

// Part returns Whole / All, or 1 if there are none.
func (s Share) Part() float64 {
	if s.All == 0 {
		return 1
	}
	return float64(s.Whole) / float64(s.All)
}

// OperationShare is the share of the slowest requests of an operation.
type OperationShare struct {
	Name     string
	Requests int
	Slow     time.Duration // from which on they are among the slowest 1 %
	Share
}

// Size is that of a number of traces.
type Size struct{ Traces, Locals, Spans int }

func (s *Size) add(r *request) {
	s.Traces++
	s.Locals += len(r.locals)
	for i := range r.locals {
		s.Spans += r.locals[i].spans()
	}
}

// Result says what a simulation has kept. Requests during [Options.Warmup] are only in Kept, Partial and WholeAfter, and in the
// bytes of messages.
type Result struct {
	Options
	Services, Processes int
	Restarted           int           // processes
	Spans               int           // that were made
	Lasted              time.Duration // until the last request arrived

	Kept    Share          // all traces of which anything has arrived
	Partial map[string]int // those of them that are not whole, by reason
	// Judged counts the requests after the warmup, and Reasons those of them of which anything has arrived, by reason: "" if they
	// were only sampled, and with "inside" if the reason was not where the trace begins.
	Judged     int
	Reasons    map[string]Size
	Errors     Share // traces with an error
	LateErrors Share // those of them whose only error is that of a consumer minutes later
	Slow       []OperationShare
	SlowAll    Share // the sum of Slow
	Inner      Share // traces with a local trace, below the first, that is among the slowest 1 % of its operation
	Examined   Size  // the traces that were looked at for that: every so many
	Wanted     Size  // traces in Errors or Slow
	InStorm    Share // kept traces of requests that arrived during the storm
	StormKept  Size  // the same traces
	StormAll   Size  // all requests that arrived during the storm

	// Bytes is what has arrived in OTLP and AllBytes what would have if everything had been sent, both without
	// compression. Wire is what spans have taken in requests with gzip, and AllWire what all would take in
	// batches of 512 KiB with gzip. Messages, News and Operations are the bytes of the protocol of package keep, from the
	// beginning until the last consumer has ended.
	Bytes, AllBytes, Wire, AllWire, Messages, News, Operations int64
	// WholeAfter are times, sorted: from when a trace was found to matter, or ended if that is later, until it was whole but for
	// late consumers.
	WholeAfter []time.Duration

	Duplicates   int // spans that have arrived before
	LostMessages int
	totals
}

// totals are sums over all processes, and the most that any of them had.
type totals struct {
	Lost                       map[string]uint64 // of keep.Stats
	Dropped                    map[string]uint64 // of remote.Stats
	MaxRing, RingBound         int64
	MaxPending, MaxUnannounced int
	MaxRemembered, MaxQueue    int
	MinAge                     time.Duration // the shortest time that a full ring reached back
}

func (t *totals) watch(processes []*process) {
	for _, p := range processes {
		s := p.client.Stats()
		t.MaxRing, t.RingBound = max(t.MaxRing, s.Keep.RingBytes), s.Keep.RingMaxBytes
		t.MaxPending, t.MaxUnannounced = max(t.MaxPending, s.Keep.Pending), max(t.MaxUnannounced, s.Keep.Unannounced)
		t.MaxRemembered, t.MaxQueue = max(t.MaxRemembered, s.Keep.Remembered), max(t.MaxQueue, s.QueuedBytes)
		if age := s.Keep.RingAge + p.skew; s.Keep.RingBytes > s.Keep.RingMaxBytes*9/10 && s.Keep.RingAge > 0 && (t.MinAge == 0 || age < t.MinAge) {
			t.MinAge = age
		}
	}
}

func (t *totals) add(s remote.Stats) {
	if t.Lost == nil {
		t.Lost, t.Dropped = map[string]uint64{}, map[string]uint64{}
	}
	for why, n := range s.Keep.Lost {
		t.Lost[why] += n
	}
	for why, n := range s.Dropped {
		t.Dropped[why] += n
	}
}

// judge says what became of requests.
type judge struct {
	*simulation
	maker *maker
	head  dendro.Sampler
	r     request // the last one that was made again
}

// result is called when everything has ended.
func (s *simulation) result() *Result {
	n := s.network
	res := &Result{
		Options: s.Options, Services: len(s.world.services), Processes: len(s.processes), Restarted: s.restarted,
		Judged: len(s.records) - int(s.first.Load()), Reasons: map[string]Size{}, Partial: map[string]int{},
		Bytes:    s.store.bytes,
		Wire:     int64(float64(n.spans.Load()) * float64(s.store.bytes) / float64(max(s.store.allBytes, 1))),
		Messages: n.messages.Load(), News: n.news.Load(), Operations: n.operations.Load(),
		Duplicates: s.store.duplicates, LostMessages: int(n.lost.Load()), totals: s.totals,
	}
	if n := len(s.records); n > 0 {
		res.Lasted = s.records[n-1].arrival
	}
	s.measure(res)
	j := &judge{simulation: s, maker: s.newMaker(), head: dendro.RatioSample(float64(res.Bytes) / float64(max(res.AllBytes, 1)))}
	j.kept(res)
	j.errors(res)
	j.slow(res)
	j.inner(res)
	return res
}

// measure determines the bytes of all spans.
func (s *simulation) measure(res *Result) {
	var all made
	var plain, zipped int64
	for _, p := range s.processes {
		res.Spans += int(p.made.spans)
		all.measuredSpans += p.made.measuredSpans
		all.measuredBytes += p.made.measuredBytes
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(p.made.sample)
		_ = w.Close()
		plain += int64(len(p.made.sample))
		zipped += int64(out.Len())
	}
	res.AllBytes = int64(float64(all.measuredBytes) * float64(res.Spans) / float64(max(all.measuredSpans, 1)))
	res.AllWire = int64(float64(res.AllBytes) * float64(zipped) / float64(max(plain, 1)))
}

// make makes request number n again.
func (j *judge) make(n int) *request {
	j.maker.make(&j.r, n, j.records[n].arrival)
	return &j.r
}

// count adds request number n to a share.
func (j *judge) count(s *Share, n int) {
	r := j.make(n)
	switch {
	case j.whole(r):
		s.Whole++
	case j.lost(r):
		s.Lost++
		return
	}
	s.All++
	if j.head(dendro.SamplingParameters{TraceID: r.id}).Sampled {
		s.Head++
	}
}

// whole reports whether all of r is in the store.
func (j *judge) whole(r *request) bool {
	t := j.store.traces[r.number]
	if t == nil {
		return false
	}
	for i := range r.locals {
		if !t.has(r, i) {
			return false
		}
	}
	return true
}

// mayAnnounce is how long after its decision a process may have told nobody of it.
const mayAnnounce = 2 * time.Second

// lost reports whether a process that r went through was killed before r was found to matter, or so shortly after it that it
// may not have announced or sent its part.
func (j *judge) lost(r *request) bool {
	found := r.locals[0].end
	if t := j.store.traces[r.number]; t != nil {
		found = max(found, r.locals[t.by].end)
	}
	for i := range r.locals {
		l := &r.locals[i]
		for _, at := range l.process.restarts {
			if at >= l.start && at <= max(l.end, found)+mayAnnounce {
				return true
			}
		}
	}
	return false
}

func (j *judge) kept(res *Result) {
	for _, n := range slices.Sorted(maps.Keys(j.store.traces)) {
		t := j.store.traces[n]
		r := j.make(n)
		why := t.reason
		if t.by > 0 {
			why += " inside"
		}
		if j.store.judged(n) {
			size := res.Reasons[why]
			size.add(r)
			res.Reasons[why] = size
		}
		lost := res.Kept.Lost
		if j.count(&res.Kept, n); res.Kept.Lost == lost && !j.whole(r) {
			res.Partial[why]++
		}
		if j.inStorm(j.records[n].arrival) {
			j.count(&res.InStorm, n)
			res.StormKept.add(r)
		}
		if t.reason == "" || !j.whole(r) {
			continue
		}
		known, whole := max(r.locals[t.by].end, r.locals[0].end), time.Duration(0)
		for i := range r.promptly() {
			whole = max(whole, t.locals[i].at)
		}
		res.WholeAfter = append(res.WholeAfter, max(0, whole-known))
	}
	slices.Sort(res.WholeAfter)
}

func (j *judge) errors(res *Result) {
	for n := range j.records {
		record := &j.records[n]
		if j.inStorm(record.arrival) {
			res.StormAll.add(j.make(n))
		}
		if !record.failed || record.arrival < j.Warmup {
			continue
		}
		j.count(&res.Errors, n)
		res.Wanted.add(&j.r)
		if last := j.r.locals[len(j.r.locals)-1]; j.r.late && last.failed {
			j.count(&res.LateErrors, n)
		}
	}
}

// slowest is the share of the slowest that should be kept.
const slowest = 0.01

func (j *judge) slow(res *Result) {
	byOperation := map[*operation][]int{}
	for n := range j.records {
		if r := &j.records[n]; r.arrival >= j.Warmup {
			byOperation[r.operation] = append(byOperation[r.operation], n)
		}
	}
	for _, o := range j.world.services[0].operations {
		numbers := byOperation[o]
		slices.SortFunc(numbers, func(a, b int) int { return cmp.Compare(j.records[b].duration, j.records[a].duration) })
		top := numbers[:int(slowest*float64(len(numbers)))]
		if len(top) == 0 {
			continue
		}
		share := OperationShare{Name: o.name, Requests: len(numbers), Slow: j.records[top[len(top)-1]].duration}
		for _, n := range top {
			j.count(&share.Share, n)
			if !j.records[n].failed { // those that failed are counted already
				res.Wanted.add(&j.r)
			}
		}
		res.Slow = append(res.Slow, share)
		res.SlowAll.Whole += share.Whole
		res.SlowAll.All += share.All
		res.SlowAll.Lost += share.Lost
		res.SlowAll.Head += share.Head
	}
}

// maxInner bounds the traces whose local traces are compared with each other.
const maxInner = 200_000

// inner looks at every so many requests.
func (j *judge) inner(res *Result) {
	stride := len(j.records)/maxInner + 1
	durations := make([][]float32, len(j.world.operations))
	each := func(visit func(r *request)) {
		for n := 0; n < len(j.records); n += stride {
			if j.records[n].arrival >= j.Warmup {
				visit(j.make(n))
			}
		}
	}
	each(func(r *request) {
		res.Examined.add(r)
		for i := range r.locals {
			o := r.locals[i].operation.number
			durations[o] = append(durations[o], float32(r.locals[i].end-r.locals[i].start))
		}
	})
	long := make([]float32, len(durations))
	for o, d := range durations {
		slices.Sort(d)
		if len(d) > 0 {
			long[o] = d[len(d)-1-int(slowest*float64(len(d)))]
		}
	}
	each(func(r *request) {
		if slices.ContainsFunc(r.locals[1:], func(l local) bool { return float32(l.end-l.start) > long[l.operation.number] }) {
			j.count(&res.Inner, r.number)
		}
	})
}
