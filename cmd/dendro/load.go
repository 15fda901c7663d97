package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/remote"
)

// Times of a load.
const (
	defaultLoadTime = 10 * time.Second
	loadGrace       = 5 * time.Second // for what is under way when the time is over
	loadPatience    = 24 * time.Hour  // for a collector that refuses or is away: as long as the load takes
)

// loadOptions are the flags of "dendro load".
type loadOptions struct {
	to          target
	rate        int64
	duration    time.Duration
	spans       int64
	connections int
	batch       int
	seed        uint64
	acks, check string
	verify      bool
	fresh       bool
	page        verifier
}

// parseLoad parses args. If it returns an exit code other than -1, it has printed why.
func parseLoad(args []string, stderr io.Writer) (o loadOptions, flags *flag.FlagSet, code int) {
	flags = newFlags("load", "", "-rate 20000 -duration 1m -verify", stderr)
	o.to.flags(flags)
	flags.Int64Var(&o.rate, "rate", 0, "`spans` a second; 0: as many as are accepted")
	flags.DurationVar(&o.duration, "duration", 0, "`time` to send; by default 10s, or without end if -spans is given")
	flags.Int64Var(&o.spans, "spans", 0, "`number` of spans to send; 0: as many as -duration allows")
	flags.IntVar(&o.connections, "connections", 2, "`number` of requests that are under way at a time")
	flags.IntVar(&o.batch, "batch", 512, "`spans` of a request")
	flags.Uint64Var(&o.seed, "seed", 0, "`number` that determines the ids and the order of the spans; 0: another one each time")
	flags.StringVar(&o.acks, "acks", "", "`file` at whose end each acknowledged request is noted, for -check")
	flags.StringVar(&o.check, "check", "", "send nothing, and look for the spans that are noted in a `file`")
	flags.BoolVar(&o.verify, "verify", false, "look for the acknowledged spans afterwards, by trace id and by search")
	flags.BoolVar(&o.fresh, "freshness", false, "meanwhile, measure how long after its acknowledgement a span is found")
	flags.StringVar(&o.page.addr, "addr", defaultPage, "`URL` of the page that has the spans, for -verify, -freshness and -check")
	o.page.token.flag(flags, "web-token-file", "the page")
	flags.IntVar(&o.page.sample, "verify-sample", 1000, "`number` of traces to look up by id; 0: all")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, flags, exitOK
	case err != nil:
		return o, flags, exitUsage
	}
	o.page.flags, o.page.certificates = flags, o.to.certificates
	if o.duration == 0 && o.spans == 0 {
		o.duration = defaultLoadTime
	}
	for o.seed == 0 {
		o.seed = rand.Uint64()
	}
	problem := ""
	switch {
	case flags.NArg() > 0:
		problem = fmt.Sprintf("unexpected argument %q", flags.Arg(0))
	case o.rate < 0 || o.duration < 0 || o.spans < 0 || o.page.sample < 0:
		problem = "-rate, -duration, -spans and -verify-sample are not negative"
	case o.connections < 1 || o.connections > maxConnections:
		problem = fmt.Sprintf("-connections %d: want 1 to %d", o.connections, maxConnections)
	case o.batch < 1 || o.batch > maxBatch:
		problem = fmt.Sprintf("-batch %d: want 1 to %d", o.batch, maxBatch)
	default:
		return o, flags, -1
	}
	return o, flags, usageError(flags, "%s", problem)
}

// runLoad sends spans like those of a few services to a collector, or looks for those of before.
func runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, flags, code := parseLoad(args, stderr)
	if code >= 0 {
		return code
	}
	if o.verify || o.fresh || o.check != "" {
		if code := o.page.connect(); code >= 0 {
			return code
		}
		defer o.page.close()
	}
	var runs []*acks
	var err error
	if o.check != "" {
		runs, err = readJournal(o.check)
	} else {
		var run *acks
		run, err = o.send(ctx, stdout, stderr)
		if o.verify {
			runs = append(runs, run)
		}
	}
	if err != nil {
		return failed(flags, err)
	}
	for _, run := range runs {
		if err := o.page.verify(ctx, run, stdout, stderr); err != nil {
			return failed(flags, err)
		}
	}
	return exitOK
}

