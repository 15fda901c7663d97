package keep

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	countsof "github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Options configures a [Recorder]. The zero value is ready to use.
//
// These traces are kept: those that [dendro.Span.Keep] asks for; those with an error or a panic, and the first with
// each kind of error; the slowest of each operation; those with repeated statements (N+1 queries) or a wait of 100 ms or
// more for a connection to a database; the first of an operation in this process; one ordinary trace a minute of
// each operation that begins traces; and those of which another process or the collector says so. Traces whose caller has
// sampled them are always kept.
type Options struct {
	// RingBytes bounds the memory for the spans of the last minutes, in bytes. The default is 64 MiB, which is
	// about a million spans. It is at least 1 MiB.
	RingBytes int64
	// Slow is the share of the slowest traces of each operation that are kept. The default is 0.01. If it is negative,
	// none are kept because they are slow. An operation learns from 200 requests what is slow.
	//
	// A trace is judged where it begins. Of an operation that another service calls, about one slow trace a
	// minute is kept.
	Slow float64
	// Sample is the share of new traces that are sampled when they begin, whatever becomes of them, and from
	// which all percentiles can be checked. OpenTelemetry's SDKs record these, too. The default is 0.001. If it is negative, there are
	// none. It has no effect if Options.Sampler of the tracer or OTEL_TRACES_SAMPLER name a sampler. With
	// OTEL_TRACES_SAMPLER=dendro_retroactive it is OTEL_TRACES_SAMPLER_ARG, unless it is set here.
	Sample float64
	// Attributes keep traces with a span that has one of them. Each is a key, or a key and a value such as
	// "customer.tier=gold".
	Attributes []string
	// Baggage is like Attributes for members of W3C baggage. These traces are sampled when they begin.
	Baggage []string
	// Limit is how many traces a second are kept, of each operation and for each reason. Above that, a share of them
	// is kept that depends on the trace ids only, so that all processes keep the same ones. The default is 200. It should be more than a fiftieth of the requests a second of the busiest operation of a process.
	Limit int
	// Remember is the number of kept traces whose later spans are kept, too. The default is 262,144, which takes
	// up to 10 MB.
	Remember int
}

const (
	defaultRingBytes = 64 << 20
	defaultSlow      = 0.01
	defaultSample    = 0.001
	defaultLimit     = 200
	defaultRemember  = 1 << 18
	// maxPending bounds the traces that wait to be sent, and maxAnnouncements those that wait to be announced.
	maxPending       = 1 << 14
	maxAnnouncements = 1 << 16
	// maxRecent bounds the announcements that are repeated for a new collector.
	maxRecent = 1 << 12
	// countBytes is the size of the counts of operations, and countShards the number of their shards.
	countBytes  = 2 << 20
	countShards = 4
	// chunkSpans bounds the spans of a trace that are passed on together.
	chunkSpans = 256
	retryAfter = 50 * time.Millisecond
)

// Recorder is a [dendro.TailSampler] that records all spans in memory and passes on those of the traces that
// are kept. Its methods are safe for concurrent use. Collect never waits.
//
// Someone must call Run, announce what Announcements returns, and pass on what the collector says. Package remote does.
type Recorder struct {
	next       dendro.Collector
	ring       *memory.Store
	slow       float64
	limit      float64
	sample     float64
	attributes []attribute
	baggage    []attribute
	operations operations
	rules      atomic.Pointer[rules]
	share      atomic.Uint64             // bits of a float64; 0 means 1
	holdUntil  atomic.Pointer[time.Time] // nil for no hold
	known      *known
	pending    pending
	counts     *countsof.Table
	shipping   chan struct{} // holds a token while a trace is read from the ring and sent
	closed     atomic.Bool

	mu            sync.Mutex
	announcements []Announcement // guarded by mu, like the fields below
	announced     []recent       // the last ones, oldest first
	wake          chan struct{}  // holds a token when there may be announcements
	stats         Stats          // without what is counted elsewhere
}

type recent struct {
	Announcement
	at time.Time
}

var (
	_ dendro.TailSampler = (*Recorder)(nil)
	_ dendro.Flusher     = (*Recorder)(nil)
)

