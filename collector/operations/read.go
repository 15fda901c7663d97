package operations

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro/collector"
)

// Operations implements [collector.OperationReader]. It reads a snapshot.
func (t *Table) Operations(ctx context.Context, s collector.OperationScan, visit func(*collector.Operation) bool) error {
	service, name := shortened(s.Service), shortened(s.Name)
	found := snapshot(t, s, &t.operations, func(sh *Shard) cells[operation] { return sh.operations }, func(o operation) bool {
		return (service == "" || o.service == service) && (name == "" || o.name == name)
	})
	slices.SortFunc(found, func(a, b past[operation]) int {
		return cmp.Or(strings.Compare(a.key.service, b.key.service), strings.Compare(a.key.name, b.key.name), cmp.Compare(a.key.kind, b.key.kind))
	})
	op := collector.Operation{}
	return read(ctx, s, found, &op.Points, &op.Total, func(p *past[operation]) bool {
		op.Service, op.Name, op.Kind, op.Other = p.key.service, p.key.name, p.key.kind, p.series == t.operations.other
		return visit(&op)
	})
}

// Edges implements [collector.OperationReader]. It reads a snapshot.
func (t *Table) Edges(ctx context.Context, s collector.OperationScan, visit func(*collector.Edge) bool) error {
	of := service(shortened(s.Service))
	found := snapshot(t, s, &t.edges, func(sh *Shard) cells[edge] { return sh.edges }, func(e edge) bool {
		return of.Name == "" || e.client == of || e.server == of
	})
	slices.SortFunc(found, func(a, b past[edge]) int {
		return cmp.Or(a.key.client.Compare(b.key.client), a.key.server.Compare(b.key.server))
	})
	e := collector.Edge{}
	return read(ctx, s, found, &e.Points, &e.Total, func(p *past[edge]) bool {
		e.Client, e.Server, e.Other = p.key.client, p.key.server, p.series == t.edges.other
		return visit(&e)
	})
}

// past is a snapshot of what a series has in some minutes.
type past[K comparable] struct {
	*series[K]
	sealed []hour
	recent []point // not sealed
}

type point struct {
	minute int64
	collector.Counts
}

// snapshot returns the selected series of a set that may have something in the minutes of s.
func snapshot[K comparable](t *Table, s collector.OperationScan, of *set[K], in func(*Shard) cells[K], selects func(K) bool) (out []past[K]) {
	start, end := s.Minutes()
	if start >= end {
		return nil
	}
	t.sealed.Lock()
	defer t.sealed.Unlock()
	recent := map[*history][]point{}
	add := func(h *history, minute int64, c *collector.Counts) {
		if start <= minute && minute < end {
			recent[h] = append(recent[h], point{minute, collector.Counts{Spans: c.Spans, Errors: c.Errors, Durations: c.Durations.Clone()}})
		}
	}
	now := t.now().UnixNano()
	for i := range t.shards { // which may make new series
		sh := &t.shards[i]
		sh.mu.Lock()
		sh.expire(now)
		sh.mu.Unlock()
	}
	selected := of.selected(t, selects)
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for _, c := range in(sh) {
			if selected[&c.history] != nil {
				add(&c.history, c.minute, &c.Counts)
			}
		}
		for _, c := range sh.sealing {
			if selected[c.of] != nil {
				add(c.of, c.minute, c.Counts)
			}
		}
		sh.mu.Unlock()
	}
	for h, one := range selected {
		from, _ := h.hour(start / 60)
		to, _ := h.hour((end + 59) / 60)
		if p := (past[K]{one, slices.Clone(h.hours[from:to]), recent[h]}); len(p.sealed)+len(p.recent) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// selected returns the selected series by their histories.
func (s *set[K]) selected(t *Table, selects func(K) bool) map[*history]*series[K] {
	t.names.Lock()
	defer t.names.Unlock()
	out := map[*history]*series[K]{}
	for _, one := range s.series {
		if selects(one.key) {
			out[&one.history] = one
		}
	}
	if selects(s.other.key) {
		out[&s.other.history] = s.other
	}
	return out
}

// read adds up what the series in found have, one after the other.
func read[K comparable](ctx context.Context, s collector.OperationScan, found []past[K], to *[]collector.Counts, total *collector.Counts, visit func(*past[K]) bool) error {
	start, end := s.Minutes()
	_, step, n := s.Points()
	if n > collector.MaxPoints {
		return collector.ErrTooManyPoints
	}
	*to = make([]collector.Counts, n)
	for i := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		total.Reset()
		for i := range *to {
			(*to)[i].Reset()
		}
		add := func(minute int64, c *collector.Counts) {
			if minute < start || minute >= end {
				return
			}
			total.Merge(c)
			if n > 0 {
				(*to)[(minute-start)/int64(step.Minutes())].Merge(c)
			}
		}
		for _, h := range found[i].sealed {
			points(h.data, func(minute int, c *collector.Counts) { add(h.number*60+int64(minute), c) })
		}
		for _, p := range found[i].recent {
			add(p.minute, &p.Counts)
		}
		if total.Spans > 0 && !visit(&found[i]) {
			return nil
		}
	}
	return nil
}