// send sends spans until the time is over, and prints what has become of them.
func (o *loadOptions) send(ctx context.Context, stdout, stderr io.Writer) (*acks, error) {
	if o.verify || o.fresh { // a page that cannot be asked is known before the load
		if _, err := o.page.get(ctx, "/api/echo", nil, "text/plain"); err != nil {
			return nil, err
		}
	}
	shapes() // takes a moment, before the clock runs
	l := load{acks: acks{run: loadRun{o.seed, o.batch}, began: time.Now()}}
	transport, err := o.to.certificates.transport(o.connections)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	l.meter.next = transport
	w, err := o.to.writer(&l.meter, remote.Options{MaxElapsed: loadPatience})
	if err != nil {
		return nil, err
	}
	if o.acks != "" {
		journal, err := os.OpenFile(o.acks, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer func() { _ = journal.Close() }()
		if err := l.acks.startJournal(journal); err != nil {
			return nil, err
		}
	}
	if o.fresh {
		l.fresh = startFreshness(ctx, &o.page, l.acks.run)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	making := ctx // is done when no more requests are made
	if o.duration > 0 {
		var stop context.CancelFunc
		making, stop = context.WithDeadline(ctx, l.acks.began.Add(o.duration))
		defer stop()
		ctx, stop = context.WithDeadline(ctx, l.acks.began.Add(o.duration+loadGrace))
		defer stop()
	}
	stop := progress(stderr, l.String)
	var connections sync.WaitGroup
	for n := range o.connections {
		share := int64(-1)
		if o.spans > 0 {
			share = o.spans / int64(o.connections)
			if int64(n) < o.spans%int64(o.connections) {
				share++
			}
		}
		connections.Go(func() {
			g := newGenerator(l.acks.run, n, share)
			if err := l.sendAll(making, ctx, g, w, float64(o.rate)/float64(o.connections)); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	connections.Wait()
	l.took = time.Since(l.acks.began)
	l.fresh.stop()
	stop()
	l.report(stdout)
	switch cause := context.Cause(ctx); {
	case cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded):
		return nil, cause
	case l.accepted.Load() == 0:
		return nil, errors.New("no span was accepted")
	case l.rejected.Load() > 0:
		return nil, fmt.Errorf("%d spans were rejected: %s", l.rejected.Load(), printable(*l.reason.Load()))
	}
	return &l.acks, l.fresh.err()
}

// load is what has become of the spans that are sent.
type load struct {
	meter meter
	acks  acks
	fresh *freshness // or nil
	took  time.Duration

	accepted, rejected, requests, bytes atomic.Int64
	reason                              atomic.Pointer[string] // of those that were rejected last
}

// sendAll sends the requests of a generator one after the other, at most rate spans a second if
// that is not zero, until making is done. ctx bounds what is under way then: its error is returned.
func (l *load) sendAll(making, ctx context.Context, g *generator, w *remote.Writer, rate float64) error {
	sent := 0
	for making.Err() == nil {
		r, ok := g.next()
		if !ok {
			return nil
		}
		if rate > 0 {
			due := l.acks.began.Add(time.Duration(float64(sent) / rate * 1e9))
			select {
			case <-time.After(time.Until(due)):
			case <-making.Done():
				return nil
			}
		}
		sent += r.spans
		newest, picked := l.fresh.pick(&r)
		err := w.Send(ctx, r.spans, r.parts...)
		rejected := (*collector.RejectedError)(nil)
		switch {
		case err == nil:
			if picked {
				l.fresh.look(newest)
			}
			if err := l.acks.add(&r); err != nil {
				return err
			}
			l.accepted.Add(int64(r.spans))
			l.requests.Add(1)
			l.bytes.Add(int64(len(r.parts[0]) + len(r.parts[1])))
		case errors.As(err, &rejected): // it is not known which spans
			l.accepted.Add(int64(r.spans - rejected.Spans))
			l.rejected.Add(int64(rejected.Spans))
			l.reason.Store(&rejected.Reason)
		default:
			return err
		}
	}
	return nil
}

// String returns a line about the progress.
func (l *load) String() string {
	n := l.accepted.Load()
	out := fmt.Sprintf("%d spans accepted, %d a second, %s", n, perSecond(n, l.acks.began), size(l.bytes.Load()))
	if refused := l.meter.refused(); refused != "" {
		out += ", " + refused
	}
	return out
}

// report prints the last lines.
func (l *load) report(out io.Writer) {
	n, seconds := l.accepted.Load(), max(l.took.Seconds(), 1e-3)
	m := &l.meter
	fmt.Fprintf(out, "seed       %d\n", l.acks.run.seed)
	fmt.Fprintf(out, "accepted   %d spans in %s, %.0f a second; %s, %s a second\n",
		n, l.took.Round(time.Millisecond), float64(n)/seconds, size(l.bytes.Load()), size(int64(float64(l.bytes.Load())/seconds)))
	fmt.Fprintf(out, "requests   %d, %s\n", l.requests.Load(), &m.accepted)
	if refused := m.refused(); refused != "" {
		fmt.Fprintf(out, "refused    %s\n", refused)
	}
	if n := l.rejected.Load(); n > 0 {
		fmt.Fprintf(out, "rejected   %d spans (%s)\n", n, printable(*l.reason.Load()))
	}
	if l.fresh != nil {
		fmt.Fprintf(out, "freshness  %s\n", l.fresh)
	}
}

// latencies are durations that were measured. Its methods are not safe for concurrent use.
type latencies struct {
	collector.Histogram
	slowest time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.Add(d, 1)
	l.slowest = max(l.slowest, d)
}

func (l *latencies) String() string {
	at := func(q float64) string { return short(min(l.Quantile(q), l.slowest)) }
	return fmt.Sprintf("p50 %s, p99 %s, slowest %s", at(.5), at(.99), short(l.slowest))
}

// short returns d with two or three digits.
func short(d time.Duration) string {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

// meter is a transport that counts answers, and measures how long those take that accept.
type meter struct {
	next *http.Transport

	mu       sync.Mutex
	accepted latencies
	statuses map[int]int // without 200
	failed   int         // requests without an answer
	last     error       // of these
}

// RoundTrip implements [http.RoundTripper].
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	res, err := m.next.RoundTrip(r)
	took := time.Since(began)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil && r.Context().Err() == nil:
		m.failed++
		m.last = err
	case err != nil:
	case res.StatusCode == http.StatusOK:
		m.accepted.add(took)
	default:
		if m.statuses == nil {
			m.statuses = map[int]int{}
		}
		m.statuses[res.StatusCode]++
	}
	return res, err
}

// refused returns how often requests were refused or not answered, and "" if none was.
func (m *meter) refused() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, status := range slices.Sorted(maps.Keys(m.statuses)) {
		out = append(out, fmt.Sprintf("%d × %d %s", m.statuses[status], status, http.StatusText(status)))
	}
	if m.failed > 0 {
		out = append(out, fmt.Sprintf("%d × not answered (%v)", m.failed, m.last))
	}
	return strings.Join(out, ", ")
}