// New returns a Recorder in front of next.
func New(next dendro.Collector, o Options) *Recorder {
	return &Recorder{
		next:       next,
		ring:       memory.New(memory.Options{MaxBytes: orDefault(o.RingBytes, defaultRingBytes), Uncounted: true}),
		slow:       max(orDefault(o.Slow, defaultSlow), 0),
		sample:     max(orDefault(o.Sample, defaultSample), 0),
		limit:      float64(orDefault(o.Limit, defaultLimit)),
		attributes: parseAttributes(o.Attributes),
		baggage:    parseAttributes(o.Baggage),
		known:      newKnown(orDefault(o.Remember, defaultRemember)),
		pending:    pending{most: maxPending, wake: make(chan struct{}, 1)},
		shipping:   make(chan struct{}, 1),
		wake:       make(chan struct{}, 1),
		counts:     countsof.New(countsof.Options{MaxBytes: countBytes, Shards: countShards, EachOnce: true}),
	}
}

func orDefault[T int | int64 | float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Sampler implements [dendro.TailSampler]. The sampler records everything. It samples what head does, traces
// that are kept already, and those with one of Options.Baggage. If head is nil, it follows the caller, and samples the share
// Options.Sample of new traces.
func (r *Recorder) Sampler(head dendro.Sampler) dendro.Sampler {
	if head == nil {
		head = dendro.ParentSample(dendro.RatioSample(r.sample))
	}
	return func(p dendro.SamplingParameters) dendro.SamplingResult {
		result := head(p)
		result.Record = true
		if !result.Sampled && (p.Parent.IsValid() && r.known.get(p.TraceID) != unknown || len(r.baggage) > 0 && r.inBaggage(p.Context)) {
			result.Sampled = true
		}
		return result
	}
}

func (r *Recorder) inBaggage(ctx context.Context) bool {
	for _, m := range dendro.BaggageFromContext(ctx).Members() {
		for _, w := range r.baggage {
			if m.Key == w.key && (w.any || m.Value == w.value) {
				return true
			}
		}
	}
	return false
}

// Collect implements [dendro.Collector]. After Close, it refuses spans with the reason "shutdown".
func (r *Recorder) Collect(b *dendro.Batch) (err error) {
	if r.closed.Load() {
		return &dendro.DropError{Reason: "shutdown"}
	}
	for rest := b.Spans; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].TraceID == rest[0].TraceID {
			n++
		}
		if n == len(b.Spans) {
			return r.collect(b)
		}
		part := *b
		part.Spans, rest = rest[:n], rest[n:]
		err = errors.Join(err, r.collect(&part))
	}
	return err
}

// collect is Collect for spans of one trace.
func (r *Recorder) collect(b *dendro.Batch) error {
	id := b.Spans[0].TraceID
	p := priority(id)
	r.counts.Shard(int(id[15])%countShards).Count(b.Resource, b.Spans)
	v := r.judge(b, p)
	err := r.ring.Collect(b) // before the state is looked at
	switch r.known.get(id) {
	case sent:
		return r.forward(b, id, p, verdict{})
	case waiting:
		return err
	}
	switch {
	case sampled(b.Spans): // and so are the spans before and after
		if v.reason != "" {
			r.countKept(v.reason)
		}
		return r.forward(b, id, p, v)
	case !id.IsValid():
	case v.reason != "":
		if r.trigger(id, p, v) {
			r.announce(Announcement{id, short(v.reason, maxReason)})
		}
	case r.holds():
		r.trigger(id, p, verdict{ReasonHold, 1, b.Spans[len(b.Spans)-1]})
	}
	return err
}

func sampled(spans []*dendro.SpanData) bool {
	for _, s := range spans {
		if !s.Flags.Sampled() {
			return false
		}
	}
	return true
}

// counted returns res with an attribute that says that its spans are counted by operation already.
func counted(res *dendro.Resource) *dendro.Resource {
	if res == nil {
		res = new(dendro.Resource)
	}
	with := *res
	with.Attributes = append(slices.Clip(res.Attributes), slog.Bool(semconv.Counted, true))
	return &with
}

