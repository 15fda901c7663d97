package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// agreesWithModel gives the same random spans, some of them repeatedly, to s and to a
// simple model, and asks both the same questions.
func agreesWithModel(t *testing.T, s collector.Store) {
	r := rand.New(rand.NewPCG(1, 2))
	m := model{}
	for range 30 {
		for range 5 {
			b := randomBatch(r)
			collect(t, s, b)
			m.collect(b)
		}
		for range 40 {
			q := randomQuery(r)
			equal(t, fmt.Sprintf("%+v", q), search(t, s, q), m.search(q))
		}
		for id, want := range m {
			slices.SortStableFunc(want, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
			got, err := s.Trace(t.Context(), id)
			if err != nil || got == nil {
				t.Fatalf("trace %s: %v, %v", id, got, err)
			}
			equal(t, "trace "+id.String(), texts(got.Spans), texts(want))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func texts(spans []collector.Span) (out []string) {
	for i := range spans {
		out = append(out, spans[i].Resource.Service()+" "+render(&spans[i].SpanData))
	}
	return out
}

// randomBatch returns spans of one service. Everything in a span is derived from its
// trace, id and start.
func randomBatch(r *rand.Rand) *dendro.Batch {
	service := r.IntN(3)
	var spans []*dendro.SpanData
	for range 1 + r.IntN(8) {
		n, id, start := 1+r.IntN(8), 1+service+3*r.IntN(30), r.IntN(4)
		kind := n*7 + id*5 + start*3
		s := lasting(span(n, id, id/3, fmt.Sprint("name ", kind%4), int64(start)), int64(kind%6))
		for _, tag := range []slog.Attr{slog.Int("n", kind%5), slog.String("s", fmt.Sprint(kind%3)), slog.Bool("b", kind%2 == 0)} {
			if kind++; kind%4 > 0 {
				s.Attributes = append(s.Attributes, tag)
			}
		}
		if kind%9 == 0 {
			failed(s)
		}
		spans = append(spans, s)
	}
	return batch(fmt.Sprint(service), spans...)
}

func randomQuery(r *rand.Rand) (q collector.Query) {
	often := func() bool { return r.IntN(3) == 0 }
	if often() {
		q.Start = time.Unix(0, epoch+r.Int64N(4)*ms)
	}
	if often() {
		q.End = q.Start.Add(time.Duration(r.Int64N(3) * ms))
		if q.Start.IsZero() {
			q.End = time.Unix(0, epoch+r.Int64N(4)*ms)
		}
	}
	if often() {
		q.MinDuration = time.Duration(r.Int64N(9) * ms)
	}
	if often() {
		q.MaxDuration = q.MinDuration + time.Duration(r.Int64N(4)*ms)
	}
	if often() {
		q.Service = fmt.Sprint(r.IntN(4))
	}
	if often() {
		q.Name = fmt.Sprint("name ", r.IntN(5))
	}
	q.ErrorsOnly = often()
	for _, tag := range []slog.Attr{slog.Int("n", r.IntN(5)), slog.Int("s", r.IntN(3)), slog.String("b", "true"), slog.String("host.name", "host of 1")} {
		if r.IntN(5) == 0 {
			q.Tags = append(q.Tags, tag)
		}
	}
	q.Limit = r.IntN(5)
	return q
}

// model has the distinct spans of each trace in the order of arrival.
type model map[dendro.TraceID][]collector.Span

func (m model) collect(b *dendro.Batch) {
	for _, s := range b.Spans {
		if !slices.ContainsFunc(m[s.TraceID], func(a collector.Span) bool { return a.SpanID == s.SpanID && a.Start == s.Start }) {
			m[s.TraceID] = append(m[s.TraceID], collector.Span{SpanData: *s, Resource: b.Resource, Scope: b.Scope})
		}
	}
}

func (m model) search(q collector.Query) []collector.Summary {
	q, _ = q.Normalize()
	out := []collector.Summary{}
	for id, spans := range m {
		if sum := summarize(id, spans); matches(q, sum, spans) {
			out = append(out, sum)
		}
	}
	slices.SortFunc(out, func(a, b collector.Summary) int {
		return cmp.Or(cmp.Compare(b.Start, a.Start), bytes.Compare(a.TraceID[:], b.TraceID[:]))
	})
	return out[:min(len(out), q.Limit)]
}

func summarize(id dendro.TraceID, spans []collector.Span) collector.Summary {
	sum := collector.Summary{TraceID: id, Spans: len(spans)}
	root, first, last := spans[0], spans[0].Start, spans[0].End
	services := map[string]collector.ServiceSummary{}
	for _, s := range spans {
		first, last = min(first, s.Start), max(last, s.End)
		if a, b := s.ParentID.IsValid(), root.ParentID.IsValid(); !a && b || a == b && s.Start < root.Start {
			root = s
		}
		service := services[s.Resource.Service()]
		service.Service = s.Resource.Service()
		service.Spans++
		if s.Status.Code == dendro.StatusError {
			service.Errors++
			sum.Errors++
		}
		services[service.Service] = service
	}
	for _, service := range services {
		sum.Services = append(sum.Services, service)
	}
	slices.SortFunc(sum.Services, func(a, b collector.ServiceSummary) int { return cmp.Compare(a.Service, b.Service) })
	sum.RootService, sum.RootName, sum.RootMissing = root.Resource.Service(), root.Name, root.ParentID.IsValid()
	sum.Start, sum.Duration = first, time.Duration(last-first)
	return sum
}

func matches(q collector.Query, sum collector.Summary, spans []collector.Span) bool {
	start := time.Unix(0, sum.Start)
	named := func(s collector.Span) bool {
		return (q.Service == "" || s.Resource.Service() == q.Service) && (q.Name == "" || s.Name == q.Name)
	}
	tagged := func(s collector.Span) bool {
		for _, tag := range q.Tags {
			if !slices.ContainsFunc(slices.Concat(s.Attributes, s.Resource.Attributes), func(a slog.Attr) bool {
				return a.Key == tag.Key && a.Value.String() == tag.Value.String()
			}) {
				return false
			}
		}
		return true
	}
	return (q.Start.IsZero() || !start.Before(q.Start)) && (q.End.IsZero() || start.Before(q.End)) &&
		sum.Duration >= q.MinDuration && (q.MaxDuration == 0 || sum.Duration <= q.MaxDuration) &&
		(!q.ErrorsOnly || sum.Errors > 0) &&
		slices.ContainsFunc(spans, named) && slices.ContainsFunc(spans, tagged)
}
