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
			q := randomScan(r)
			got := scan(t, s, q)
			visited := numbers(got)
			must := m.scan(q)
			slices.Sort(visited)
			equal(t, fmt.Sprintf("%+v: once each", q), visited, slices.Compact(slices.Clone(visited)))
			equal(t, fmt.Sprintf("%+v: not lost", q), common(must, visited), must)
			for i := range got {
				slices.SortStableFunc(got[i].Spans, byStart)
				equal(t, "summary", got[i].Summary(), summarize(got[i].ID, slices.SortedStableFunc(slices.Values(m[got[i].ID]), byStart)))
			}
		}
		for id, want := range m {
			slices.SortStableFunc(want, byStart)
			got, err := s.Trace(t.Context(), id, collector.TimeRange{})
			if err != nil || got == nil {
				t.Fatalf("trace %s: %v, %v", id, got, err)
			}
			if !slices.IsSortedFunc(got.Spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) }) {
				t.Errorf("trace %s is not ordered by start", id)
			}
			slices.SortStableFunc(got.Spans, byStart)
			equal(t, "trace "+id.String(), texts(got.Spans), texts(want))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// byStart orders spans by start, and then by their resources and ids.
func byStart(a, b collector.Span) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Resource.Service(), b.Resource.Service()), bytes.Compare(a.SpanID[:], b.SpanID[:]))
}

// common returns the elements of a that are in b.
func common(a, b []int) (out []int) {
	for _, n := range a {
		if slices.Contains(b, n) {
			out = append(out, n)
		}
	}
	return out
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
	scopes := []*dendro.Scope{{Name: "a"}, {Name: "b", Version: "1", Attributes: []slog.Attr{slog.Int("n", 1)}}, nil}
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
		spans = append(spans, ofScope(scopes[kind%3], s))
	}
	return batch(fmt.Sprint(service), spans...)
}

func randomScan(r *rand.Rand) (q collector.Scan) {
	often := func() bool { return r.IntN(3) == 0 }
	if often() {
		q.Start = time.Unix(0, epoch+r.Int64N(4)*ms)
	}
	if often() {
		q.End = time.Unix(0, epoch+r.Int64N(5)*ms)
	}
	h := &q.Hints
	if often() {
		h.MinDuration = time.Duration(r.Int64N(9) * ms)
	}
	if often() {
		h.MaxDuration = h.MinDuration + time.Duration(1+r.Int64N(4)*ms)
	}
	for range r.IntN(3) {
		h.Spans = append(h.Spans, randomSpanHints(r))
	}
	if often() {
		q.Attributes = []string{"n"}
	}
	q.AllAttributes, q.Details = often(), often()
	return q
}

func randomSpanHints(r *rand.Rand) (h collector.SpanHints) {
	often := func() bool { return r.IntN(3) == 0 }
	h.Errors = often()
	if often() {
		h.MinDuration = time.Duration(r.Int64N(6) * ms)
	}
	if often() {
		h.StartsAfter = time.Unix(0, epoch+r.Int64N(5)*ms)
	}
	for range 2 {
		if often() {
			h.Services = append(h.Services, fmt.Sprint(r.IntN(4)))
		}
		if often() {
			h.Names = append(h.Names, fmt.Sprint("name ", r.IntN(5)))
		}
		if often() {
			h.Keys = append(h.Keys, []string{"n", "s", "b", "host.name", "absent"}[r.IntN(5)])
		}
		if often() {
			h.Values = append(h.Values, []slog.Attr{slog.Int("n", r.IntN(6)), slog.Float64("n", 2), slog.String("s", fmt.Sprint(r.IntN(4))),
				slog.Bool("b", r.IntN(2) == 0), slog.String("host.name", "host of 1"), slog.Int("s", 1)}[r.IntN(6)])
		}
	}
	if often() {
		h.Texts = append(h.Texts, []slog.Attr{slog.String("n", fmt.Sprint(r.IntN(6))), slog.String("b", "true"), slog.String("s", "2"), slog.String("host.name", "host of 0")}[r.IntN(4)])
	}
	return h
}

// model has the distinct spans of each trace in the order of arrival.
type model map[dendro.TraceID][]collector.Span

func (m model) collect(b *dendro.Batch) {
	for _, s := range b.Spans {
		if !slices.ContainsFunc(m[s.TraceID], func(a collector.Span) bool { return a.SpanID == s.SpanID && a.Start == s.Start }) {
			m[s.TraceID] = append(m[s.TraceID], collector.Span{SpanData: *s, Resource: b.Resource})
		}
	}
}

// scan returns the traces that q must visit.
func (m model) scan(q collector.Scan) (must []int) {
	for id, spans := range m {
		if sum := summarize(id, spans); q.Contains(sum.Start) && agrees(q.Hints, sum, spans) {
			must = append(must, numbers([]collector.Trace{{ID: id}})...)
		}
	}
	return must
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

func agrees(h collector.Hints, sum collector.Summary, spans []collector.Span) bool {
	if sum.Duration < h.MinDuration || h.MaxDuration > 0 && sum.Duration > h.MaxDuration {
		return false
	}
	return !slices.ContainsFunc(h.Spans, func(h collector.SpanHints) bool {
		return !slices.ContainsFunc(spans, func(s collector.Span) bool { return spanAgrees(h, s) })
	})
}

func spanAgrees(h collector.SpanHints, s collector.Span) bool {
	if h.Errors && s.Status.Code != dendro.StatusError || s.Duration() < h.MinDuration || time.Unix(0, s.Start).Before(h.StartsAfter) {
		return false
	}
	each := func(texts []string, has func(text string) bool) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !has(text) })
	}
	attrs := slices.Concat(s.Attributes, s.Resource.Attributes)
	has := func(attr func(b slog.Attr) bool) bool { return slices.ContainsFunc(attrs, attr) }
	return each(h.Services, func(text string) bool { return s.Resource.Service() == text }) &&
		each(h.Names, func(text string) bool { return s.Name == text }) &&
		each(h.Keys, func(text string) bool { return has(func(b slog.Attr) bool { return b.Key == text }) }) &&
		!slices.ContainsFunc(h.Texts, func(a slog.Attr) bool {
			return !has(func(b slog.Attr) bool { return a.Key == b.Key && a.Value.String() == b.Value.String() })
		}) &&
		!slices.ContainsFunc(h.Values, func(a slog.Attr) bool {
			return !has(func(b slog.Attr) bool { return a.Key == b.Key && sameValue(a.Value, b.Value) })
		})
}

// sameValue reports whether a and b are the same text, boolean or number.
func sameValue(a, b slog.Value) bool {
	number := func(v slog.Value) (float64, bool) {
		switch v.Kind() {
		case slog.KindInt64:
			return float64(v.Int64()), true
		case slog.KindFloat64:
			return v.Float64(), true
		}
		return 0, false
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return a.Kind() == b.Kind() && a.Equal(b)
}