// forward passes on spans of a trace that is kept. If next has no room, they are sent from the ring later.
func (r *Recorder) forward(b *dendro.Batch, id dendro.TraceID, p float64, v verdict) error {
	marked := dendro.Batch{Resource: counted(b.Resource), Spans: b.Spans}
	if v.reason != "" {
		marked.Spans = slices.Clone(b.Spans)
		for i, s := range marked.Spans {
			if s == v.span {
				marked.Spans[i] = withReason(s, v.reason, v.weight)
			}
		}
	}
	err := r.next.Collect(&marked)
	if err == nil {
		r.mu.Lock()
		r.stats.Spans += uint64(len(b.Spans))
		r.mu.Unlock()
		return nil
	}
	if !isDropped(err, "queue_full") {
		return err
	}
	r.known.set(id, waiting)
	i := item{id: id, rank: p}
	if v.reason != "" {
		i.reason, i.weight, i.root = v.reason, v.weight, v.span.SpanID
	}
	r.wait(i)
	return nil
}

func isDropped(err error, reason string) bool {
	var drop *dendro.DropError
	return errors.As(err, &drop) && drop.Reason == reason
}

// trigger has what the ring has of a trace sent. It reports false if that is under way already.
func (r *Recorder) trigger(id dendro.TraceID, p float64, v verdict) bool {
	if !r.known.add(id) {
		return false
	}
	r.countKept(v.reason)
	if v.span.SpanID.IsValid() && hasKey(v.span.Attributes, dendro.KeepReason) {
		p++ // the program has asked for it
	}
	r.wait(item{id, p, v.reason, v.weight, v.span.SpanID})
	return true
}

func (r *Recorder) countKept(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	countReason(&r.stats.Kept, reason, 1)
}

// countReason adds n to the count of a reason, or of "other" if there are many.
func countReason(counts *map[string]uint64, reason string, n uint64) {
	reason = short(reason, maxReason)
	if *counts == nil {
		*counts = map[string]uint64{}
	}
	if _, ok := (*counts)[reason]; !ok && len(*counts) >= maxReasons {
		reason = "other"
	}
	(*counts)[reason] += n
}

// maxReasons bounds the reasons that are counted apart.
const maxReasons = 64

func (r *Recorder) wait(i item) {
	for _, out := range r.pending.push(i) {
		r.known.set(out.id, sent) // later spans may still be of use
		r.Lose(LostPending, 1)
	}
}

// Lose counts what is lost of kept traces, for a reason such as LostAnnouncements.
func (r *Recorder) Lose(reason string, n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	countReason(&r.stats.Lost, reason, n)
}

func (r *Recorder) announce(a Announcement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.announcements) >= maxAnnouncements {
		r.announcements = r.announcements[1:]
		countReason(&r.stats.Lost, LostAnnouncements, 1)
	}
	r.announcements = append(r.announcements, a)
	poke(r.wake)
}

// WaitAnnouncements waits until Announcements has something to return, or ctx is done. One goroutine may wait.
func (r *Recorder) WaitAnnouncements(ctx context.Context) {
	r.mu.Lock()
	waiting := len(r.announcements)
	r.mu.Unlock()
	if waiting > 0 {
		return
	}
	select {
	case <-r.wake:
	case <-ctx.Done():
	}
}

// Announcements returns at most most of the traces that this process has decided to keep, of which the other processes
// must hear. If the caller cannot announce them, it must call Unannounced.
func (r *Recorder) Announcements(most int) []Announcement {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(most, len(r.announcements))
	out := slices.Clone(r.announcements[:n])
	if r.announcements = r.announcements[n:]; len(r.announcements) == 0 {
		r.announcements = nil
	}
	now := time.Now()
	for _, a := range out {
		r.announced = append(r.announced, recent{a, now})
	}
	r.announced = last(r.announced, maxRecent)
	return out
}

// Unannounced takes back what the last call of Announcements returned, because it could not be delivered.
func (r *Recorder) Unannounced(as []Announcement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = r.announced[:max(0, len(r.announced)-len(as))]
	r.unannounced(as)
}

