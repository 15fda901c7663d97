package main

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The load is like that of a few services: see [TestLoadIsRealistic].
func TestLoadIsRealistic(t *testing.T) {
	const most = 50_000
	g := newGenerator(loadRun{seed: 1, batch: 512}, 0, most)
	type span struct {
		*dendro.SpanData
		service string
	}
	traces := map[dendro.TraceID]map[dendro.SpanID]span{}
	requestsOf := map[dendro.TraceID]map[int]bool{}
	names, services := map[string]bool{}, map[string]bool{}
	var spans, attributes, size, failed, rare, largest int
	for n := 0; ; n++ {
		r, ok := g.next()
		if !ok {
			break
		}
		body := bytes.Join(r.parts, nil)
		batches, err := otlp.DecodeTraces(body)
		testkit.NoError(t, err)
		testkit.Equal(t, "resources of a request", len(batches), 1)
		testkit.Equal(t, "spans of a request", len(batches[0].Spans), r.spans)
		size += len(body)
		largest = max(largest, r.spans)
		service := batches[0].Resource.Service()
		services[service] = true
		for _, s := range batches[0].Spans {
			spans++
			attributes += len(s.Attributes)
			names[service+" "+s.Name] = true
			if traces[s.TraceID] == nil {
				traces[s.TraceID], requestsOf[s.TraceID] = map[dendro.SpanID]span{}, map[int]bool{}
			}
			traces[s.TraceID][s.SpanID] = span{s, service}
			requestsOf[s.TraceID][n] = true
			if s.Status.Code == dendro.StatusError && !s.ParentID.IsValid() {
				failed++
			}
			for _, a := range s.Attributes {
				if a.Key == tenantKey && a.Value.String() == g.run.rareTenant() {
					rare++
				}
				if bytes.ContainsAny([]byte(a.Value.String()), "#") {
					t.Fatalf("%s=%s was not filled in", a.Key, a.Value)
				}
			}
		}
	}
	testkit.Equal(t, "spans", spans, most)
	testkit.Equal(t, "largest request", largest, 512)
	testkit.Equal(t, "services", len(services), 12)
	testkit.Equal(t, "spans with the rare tenant", rare, 1)
	between := func(what string, got, from, to float64) {
		t.Helper()
		if t.Logf("%s: %.2f", what, got); got < from || got > to {
			t.Errorf("%s: %.2f, want %g to %g", what, got, from, to)
		}
	}
	between("operations", float64(len(names)), 40, 70)
	between("spans of a trace", float64(spans)/float64(len(traces)), 9, 10)
	between("attributes of a span", float64(attributes)/float64(spans), 9.5, 10.5)
	between("bytes of a span", float64(size)/float64(spans), 480, 520)
	between("failed traces of a hundred", 100*float64(failed)/float64(len(traces)), 1, 3)
	scattered, overlapping := 0, 0
	var logs []float64
	for id, spans := range traces {
		if len(requestsOf[id]) > 1 {
			scattered++
		}
		for _, s := range spans {
			if s.Start >= s.End {
				t.Fatalf("%s takes %d ns", s.Name, s.End-s.Start)
			}
			parent, ok := spans[s.ParentID]
			if !ok {
				if !s.ParentID.IsValid() {
					logs = append(logs, math.Log(float64(s.End-s.Start)))
				}
				continue
			}
			if s.Start < parent.Start || s.End > parent.End && parent.Kind != dendro.KindProducer {
				t.Fatalf("%s is not within %s", s.Name, parent.Name)
			}
			for _, other := range spans {
				if other.ParentID == s.ParentID && other.SpanID != s.SpanID && other.Start < s.End && s.Start < other.End {
					overlapping++
				}
			}
		}
	}
	between("traces of a hundred in several requests", 100*float64(scattered)/float64(len(traces)), 80, 100)
	between("of a thousand spans, at the same time as a sibling", 1000*float64(overlapping)/float64(spans), 50, 300)
	sum, squares := 0.0, 0.0
	for _, l := range logs {
		sum += l
		squares += l * l
	}
	mean := sum / float64(len(logs))
	between("median of roots in ms", math.Exp(mean)/1e6, 5, 100)
	between("standard deviation of the logarithm", math.Sqrt(squares/float64(len(logs))-mean*mean), .5, 2)
}

// A run determines the ids, and which spans are in which request.
func TestLoadIsDeterministic(t *testing.T) {
	ids := func(seed uint64, connection int) (out []string) {
		for g := newGenerator(loadRun{seed: seed, batch: 50}, connection, 3000); ; {
			r, ok := g.next()
			if !ok {
				return out
			}
			batches, err := otlp.DecodeTraces(bytes.Join(r.parts, nil))
			testkit.NoError(t, err)
			line := fmt.Sprint(r.service, r.number)
			for _, s := range batches[0].Spans {
				line += fmt.Sprint(" ", s.TraceID, s.SpanID, s.ParentID, s.Name)
			}
			out = append(out, line)
		}
	}
	testkit.Equal(t, "the same run", ids(1, 0), ids(1, 0))
	other := map[string]bool{}
	for _, lines := range [][]string{ids(1, 0), ids(1, 1), ids(2, 0)} {
		for _, line := range lines {
			if other[line] {
				t.Fatalf("two runs have %.60s…", line)
			}
			other[line] = true
		}
	}
}

func BenchmarkGenerator(b *testing.B) {
	g := newGenerator(loadRun{seed: 1, batch: 512}, 0, -1)
	spans, size := 0, 0
	for b.Loop() {
		r, _ := g.next()
		spans += r.spans
		size += len(r.parts[0]) + len(r.parts[1])
	}
	b.SetBytes(int64(size / b.N))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(spans), "ns/span")
}
