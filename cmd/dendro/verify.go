package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// verifier looks for acknowledged spans.
type verifier struct {
	client
	sample int // traces to look up by id; 0: all
}

const (
	// verifyWorkers is how many traces are looked up at a time.
	verifyWorkers = 2
	// settleTime is how long after its acknowledgement a span may be missing.
	settleTime = 200 * time.Millisecond
)

// found counts what was looked for and what was found.
type found struct{ want, got atomic.Int64 }

func (f *found) missing() int64 { return f.want.Load() - f.got.Load() }

// expected is what a run has had acknowledged.
type expected struct {
	traces, spans int64
	services      []int64 // spans of each
	rare          []dendro.TraceID
}

func (a *acks) expected() expected {
	e := expected{services: make([]int64, len(serviceNames))}
	a.each(func(p *plan, spans []int) bool {
		e.traces++
		e.spans += int64(len(spans))
		for _, i := range spans {
			e.services[p.shape.spans[i].service]++
		}
		if p.rare && spans[0] == 0 { // the root has the attribute
			e.rare = append(e.rare, p.id)
		}
		return true
	})
	return e
}

// verify prints how many of the acknowledged spans of a run are found. It returns an error if one
// is missing.
func (v *verifier) verify(ctx context.Context, run *acks, stdout, stderr io.Writer) error {
	want := run.expected()
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return errInterrupted
	}
	var traces, byID found
	stop := progress(stderr, func() string {
		return fmt.Sprintf("looked for %d traces, found %d spans of %d", traces.want.Load(), byID.got.Load(), byID.want.Load())
	})
	err := v.byID(ctx, run, want.traces, &traces, &byID)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "by id      %d of %d spans found, in %d of %d traces\n", byID.got.Load(), byID.want.Load(), traces.want.Load(), want.traces)
	counted, err := v.counted(ctx, run, want.services)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "by search  %d of %d spans counted\n", counted, want.spans)
	rare, err := v.rare(ctx, run, want.rare)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "rare value %d of %d traces found with %s = %q\n", rare, len(want.rare), tenantKey, run.run.rareTenant())
	if missing := byID.missing() + want.spans - counted + int64(len(want.rare)) - rare; missing > 0 {
		return errors.New("acknowledged spans are missing")
	}
	return nil
}

// byID looks up traces by their ids, all or a sample of them.
func (v *verifier) byID(ctx context.Context, run *acks, all int64, traces, spans *found) error {
	type wanted struct {
		id  dendro.TraceID
		ids map[dendro.SpanID]bool
	}
	stride := int64(1)
	if v.sample > 0 {
		stride = max(1, (all+int64(v.sample)-1)/int64(v.sample))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan wanted)
	var workers sync.WaitGroup
	for range verifyWorkers {
		workers.Go(func() {
			for w := range queue {
				got, err := v.spansOf(ctx, w.id, w.ids)
				if err != nil {
					cancel(err)
				}
				traces.want.Add(1)
				spans.want.Add(int64(len(w.ids)))
				spans.got.Add(got)
			}
		})
	}
	n := int64(-1)
	run.each(func(p *plan, indices []int) bool {
		if n++; n%stride != 0 {
			return true
		}
		w := wanted{p.id, map[dendro.SpanID]bool{}}
		for _, i := range indices {
			w.ids[dendro.SpanID(binary.BigEndian.AppendUint64(nil, p.span(i)))] = true
		}
		select {
		case queue <- w:
			return true
		case <-ctx.Done():
			return false
		}
	})
	close(queue)
	workers.Wait()
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return errInterrupted
	}
	return context.Cause(ctx)
}

// spansOf returns how many of the spans of a trace there are.
func (v *verifier) spansOf(ctx context.Context, id dendro.TraceID, ids map[dendro.SpanID]bool) (n int64, err error) {
	body, err := v.get(ctx, "/api/traces/"+id.String(), nil, "application/protobuf")
	if answer := (*answerError)(nil); errors.As(err, &answer) && answer.status == http.StatusNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	batches, err := otlp.DecodeTraces(body)
	if err != nil {
		return 0, fmt.Errorf("%s does not answer like a page of dendro: %w", v.addr, err)
	}
	seen := map[dendro.SpanID]bool{}
	for _, b := range batches {
		for _, s := range b.Spans {
			if ids[s.SpanID] && !seen[s.SpanID] {
				seen[s.SpanID] = true
				n++
			}
		}
	}
	return n, nil
}

// window returns the time of a run in Unix seconds. Its spans began before they were sent.
func (a *acks) window() (start, end int64) {
	return a.began.Add(-time.Hour).Unix(), time.Now().Add(time.Minute).Unix()
}

// parameters returns those of a query and a range of seconds.
func parameters(query string, start, end int64) url.Values {
	return url.Values{"q": {query}, "start": {strconv.FormatInt(start, 10)}, "end": {strconv.FormatInt(end, 10)}}
}

// counted returns how many spans a search counts, of each service at most as many as there must
// be: some more may be there that were not acknowledged.
func (v *verifier) counted(ctx context.Context, run *acks, services []int64) (n int64, err error) {
	start, end := run.window()
	q := parameters(fmt.Sprintf("{ resource.%s = %q } | count_over_time() by(resource.service.name)", runKey, run.run), start, end)
	var answer struct {
		Series []struct {
			Labels []attribute
			Value  float64
		}
	}
	if err := v.ask(ctx, "/api/metrics/query", q, &answer); err != nil {
		return 0, err
	}
	for _, s := range answer.Series {
		for i, name := range serviceNames {
			if len(s.Labels) == 1 && s.Labels[0].Value["stringValue"] == name {
				n += min(int64(s.Value), services[i])
			}
		}
	}
	return n, nil
}

// rare returns how many of the traces searches find that have the rare tenant.
func (v *verifier) rare(ctx context.Context, run *acks, ids []dendro.TraceID) (n int64, err error) {
	start, end := run.window()
	got := map[string]bool{}
	if err := v.searchAll(ctx, fmt.Sprintf("{ span.%s = %q }", tenantKey, run.run.rareTenant()), start, end, got); err != nil {
		return 0, err
	}
	for _, id := range ids {
		if got[id.String()] {
			n++
		}
	}
	return n, nil
}

// searchAll adds to got the ids of all traces that match a query and begin from one second to
// another, inclusive. If there are more than a search returns, it searches each half of that time.
func (v *verifier) searchAll(ctx context.Context, query string, start, end int64, got map[string]bool) error {
	q := parameters(query, start, end)
	q.Set("limit", strconv.Itoa(traceql.MaxLimit))
	q.Set("spss", "1")
	var answer struct {
		Message string
		Traces  []foundTrace
	}
	if err := v.ask(ctx, "/api/search", q, &answer); err != nil {
		return err
	}
	for _, t := range answer.Traces {
		got[t.TraceID] = true
	}
	if answer.Message == "" {
		return nil
	}
	if start == end {
		return fmt.Errorf("the search of a second is not complete: %s", printable(answer.Message))
	}
	middle := start + (end-start)/2
	if err := v.searchAll(ctx, query, start, middle, got); err != nil {
		return err
	}
	return v.searchAll(ctx, query, middle+1, end, got)
}

// ask decodes an answer of the API.
func (v *verifier) ask(ctx context.Context, path string, q url.Values, into any) error {
	body, err := v.get(ctx, path, q, "application/json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s does not answer like a page of dendro: %w", v.addr, err)
	}
	return nil
}