// unannounced puts announcements before those that wait. r.mu is held.
func (r *Recorder) unannounced(as []Announcement) {
	r.announcements = append(slices.Clone(as), r.announcements...)
	if over := len(r.announcements) - maxAnnouncements; over > 0 {
		r.announcements = r.announcements[over:]
		countReason(&r.stats.Lost, LostAnnouncements, uint64(over))
	}
	poke(r.wake)
}

// Reannounce makes Announcements return those of the last minute again, at most 4,096. It is for a collector that has started
// again and may not have passed them on.
func (r *Recorder) Reannounce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var again []Announcement
	for _, a := range r.announced[max(0, len(r.announced)-maxRecent):] {
		if time.Since(a.at) < time.Minute {
			again = append(again, a.Announcement)
		}
	}
	r.announced = nil
	r.unannounced(again)
}

// Keep has the spans of traces sent that other processes or the collector have decided to keep: those in the
// ring, and those that come later.
func (r *Recorder) Keep(as []Announcement) {
	asked := uint64(0)
	for _, a := range as {
		if r.known.add(a.TraceID) {
			asked++
			i := item{id: a.TraceID, rank: priority(a.TraceID)}
			if a.Reason == ReasonRequest {
				i.rank++
			}
			r.wait(i)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Asked += asked
}

// SetShare makes r keep only the share of traces with the highest priority, from 0 to 1, for reasons of which there may be many: of
// those with an error, the slow ones, and so on, besides Options.Limit. The collector sets it when all processes together keep too much.
func (r *Recorder) SetShare(share float64) {
	if share > 0 && share <= 1 {
		r.share.Store(math.Float64bits(share))
	}
}

// among reports whether a trace is among the share that is kept, and for how many it then stands.
func (r *Recorder) among(p float64) (weight float64, ok bool) {
	bits := r.share.Load()
	if bits == 0 {
		return 1, true
	}
	share := math.Float64frombits(bits)
	return 1 / share, p >= 1-share
}

// Hold keeps every trace of which spans end in the next d. Zero ends that.
func (r *Recorder) Hold(d time.Duration) {
	if d <= 0 {
		r.holdUntil.Store(nil)
		return
	}
	until := time.Now().Add(d)
	r.holdUntil.Store(&until)
}

func (r *Recorder) holds() bool {
	until := r.holdUntil.Load()
	return until != nil && time.Now().Before(*until)
}

// SetRules replaces the rules of the collector. If one of them is not valid, it returns a [*RuleError] and the
// rules stay as they were.
func (r *Recorder) SetRules(in []Rule) error {
	parsed, err := parseRules(in)
	if err == nil {
		r.rules.Store(parsed)
	}
	return err
}

// Run sends what the ring has of kept traces, until ctx is done.
func (r *Recorder) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if r.shipNext(ctx) {
			continue
		}
		select {
		case <-r.pending.wake:
		case <-ctx.Done():
		}
	}
}

// shipNext sends what the ring has of the next trace that waits. It reports false if none does.
func (r *Recorder) shipNext(ctx context.Context) bool {
	r.shipping <- struct{}{}
	defer func() { <-r.shipping }()
	i, ok := r.pending.pop()
	if ok {
		r.ship(ctx, i)
	}
	return ok
}

