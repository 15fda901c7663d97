package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/remote"
)

// process is one of the processes of a service. After a restart it is the same process with another client.
type process struct {
	service  *service
	network  *network
	keep     keep.Options
	warmup   time.Duration
	resource *dendro.Resource
	skew     time.Duration // of its clock
	epoch    int64         // when the simulation began, by this clock

	client     *remote.Client
	sampler    dendro.Sampler
	cut        context.CancelFunc // cuts it off from the network
	generation int
	restarts   []time.Duration

	next []event      // local traces that end at this tick
	work chan []event // for run
	idle chan []event // memory for next
	made made         // by run
}

// made counts the spans of requests that are judged, whether they are kept or not.
type made struct {
	spans, measuredSpans, measuredBytes int64
	sample                              []byte // spans in OTLP, as they follow each other
}

// measured is how many requests there are for one whose spans are encoded to learn their size.
const measured = 64

// sampleBytes is the size of a batch of package remote.
const sampleBytes = 512 << 10

func newProcess(s *service, n *network, o Options, skew time.Duration) *process {
	name := fmt.Sprintf("%s-%d", s.name, len(s.processes))
	p := &process{
		service: s, network: n, keep: o.Keep, warmup: o.Warmup, skew: skew, epoch: time.Now().Add(skew).UnixNano(),
		resource: &dendro.Resource{Attributes: []slog.Attr{
			slog.String("service.name", s.name), slog.String("service.version", "1.42.0"),
			slog.String("service.instance.id", name), slog.String("host.name", "host-"+name),
			slog.String("telemetry.sdk.name", "dendro"), slog.String("telemetry.sdk.language", "go"),
		}},
		work: make(chan []event), idle: make(chan []event, 2),
	}
	p.idle <- nil
	p.start()
	return p
}

// start makes a client.
func (p *process) start() {
	alive, cut := context.WithCancel(context.Background())
	client, err := remote.Dial("http://collector", remote.Options{Keep: &p.keep, HTTPClient: &http.Client{Transport: &link{p.network, alive}}})
	if err != nil {
		panic(err) // the environment has an option that is not valid
	}
	p.client, p.cut, p.sampler = client, cut, client.Sampler(nil)
}

// kill ends the client as if the process was killed: what it has in memory is lost.
func (p *process) kill() {
	p.cut()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.client.Shutdown(ended) // which has no time for anything
}

// restart kills the process and starts it again.
func (p *process) restart(now time.Duration) {
	p.kill()
	p.generation++
	p.restarts = append(p.restarts, now)
	p.start()
}

// begin samples a local trace.
func (p *process) begin(r *request, i int) {
	l := &r.locals[i]
	l.generation = p.generation
	parent := dendro.SpanContext{}
	if l.parent >= 0 {
		parent = dendro.SpanContext{TraceID: r.id, SpanID: r.caller(i), Flags: dendro.FlagRandom, State: r.state}
		if r.locals[l.parent].sampled {
			parent.Flags |= dendro.FlagSampled
		}
	}
	result := p.sampler(dendro.SamplingParameters{
		Context: context.Background(), Parent: parent, TraceID: r.id, Name: l.operation.name, Kind: l.operation.kind,
	})
	l.sampled = result.Sampled
	if i == 0 {
		r.state = result.State
	}
}

// run hands local traces that have ended to the client.
func (p *process) run() {
	b := newBatcher()
	for events := range p.work {
		for _, e := range events {
			if e.request.arrival >= p.warmup {
				p.made.spans += int64(e.request.locals[e.local].spans())
			}
			p.collect(b.batch(e.request, e.local, p.resource, p.epoch), e.request.number%measured == 0 && e.request.arrival >= p.warmup)
			e.request.release()
		}
		clear(events)
		p.idle <- events[:0]
	}
}

func (p *process) collect(b *dendro.Batch, measure bool) {
	if measure {
		before := len(p.made.sample)
		for _, s := range b.Spans {
			p.made.sample = otlp.AppendSpan(p.made.sample, s)
		}
		p.made.measuredSpans += int64(len(b.Spans))
		p.made.measuredBytes += int64(len(p.made.sample) - before)
		if before > sampleBytes {
			p.made.sample = p.made.sample[:before]
		}
	}
	_ = p.client.Collect(b) // what is not kept is counted by the client, and missed in the store
}

// handOver passes the local traces that have ended to run.
func (p *process) handOver() {
	if len(p.next) > 0 {
		p.work <- p.next
		p.next = <-p.idle
	}
}
