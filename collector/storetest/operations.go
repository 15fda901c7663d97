package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
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