// ship sends what the ring has of a trace. While next has no room, it waits until ctx is done.
func (r *Recorder) ship(ctx context.Context, i item) {
	r.known.set(i.id, sent) // before the ring is read: see collect
	t, err := r.ring.Trace(context.WithoutCancel(ctx), i.id, collector.TimeRange{})
	if err != nil || t == nil {
		if i.reason != "" {
			r.Lose(LostOverwritten, 1)
		}
		return
	}
	byResource := map[*dendro.Resource][]*dendro.SpanData{}
	for n := range t.Spans {
		s := &t.Spans[n]
		data := &s.SpanData
		if i.reason != "" && s.SpanID == i.root {
			data = withReason(data, i.reason, i.weight)
		}
		byResource[s.Resource] = append(byResource[s.Resource], data)
	}
	for resource, spans := range byResource {
		b := dendro.Batch{Resource: counted(resource)}
		for n := chunkSpans; len(spans) > 0; {
			n = min(n, len(spans))
			b.Spans = spans[:n]
			switch err := r.next.Collect(&b); {
			case err == nil:
			case isDropped(err, "queue_full"):
				select {
				case <-time.After(retryAfter):
					continue
				case <-ctx.Done():
				}
				r.known.set(i.id, waiting)
				r.wait(i) // what was sent already is sent again, and recognized
				return
			case n > 1 && isDropped(err, collector.DropTooLarge):
				n /= 2
				continue
			default:
				r.Lose(LostRefused, 1)
			}
			spans = spans[n:]
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Spans += uint64(len(t.Spans))
	if i.reason == "" {
		r.stats.Found++
	}
}

// Flush sends what the ring has of traces that are kept so far, and then flushes the collector behind r. It returns the error of ctx if
// that is done before.
func (r *Recorder) Flush(ctx context.Context) error {
	for {
		select {
		case r.shipping <- struct{}{}: // when Run has sent what it had begun
		case <-ctx.Done():
			return ctx.Err()
		}
		i, ok := r.pending.pop()
		if ok {
			r.ship(ctx, i)
		}
		<-r.shipping
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !ok {
			break
		}
	}
	if f, ok := r.next.(dendro.Flusher); ok {
		return f.Flush(ctx)
	}
	return nil
}

// Close makes Collect refuse spans, and sends as much of the traces that are kept as next has room for now. The others are lost, and counted
// as LostShutdown. Run must have ended.
func (r *Recorder) Close() {
	r.closed.Store(true)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		i, ok := r.pending.pop()
		if !ok {
			return
		}
		r.ship(now, i)
		if r.known.get(i.id) == waiting { // there was no room, and so there is none for the others
			for {
				if _, ok := r.pending.pop(); !ok {
					return
				}
				r.Lose(LostShutdown, 1)
			}
		}
	}
}

// Reasons for which spans of kept traces were not sent.
const (
	LostOverwritten   = "overwritten"   // the ring had dropped the trace already
	LostPending       = "pending"       // too many traces waited
	LostRefused       = "refused"       // the client has refused spans: one was too large, or the client was closed
	LostShutdown      = "shutdown"      // the client had no room at the end
	LostAnnouncements = "announcements" // too many traces waited to be announced, or the collector has refused them: other processes do not hear of them
	LostMissed        = "missed"        // others have announced more traces than the collector holds for a process that is slow
	LostOperations    = "operations"    // the collector has refused counts of operations; counts snapshots, not traces
)

// Stats says what a [Recorder] has done.
type Stats struct {
	Report
	// Remembered is the number of kept traces whose later spans will be sent.
	Remembered int
	// RingSpans is the number of spans in the ring.
	RingSpans int
}

// Stats returns the current counts. The caller owns the maps.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	s := r.stats
	s.Kept, s.Lost = maps.Clone(s.Kept), maps.Clone(s.Lost)
	s.Unannounced = len(r.announcements)
	r.mu.Unlock()
	s.Pending, s.Remembered = r.pending.size(), r.known.size()
	ring, _ := r.ring.Stats(context.Background())
	s.RingSpans, s.RingBytes, s.RingMaxBytes = ring.Spans, ring.Bytes, ring.MaxBytes
	if oldest := r.ring.Oldest(); !oldest.IsZero() {
		s.RingAge = max(0, time.Since(oldest))
	}
	return s
}

// TakeOperations returns the counts of operations since the last call, as a snapshot of package operations. They are those
// of all spans that were recorded.
func (r *Recorder) TakeOperations() []byte { return r.counts.TakeSnapshot(nil) }

// UntakeOperations takes a snapshot back that could not be delivered.
func (r *Recorder) UntakeOperations(snapshot []byte) { _ = r.counts.Merge(snapshot) }

// Ring returns the store of the spans of the last minutes, which can be read like any other.
func (r *Recorder) Ring() collector.Reader { return r.ring }
