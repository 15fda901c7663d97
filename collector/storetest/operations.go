package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	counts "github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// recent makes spans end now: counts are kept for a day.
func recent(spans ...*dendro.SpanData) []*dendro.SpanData {
	now := time.Now().UnixNano()
	for _, s := range spans {
		s.Start, s.End = now-(s.End-s.Start), now
	}
	return spans
}

// lastHour reads the counts of the last hour.
func lastHour() collector.OperationScan {
	now := time.Now()
	return collector.OperationScan{Start: now.Add(-time.Hour), End: now.Add(time.Minute)}
}

func ofKind(s *dendro.SpanData, kind dendro.Kind, attrs ...slog.Attr) *dendro.SpanData {
	s.Kind = kind
	s.Attributes = append(s.Attributes, attrs...)
	return s
}

func operations(t *testing.T, s collector.Store) {
	read := func(q collector.OperationScan) (out []string) {
		err := s.Operations(t.Context(), q, func(o *collector.Operation) bool {
			p90 := o.Total.Durations.Quantile(.9)
			out = append(out, fmt.Sprintf("%s %s %v %v %v %v", o.Service, o.Name, o.Kind, o.Total.Spans, o.Total.Errors, p90.Round(100*time.Millisecond)))
			points := 0.0
			for _, p := range o.Points {
				points += p.Spans
			}
			if q.Step > 0 && points != o.Total.Spans {
				t.Errorf("%s has %v spans in %d points", o.Name, points, len(o.Points))
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	equal(t, "of an empty store", read(lastHour()), []string(nil))
	twice := batch("shop", recent(lasting(span(3, 31, 0, "GET /", 0), 1000))...)
	collect(t, s,
		batch("shop", recent(ofKind(lasting(span(1, 11, 0, "GET /", 0), 1000), dendro.KindServer), lasting(span(1, 12, 11, "query", 0), 200))...),
		batch("shop", recent(failed(ofKind(lasting(span(2, 21, 0, "GET /", 0), 1000), dendro.KindServer)))...),
		batch("mail", recent(lasting(span(2, 22, 21, "GET /", 0), 1000))...),
		twice, twice)
	q := lastHour()
	all := []string{"mail GET / internal 1 0 1s", "shop GET / internal 1 0 1s", "shop GET / server 2 1 1s", "shop query internal 1 0 200ms"}
	equal(t, "the last hour", read(q), all)
	q.Step = time.Minute
	equal(t, "by the minute", read(q), all)
	q.Service = "shop"
	equal(t, "of a service", read(q), all[1:])
	q.Name = "query"
	equal(t, "of a name", read(q), all[3:])
	equal(t, "of yesterday", read(collector.OperationScan{Start: time.Now().Add(-48 * time.Hour), End: time.Now().Add(-24 * time.Hour)}), []string(nil))

	visited := 0
	err := s.Operations(t.Context(), lastHour(), func(*collector.Operation) bool { visited++; return false })
	if err != nil || visited != 1 {
		t.Errorf("%d operations were visited: %v", visited, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Operations(ctx, lastHour(), func(*collector.Operation) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context: %v", err)
	}
}

// A process counts its spans and sends some. They add up with those that the store counts.
func countsOfProcesses(t *testing.T, s collector.Store) {
	w, ok := s.(collector.OperationWriter)
	if !ok {
		t.Skip("the store takes no counts")
	}
	shop, mail := batch("shop"), batch("mail")
	for _, b := range []*dendro.Batch{shop, mail} {
		b.Resource.Attributes = append(b.Resource.Attributes, slog.Bool(semconv.Counted, true))
	}
	ended := time.Now().Add(-5 * time.Minute) // so that no call waits in any store
	spans := func(b *dendro.Batch, spans ...*dendro.SpanData) *dendro.Batch {
		for _, s := range spans {
			s.Start, s.End = ended.UnixNano()-(s.End-s.Start), ended.UnixNano()
		}
		return &dendro.Batch{Resource: b.Resource, Spans: spans}
	}
	call := func(trace, id int) *dendro.SpanData {
		return ofKind(lasting(span(trace, id, 0, "GET", 0), 1000), dendro.KindClient, slog.String("server.address", "10.0.0.1"))
	}
	now := time.Now()
	snapshot := func(n int) []byte { // of n requests
		table := counts.New(counts.Options{Now: func() time.Time { return now }})
		for trace := range n {
			table.Shard(0).Count(&dendro.Resource{Attributes: shop.Resource.Attributes[:1]}, spans(shop,
				failed(ofKind(lasting(span(20+trace, 11, 0, "GET /", 0), 2000), dendro.KindServer)), call(20+trace, 12),
				ofKind(lasting(span(20+trace, 13, 11, "SELECT", 0), 200), dendro.KindClient, slog.String("db.system.name", "mysql"), slog.String("db.namespace", "shop"))).Spans)
		}
		now = now.Add(time.Minute)
		return table.TakeSnapshot(nil)
	}
	read := func(step time.Duration) (out []string) {
		q := lastHour()
		q.Step = step
		text := func(total *collector.Counts, points []collector.Counts) string {
			spans := 0.0
			for _, p := range points {
				spans += p.Spans
			}
			if step > 0 && spans != total.Spans {
				t.Errorf("%v spans in the points, want %v", spans, total.Spans)
			}
			return fmt.Sprint(total.Spans, total.Errors, total.Durations.Count(), total.Durations.Quantile(1).Round(200*time.Millisecond))
		}
		if err := s.Edges(t.Context(), q, func(e *collector.Edge) bool {
			out = append(out, fmt.Sprint(e.Client, " ", e.Server, " ", text(&e.Total, e.Points)))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Operations(t.Context(), q, func(o *collector.Operation) bool {
			out = append(out, fmt.Sprint(o.Service, " ", o.Name, " ", o.Kind, " ", text(&o.Total, o.Points)))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	write := func(b []byte) {
		t.Helper()
		if err := w.WriteOperations(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	write(snapshot(2))
	write(snapshot(3))
	equal(t, "of two snapshots", read(0), []string{
		"{service shop } {database shop mysql} 5 0 5 200ms", "{service shop } {peer 10.0.0.1 } 5 0 5 1s",
		"shop GET client 5 0 5 1s", "shop GET / server 5 5 5 2s", "shop SELECT client 5 0 5 200ms",
	})
	answer := ofKind(lasting(span(9, 14, 12, "POST /", 0), 500), dendro.KindServer)
	write(snapshot(0))
	collect(t, s,
		spans(shop, call(9, 12), failed(lasting(span(9, 15, 12, "work", 0), 100)),
			ofKind(lasting(span(9, 16, 12, "SELECT", 0), 200), dendro.KindClient, slog.String("db.system.name", "mysql"), slog.String("db.namespace", "shop"))),
		spans(mail, answer),
		&dendro.Batch{Resource: &dendro.Resource{Attributes: shop.Resource.Attributes[:1]}, Spans: spans(shop, ofKind(lasting(span(10, 17, 0, "GET /", 0), 3000), dendro.KindServer)).Spans})
	write(snapshot(1))
	for _, step := range []time.Duration{0, time.Minute, 10 * time.Minute} {
		got := read(step)
		database, operations := "{service shop } {database shop mysql} 6 0 6 200ms", got[max(0, len(got)-3):]
		equal(t, "operations, with spans", operations, []string{"shop GET client 6 0 6 1s", "shop GET / server 7 6 7 3s", "shop SELECT client 6 0 6 200ms"})
		// A store may learn who answers at an address from then on, or also for calls before.
		switch edges := fmt.Sprint(got[:len(got)-len(operations)]); edges {
		case "[" + database + " {service shop } {service mail } 6 0 6 1s]":
		case "[" + database + " {service shop } {peer 10.0.0.1 } 5 0 5 1s {service shop } {service mail } 1 0 1 1s]":
		default:
			t.Errorf("edges: %s", edges)
		}
	}
}

func damagedCounts(t *testing.T, s collector.Store) {
	w, ok := s.(collector.OperationWriter)
	if !ok {
		t.Skip("the store takes no counts")
	}
	table := counts.New(counts.Options{})
	table.Shard(0).Count(batch("shop").Resource, recent(span(1, 11, 0, "GET /", 0)))
	b := table.TakeSnapshot(nil)
	for _, damaged := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0), append([]byte{255}, b[1:]...)} {
		if err := w.WriteOperations(t.Context(), damaged); !errors.Is(err, collector.ErrSnapshot) {
			t.Errorf("%d bytes: %v", len(damaged), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.WriteOperations(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context: %v", err)
	}
	if err := s.Operations(t.Context(), lastHour(), func(o *collector.Operation) bool {
		t.Errorf("there is %s %s", o.Service, o.Name)
		return true
	}); err != nil {
		t.Fatal(err)
	}
}

func edges(t *testing.T, s collector.Store) {
	called := ofKind(span(1, 13, 12, "GET /mail", 0), dendro.KindServer)
	called.Remote = true
	collect(t, s,
		batch("shop", recent(ofKind(lasting(span(1, 12, 11, "GET", 0), 1000), dendro.KindClient, slog.String("server.address", "mail")),
			failed(ofKind(span(1, 14, 11, "SELECT", 0), dendro.KindClient, slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"))))...),
		batch("mail", recent(called)...))
	read := func(service string) (out []string) {
		q := lastHour()
		q.Service = service
		err := s.Edges(t.Context(), q, func(e *collector.Edge) bool {
			out = append(out, fmt.Sprintf("%v %v %v %v", e.Client, e.Server, e.Total.Spans, e.Total.Errors))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	all := []string{"{service shop } {database shop postgresql} 1 1", "{service shop } {service mail } 1 0"}
	equal(t, "edges", read(""), all)
	equal(t, "edges of a service", read("mail"), all[1:])
	equal(t, "edges of no service", read("nobody"), []string(nil))
}
